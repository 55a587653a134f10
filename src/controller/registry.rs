//! What the operator keeps of each connection, while the connection exists.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use tokio::sync::Mutex as AsyncMutex;

use super::{connection::state::ConnectionState, published::Published, snapshot::Snapshot};
use crate::{
    api::status::VaultConnectionStatus,
    names::{ConnectionRef, GatewayName, ObjectKind, ObjectName},
    references::{
        Version,
        dependents::{Dependents, Owner},
        ledger::{Freshness, Ledger},
    },
};

/// The records of all connections.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_connection: HashMap<ConnectionRef, Arc<Entry>>,
    dependents: Dependents<ConnectionRef>,
    queues: Vec<Queue<ConnectionRef>>,
    gateways: Dependents<GatewayName>,
    stale_gateways: HashSet<GatewayName>,
    gateway_queues: Vec<Queue<GatewayName>>,
}

/// The way into the queue of one watched namespace, or of all.
struct Queue<O> {
    namespace: Option<String>,
    sender: UnboundedSender<O>,
}

/// An object that a connection rests on was seen in another state than the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The connection.
    pub connection: ConnectionRef,
    /// How often its objects had been read until then.
    pub readings: u64,
}

/// The record of one connection.
#[derive(Default)]
pub struct Entry {
    /// Which objects were read and seen. Watches write here while a check runs.
    pub ledger: Mutex<Ledger>,
    /// What is kept between checks. Held during a check; none before the first look.
    pub state: AsyncMutex<Option<ConnectionState>>,
    /// The status. Held while it is written, never during a check; none before the first look.
    pub published: AsyncMutex<Option<Published<VaultConnectionStatus>>>,
    snapshot: Mutex<Snapshot>,
    triggered: AtomicBool,
}

// === impl Registry ===

impl Registry {
    /// The record of a connection, new if there is none.
    pub fn of(&self, connection: &ConnectionRef) -> Arc<Entry> {
        Arc::clone(self.lock().by_connection.entry(connection.clone()).or_default())
    }

    /// The record of a connection, if there is one.
    pub fn get(&self, connection: &ConnectionRef) -> Option<Arc<Entry>> {
        self.lock().by_connection.get(connection).cloned()
    }

    /// Drops the record of a connection.
    pub fn forget(&self, connection: &ConnectionRef) -> Option<Arc<Entry>> {
        let mut inner = self.lock();
        let named = inner.dependents.forget(connection);
        let gateways = named.iter().filter(|name| name.kind == ObjectKind::VaultGateway);
        inner.recount(connection, gateways.map(|name| &name.name));
        inner.by_connection.remove(connection)
    }

    /// Every connection that has a record, in one namespace or in all.
    pub fn connections(&self, namespace: Option<&str>) -> Vec<ConnectionRef> {
        let wanted =
            |connection: &&ConnectionRef| namespace.is_none_or(|namespace| namespace == connection.namespace);
        self.lock().by_connection.keys().filter(wanted).cloned().collect()
    }

    /// The connections of a namespace, or of all, that something here wants to be looked at again.
    pub fn queue(&self, namespace: Option<&str>) -> UnboundedReceiver<ConnectionRef> {
        open(&mut self.lock().queues, namespace)
    }

    /// The gateways of a namespace, or of all, that something here wants to be looked at again.
    pub fn gateway_queue(&self, namespace: Option<&str>) -> UnboundedReceiver<GatewayName> {
        open(&mut self.lock().gateway_queues, namespace)
    }

    /// Asks for a look at a connection. Whether a check is due is decided then.
    pub fn requeue(&self, connection: ConnectionRef) {
        send(&self.lock().queues, connection);
    }

    /// Asks for a look at a gateway. Whether a check is due is decided then.
    pub fn requeue_gateway(&self, gateway: GatewayName) {
        send(&self.lock().gateway_queues, gateway);
    }

    /// Asks for a look at a connection whose objects changed and had time to settle.
    pub fn settled(&self, connection: ConnectionRef) {
        if let Some(entry) = self.lock().by_connection.get(&connection) {
            entry.ledger.lock().unwrap_or_else(PoisonError::into_inner).settle();
        }
        self.requeue(connection);
    }

