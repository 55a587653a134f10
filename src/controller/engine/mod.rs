//! The engine that every kind shares: what leads to a reconcile, which object is next, and what follows from a run.
//!
//! ```text
//!   feed ────── a watch for each namespace ──┐
//!   triggers ── other objects, policy ───────┼─▶ scheduler ─▶ queue ─▶ Kind::reconcile, each a task of its own
//!   time of the next check ──────────────────┘      │
//!                                                   ├─▶ Kind::expire           needs no worker
//!                                                   ├─▶ Kind::report_panic     needs no worker
//!                                                   └─▶ Kind::forget           needs no worker
//! ```
//!
//! It knows no Vault and writes no status: a [`Kind`] brings that. Waiting costs nothing: an object that has no worker
//! stands in the queue, and the end of a run wakes it.

mod expiries;
pub mod feed;
mod held;
pub mod queue;
pub mod scheduler;

use std::{
    fmt::{Debug, Display},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;

use self::queue::{Lane, Priority};
use crate::{cluster::ClusterError, references::dependents::Owner};

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

/// A kind of object that the engine reconciles.
pub trait Kind: Send + Sync + 'static {
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

    /// When it was last checked, as far as its status tells. At the start, whoever waits longest is first.
    fn last_check(object: &Self::Object) -> Option<Timestamp>;

    /// Whether it is being deleted, so that what is under way for it has no use any more.
    fn is_ending(object: &Self::Object) -> bool;

    /// Is told each state of an object before it is reconciled because of it.
    fn seen(&self, key: &Self::Key, object: &Self::Object);

    /// Is told what became of a list, after the objects in it.
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

    /// Says in the status that a run panicked, and drops whatever it may have left half done.
    fn report_panic(
        self: Arc<Self>,
        object: Arc<Self::Object>,
        retry: Duration,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Forgets an object that is gone.
    fn forget(self: Arc<Self>, key: Self::Key) -> impl Future<Output = ()> + Send;
}
