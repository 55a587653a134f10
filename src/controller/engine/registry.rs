//! What is remembered of each object of a kind, while it exists; and which objects lead to a reconcile of it.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use tokio::sync::Mutex as AsyncMutex;

use super::{events::Row, kind::Kind, published::Published, snapshot::Snapshot, state::State};
use crate::{
    names::{ObjectKind, ObjectName},
    references::{
        Version,
        dependents::{Dependents, Owner as _},
        ledger::{Freshness, Ledger},
    },
};

/// The registry of one kind.
pub struct Registry<K: Kind> {
    inner: Mutex<Inner<K>>,
    events: Row,
}

struct Inner<K: Kind> {
    entries: HashMap<K::Name, Arc<Entry<K>>>,
    dependents: Dependents<K::Name>,
    queues: Vec<Queue<K::Name>>,
    changed: Option<UnboundedSender<Change<K::Name>>>,
}

/// What leads to the queue of one watched namespace, or of all.
struct Queue<N> {
    namespace: Option<String>,
    sender: UnboundedSender<N>,
}

/// An object that another one rests on was seen in another state than the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<N> {
    /// The one that rests on it.
    pub owner: N,
    /// How often its objects had been read until then.
    pub readings: u64,
}

/// What is remembered of one object.
pub struct Entry<K: Kind> {
    /// Which of the objects that it names were read and seen. Watches write here while a check runs.
    pub ledger: Mutex<Ledger>,
    /// The right to check the object, and what the engine remembers. Held during a check; none before the first reconcile.
    pub state: AsyncMutex<Option<State<K::Memory>>>,
    /// The status. Held while it is written, never during a check; none before the first reconcile.
    pub published: AsyncMutex<Option<Published<K::Status>>>,
    snapshot: Mutex<Snapshot>,
    memory: Mutex<Arc<K::Memory>>,
    triggered: AtomicBool,
}

/// The registry of some kind, for watches of the objects that others name.
pub trait Follower: Send + Sync {
    /// Notes the state of an object; none when it is gone. Whoever rests on another one is reconciled soon.
    fn observed(&self, namespace: &str, object: &ObjectName, version: Option<&Version>);

    /// The objects of a kind that are named, in one namespace or in all.
    fn named(&self, kind: ObjectKind, namespace: Option<&str>) -> BTreeSet<(String, ObjectName)>;

    /// Leads to a check of everything in these namespaces now. Returns how many that are.
    fn trigger_in(&self, is_meant: &dyn Fn(&str) -> bool) -> usize;
}

// === impl Registry ===

impl<K: Kind> Default for Registry<K> {
    fn default() -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            dependents: Dependents::default(),
            queues: Vec::new(),
            changed: None,
        };
        Self { inner: Mutex::new(inner), events: Row::default() }
    }
}

impl<K: Kind> Registry<K> {
    /// The events of the objects that are to be published.
    pub fn events(&self) -> &Row {
        &self.events
    }

    /// The entry of an object, new if there is none.
    pub fn of(&self, name: &K::Name) -> Arc<Entry<K>> {
        Arc::clone(self.lock().entries.entry(name.clone()).or_default())
    }

    /// The entry of an object, if there is one.
    pub fn get(&self, name: &K::Name) -> Option<Arc<Entry<K>>> {
        self.lock().entries.get(name).cloned()
    }

    /// Drops the entry of an object. Returns it, and the objects that it named.
    pub fn forget(&self, name: &K::Name) -> Option<(Arc<Entry<K>>, Vec<ObjectName>)> {
        let mut inner = self.lock();
        let named = inner.dependents.forget(name);
        inner.entries.remove(name).map(|entry| (entry, named))
    }

    /// Everything that has an entry, in one namespace or in all.
    pub fn names(&self, namespace: Option<&str>) -> Vec<K::Name> {
        let is_wanted = |name: &&K::Name| namespace.is_none_or(|namespace| *namespace == **name.namespace());
        self.lock().entries.keys().filter(is_wanted).cloned().collect()
    }

