//! What the operator keeps of each connection, while the connection exists.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use tokio::sync::Mutex as AsyncMutex;

use super::connection::standing::Standing;
use crate::{
    refs::{ConnectionRef, ObjectKind, ObjectName},
    secrets::{
        Version,
        dependents::Dependents,
        ledger::{Freshness, Ledger},
    },
};

/// The records of all connections.
#[derive(Default)]
pub struct Records {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_connection: HashMap<ConnectionRef, Arc<Record>>,
    dependents: Dependents,
    queues: Vec<Queue>,
}

/// The way into the queue of one watched namespace, or of all.
struct Queue {
    namespace: Option<String>,
    sender: UnboundedSender<ConnectionRef>,
}

/// The record of one connection.
#[derive(Default)]
pub struct Record {
    /// Which objects were read and seen. Watches write here while a check runs.
    pub ledger: Mutex<Ledger>,
    /// How things stand. Held during a check; none before the first look.
    pub standing: AsyncMutex<Option<Standing>>,
    called: AtomicBool,
}

// === impl Records ===

impl Records {
    /// The record of a connection, new if there is none.
    pub fn of(&self, connection: &ConnectionRef) -> Arc<Record> {
        Arc::clone(self.lock().by_connection.entry(connection.clone()).or_default())
    }

    /// Drops the record of a connection.
    pub fn forget(&self, connection: &ConnectionRef) -> Option<Arc<Record>> {
        let mut inner = self.lock();
        inner.dependents.forget(connection);
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
        let (sender, receiver) = unbounded();
        self.lock().queues.push(Queue { namespace: namespace.map(str::to_owned), sender });
        receiver
    }

    /// Asks for a look at a connection. Whether a check is due is decided then.
    pub fn look_again(&self, connection: ConnectionRef) {
        let inner = self.lock();
        let mine = |queue: &&Queue| queue.namespace.as_ref().is_none_or(|own| *own == connection.namespace);
        if let Some(queue) = inner.queues.iter().find(mine) {
            // The receiver is gone only when the operator stops.
            let _ = queue.sender.unbounded_send(connection);
        }
    }

    /// Asks for a look at a connection whose objects changed and had time to settle.
    pub fn settled(&self, connection: ConnectionRef) {
        if let Some(record) = self.lock().by_connection.get(&connection) {
            record.ledger.lock().unwrap_or_else(PoisonError::into_inner).settle();
        }
        self.look_again(connection);
    }

    /// Asks for a check of a connection now: its instance serves again, or it may be dialled no longer, or at last.
    pub fn call(&self, connection: ConnectionRef) {
        if let Some(record) = self.lock().by_connection.get(&connection) {
            record.called.store(true, Ordering::Release);
        }
        self.look_again(connection);
    }

    /// Remembers which objects a connection names.
    pub fn register(&self, connection: &ConnectionRef, objects: Vec<ObjectName>) {
        self.lock().dependents.register(connection, objects);
    }

    /// Notes the state of an object, and tells which connections must look again because of it.
    pub fn saw(&self, namespace: &str, object: &ObjectName, version: Option<&Version>) -> Vec<ConnectionRef> {
        let inner = self.lock();
        let mut dependents = inner.dependents.of(namespace, object);
        dependents.retain(|connection| {
            inner.by_connection.get(connection).is_some_and(|record| {
                let mut ledger = record.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.saw(object.clone(), version.cloned());
                ledger.freshness() != Freshness::Fresh
            })
        });
        dependents
    }

    /// The objects of a kind that connections name, in one namespace or in all.
    pub fn named(&self, kind: ObjectKind, namespace: Option<&str>) -> BTreeSet<(String, ObjectName)> {
        self.lock().dependents.named(kind, namespace)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Record ===

impl Record {
    /// Whether the connection was called since this was asked the last time.
    pub fn take_call(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
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
        let records = Records::default();
        let (here, secret) = (connection("ns"), ObjectName::secret("s"));
        let record = records.of(&here);
        records.register(&here, vec![secret.clone()]);
        record.ledger.lock().expect("nobody panicked").rest_on([(secret.clone(), Some(version("1")))].into());

        assert_eq!(records.saw("ns", &secret, Some(&version("1"))), []);
        assert_eq!(records.saw("other", &secret, Some(&version("2"))), []);
        assert_eq!(records.saw("ns", &secret, Some(&version("2"))), std::slice::from_ref(&here));
        assert_eq!(records.saw("ns", &secret, None), std::slice::from_ref(&here));
        records.forget(&here);
        assert_eq!(records.saw("ns", &secret, None), []);
    }

    #[test]
    fn a_call_goes_to_the_queue_of_its_namespace_and_counts_once() {
        let records = Records::default();
        let (mut of_a, mut of_b) = (records.queue(Some("a")), records.queue(Some("b")));
        let b = connection("b");
        let record = records.of(&b);
        records.call(b.clone());
        assert_eq!(of_b.try_recv().ok(), Some(b));
        assert!(of_a.try_recv().is_err());
        assert!(record.take_call());
        assert!(!record.take_call());
    }

    #[test]
    fn a_scope_knows_only_its_own_connections() {
        let records = Records::default();
        let (a, b) = (connection("a"), connection("b"));
        records.of(&a);
        records.of(&b);
        assert_eq!(records.connections(Some("a")), [a]);
        assert_eq!(records.connections(None).len(), 2);
    }
}
