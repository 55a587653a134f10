//! TCP connections to hosts, under the address policy.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::net::TcpStream;
use url::Host;

use super::{
    address_policy::Rules,
    fence::{Fence, Fenced},
    lookups::Lookups,
    race::first_of,
};
use crate::network::{faults::TransportFault, wire};

/// How long an address may stay silent before the next one is tried beside it (RFC 8305, section 8).
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Most addresses of a name that are tried, so that one name cannot keep a check busy.
const MAX_ADDRESSES: usize = 16;

/// Most hosts whose working address is remembered. One that is forgotten costs a try, no more.
const MAX_REMEMBERED_HOSTS: usize = 4096;

/// Finds the addresses of a name.
pub trait Names: Send + Sync {
    /// The addresses of a name, with this port.
    fn addresses<'a>(&'a self, name: &'a str, port: u16) -> Addresses<'a>;
}

/// The addresses of a name, soon.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The resolver of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

/// Makes TCP connections.
pub(super) struct Connector {
    lookups: Lookups,
    fence: Fence,
    last: Mutex<HashMap<(String, u16), Last>>,
}

/// Whom a connection is made for.
#[derive(Clone, Copy)]
pub(super) struct Tenant<'a> {
    /// The namespace of the one that asks.
    pub(super) namespace: &'a str,
    /// What the address policy allows it.
    pub(super) rules: &'a Rules,
}

/// The address of a name that took the last connection.
#[derive(Clone, Copy)]
struct Last {
    address: IpAddr,
    /// Whether what was asked there was answered, as far as anybody has told.
    serves: bool,
}

// === impl SystemNames ===