    /// Asks for a check of a connection now: its instance serves again, or it may be dialled no longer, or at last.
    pub fn trigger(&self, connection: ConnectionRef) {
        if let Some(entry) = self.lock().by_connection.get(&connection) {
            entry.triggered.store(true, Ordering::Release);
        }
        self.requeue(connection);
    }

    /// Remembers which objects a connection names.
    pub fn register(&self, connection: &ConnectionRef, objects: Vec<ObjectName>) {
        let mut inner = self.lock();
        let gateways = |names: &[ObjectName]| -> BTreeSet<String> {
            let gateways = names.iter().filter(|name| name.kind == ObjectKind::VaultGateway);
            gateways.map(|name| name.name.clone()).collect()
        };
        let after = gateways(&objects);
        let before = gateways(&inner.dependents.register(connection, objects));
        inner.recount(connection, before.symmetric_difference(&after));
    }

    /// Remembers which objects a gateway names.
    pub fn register_gateway(&self, gateway: &GatewayName, objects: Vec<ObjectName>) {
        self.lock().gateways.register(gateway, objects);
    }

    /// Asks for a check of every gateway now.
    pub fn trigger_gateways(&self) {
        let mut inner = self.lock();
        let gateways: Vec<_> = inner.gateways.owners().cloned().collect();
        for gateway in &gateways {
            send(&inner.gateway_queues, gateway.clone());
        }
        inner.stale_gateways.extend(gateways);
    }

    /// Drops a gateway.
    pub fn forget_gateway(&self, gateway: &GatewayName) {
        let mut inner = self.lock();
        inner.gateways.forget(gateway);
        inner.stale_gateways.remove(gateway);
    }

    /// Whether an object that a gateway names was seen changing since this was asked the last time.
    pub fn take_stale(&self, gateway: &GatewayName) -> bool {
        self.lock().stale_gateways.remove(gateway)
    }

    /// The connections that name a gateway.
    pub fn users_of(&self, gateway: &GatewayName) -> Vec<ConnectionRef> {
        self.lock().dependents.of(&gateway.namespace, &ObjectName::gateway(&gateway.name))
    }

    /// Notes the state of an object, tells which connections must look again because of it, and asks for a look at the
    /// gateways that name it.
    pub fn saw(&self, namespace: &str, object: &ObjectName, version: Option<&Version>) -> Vec<Change> {
        let mut inner = self.lock();
        for gateway in inner.gateways.of(namespace, object) {
            inner.stale_gateways.insert(gateway.clone());
            send(&inner.gateway_queues, gateway);
        }
        let change = |connection: ConnectionRef| {
            let entry = inner.by_connection.get(&connection)?;
            let mut ledger = entry.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.saw(object.clone(), version.cloned());
            let is_news = ledger.freshness() != Freshness::Fresh;
            is_news.then(|| Change { connection, readings: ledger.readings() })
        };
        inner.dependents.of(namespace, object).into_iter().filter_map(change).collect()
    }

    /// The objects of a kind that connections name, in one namespace or in all.
    pub fn named(&self, kind: ObjectKind, namespace: Option<&str>) -> BTreeSet<(String, ObjectName)> {
        self.lock().dependents.named(kind, namespace)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// Asks for a look at each gateway that a connection has begun or ceased to name: it tells how many do.
    fn recount<'a>(&self, connection: &ConnectionRef, gateways: impl Iterator<Item = &'a String>) {
        for name in gateways {
            let gateway = GatewayName { namespace: connection.namespace.clone(), name: name.clone() };
            send(&self.gateway_queues, gateway);
        }
    }
}

// === impl Queue ===

fn open<O>(queues: &mut Vec<Queue<O>>, namespace: Option<&str>) -> UnboundedReceiver<O> {
    let (sender, receiver) = unbounded();
    queues.push(Queue { namespace: namespace.map(str::to_owned), sender });
    receiver
}

