//! Which addresses may be dialled.
//!
//! Pure. The policy is asked twice: for the host in the URL, and for each address that a resolver gives for it, so
//! that DNS cannot be rebound between the question and the connection.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Host;

/// Which addresses may be dialled. Empty, it allows all but the protected ones.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allow: Vec<AllowEntry>,
    api_servers: Vec<SocketAddr>,
}

/// One entry of `--allow-address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowEntry {
    /// A host name, as the URL has it.
    Name(String),
    /// Every name that ends with this, which starts with a dot.
    Suffix(String),
    /// A range of addresses.
    Net(IpNet),
}

/// A text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a host (vault.example.com), a pattern (*.example.com), an address (10.0.0.7) or a range (10.0.0.0/8)"
)]
pub struct AllowEntryError;

/// Why an address may not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A list is given, and no entry covers it.
    NotListed,
    /// It is protected, and no entry lies inside the protected range.
    Protected(Protected),
}

/// What is never dialled unless an entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// The operator's own machine.
    Loopback,
    /// The local link, where clouds serve instance metadata.
    LinkLocal,
    /// A metadata service outside the local link.
    Metadata,
    /// The Kubernetes API server.
    ApiServer,
    /// No address of one host: unspecified, multicast or broadcast.
    NoHost,
}

/// Ranges that are protected by their number alone.
const PROTECTED_RANGES: &[(&str, Protected)] = &[
    ("127.0.0.0/8", Protected::Loopback),
    ("::1/128", Protected::Loopback),
    ("169.254.0.0/16", Protected::LinkLocal),
    ("fe80::/10", Protected::LinkLocal),
    // Amazon EC2's metadata over IPv6, and Alibaba Cloud's.
    ("fd00:ec2::254/128", Protected::Metadata),
    ("100.100.100.200/32", Protected::Metadata),
    ("0.0.0.0/8", Protected::NoHost),
    ("::/128", Protected::NoHost),
    ("224.0.0.0/4", Protected::NoHost),
    ("ff00::/8", Protected::NoHost),
    ("255.255.255.255/32", Protected::NoHost),
];

// === impl AddressPolicy ===

impl AddressPolicy {
    /// A policy of these entries that also protects these addresses of the API server.
    pub fn new(allow: Vec<AllowEntry>, api_servers: Vec<SocketAddr>) -> Self {
        Self { allow, api_servers }
    }

    /// Whether a host may be dialled as far as its text tells. A name may still resolve to a refused address.
    pub fn permit_host(&self, host: &Host<&str>, port: u16) -> Result<(), Refusal> {
        match host {
            Host::Ipv4(ip) => self.permit_address("", SocketAddr::new((*ip).into(), port)),
            Host::Ipv6(ip) => self.permit_address("", SocketAddr::new((*ip).into(), port)),
            Host::Domain(name) => {
                let by_address = self.allow.iter().any(|entry| matches!(entry, AllowEntry::Net(_)));
                if self.allow.is_empty() || by_address || self.names(name) {
                    Ok(())
                } else {
                    Err(Refusal::NotListed)
                }
            }
        }
    }

    /// Whether an address that `name` resolved to may be dialled. A name is empty when the URL has an address.
    pub fn permit_address(&self, name: &str, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        // A range opens protected addresses only if it lies inside their range: 0.0.0.0/0 is no wish for loopback.
        let inside = |range: &IpNet| {
            self.allow
                .iter()
                .any(|e| matches!(e, AllowEntry::Net(net) if range.contains(net) && net.contains(&ip)))
        };
        if self.api_servers.iter().any(|api| api.ip().to_canonical() == ip && api.port() == address.port())
            && !inside(&IpNet::from(ip))
        {
            return Err(Refusal::Protected(Protected::ApiServer));
        }
        if let Some((range, what)) = protected(ip) {
            return if inside(&range) { Ok(()) } else { Err(Refusal::Protected(what)) };
        }
        let listed = self.names(name)
            || self.allow.iter().any(|entry| matches!(entry, AllowEntry::Net(net) if net.contains(&ip)));
        if self.allow.is_empty() || listed { Ok(()) } else { Err(Refusal::NotListed) }
    }

    fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.allow.iter().any(|entry| match entry {
            AllowEntry::Name(name) => *name == host,
            AllowEntry::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            AllowEntry::Net(_) => false,
        })
    }
}

// === impl AllowEntry ===

impl FromStr for AllowEntry {
    type Err = AllowEntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Net(ip.to_canonical().into()));
        }
        let (suffix, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        match Host::parse(name) {
            Ok(Host::Domain(domain)) if !domain.contains('*') => {
                let domain = domain.strip_suffix('.').unwrap_or(&domain).to_owned();
                Ok(if suffix { Self::Suffix(format!(".{domain}")) } else { Self::Name(domain) })
            }
            _ => Err(AllowEntryError),
        }
    }
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::NotListed => return f.write_str("it is not on the operator's list of allowed addresses"),
            Self::Protected(Protected::Loopback) => "loopback addresses are",
            Self::Protected(Protected::LinkLocal) => "link-local addresses are",
            Self::Protected(Protected::Metadata) => "metadata services are",
            Self::Protected(Protected::ApiServer) => "the Kubernetes API server is",
            Self::Protected(Protected::NoHost) => "unspecified and multicast addresses are",
        };
        write!(f, "{what} refused unless the operator's list of allowed addresses names them")
    }
}