impl Names for SystemNames {
    fn addresses<'a>(&'a self, name: &'a str, port: u16) -> Addresses<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(names: Arc<dyn Names>, fence: Fence) -> Self {
        Self { lookups: Lookups::new(names), fence, last: Mutex::default() }
    }

    /// Connects to the first address of the host that takes the connection, beginning with the one that did last time.
    pub(super) async fn connect(
        &self,
        tenant: Tenant<'_>,
        host: &Host<String>,
        port: u16,
    ) -> Result<Fenced<TcpStream>, TransportFault> {
        let addresses = self.addresses(tenant, host, port).await?;
        let attempt = async |address: SocketAddr| {
            self.fence.check().map_err(|error| fault(&io::Error::other(error)))?;
            let stream = TcpStream::connect(address).await.map_err(|error| fault(&error))?;
            // A request is one packet, and its answer is waited for.
            let _ = stream.set_nodelay(true);
            Ok((stream, address.ip()))
        };
        let outcome = first_of(addresses, NEXT_ADDRESS_DELAY, attempt).await;
        let (stream, address) = outcome.unwrap_or(Err(TransportFault::NameNotResolved))?;
        self.remember(host, port, address);
        Ok(Fenced::new(stream, self.fence.clone()))
    }

    /// Every address of a host that may be dialled, in the order in which to try them; at least one.
    pub(super) async fn addresses(
        &self,
        Tenant { namespace, rules }: Tenant<'_>,
        host: &Host<String>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, TransportFault> {
        let (name, found) = match host {
            Host::Ipv4(ip) => ("", vec![SocketAddr::new((*ip).into(), port)]),
            Host::Ipv6(ip) => ("", vec![SocketAddr::new((*ip).into(), port)]),
            Host::Domain(name) => {
                let found = self.lookups.addresses(namespace, name, port).await;
                (name.as_str(), found.map_err(|error| resolver_fault(&error))?)
            }
        };
        let refused = |address: &SocketAddr| rules.permit_address(name, *address).err();
        // Servers give addresses in any order; which one a refusal names must not depend on that.
        let refusal = found.iter().min().and_then(refused);
        let mut permitted: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !permitted.contains(&address) && refused(&address).is_none() {
                permitted.push(address);
            }
        }
        match refusal {
            _ if !permitted.is_empty() => Ok(self.in_order(name, port, permitted)),
            Some(why) => Err(TransportFault::NotAllowed(why)),
            None => Err(TransportFault::NameNotResolved),
        }
    }

    /// The address that served last comes first, one that took a connection and did not serve comes last; those between
    /// take turns by their families (RFC 8305, section 4).
    fn in_order(&self, name: &str, port: u16, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let last = self.lock().get(&(name.to_owned(), port)).copied();
        let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
        let longest = v6.len().max(v4.len());
        let turn = |index: usize| [v6.get(index), v4.get(index)].into_iter().flatten().copied();
        let mut ordered: Vec<_> = (0..longest).flat_map(turn).collect();
        ordered.sort_by_key(|address| match last.filter(|last| last.address == address.ip()) {
            Some(Last { serves: true, .. }) => 0,
            None => 1,
            Some(Last { serves: false, .. }) => 2,
        });
        ordered.truncate(MAX_ADDRESSES);
        ordered
    }

    /// Begins with another address of the host the next time, if it is also one of `other`, and not the one in use.
    pub(super) async fn prefer(
        &self,
        tenant: Tenant<'_>,
        (host, port): &(Host<String>, u16),
        other: &Host<String>,
    ) -> bool {
        let port = *port;
        let Host::Domain(name) = host else { return false };
        let ours = self.addresses(tenant, host, port).await.unwrap_or_default();
        let theirs = self.addresses(tenant, other, port).await.unwrap_or_default();
        let in_use = self.lock().get(&(name.clone(), port)).map(|last| last.address);
        let better =
            ours.into_iter().find(|address| theirs.contains(address) && Some(address.ip()) != in_use);
        if let Some(address) = better {
            self.remember(host, port, address.ip());
        }
        better.is_some()
    }

    /// Ends with the address of the host that is in use the next time, since it did not serve. Tells whether that is new.
    pub(super) fn demote(&self, host: &Host<String>, port: u16) -> bool {
        let Host::Domain(name) = host else { return false };
        let mut known = self.lock();
        let last = known.get_mut(&(name.clone(), port)).filter(|last| last.serves);
        last.map(|last| last.serves = false).is_some()
    }

    /// Remembers the address of a name to begin with the next time.
    fn remember(&self, host: &Host<String>, port: u16, address: IpAddr) {
        let Host::Domain(name) = host else { return };
        let mut known = self.lock();
        if known.len() >= MAX_REMEMBERED_HOSTS {
            known.clear();
        }
        known.insert((name.clone(), port), Last { address, serves: true });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u16), Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fault(error: &io::Error) -> TransportFault {
    wire::fault_of(error).unwrap_or(TransportFault::Failed)
}