    /// What is to be reconciled because of something here, in one namespace or in all.
    pub fn queue(&self, namespace: Option<&str>) -> UnboundedReceiver<K::Name> {
        let (sender, receiver) = unbounded();
        self.lock().queues.push(Queue { namespace: namespace.map(str::to_owned), sender });
        receiver
    }

    /// What rests on a state that is no longer there, from now on.
    pub fn changes(&self) -> UnboundedReceiver<Change<K::Name>> {
        let (sender, receiver) = unbounded();
        self.lock().changed = Some(sender);
        receiver
    }

    /// Leads to a reconcile of an object. Whether a check is due is decided then.
    pub fn requeue(&self, name: K::Name) {
        self.lock().requeue(name);
    }

    /// Leads to a reconcile of an object whose objects changed and had time to settle.
    pub fn settled(&self, name: K::Name) {
        let inner = self.lock();
        if let Some(entry) = inner.entries.get(&name) {
            entry.ledger.lock().unwrap_or_else(PoisonError::into_inner).settle();
        }
        inner.requeue(name);
    }

    /// Leads to a check of an object now: what it waits for works again, or it may be dialled no longer, or at last.
    pub fn trigger(&self, name: K::Name) {
        let inner = self.lock();
        if let Some(entry) = inner.entries.get(&name) {
            entry.triggered.store(true, Ordering::Release);
        }
        inner.requeue(name);
    }

    /// Remembers which objects one names. Returns those that it has begun or ceased to name.
    pub fn register(&self, name: &K::Name, objects: Vec<ObjectName>) -> Vec<ObjectName> {
        if self.lock().dependents.named_by(name) == objects {
            return Vec::new();
        }
        let after: BTreeSet<_> = objects.iter().cloned().collect();
        let before: BTreeSet<_> = self.lock().dependents.register(name, objects).into_iter().collect();
        before.symmetric_difference(&after).cloned().collect()
    }

    /// What names an object.
    pub fn users_of(&self, namespace: &str, object: &ObjectName) -> Vec<K::Name> {
        self.lock().dependents.of(namespace, object)
    }

