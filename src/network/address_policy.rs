//! Which addresses may be dialled.
//!
//! Pure. The policy is asked twice: for the host in the URL, and for each address that a resolver gives for it, so
//! that DNS cannot be rebound between the question and the connection.
//!
//! ```text
//!   AddressPolicy ── rules_for(namespace) ──▶ Rules ── permit_host, permit_address ──▶ yes, or a Refusal
//!   all that was given                        what holds for one namespace
//! ```

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::Deserialize;
use url::Host;

pub use super::protected::Protected;
use super::{
    carried::{Nat64Prefix, carried},
    entry::{AllowEntry, Grant},
};

/// Everything that was given. Without any entry, it allows all but the protected addresses; with one, for whichever
/// namespace, only what is listed.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    grants: Vec<Grant>,
    api_servers: Vec<SocketAddr>,
    nat64: Vec<Nat64Prefix>,
    contact: Contact,
}

/// What holds for the connections of one namespace. Equal rules are equal values, so that whatever was built for one
/// serves the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// None allows all but the protected addresses.
    allow: Option<Vec<AllowEntry>>,
    api_servers: Vec<SocketAddr>,
    nat64: Vec<Nat64Prefix>,
    contact: Contact,
}

/// Whom to ask for an entry, in words that fit after "ask".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Contact(String);

/// A text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write whom to ask on one line of up to {MAX_CONTACT_BYTES} bytes, such as: the platform team (#vault)"
)]
pub struct ContactError;

/// Why an address may not be dialled, and whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    place: Place,
    rule: Rule,
    contact: Contact,
}

/// The rule that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Entries are given, and none that holds for the namespace covers it.
    NotListed,
    /// It is protected, and no entry lies inside the protected range.
    Protected(Protected),
}

/// What is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A name.
    Name(String, u16),
    /// The address in a URL.
    Address(SocketAddr),
    /// An address that a name leads to.
    Found(SocketAddr),
}

/// Longest contact. A message has 1,024 bytes for the host, the rule and this.
const MAX_CONTACT_BYTES: usize = 200;

// === impl AddressPolicy ===

impl AddressPolicy {
    /// A policy that also protects these addresses of the API server.
    pub fn new(grants: Vec<Grant>, api_servers: Vec<SocketAddr>, contact: Contact) -> Self {
        Self { grants, api_servers, nat64: Vec::new(), contact }
    }

    /// The same in a network with translators at these prefixes.
    #[must_use]
    pub fn behind(self, nat64: Vec<Nat64Prefix>) -> Self {
        Self { nat64, ..self }
    }

    /// The same with more entries, and perhaps another contact.
    #[must_use]
    pub fn with(&self, more: Vec<Grant>, contact: Option<Contact>) -> Self {
        let grants = self.grants.iter().cloned().chain(more).collect();
        let contact = contact.unwrap_or_else(|| self.contact.clone());
        Self { grants, contact, ..self.clone() }
    }

    /// What holds for the connections of a namespace: the entries for all namespaces and those for this one, together.
    pub fn rules_for(&self, namespace: &str) -> Arc<Rules> {
        let holding = self.grants.iter().filter(|grant| grant.holds_for(namespace));
        let mut allow: Vec<_> = holding.flat_map(|grant| grant.allow().iter().cloned()).collect();
        allow.sort_unstable();
        allow.dedup();
        Arc::new(Rules {
            allow: (!self.grants.is_empty()).then_some(allow),
            api_servers: self.api_servers.clone(),
            nat64: self.nat64.clone(),
            contact: self.contact.clone(),
        })
    }
}

// === impl Rules ===

impl Rules {
    /// Whether a host may be dialled as far as its text tells. A name may still resolve to a refused address.
    pub fn permit_host(&self, host: &Host<&str>, port: u16) -> Result<(), Refusal> {
        match host {
            Host::Ipv4(ip) => self.permit_address("", SocketAddr::new((*ip).into(), port)),
            Host::Ipv6(ip) => self.permit_address("", SocketAddr::new((*ip).into(), port)),
            Host::Domain(name) => self.permit_name(name, port),
        }
    }

