//! IPv6 addresses that carry an IPv4 address, so that a router sends there.
//!
//! Pure. Where the length of a prefix is not known, an address may carry several: each of them is looked at.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::Ipv6Net;

/// The prefix of a NAT64 translator in the network of the operator (RFC 6052, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat64Prefix(Ipv6Net);

/// A text is no such prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96")]
pub struct Nat64PrefixError;

/// An IPv4 address within an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) ip: Ipv4Addr,
    /// Whether nothing follows it. What follows may mean that the prefix is a longer one, and the address another.
    pub(super) is_exact: bool,
}

/// The lengths of prefixes that RFC 6052 knows, the most usual one first.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// The length of the prefix that RFC 8215 gives to local translators, which choose their own below it.
const LOCAL_USE_LENGTH: u8 = 48;

// === impl Nat64Prefix ===

impl FromStr for Nat64Prefix {
    type Err = Nat64PrefixError;

    fn from_str(text: &str) -> Result<Self, Nat64PrefixError> {
        let net: Ipv6Net = text.trim().parse().map_err(|_| Nat64PrefixError)?;
        let is_sound = LENGTHS.contains(&net.prefix_len()) && net.network() == net.addr();
        if is_sound { Ok(Self(net)) } else { Err(Nat64PrefixError) }
    }
}

/// The IPv4 addresses that an address may carry, with translators at these prefixes.
pub(super) fn carried(ip: IpAddr, nat64: &[Nat64Prefix]) -> Vec<Carried> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    if ip == Ipv6Addr::UNSPECIFIED || ip == Ipv6Addr::LOCALHOST {
        return Vec::new();
    }
    let mut found = Vec::new();
    match ip.segments() {
        // The local prefixes (RFC 8215), whose length nobody here knows.
        [0x64, 0xff9b, 1, ..] => {
            let lengths = LENGTHS.into_iter().filter(|length| *length >= LOCAL_USE_LENGTH);
            found.extend(lengths.map(|length| embedded(ip, length)));
        }
        // The well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..]
        // IPv4-compatible (RFC 4291, section 2.5.5.1) and IPv4-translated (RFC 2765), both given up.
        | [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        // ISATAP (RFC 5214), below any prefix.
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => found.push(embedded(ip, 96)),
        // 6to4 (RFC 3056).
        [0x2002, a, b, ..] => {
            let [a, b] = [a, b].map(u16::to_be_bytes);
            found.push(Carried { ip: Ipv4Addr::new(a[0], a[1], b[0], b[1]), is_exact: true });
        }
        _ => {}
    }
    let ours = nat64.iter().filter(|prefix| prefix.0.contains(&ip));
    found.extend(ours.map(|prefix| embedded(ip, prefix.0.prefix_len())));
    found
}

/// The IPv4 address behind a prefix. Octet 8 is no part of it (RFC 6052, section 2.2).
fn embedded(ip: Ipv6Addr, length: u8) -> Carried {
    let behind = ip.octets().into_iter().enumerate().skip(usize::from(length / 8));
    let mut octets = behind.filter(|(index, _)| *index != 8 || length == 96).map(|(_, octet)| octet);
    let mut next = || octets.next().unwrap_or_default();
    let ip = Ipv4Addr::new(next(), next(), next(), next());
    Carried { ip, is_exact: octets.all(|octet| octet == 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, nat64: &[&str]) -> Vec<String> {
        let nat64: Vec<_> = nat64.iter().map(|text| text.parse().expect("a prefix")).collect();
        let found = carried(text.parse().expect("an address"), &nat64);
        found.into_iter().map(|carried| carried.ip.to_string()).collect()
    }

    #[test]
    fn what_an_address_carries_is_found_in_each_form() {
        for text in [
            "64:ff9b::7f00:1",
            "64:ff9b:1:2:3:4:7f00:1",
            "64:ff9b:1:7f00:0:100::",
            "64:ff9b:1:7f00:ff00:100::",
            "64:ff9b:1:aa7f:0:1::",
            "64:ff9b:1:2:7f:0:100:0",
            "::7f00:1",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
            "2002:7f00:1:1::2",
            "2001:db8::5efe:7f00:1",
            "fd00::200:5efe:7f00:1",
        ] {
            assert!(all(text, &[]).contains(&"127.0.0.1".to_owned()), "{text}");
        }
        for text in ["::", "::1", "127.0.0.1", "2001:db8::7f00:1", "fd00::1"] {
            assert!(all(text, &[]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_translator_of_ones_own_may_have_a_prefix_of_each_length() {
        // The table of RFC 6052, section 2.4, for 192.0.2.33.
        for (prefix, text) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            assert_eq!(all(text, &[prefix]), ["192.0.2.33"], "{prefix}");
            assert!(all(text, &[]).is_empty(), "{prefix}");
        }
    }

    #[test]
    fn a_prefix_has_a_length_that_translators_know() {
        for text in ["2001:db8:64::/96", " 2001:db8::/32 ", "64:ff9b:1::/48"] {
            assert!(text.parse::<Nat64Prefix>().is_ok(), "{text}");
        }
        for text in ["", "2001:db8::", "2001:db8::/33", "2001:db8::1/96", "10.0.0.0/32", "::/0", "x/96"] {
            assert_eq!(text.parse::<Nat64Prefix>(), Err(Nat64PrefixError), "{text}");
        }
    }
}