    /// Notes the state of an object. Returns what rests on another one.
    pub fn saw(
        &self,
        namespace: &str,
        object: &ObjectName,
        version: Option<&Version>,
    ) -> Vec<Change<K::Name>> {
        self.lock().saw(namespace, object, version)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Follower for Registry<K> {
    fn observed(&self, namespace: &str, object: &ObjectName, version: Option<&Version>) {
        let inner = self.lock();
        for change in inner.saw(namespace, object, version) {
            // The receiver is gone only when the operator stops.
            let _ = inner.changed.as_ref().map(|changed| changed.unbounded_send(change));
        }
    }

    fn named(&self, kind: ObjectKind, namespace: Option<&str>) -> BTreeSet<(String, ObjectName)> {
        self.lock().dependents.named(kind, namespace)
    }

    fn trigger_in(&self, is_meant: &dyn Fn(&str) -> bool) -> usize {
        let mut names = self.names(None);
        names.retain(|name| is_meant(name.namespace()));
        let count = names.len();
        for name in names {
            self.trigger(name);
        }
        count
    }
}

// === impl Inner ===

impl<K: Kind> Inner<K> {
    /// See [`Registry::saw`].
    fn saw(&self, namespace: &str, object: &ObjectName, version: Option<&Version>) -> Vec<Change<K::Name>> {
        let change = |owner: K::Name| {
            let entry = self.entries.get(&owner)?;
            let mut ledger = entry.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.saw(object.clone(), version.cloned());
            let is_news = ledger.freshness() != Freshness::Fresh;
            is_news.then(|| Change { owner, readings: ledger.readings() })
        };
        self.dependents.of(namespace, object).into_iter().filter_map(change).collect()
    }

    /// Puts an object into the queue of its namespace.
    fn requeue(&self, name: K::Name) {
        let is_own =
            |queue: &&Queue<K::Name>| queue.namespace.as_deref().is_none_or(|own| *own == **name.namespace());
        if let Some(queue) = self.queues.iter().find(is_own) {
            // The receiver is gone only when the operator stops.
            let _ = queue.sender.unbounded_send(name);
        }
    }
}

// === impl Entry ===

impl<K: Kind> Default for Entry<K> {
    fn default() -> Self {
        Self {
            ledger: Mutex::default(),
            state: AsyncMutex::default(),
            published: AsyncMutex::default(),
            snapshot: Mutex::default(),
            memory: Mutex::default(),
            triggered: AtomicBool::default(),
        }
    }
}

impl<K: Kind> Entry<K> {
    /// What is known of the object at any time. Held for a moment only.
    pub fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the kind remembers, for whoever needs it, also while a check is under way.
    pub fn memory(&self) -> Arc<K::Memory> {
        Arc::clone(&self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a new memory. Returns the former one.
    pub(super) fn replace_memory(&self) -> Arc<K::Memory> {
        mem::take(&mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a check was triggered since this was asked the last time.
    pub fn take_trigger(&self) -> bool {
        self.triggered.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::{connection::Connections, gateway::Gateways},
        names::{ConnectionRef, GatewayName},
    };

    fn connection(namespace: &str) -> ConnectionRef {
        ConnectionRef { namespace: namespace.into(), name: "a".into() }
    }

    fn version(resource_version: &str) -> Version {
        Version { uid: "u".into(), resource_version: resource_version.to_owned() }
    }

    #[test]
    fn only_connections_that_rest_on_another_state_are_reconciled() {
        let registry = Registry::<Connections>::default();
        let (here, secret) = (connection("ns"), ObjectName::secret("s"));
        let entry = registry.of(&here);
        registry.register(&here, vec![secret.clone()]);
        entry.ledger.lock().expect("nobody panicked").rest_on([(secret.clone(), Some(version("1")))].into());

        assert_eq!(registry.saw("ns", &secret, Some(&version("1"))), []);
        assert_eq!(registry.saw("other", &secret, Some(&version("2"))), []);
        let change = Change { owner: here.clone(), readings: 1 };
        assert_eq!(registry.saw("ns", &secret, Some(&version("2"))), std::slice::from_ref(&change));
        assert_eq!(registry.saw("ns", &secret, None), [change]);
        registry.forget(&here);
        assert_eq!(registry.saw("ns", &secret, None), []);
    }

    #[test]
    fn a_trigger_goes_to_the_queue_of_its_namespace_and_counts_once() {
        let registry = Registry::<Connections>::default();
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
    fn a_gateway_is_reconciled_when_its_objects_or_its_users_change() {
        let (gateways, connections) = (Registry::<Gateways>::default(), Registry::<Connections>::default());
        let mut changed = gateways.changes();
        let gateway = GatewayName { namespace: "ns".into(), name: "g".into() };
        let (secret, as_object) = (ObjectName::secret("login"), ObjectName::gateway("g"));
        gateways.of(&gateway);
        gateways.register(&gateway, vec![secret.clone()]);
        gateways.observed("other", &secret, Some(&version("1")));
        assert!(changed.try_recv().is_err());
        gateways.observed("ns", &secret, Some(&version("1")));
        assert_eq!(changed.try_recv().ok(), Some(Change { owner: gateway.clone(), readings: 0 }));

        let user = connection("ns");
        connections.of(&user);
        assert_eq!(connections.register(&user, vec![as_object.clone()]), std::slice::from_ref(&as_object));
        let named = connections.register(&user, vec![as_object.clone(), secret.clone()]);
        assert_eq!(named, std::slice::from_ref(&secret), "it is the same gateway");
        assert_eq!(connections.users_of("ns", &as_object), std::slice::from_ref(&user));
        let (_, named) = connections.forget(&user).expect("it has an entry");
        assert_eq!(named, [as_object.clone(), secret]);
        assert_eq!(connections.users_of("ns", &as_object), []);
        assert!(changed.try_recv().is_err(), "nothing of its own has changed");
    }

    #[test]
    fn a_scope_knows_only_its_own_connections() {
        let registry = Registry::<Connections>::default();
        let (a, b) = (connection("a"), connection("b"));
        registry.of(&a);
        registry.of(&b);
        assert_eq!(registry.names(Some("a")), [a]);
        assert_eq!(registry.names(None).len(), 2);
    }
}