/// The protected range that an address lies in.
fn protected(ip: IpAddr) -> Option<(IpNet, Protected)> {
    // Addresses that carry an IPv4 address are as dangerous as that one.
    let ip = match ip {
        IpAddr::V6(v6) => embedded_v4(v6).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    PROTECTED_RANGES
        .iter()
        .map(|(range, what)| (range.parse::<IpNet>().expect("the table holds ranges"), *what))
        .find(|(range, _)| range.contains(&ip))
}

/// The IPv4 address inside a NAT64 (RFC 6052) or 6to4 (RFC 3056) address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])),
        [0x2002, ..] => Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refs::InstanceUrl;

    fn policy(entries: &[&str]) -> AddressPolicy {
        let allow = entries.iter().map(|entry| entry.parse().expect("an entry")).collect();
        AddressPolicy::new(allow, vec!["10.96.0.1:443".parse().expect("an address")])
    }

    #[test]
    fn hosts_of_urls_are_permitted_or_refused() {
        use Protected::{ApiServer, LinkLocal, Loopback, Metadata, NoHost};
        let special = |what| Err(Refusal::Protected(what));
        let table: &[(&[&str], &str, Result<(), Refusal>)] = &[
            (&[], "https://vault.example.com", Ok(())),
            (&[], "https://10.0.0.7", Ok(())),
            (&[], "https://127.0.0.1", special(Loopback)),
            (&[], "https://0x7f.1", special(Loopback)),
            (&[], "https://0177.0.0.1", special(Loopback)),
            (&[], "https://2130706433", special(Loopback)),
            (&[], "https://[::1]", special(Loopback)),
            (&[], "https://[::ffff:127.0.0.1]", special(Loopback)),
            (&[], "https://[64:ff9b::7f00:1]", special(Loopback)),
            (&[], "https://169.254.169.254", special(LinkLocal)),
            (&[], "https://[fe80::1]", special(LinkLocal)),
            (&[], "https://[fd00:ec2::254]", special(Metadata)),
            (&[], "https://0.0.0.0", special(NoHost)),
            (&[], "https://10.96.0.1", special(ApiServer)),
            (&[], "https://10.96.0.1:8200", Ok(())),
            (&["0.0.0.0/0"], "https://127.0.0.1", special(Loopback)),
            (&["127.0.0.0/8"], "https://127.0.0.1", Ok(())),
            (&["127.0.0.1"], "https://127.0.0.2", special(Loopback)),
            (&["10.0.0.0/8"], "https://10.96.0.1", special(ApiServer)),
            (&["10.96.0.1"], "https://10.96.0.1", Ok(())),
            (&["vault.example.com"], "https://vault.example.com", Ok(())),
            (&["vault.example.com"], "https://vault.example.com.", Ok(())),
            (&["vault.example.com"], "https://other.example.com", Err(Refusal::NotListed)),
            (&["vault.example.com"], "https://10.0.0.7", Err(Refusal::NotListed)),
            (&["*.example.com"], "https://a.b.example.com", Ok(())),
            (&["*.example.com"], "https://example.com", Err(Refusal::NotListed)),
            (&["*.example.com"], "https://badexample.com", Err(Refusal::NotListed)),
        ];
        for (entries, url, expected) in table {
            let url = InstanceUrl::parse(url).expect("valid");
            assert_eq!(policy(entries).permit_host(&url.host(), url.port()), *expected, "{entries:?} {url}");
        }
    }

    #[test]
    fn a_name_does_not_open_what_it_resolves_to() {
        let local = "127.0.0.1:8200".parse().expect("an address");
        let private = "10.0.0.7:8200".parse().expect("an address");
        let by_name = policy(&["vault.example.com"]);
        assert_eq!(by_name.permit_address("vault.example.com", private), Ok(()));
        assert_eq!(
            by_name.permit_address("vault.example.com", local),
            Err(Refusal::Protected(Protected::Loopback))
        );
        let by_range = policy(&["192.168.0.0/16"]);
        assert_eq!(by_range.permit_address("vault.example.com", private), Err(Refusal::NotListed));
    }

    #[test]
    fn entries_are_hosts_patterns_addresses_and_ranges() {
        for text in ["", "*", "*.", "a b", "10.0.0.0/33", "https://vault.example.com", "a*.example.com"] {
            assert_eq!(text.parse::<AllowEntry>(), Err(AllowEntryError), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse(), Ok(AllowEntry::Net("10.0.0.0/8".parse().expect("a range"))));
        assert_eq!("Vault.Example.com.".parse(), Ok(AllowEntry::Name("vault.example.com".to_owned())));
    }
}
