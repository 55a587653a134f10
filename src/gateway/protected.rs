//! Addresses and names that are refused unless the address policy names them.
//!
//! Pure. Numbers decide; the names are for those who resolve a name elsewhere than here, as a gateway does, and to
//! refuse before a resolver is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address is refused unless an entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// The operator's own machine.
    Loopback,
    /// The local link, where clouds serve instance metadata.
    LinkLocal,
    /// A service for the machine that the operator runs on, outside the local link.
    Metadata,
    /// The Kubernetes API server.
    ApiServer,
    /// No address of one host.
    Reserved,
}

/// Ranges that are protected by their number alone.
const RANGES: &[(&str, Protected)] = &[
    ("127.0.0.0/8", Protected::Loopback),
    ("::1/128", Protected::Loopback),
    // RFC 3927 and RFC 4291, section 2.5.6. Most clouds serve metadata at 169.254.169.254: Amazon, Azure, Google, Oracle,
    // DigitalOcean, Hetzner, OpenStack (fe80::a9fe:a9fe); Scaleway at 169.254.42.42, Tencent at 169.254.0.23, Amazon's
    // containers at 169.254.170.2 and .23.
    ("169.254.0.0/16", Protected::LinkLocal),
    ("fe80::/10", Protected::LinkLocal),
    // Amazon: metadata, time, DNS and the EKS Pod Identity Agent over IPv6.
    // <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>
    ("fd00:ec2::/32", Protected::Metadata),
    // Google. <https://cloud.google.com/compute/docs/metadata/querying-metadata>
    ("fd20:ce::254/128", Protected::Metadata),
    // Azure's WireServer, which serves the credentials of extensions.
    // <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>
    ("168.63.129.16/32", Protected::Metadata),
    // Alibaba Cloud. <https://www.alibabacloud.com/help/ecs/user-guide/view-instance-metadata>
    ("100.100.100.200/32", Protected::Metadata),
    ("fd00:100::100:200/128", Protected::Metadata),
    // Oracle: Cloud at Customer, and Cloud Infrastructure over IPv6.
    // <https://docs.oracle.com/en/cloud/cloud-at-customer/occ-get-started/retrieve-predefined-instance-metadata.html>
    ("192.0.0.192/32", Protected::Metadata),
    ("fd00:c1::a9fe:a9fe/128", Protected::Metadata),
    // Akamai (Linode) and Scaleway, as cloud-init has them.
    // <https://cloudinit.readthedocs.io/en/latest/reference/datasources.html>
    ("fd00:a9fe:a9fe::1/128", Protected::Metadata),
    ("fd00:42::42/128", Protected::Metadata),
    // "This network" (RFC 791), which Linux takes for the own machine.
    ("0.0.0.0/8", Protected::Reserved),
    ("::/128", Protected::Reserved),
    // Multicast.
    ("224.0.0.0/4", Protected::Reserved),
    ("ff00::/8", Protected::Reserved),
    // Never assigned (RFC 1112), with the broadcast address at its end.
    ("240.0.0.0/4", Protected::Reserved),
    // Site-local, given up by RFC 3879.
    ("fec0::/10", Protected::Reserved),
    // Teredo (RFC 4380): a tunnel whose end the address chooses.
    ("2001::/32", Protected::Reserved),
];

/// Names that stand for a protected address, and whether everything below them does, too.
const NAMES: &[(&str, bool, Protected)] = &[
    // RFC 6761, section 6.3.
    ("localhost", true, Protected::Loopback),
    // As /etc/hosts has them on Debian and on Red Hat.
    ("ip6-localhost", false, Protected::Loopback),
    ("ip6-loopback", false, Protected::Loopback),
    ("localhost.localdomain", false, Protected::Loopback),
    // Google, Amazon, Tencent, Equinix Metal.
    ("metadata.google.internal", false, Protected::LinkLocal),
    ("metadata.goog", false, Protected::LinkLocal),
    ("instance-data.ec2.internal", false, Protected::LinkLocal),
    ("metadata.tencentyun.com", false, Protected::LinkLocal),
    ("metadata.platformequinix.com", false, Protected::Metadata),
    // <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
    ("kubernetes", false, Protected::ApiServer),
    ("kubernetes.default", false, Protected::ApiServer),
    ("kubernetes.default.svc", false, Protected::ApiServer),
];