    /// Whether a proxy may be asked for a host. Who resolves its name there, nobody here sees: so that a gateway is no way
    /// around the list, the name itself must be on it.
    pub fn permit_elsewhere(&self, host: &Host<&str>, port: u16) -> Result<(), Refusal> {
        self.permit_host(host, port)?;
        let Host::Domain(name) = host else { return Ok(()) };
        let name = canonical(name);
        let covered = |allow: &Vec<AllowEntry>| allow.iter().any(|entry| entry.covers_name(&name, port));
        if self.allow.as_ref().is_none_or(covered) {
            return Ok(());
        }
        Err(Refusal { place: Place::Name(name, port), rule: Rule::NotListed, contact: self.contact.clone() })
    }

    /// Whether an address that `name` resolved to may be dialled. A name is empty when the URL has an address.
    pub fn permit_address(&self, name: &str, address: SocketAddr) -> Result<(), Refusal> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let refused = |rule| {
            let address = SocketAddr::new(ip, port);
            let place = if name.is_empty() { Place::Address(address) } else { Place::Found(address) };
            Err(Refusal { place, rule, contact: self.contact.clone() })
        };
        if let Some((range, what)) = self.protected(ip, port) {
            // 0.0.0.0/0 is no wish for loopback: an entry opens protected addresses only from inside their range.
            let opened = self.nets(port).any(|net| range.contains(&net) && net.contains(&ip));
            return if opened { Ok(()) } else { refused(Rule::Protected(what)) };
        }
        let listed = |allow: &Vec<AllowEntry>| {
            let name = canonical(name);
            self.nets(port).any(|net| net.contains(&ip)) || allow.iter().any(|e| e.covers_name(&name, port))
        };
        if self.allow.as_ref().is_none_or(listed) { Ok(()) } else { refused(Rule::NotListed) }
    }

    fn permit_name(&self, name: &str, port: u16) -> Result<(), Refusal> {
        let name = canonical(name);
        let refused = |rule| {
            Err(Refusal { place: Place::Name(name.clone(), port), rule, contact: self.contact.clone() })
        };
        let entries = || self.allow.iter().flatten();
        if let Some(what) = Protected::by_name(&name) {
            let is_api_server = |net: &IpNet| self.api_servers.iter().any(|it| net == &host_net(it.ip()));
            let opened = entries().any(|entry| entry.names(&name, port))
                || self.nets(port).any(|net| match what {
                    Protected::ApiServer => is_api_server(&net),
                    Protected::Loopback
                    | Protected::LinkLocal
                    | Protected::Metadata
                    | Protected::Reserved => what.contains(&net),
                });
            return if opened { Ok(()) } else { refused(Rule::Protected(what)) };
        }
        // A name may lead to an address that is listed; its addresses tell.
        let possible = self.nets(port).next().is_some() || entries().any(|e| e.covers_name(&name, port));
        if self.allow.is_none() || possible { Ok(()) } else { refused(Rule::NotListed) }
    }

    /// The protected range that an address lies in.
    fn protected(&self, ip: IpAddr, port: u16) -> Option<(IpNet, Protected)> {
        let carried = carried(ip, &self.nat64).into_iter().map(|carried| IpAddr::from(carried.ip));
        let meant: Vec<IpAddr> = carried.chain([ip]).collect();
        let is_api_server = |api: &SocketAddr| meant.contains(&api.ip().to_canonical()) && api.port() == port;
        if self.api_servers.iter().any(is_api_server) {
            return Some((host_net(ip), Protected::ApiServer));
        }
        Protected::by_address(ip, &self.nat64)
    }

    /// The ranges of addresses that are listed for a port.
    fn nets(&self, port: u16) -> impl Iterator<Item = IpNet> {
        self.allow.iter().flatten().filter_map(move |entry| entry.net(port))
    }
}

// === impl Contact ===

impl Default for Contact {
    fn default() -> Self {
        Self("the administrator of the operator".to_owned())
    }
}

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        let text = text.trim();
        let sound = (1..=MAX_CONTACT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if sound { Ok(Self(text.to_owned())) } else { Err(ContactError) }
    }
}

