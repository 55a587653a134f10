//! The table of hostile instance URLs, against the address policy.

#[path = "../hostile/table.rs"]
mod table;

use std::net::{IpAddr, SocketAddr};

use url::Host;
use vault_connection_operator::{
    names::InstanceUrl,
    network::address_policy::{AddressPolicy, Contact, Protected, Refusal, Rule, Rules},
};

use self::table::Outcome;

fn policy(entries: &[impl AsRef<str>]) -> AddressPolicy {
    let grants = entries.iter().map(|entry| entry.as_ref().parse().expect("an entry")).collect();
    let api_servers = ["10.96.0.1:443", "[fd00:10:96::1]:443"];
    let api_servers = api_servers.map(|address| address.parse().expect("an address")).to_vec();
    AddressPolicy::new(grants, api_servers, Contact::default())
}

/// What becomes of a URL, and of the address that its name leads to.
fn dial(rules: &Rules, url: &str, leads_to: Option<IpAddr>) -> Option<Result<(), Refusal>> {
    let url = InstanceUrl::parse(url).ok()?;
    let found = |()| match (url.host(), leads_to) {
        (Host::Domain(name), Some(ip)) => rules.permit_address(name, SocketAddr::new(ip, url.port())),
        _ => Ok(()),
    };
    Some(rules.permit_host(&url.host(), url.port()).and_then(found))
}

fn outcome(of: Option<Result<(), Refusal>>) -> Outcome {
    match of.map(|permitted| permitted.map_err(|refusal| refusal.rule())) {
        None => Outcome::Invalid,
        Some(Ok(())) => Outcome::Allowed,
        Some(Err(Rule::NotListed)) => Outcome::NotListed,
        Some(Err(Rule::Protected(what))) => match what {
            Protected::Loopback => Outcome::Loopback,
            Protected::LinkLocal => Outcome::LinkLocal,
            Protected::Metadata => Outcome::Metadata,
            Protected::ApiServer => Outcome::ApiServer,
            Protected::Reserved => Outcome::Reserved,
        },
    }
}

#[test]
fn every_hostile_form_ends_where_the_table_says() {
    let mut wrong = Vec::new();
    for row in table::rows() {
        let found = outcome(dial(&policy(&row.allow).rules_for("team-a"), &row.url, row.leads_to));
        if found != row.outcome {
            wrong.push(format!("{:?} {:?}: {found:?}, not {:?}", row.url, row.leads_to, row.outcome));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
