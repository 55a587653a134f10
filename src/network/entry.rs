//! Entries of the address policy: what they cover, and for which namespaces.
//!
//! Pure. An entry is one line that an administrator writes; what it means for a connection is decided in
//! [`route`](super::route).
//!
//! ```text
//!   [NAMESPACE_PATTERN=]PLACE[:PORT | :LOW-HIGH]
//!                       └ vault.example.com · *.example.com · 10.0.0.7 · 10.0.0.0/8 · [fd00::/8]
//! ```

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Host;

/// A place that may be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowEntry {
    place: Place,
    ports: Ports,
}

/// Entries, and the namespaces whose connections they hold for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Empty means all.
    #[serde(default, deserialize_with = "not_empty")]
    namespaces: Vec<NamespacePattern>,
    #[serde(deserialize_with = "not_empty")]
    allow: Vec<AllowEntry>,
}

/// A namespace, or a pattern of them in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamespacePattern(String);

/// A text is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The place or its ports do not parse.
    #[error(
        "write a host (vault.example.com), a pattern (*.example.com), an address (10.0.0.7) or a range (10.0.0.0/8), perhaps with a port (:8200) or ports (:8200-8210); IPv6 with a port needs brackets ([fd00::/8]:8200)"
    )]
    Place,
    /// The pattern before the `=` is none.
    #[error(
        "write a namespace or a pattern (team-*) before the `=`: lower case letters, digits, '-' and '*'"
    )]
    Namespace,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    /// A host name, as the URL has it: lower case, punycode, without a final dot.
    Name(String),
    /// Every name that ends with this, which starts with a dot.
    Suffix(String),
    /// A range of addresses.
    Net(IpNet),
}

/// Both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Ports {
    low: u16,
    high: u16,
}

/// Longest name of a namespace: it is a DNS label.
const MAX_NAMESPACE_CHARS: usize = 63;

// === impl AllowEntry ===

impl AllowEntry {
    /// Whether it covers this name at this port. The name is lower case and has no final dot.
    pub(super) fn covers_name(&self, name: &str, port: u16) -> bool {
        let covered = match &self.place {
            Place::Name(own) => own == name,
            Place::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            Place::Net(_) => false,
        };
        covered && self.ports.contain(port)
    }

    /// Whether it is this very name.
    pub(super) fn names(&self, name: &str, port: u16) -> bool {
        matches!(&self.place, Place::Name(own) if own == name) && self.ports.contain(port)
    }

    /// The range that it opens at this port, if it is about addresses.
    pub(super) fn net(&self, port: u16) -> Option<IpNet> {
        match &self.place {
            Place::Net(net) if self.ports.contain(port) => Some(*net),
            Place::Net(_) | Place::Name(_) | Place::Suffix(_) => None,
        }
    }
}

impl FromStr for AllowEntry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        if let Some(net) = net(text) {
            return Ok(Self { place: Place::Net(net), ports: Ports::ANY });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or(EntryError::Place)?;
            let net = net(inside).filter(|_| inside.contains(':')).ok_or(EntryError::Place)?;
            let ports = match after.strip_prefix(':') {
                Some(ports) => ports.parse()?,
                None if after.is_empty() => Ports::ANY,
                None => return Err(EntryError::Place),
            };
            return Ok(Self { place: Place::Net(net), ports });
        }
        let (place, ports) = match text.rsplit_once(':') {
            Some((place, ports)) => (place, ports.parse()?),
            None => (text, Ports::ANY),
        };
        Ok(Self { place: place.parse()?, ports })
    }
}

impl TryFrom<String> for AllowEntry {
    type Error = EntryError;

    fn try_from(text: String) -> Result<Self, EntryError> {
        text.parse()
    }
}

// === impl Grant ===

impl Grant {
    /// Whether its entries hold for the connections of this namespace.
    pub(super) fn holds_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|pattern| pattern.matches(namespace))
    }

    /// Its entries.
    pub(super) fn allow(&self) -> &[AllowEntry] {
        &self.allow
    }
}

impl FromStr for Grant {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let (namespaces, entry) = match text.split_once('=') {
            Some((pattern, entry)) => (vec![NamespacePattern::try_from(pattern.to_owned())?], entry),
            None => (Vec::new(), text),
        };
        Ok(Self { namespaces, allow: vec![entry.parse()?] })
    }
}

// === impl NamespacePattern ===

impl NamespacePattern {
    fn matches(&self, namespace: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(rest) = namespace.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = EntryError;

    fn try_from(text: String) -> Result<Self, EntryError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*');
        let sound = (1..=MAX_NAMESPACE_CHARS).contains(&text.len()) && text.chars().all(allowed);
        if sound { Ok(Self(text)) } else { Err(EntryError::Namespace) }
    }
}

// === impl Place ===

