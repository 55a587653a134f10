//! The engine that every kind shares: what leads to a reconcile, which object is next, how its status is written, and
//! which events follow.
//!
//! ```text
//!   feed ────── a watch for each namespace ──┐
//!   registry ── named objects, policy ───────┼─▶ scheduler ─▶ queue ─▶ reconcile, each a task of its own ─▶ Kind
//!   time of the next check ──────────────────┘      │
//!                                                   ├─▶ expire           needs no worker
//!                                                   ├─▶ clean_up         needs no worker
//!                                                   ├─▶ report_panic     needs no worker
//!                                                   └─▶ forget           needs no worker
//! ```
//!
//! What is special to a kind, it brings as a [`Kind`](kind::Kind). The scheduler knows less: a [`Reconciler`], which every
//! kind is. Waiting costs nothing: an object that has no worker is in the queue, and the end of a run wakes it.

mod backoff;
mod cleanups;
pub mod events;
mod expiries;
pub mod feed;
mod held;
pub mod kind;
pub mod last_write;
pub mod object;
mod objects;
mod publish;
pub mod published;
pub mod publisher;
pub mod queue;
pub mod reconcile;
pub mod registry;
pub mod scheduler;
pub mod snapshot;
pub mod state;
mod waiting;
pub mod watch;
mod without_worker;

use std::{
    fmt::{Debug, Display},
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, future};
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::{
    feed::Change,
    kind::Kind,
    object::Object,
    published::Published,
    queue::{Lane, Limits, Priority},
    scheduler::Scheduler,
    snapshot::Shown,
};
use crate::{
    api::{ObjectStatus as _, condition::ConditionType},
    cluster::ClusterError,
    conditions,
    controller::shards::ownership::Ownership,
    references::dependents::Owner,
};

/// When to reconcile an object again, if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// After this time.
    After(Duration),
    /// Only a change can lead to something new.
    OnChange,
}

/// What became of a list of the objects of a watched namespace, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It was read to its end.
    Complete,
    /// The operator has no right to make it. It is tried again.
    Forbidden,
}