/// Puts an owner into the queue of its namespace.
fn send<O: Owner>(queues: &[Queue<O>], owner: O) {
    let mine = |queue: &&Queue<O>| queue.namespace.as_ref().is_none_or(|own| own == owner.namespace());
    if let Some(queue) = queues.iter().find(mine) {
        // The receiver is gone only when the operator stops.
        let _ = queue.sender.unbounded_send(owner);
    }
}

// === impl Entry ===

impl Entry {
    /// What can be told of the connection at any time. Held for a moment only.
    pub fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection was called since this was asked the last time.
    pub fn take_trigger(&self) -> bool {
        self.triggered.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(namespace: &str) -> ConnectionRef {
        ConnectionRef { namespace: namespace.to_owned(), name: "a".to_owned() }
    }

    fn version(resource_version: &str) -> Version {
        Version { uid: "u".to_owned(), resource_version: resource_version.to_owned() }
    }

    #[test]
    fn only_connections_that_rest_on_another_state_must_look_again() {
        let registry = Registry::default();
        let (here, secret) = (connection("ns"), ObjectName::secret("s"));
        let entry = registry.of(&here);
        registry.register(&here, vec![secret.clone()]);
        entry.ledger.lock().expect("nobody panicked").rest_on([(secret.clone(), Some(version("1")))].into());

        assert_eq!(registry.saw("ns", &secret, Some(&version("1"))), []);
        assert_eq!(registry.saw("other", &secret, Some(&version("2"))), []);
        let change = Change { connection: here.clone(), readings: 1 };
        assert_eq!(registry.saw("ns", &secret, Some(&version("2"))), std::slice::from_ref(&change));
        assert_eq!(registry.saw("ns", &secret, None), [change]);
        registry.forget(&here);
        assert_eq!(registry.saw("ns", &secret, None), []);
    }

    #[test]
    fn a_call_goes_to_the_queue_of_its_namespace_and_counts_once() {
        let registry = Registry::default();
        let (mut of_a, mut of_b) = (registry.queue(Some("a")), registry.queue(Some("b")));
        let b = connection("b");
        let entry = registry.of(&b);
        registry.trigger(b.clone());
        assert_eq!(of_b.try_recv().ok(), Some(b));
        assert!(of_a.try_recv().is_err());
        assert!(entry.take_trigger());
        assert!(!entry.take_trigger());
    }

    #[test]
    fn a_gateway_is_looked_at_when_its_objects_or_its_users_change() {
        let registry = Registry::default();
        let mut queue = registry.gateway_queue(Some("ns"));
        let gateway = GatewayName { namespace: "ns".to_owned(), name: "g".to_owned() };
        let secret = ObjectName::secret("login");
        registry.register_gateway(&gateway, vec![secret.clone()]);
        registry.saw("other", &secret, None);
        assert!(queue.try_recv().is_err());
        registry.saw("ns", &secret, None);
        assert_eq!(queue.try_recv().ok().as_ref(), Some(&gateway));
        assert!(registry.take_stale(&gateway));
        assert!(!registry.take_stale(&gateway));

        let user = connection("ns");
        registry.register(&user, vec![ObjectName::gateway("g")]);
        assert_eq!(queue.try_recv().ok().as_ref(), Some(&gateway));
        registry.register(&user, vec![ObjectName::gateway("g"), secret]);
        assert!(queue.try_recv().is_err(), "it is the same gateway");
        assert_eq!(registry.users_of(&gateway), std::slice::from_ref(&user));
        registry.forget(&user);
        assert_eq!(queue.try_recv().ok().as_ref(), Some(&gateway));
        assert_eq!(registry.users_of(&gateway), []);
        assert!(!registry.take_stale(&gateway), "nothing of its own has changed");
    }

    #[test]
    fn a_scope_knows_only_its_own_connections() {
        let registry = Registry::default();
        let (a, b) = (connection("a"), connection("b"));
        registry.of(&a);
        registry.of(&b);
        assert_eq!(registry.connections(Some("a")), [a]);
        assert_eq!(registry.connections(None).len(), 2);
    }
}