impl FromStr for Place {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        if text.contains(':') {
            return Err(EntryError::Place);
        }
        if let Some(net) = net(text) {
            return Ok(Self::Net(net));
        }
        let (is_suffix, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        match Host::parse(name) {
            // An address that is not in its usual form (0x7f.1) is more likely a mistake than a wish.
            Ok(Host::Domain(domain)) if !domain.contains('*') => {
                let domain = domain.strip_suffix('.').unwrap_or(&domain);
                Ok(if is_suffix { Self::Suffix(format!(".{domain}")) } else { Self::Name(domain.to_owned()) })
            }
            Ok(_) | Err(_) => Err(EntryError::Place),
        }
    }
}

// === impl Ports ===

impl Ports {
    const ANY: Self = Self { low: 1, high: u16::MAX };

    fn contain(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
    }
}

impl FromStr for Ports {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let port = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|port| digits && *port > 0).ok_or(EntryError::Place)
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let ports = Self { low: port(low)?, high: port(high)? };
        if ports.low <= ports.high { Ok(ports) } else { Err(EntryError::Place) }
    }
}

/// An address or a range of addresses. One that IPv6 maps (`::ffff:10.0.0.0/104`) is the IPv4 range that it means.
fn net(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net = text.parse::<IpNet>().ok().or_else(address)?.trunc();
    let IpNet::V6(v6) = net else { return Some(net) };
    let mapped = |ip: Ipv6Addr| ip.to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped(v6.network()).and_then(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok());
    Some(v4.map_or(net, IpNet::V4))
}

/// A list that is there has something in it: an empty one could be meant as everything, or as nothing.
fn not_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() { Err(D::Error::custom("a list must not be empty: leave it out")) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> AllowEntry {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let wrong = [
            "",
            "*",
            "*.",
            "a b",
            "a*.example.com",
            "https://vault.example.com",
            "vault.example.com/x",
            "10.0.0.0/33",
            "010.0.0.1",
            "0x7f.1",
            "127.1",
            "2130706433",
            "fe80::1%eth0",
            "[10.0.0.1]:8200",
            "[fd00::1",
            "[fd00::1]8200",
            "[fd00::1]:",
            "fd00::/8:8200",
            "vault.example.com:",
            "a:b",
            "vault.example.com:0",
            "vault.example.com:65536",
            "vault.example.com:9-8",
            "vault.example.com:+1",
            "vault.example.com:1-",
            "vault.example.com:8200:8201",
            "user@vault.example.com",
        ];
        for text in wrong {
            assert_eq!(text.parse::<AllowEntry>(), Err(EntryError::Place), "{text}");
        }
        for text in ["=10.0.0.1", "Team=10.0.0.1", "a b=10.0.0.1", "team.a=10.0.0.1", &"a".repeat(64)] {
            let text = if text.contains('=') { text.to_owned() } else { format!("{text}=10.0.0.1") };
            assert_eq!(text.parse::<Grant>(), Err(EntryError::Namespace), "{text}");
        }
    }

    #[test]
    fn a_place_has_one_form() {
        let same = [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("[fd00::1]", "fd00::1"),
            ("[::ffff:10.0.0.7]:8200", "10.0.0.7:8200"),
            ("Vault.Example.com.", "vault.example.com"),
            ("*.BÜCHER.example:8200", "*.xn--bcher-kva.example:8200"),
            ("10.0.0.7:8200", "10.0.0.7:8200-8200"),
            ("10.0.0.7:1-65535", "10.0.0.7"),
        ];
        for (text, other) in same {
            assert_eq!(entry(text), entry(other), "{text}");
        }
    }

    #[test]
    fn ports_bound_names_and_ranges() {
        let covers = |text: &str, name: &str, port| entry(text).covers_name(name, port);
        assert!(covers("vault.example.com", "vault.example.com", 1));
        assert!(covers("vault.example.com:8200", "vault.example.com", 8200));
        assert!(!covers("vault.example.com:8200", "vault.example.com", 8201));
        assert!(covers("*.example.com:8200-8210", "a.b.example.com", 8210));
        assert!(!covers("*.example.com:8200-8210", "a.b.example.com", 8211));
        assert!(!covers("*.example.com", "example.com", 443), "a pattern is about what is below");
        assert!(!covers("*.example.com", "badexample.com", 443));
        assert!(entry("10.0.0.0/8:8200").net(8200).is_some());
        assert!(entry("10.0.0.0/8:8200").net(443).is_none());
    }

    #[test]
    fn a_pattern_of_namespaces_knows_only_the_star() {
        let table = [
            ("team-a", "team-a", true),
            ("team-a", "team-ab", false),
            ("team-*", "team-", true),
            ("team-*", "team-a", true),
            ("team-*", "my-team-a", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("aa*aa", "aaa", false),
            ("*", "anything", true),
        ];
        for (pattern, namespace, expected) in table {
            let grant: Grant = format!("{pattern}=10.0.0.1").parse().expect("a grant");
            assert_eq!(grant.holds_for(namespace), expected, "{pattern} {namespace}");
        }
        assert!("10.0.0.1".parse::<Grant>().expect("a grant").holds_for("any"));
    }
}