impl TryFrom<String> for Contact {
    type Error = ContactError;

    fn try_from(text: String) -> Result<Self, ContactError> {
        text.parse()
    }
}

// === impl Refusal ===

impl Refusal {
    /// The rule that refuses.
    pub fn rule(&self) -> Rule {
        self.rule
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::Protected(what) => {
                match &self.place {
                    Place::Name(name, _) => write!(f, "{name} is a name for")?,
                    Place::Address(address) => write!(f, "{} is", address.ip())?,
                    Place::Found(address) => write!(f, "its name resolves to {}, which is", address.ip())?,
                }
                let rule = "not explicitly allowed by the operator's address policy";
                write!(f, " {}, and is {rule}", what.as_str())?;
            }
            Rule::NotListed => {
                match &self.place {
                    Place::Name(name, port) => write!(f, "{name}:{port} is")?,
                    Place::Address(address) => write!(f, "{address} is")?,
                    Place::Found(address) => write!(f, "its name resolves to {address}, which is")?,
                }
                f.write_str(" not allowed by the operator's address policy for this Kubernetes namespace")?;
            }
        }
        write!(f, ". Ask {} to allow it (--allow-address, chart value addressPolicy).", self.contact.0)
    }
}

/// A name as entries have it. The parser of the URL has made it lower case, and punycode.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The range of one address.
fn host_net(ip: IpAddr) -> IpNet {
    IpNet::from(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::InstanceUrl;

    fn policy(entries: &[impl AsRef<str>]) -> AddressPolicy {
        let grants = entries.iter().map(|entry| entry.as_ref().parse().expect("an entry")).collect();
        let api_servers = ["10.96.0.1:443", "[fd00:10:96::1]:443"];
        let api_servers = api_servers.map(|address| address.parse().expect("an address")).to_vec();
        AddressPolicy::new(grants, api_servers, Contact::default())
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn entries_for_all_and_for_a_namespace_hold_together_and_a_namespace_without_any_has_nothing() {
        let global = policy(&["team-*=10.0.0.0/8:8200", "vault.example.com", "b=10.1.0.0/16"]);
        let permits = |policy: &AddressPolicy, namespace: &str, host: &str| {
            let url = InstanceUrl::parse(&format!("https://{host}")).expect("valid");
            policy.rules_for(namespace).permit_host(&url.host(), url.port()).is_ok()
        };
        for namespace in ["team-a", "b", "other"] {
            assert!(permits(&global, namespace, "vault.example.com"), "{namespace}");
        }
        assert!(permits(&global, "team-a", "10.0.0.7:8200"));
        assert!(!permits(&global, "b", "10.0.0.7:8200"));
        assert!(permits(&global, "b", "10.1.0.7"));
        assert!(!permits(&global, "other", "10.0.0.7:8200"));

        let only_team = policy(&["team-*=10.0.0.0/8"]);
        assert!(permits(&only_team, "team-a", "10.0.0.7"));
        assert!(!permits(&only_team, "other", "10.0.0.7"), "no entry holds for it");
        assert!(permits(&policy(&[""; 0]), "other", "10.0.0.7"), "no entry at all");
    }

    #[test]
    fn a_name_that_somebody_else_resolves_must_itself_be_listed() {
        let table: &[(&[&str], &str, bool)] = &[
            (&[], "https://vault.example.com", true),
            (&["10.0.0.0/8"], "https://vault.example.com", false),
            (&["10.0.0.0/8"], "https://10.0.0.7", true),
            (&["10.0.0.0/8"], "https://192.0.2.1", false),
            (&["10.0.0.0/8", "vault.example.com:8200"], "https://vault.example.com", false),
            (&["10.0.0.0/8", "vault.example.com:8200"], "https://Vault.Example.com.:8200", true),
            (&["*.example.com"], "https://vault.example.com", true),
            (&["0.0.0.0/0"], "https://localhost", false),
        ];
        for (entries, url, permitted) in table {
            let url = InstanceUrl::parse(url).expect("valid");
            let rules = policy(entries).rules_for("team-a");
            let found = rules.permit_elsewhere(&url.host(), url.port()).is_ok();
            assert_eq!(found, *permitted, "{entries:?} {url}");
        }
    }

    #[test]
    fn equal_rules_are_equal_values_whatever_they_came_from() {
        let one = policy(&["10.0.0.7", "team-*=vault.example.com", "team-a=vault.example.com"]);
        let other = policy(&["vault.example.com", "10.0.0.7/32"]);
        assert_eq!(one.rules_for("team-a"), other.rules_for("x"));
        assert_eq!(one.rules_for("team-a"), one.rules_for("team-b"));
        assert_ne!(one.rules_for("team-a"), one.rules_for("x"));
        assert_ne!(one.rules_for("x"), one.with(Vec::new(), "us".parse().ok()).rules_for("x"));
    }

    #[test]
    fn a_refusal_says_which_rule_and_whom_to_ask() {
        let contact: Contact = "the platform team (#vault)".parse().expect("a contact");
        let rules = policy(&["10.0.0.0/8:8200"]).with(Vec::new(), Some(contact)).rules_for("team-a");
        let said =
            |refused: Result<(), Refusal>| refused.map_err(|it| it.to_string()).err().unwrap_or_default();
        let name = "vault.example.com";
        let rows = [
            (
                rules.permit_address("", address("127.0.0.1:1")),
                "127.0.0.1 is a loopback address, and is not explicitly allowed by the operator's address policy",
            ),
            (
                rules.permit_address(name, address("[fe80::1]:1")),
                "its name resolves to fe80::1, which is a link-local",
            ),
            (rules.permit_host(&Host::Domain("localhost"), 1), "localhost is a name for a loopback address"),
            (
                rules.permit_address("", address("10.0.0.7:1")),
                "10.0.0.7:1 is not allowed by the operator's address policy",
            ),
            (
                rules.permit_address(name, address("1.2.3.4:8200")),
                "its name resolves to 1.2.3.4:8200, which is not allowed",
            ),
            (rules.permit_host(&Host::Domain(name), 1), "vault.example.com:1 is not allowed"),
        ];
        for (refused, words) in rows {
            let said = said(refused);
            assert!(said.starts_with(words), "{said}");
            assert!(said.ends_with(
                "Ask the platform team (#vault) to allow it (--allow-address, chart value addressPolicy)."
            ));
        }
    }

    #[test]
    fn a_contact_is_one_short_line() {
        for text in ["", " ", "a\nb", &"a".repeat(MAX_CONTACT_BYTES + 1)] {
            assert_eq!(text.parse::<Contact>(), Err(ContactError), "{text:?}");
        }
        assert_eq!(" us ".parse(), Ok(Contact("us".to_owned())));
    }

    #[test]
    fn behind_a_translator_of_ones_own_the_same_is_protected() {
        let prefix = "2001:db8:64::/48".parse().expect("a prefix");
        let api = vec!["10.96.0.1:443".parse().expect("an address")];
        let rules = |nat64| AddressPolicy::new(Vec::new(), api.clone(), Contact::default()).behind(nat64);
        let (with, without) = (rules(vec![prefix]).rules_for("ns"), rules(Vec::new()).rules_for("ns"));
        let rule = |rules: &Rules, text: &str| {
            rules.permit_address("", text.parse().expect("an address")).err().map(|refusal| refusal.rule())
        };
        for (text, what) in [
            ("[2001:db8:64:7f00:0:100::]:8200", Protected::Loopback),
            ("[2001:db8:64:a9fe:a9:fe00::]:80", Protected::LinkLocal),
            ("[2001:db8:64:a60:0:100::]:443", Protected::ApiServer),
        ] {
            assert_eq!(rule(&with, text), Some(Rule::Protected(what)), "{text}");
            assert_eq!(rule(&without, text), None, "{text}");
        }
        assert_eq!(rule(&with, "[2001:db8:64:a00:7::]:8200"), None);
    }
}
