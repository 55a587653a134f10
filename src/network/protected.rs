//! Addresses and names that are refused unless the address policy names them.
//!
//! Pure. Numbers decide; the names are for those who resolve a name elsewhere than here, as a gateway does, and to
//! refuse before a resolver is asked.

use std::net::IpAddr;

use ipnet::IpNet;

use super::carried::{Carried, Nat64Prefix, carried};

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
    ("localhost4", false, Protected::Loopback),
    ("localhost6", false, Protected::Loopback),
    ("localhost4.localdomain4", false, Protected::Loopback),
    ("localhost6.localdomain6", false, Protected::Loopback),
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
    pub(super) fn by_address(ip: IpAddr, nat64: &[Nat64Prefix]) -> Option<(IpNet, Self)> {
        let within = |ip: IpAddr| ranges().find(|(range, _)| range.contains(&ip));
        let readings = carried(ip, nat64).into_iter().filter_map(|Carried { ip, is_exact }| {
            let (_, what) = within(ip.into())?;
            // Half of all readings of an address with a longer prefix are reserved: they are accidents.
            (is_exact || what != Self::Reserved).then_some(what)
        });
        // An address of one host tells more than one of none.
        let carried = readings.min_by_key(|what| *what == Self::Reserved);
        match carried {
            // Only its own entry opens an address that carries another one: it leads to the machine of whoever translates.
            Some(what) => Some((IpNet::from(ip), what)),
            None => within(ip),
        }
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

fn ranges() -> impl Iterator<Item = (IpNet, Protected)> {
    RANGES.iter().map(|(range, what)| (range.parse().expect("the table holds ranges"), *what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_one_in_its_shortest_form() {
        for (text, _) in RANGES {
            assert_eq!(text.parse::<IpNet>().map(|net| net.trunc().to_string()).as_deref(), Ok(*text));
        }
    }
}