/// What the names of the API server within any cluster domain start with.
const API_SERVER_PREFIX: &str = "kubernetes.default.svc.";

// === impl Protected ===

impl Protected {
    /// The protected range that an address lies in.
    pub(super) fn by_address(ip: IpAddr) -> Option<(IpNet, Self)> {
        let carried = carried_v4(ip);
        let (range, what) = ranges().find(|(range, _)| range.contains(&carried.unwrap_or(ip)))?;
        // Only its own entry opens an address that carries another one: it leads to the machine of whoever translates.
        Some((if carried.is_some() { IpNet::from(ip) } else { range }, what))
    }

    /// What a name stands for. The name is lower case and has no final dot.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let below = |parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
        let known =
            NAMES.iter().find(|(known, with_below, _)| *known == name || (*with_below && below(known)));
        let in_domain = || name.starts_with(API_SERVER_PREFIX).then_some(Self::ApiServer);
        known.map(|(_, _, what)| *what).or_else(in_domain)
    }

    /// Whether a range lies inside one that is protected for this reason.
    pub(super) fn contains(self, net: &IpNet) -> bool {
        ranges().any(|(range, what)| what == self && range.contains(net))
    }

    /// What it is, after "is".
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address, where clouds serve metadata",
            Self::Metadata => "an address of a cloud's metadata service",
            Self::ApiServer => "the Kubernetes API server",
            Self::Reserved => "a reserved address, which no host has",
        }
    }
}

/// The IPv4 address that an IPv6 address carries, so that somebody on the way sends there.
pub(super) fn carried_v4(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let o = ip.octets();
    let at =
        |first: usize| Some(IpAddr::V4(Ipv4Addr::new(o[first], o[first + 1], o[first + 2], o[first + 3])));
    match ip.segments() {
        _ if ip == Ipv6Addr::UNSPECIFIED || ip == Ipv6Addr::LOCALHOST => None,
        // NAT64: the well-known prefix (RFC 6052), and the local ones (RFC 8215) in their longest form.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..]
        // IPv4-compatible (RFC 4291, section 2.5.5.1) and IPv4-translated (RFC 2765), both given up.
        | [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        // ISATAP (RFC 5214), below any prefix.
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => at(12),
        // 6to4 (RFC 3056).
        [0x2002, ..] => at(2),
        _ => None,
    }
}

fn ranges() -> impl Iterator<Item = (IpNet, Protected)> {
    RANGES.iter().map(|(range, what)| (range.parse().expect("the table holds ranges"), *what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_carries_is_found_in_each_form() {
        let carried = |text: &str| carried_v4(text.parse().expect("an address")).map(|ip| ip.to_string());
        for text in [
            "64:ff9b::7f00:1",
            "64:ff9b:1:2:3:4:7f00:1",
            "::7f00:1",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
            "2002:7f00:1:1::2",
            "2001:db8::5efe:7f00:1",
            "fd00::200:5efe:7f00:1",
        ] {
            assert_eq!(carried(text).as_deref(), Some("127.0.0.1"), "{text}");
        }
        for text in ["::", "::1", "127.0.0.1", "2001:db8::7f00:1", "fd00::1"] {
            assert_eq!(carried(text), None, "{text}");
        }
    }

    #[test]
    fn every_range_is_one_in_its_shortest_form() {
        for (text, _) in RANGES {
            assert_eq!(text.parse::<IpNet>().map(|net| net.trunc().to_string()).as_deref(), Ok(*text));
        }
    }
}