/// A resolver that could not ask, since the operator has no descriptors left, knows nothing of the name.
fn resolver_fault(error: &io::Error) -> TransportFault {
    match wire::fault_of(error) {
        Some(fault @ TransportFault::OutOfResources) => fault,
        _ => TransportFault::NameNotResolved,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::network::address_policy::{AddressPolicy, Contact};

    /// A name server that knows one answer.
    struct Fixed(Vec<IpAddr>);

    impl Names for Fixed {
        fn addresses<'a>(&'a self, _: &'a str, port: u16) -> Addresses<'a> {
            Box::pin(async move { Ok(self.0.iter().map(|ip| SocketAddr::new(*ip, port)).collect()) })
        }
    }

    fn connector(addresses: &[&str]) -> Connector {
        let parsed = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        Connector::new(Arc::new(Fixed(parsed)), Fence::open())
    }

    fn rules(allow: &[&str]) -> Arc<Rules> {
        let allow = allow.iter().map(|text| text.parse().expect("an entry")).collect();
        AddressPolicy::new(allow, Vec::new(), Contact::default()).rules_for("ns")
    }

    fn tenant(rules: &Rules) -> Tenant<'_> {
        Tenant { namespace: "ns", rules }
    }

    fn name() -> Host<String> {
        Host::Domain("vault.example.com".to_owned())
    }

    async fn connected(connector: &Connector, rules: &Rules, port: u16) -> Result<IpAddr, TransportFault> {
        let stream = connector.connect(tenant(rules), &name(), port).await?;
        Ok(stream.get_ref().peer_addr().expect("it is connected").ip())
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_gives_way_to_the_next_which_is_kept() {
        let second = TcpListener::bind("127.0.0.2:0").await.expect("loopback has many addresses");
        let port = second.local_addr().expect("it listens").port();
        let (connector, rules) = (connector(&["127.0.0.1", "127.0.0.2"]), rules(&["127.0.0.0/8"]));
        assert_eq!(connected(&connector, &rules, port).await, Ok("127.0.0.2".parse().expect("an address")));
        let order = connector.addresses(tenant(&rules), &name(), port).await.expect("two addresses");
        assert_eq!(order[0].ip().to_string(), "127.0.0.2", "the next connection begins with what worked");
        let first = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free there");
        assert_eq!(connected(&connector, &rules, port).await, Ok("127.0.0.2".parse().expect("an address")));
        drop((first, second));
        assert_eq!(connected(&connector, &rules, port).await, Err(TransportFault::Refused));
    }

    #[tokio::test]
    async fn the_families_take_turns() {
        let connector = connector(&["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2", "10.0.0.1"]);
        let order = connector.addresses(tenant(&rules(&[])), &name(), 1).await.expect("addresses");
        let order: Vec<_> = order.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(order, ["2001:db8::1", "10.0.0.1", "2001:db8::2", "10.0.0.2"]);
    }

    #[tokio::test]
    async fn an_address_that_is_not_allowed_is_never_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("it listens").port();
        let outcome = connected(&connector(&["127.0.0.1"]), &rules(&[]), port).await;
        assert!(matches!(outcome, Err(TransportFault::NotAllowed(_))), "{outcome:?}");
        let mixed = connector(&["127.0.0.1", "127.0.0.2"]);
        assert_eq!(
            connected(&mixed, &rules(&["127.0.0.2"]), port).await,
            Err(TransportFault::Refused),
            "only the other is tried"
        );
        assert_eq!(connected(&connector(&[]), &rules(&[]), port).await, Err(TransportFault::NameNotResolved));
    }

    #[tokio::test]
    async fn a_redirect_is_followed_to_an_address_of_the_same_name_only() {
        let (connector, rules) = (connector(&["127.0.0.1", "127.0.0.2"]), rules(&["127.0.0.0/8"]));
        let ours = (name(), 1);
        let host = |text: &str| Host::parse(text).expect("a host");
        connector.remember(&name(), 1, "127.0.0.1".parse().expect("an address"));
        assert!(!connector.prefer(tenant(&rules), &ours, &host("127.0.0.1")).await, "that is the one in use");
        assert!(
            !connector.prefer(tenant(&rules), &ours, &host("127.0.0.3")).await,
            "that is none of its addresses"
        );
        assert!(
            !connector.prefer(tenant(&rules), &(host("127.0.0.1"), 1), &host("127.0.0.2")).await,
            "an address is no name"
        );
        assert!(connector.prefer(tenant(&rules), &ours, &host("127.0.0.2")).await);
        let order = connector.addresses(tenant(&rules), &name(), 1).await.expect("two addresses");
        assert_eq!(order[0].ip().to_string(), "127.0.0.2");
    }

    #[test]
    fn an_operator_without_descriptors_or_memory_blames_itself() {
        // EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL (no local port is free).
        for code in [24, 23, 12, 105, 99] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(fault(&error), TransportFault::OutOfResources, "{error}");
            assert_eq!(resolver_fault(&error), TransportFault::OutOfResources, "{error}");
        }
        assert_eq!(fault(&io::Error::from_raw_os_error(113)), TransportFault::Failed, "no route to the host");
        assert_eq!(resolver_fault(&io::Error::other("no such name")), TransportFault::NameNotResolved);
    }
}