/// A kind of object, as far as the scheduler knows it.
pub trait Reconciler: Send + Sync + 'static {
    /// Names one object.
    type Key: Owner + Debug + Display + Send + Sync + 'static;
    /// An object, as the watch has it.
    type Object: Send + Sync + 'static;
    /// The `kind` of its manifests, for logs.
    const NAME: &'static str;

    /// The name of an object.
    fn key(object: &Self::Object) -> Self::Key;

    /// Who pays for its runs.
    fn lane(object: &Self::Object) -> Lane;

    /// What a person changes to have a run that panicked tried again at once: its uid and the generation of its spec.
    fn revision(object: &Self::Object) -> (String, i64);

    /// When it was last checked, as far as its status says. At the start, whoever waits longest is first.
    fn last_check(object: &Self::Object) -> Option<Timestamp>;

    /// Whether it is being deleted, so that what is under way for it has no use any more.
    fn is_ending(object: &Self::Object) -> bool;

    /// Takes in each state of an object before it is reconciled because of it. What has not changed since the state `before`
    /// is kept once.
    fn seen(&self, key: &Self::Key, object: &mut Self::Object, before: Option<&Self::Object>);

    /// Takes in the state of an object that another replica looks after.
    fn seen_elsewhere(&self, key: &Self::Key, object: &Self::Object);

    /// Takes in an object that another replica has looked after until now, before it is reconciled. Whatever is known of it is that
    /// replica's.
    fn gained(&self, key: &Self::Key, object: &mut Arc<Self::Object>);

    /// Takes in what became of a list, after the objects in it.
    fn listed(&self, namespace: Option<&str>, listing: Listing);

    /// What goes first.
    fn priority(&self, key: &Self::Key) -> Priority;

    /// When its Ready must end, unless it was earned anew by then; or its status must be written again, because somebody
    /// else may have written it.
    fn expires(&self, key: &Self::Key) -> Option<Instant>;

    /// Makes its status true. `Err` means that the Kubernetes API failed us.
    fn reconcile(
        self: Arc<Self>,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Requeue, ClusterError>> + Send;

    /// Ends a Ready that was not earned anew in time, and writes a status again that somebody else has written. Must not
    /// wait for a reconcile.
    fn expire(
        self: Arc<Self>,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Whether the runs of an object have left something that nothing waits for: a status that is to be written, or what is to be closed.
    fn has_cleanup(&self, key: &Self::Key) -> bool;

    /// Writes it, and closes what is to be closed.
    fn clean_up(
        self: Arc<Self>,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Says in the status that a run panicked, and drops whatever it may have left half done.
    fn report_panic(
        self: Arc<Self>,
        object: Arc<Self::Object>,
        retry: Duration,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Forgets an object that is gone.
    fn forget(self: Arc<Self>, key: Self::Key) -> impl Future<Output = ()> + Send;

    /// Forgets objects that another replica looks after from then on.
    fn hand_over(self: Arc<Self>, keys: Vec<Self::Key>) -> impl Future<Output = ()> + Send;
}

/// Reconciles the objects of a kind until the operator stops, with at most `workers` at once.
pub async fn run<K: Kind>(
    kind: Arc<K>,
    workers: u16,
    changes: impl Stream<Item = Change<Object<K>>>,
    ownership: Ownership,
    stopping: CancellationToken,
) {
    let metrics = kind.context().checker.metrics.clone();
    let (registry, settling) = (kind.registry(), kind.registry().changes());
    let scheduler = Scheduler::new(Arc::clone(&kind), Limits::of(workers), metrics, stopping, ownership);
    let reconciled = pin!(scheduler.run(changes, registry.queue(None)));
    // The latter never ends by itself; the reconciles end with the stop.
    future::select(reconciled, pin!(watch::settle(settling, registry))).await;
}

/// Takes in what the watch shows of an object.
fn see<K: Kind>(kind: &K, name: &K::Name, object: &Object<K>) {
    let status = object.shown();
    let status = status.as_deref();
    let shown = Shown {
        version: &object.version,
        generation: object.generation,
        ready: status.is_some_and(|it| conditions::is_true(it.conditions(), ConditionType::Ready)),
        digest: &|| status.map(published::digest),
        interval: &|| reconcile::interval::<K>(object),
    };
    kind.registry().of(name).snapshot().saw(&shown, Instant::now());
    kind.context().board.seen(K::NAME, name, || object.on_page());
    if let Some(status) = status {
        kind.status_seen(name, status);
    }
}

impl<K: Kind> Reconciler for K {
    type Key = K::Name;
    type Object = Object<K>;
    const NAME: &'static str = <K as Kind>::NAME;

    fn key(object: &Object<K>) -> K::Name {
        object.name.clone()
    }

    fn lane(object: &Object<K>) -> Lane {
        object.lane()
    }

    fn revision(object: &Object<K>) -> (String, i64) {
        (object.version.uid.as_ref().to_owned(), object.generation)
    }

    fn last_check(object: &Object<K>) -> Option<Timestamp> {
        object.last_check()
    }

    fn is_ending(object: &Object<K>) -> bool {
        object.is_ending
    }

    fn seen(&self, name: &K::Name, object: &mut Object<K>, before: Option<&Object<K>>) {
        object.read(before);
        see(self, name, object);
    }

    fn seen_elsewhere(&self, name: &K::Name, object: &Object<K>) {
        if let Some(status) = object.shown() {
            self.status_seen(name, &status);
        }
    }

    fn gained(&self, name: &K::Name, object: &mut Arc<Object<K>>) {
        // One that somebody holds was ours before, and its spec was read then.
        if let Some(object) = Arc::get_mut(object) {
            object.read(None);
        }
        self.registry().of(name).snapshot().taken_over();
        see(self, name, object);
        if let Some(status) = object.shown() {
            self.taken_over(name, &status);
        }
    }

    fn listed(&self, namespace: Option<&str>, listing: Listing) {
        self.list_ended(namespace, listing);
    }

    fn priority(&self, name: &K::Name) -> Priority {
        let ends = self.registry().get(name).and_then(|entry| entry.snapshot().expires());
        ends.map_or(Priority::Normal, |ends| Priority::Renewal { ends })
    }

    fn expires(&self, name: &K::Name) -> Option<Instant> {
        self.registry().get(name)?.snapshot().wake()
    }

    async fn reconcile(self: Arc<Self>, object: Arc<Object<K>>) -> Result<Requeue, ClusterError> {
        Box::pin(reconcile::reconcile(&*self, &object)).await
    }

    async fn expire(self: Arc<Self>, object: Arc<Object<K>>) -> Result<(), ClusterError> {
        without_worker::expire(&*self, &object).await
    }

    fn has_cleanup(&self, name: &K::Name) -> bool {
        let Some(entry) = self.registry().get(name) else { return false };
        // Whoever has it writes it.
        let has_unwritten =
            entry.published.try_lock().is_ok_and(|it| it.as_ref().is_some_and(Published::is_pending));
        has_unwritten || self.leaves_open(&entry.memory())
    }

    async fn clean_up(self: Arc<Self>, object: Arc<Object<K>>) -> Result<(), ClusterError> {
        without_worker::clean_up(&*self, &object).await
    }

    async fn report_panic(
        self: Arc<Self>,
        object: Arc<Object<K>>,
        retry: Duration,
    ) -> Result<(), ClusterError> {
        without_worker::report_panic(&*self, &object, retry).await
    }

    /// It leaves the page at once, before the watch can show another one of its name.
    fn forget(self: Arc<Self>, name: K::Name) -> impl Future<Output = ()> + Send {
        self.context().board.forget(<K as Kind>::NAME, &name);
        async move { without_worker::forget(&*self, &name).await }
    }

    async fn hand_over(self: Arc<Self>, names: Vec<K::Name>) {
        without_worker::hand_over(&*self, names).await;
    }
}
