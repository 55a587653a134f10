//! What a kind brings to the engine: its spec, the objects that it names, how it is observed, and what that means.
//!
//! ```text
//!   parse ─▶ names ─▶ observe (I/O) ─▶ has_passed, damp ─▶ report                  every kind
//!   status_changed, names_changed, after_check, refresh, release, forgotten ...    where a kind has more to do
//! ```
//!
//! When that happens, what is remembered of an object, how its status is written and which events follow is the
//! engine's. The methods without a body are what a new kind must write.

use std::{
    fmt::{Debug, Display},
    future::{Future, ready},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::core::{DeserializeGuard, NamespaceResourceScope, Resource, object::HasStatus};
use serde::{Serialize, de::DeserializeOwned};

use super::{Listing, reconcile::Run, registry::Registry};
use crate::{
    cluster::ClusterError,
    controller::context::Context,
    names::ObjectName,
    references::dependents::Owner,
    telemetry::page::board::Summary,
    verify::{
        events::Transition,
        kept::Keep,
        schedule::Cause,
        stability::Timing,
        status::{Circumstances, Judged},
    },
};

/// An object of a kind as the API server has it, readable or not.
pub type Guarded<K> = DeserializeGuard<<K as Kind>::Resource>;

/// A check that is due.
pub struct Check<'a, K: Kind> {
    /// What the spec asks for.
    pub desired: &'a K::Desired,
    /// Why it is due.
    pub cause: Cause,
    /// Whether an object that is named may have changed since it was read.
    pub is_outdated: bool,
    /// Whether the status that is true when it begins calls this generation of the spec Ready.
    pub is_ready: bool,
    /// That status, if nothing was checked yet: an earlier process may have written it.
    pub earlier: Option<&'a K::Status>,
}

/// Why an object has a status without a check.
pub enum Unchecked<'a, K: Kind> {
    /// Its spec is invalid, as this message says.
    Invalid(&'a str),
    /// Its Ready was not earned anew in time. The memory is there unless a check may be changing it.
    Overdue(&'a K::Desired, Option<&'a K::Memory>),
    /// A run panicked; the next one comes after this time.
    Panicked(Duration),
}

/// What is to become of a status when no check is due.
pub enum Refresh<S> {
    /// It is true.
    Keep,
    /// This one is true now.
    Replace(S),
    /// It is to be asked again after this time.
    Later(Duration),
}

/// A kind of object that the engine reconciles.
pub trait Kind: Send + Sync + Sized + 'static {
    /// The type of its manifests.
    type Resource: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status = Self::Status>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Names one object.
    type Name: Owner + Debug + Display + Send + Sync + 'static;
    /// What is written.
    type Status: Judged + Keep + Serialize + Send + Sync + 'static;
    /// The spec, parsed.
    type Desired: Send + Sync;
    /// What one check leaves for the next. Others may read it at any time, also while a check is under way: it has whatever
    /// locks it needs, and holds them for a moment only.
    type Memory: Default + Send + Sync + 'static;
    /// What a check found.
    type Observation: Send + Sync;
    /// The `kind` of its manifests.
    const NAME: &'static str;

    /// What the kinds share.
    fn context(&self) -> &Context;

    /// What is remembered of its objects.
    fn registry(&self) -> &Registry<Self>;

    /// Pure: the spec, parsed; or what is invalid about it. The manifest has no metadata any more.
    fn parse(resource: &Self::Resource) -> Result<Self::Desired, String>;

    /// Pure: what its user wrote about it.
    fn description(resource: &Self::Resource) -> &str;

    /// Pure: what the status page shows of a status.
    fn summary(status: &Self::Status) -> Summary;

    /// Pure: the time between two checks.
    fn interval(desired: &Self::Desired) -> Duration;

    /// Pure: the objects of its namespace that it names.
    fn names(desired: &Self::Desired, memory: &Self::Memory) -> Vec<ObjectName>;

    /// I/O: makes a check. None when it is given up, since the operator stops or the object is gone: nothing follows from it. `Err` means that the
    /// Kubernetes API failed us.
    fn observe(
        &self,
        run: &Run<'_, Self>,
        check: &Check<'_, Self>,
        memory: &Self::Memory,
    ) -> impl Future<Output = Result<Option<Self::Observation>, ClusterError>> + Send;

    /// Pure: whether a Ready follows from it.
    fn has_passed(seen: &Self::Observation) -> bool;

    /// The status after a check, and how long to wait for the next one.
    fn report(
        &self,
        name: &Self::Name,
        previous: &Self::Status,
        around: &Circumstances<'_>,
        found: (&Self::Desired, &Self::Observation),
    ) -> (Self::Status, Duration);

    /// The status of an object that was not checked.
    fn report_unchecked(
        &self,
        name: &Self::Name,
        previous: &Self::Status,
        around: &Circumstances<'_>,
        why: Unchecked<'_, Self>,
    ) -> Self::Status;

    // What follows is for kinds that have more to do.

    /// The instance whose share of the workers its checks take.
    fn instance(_: &Self::Resource) -> Option<String> {
        None
    }

    /// What others name one by, if they can.
    fn as_object(_: &Self::Name) -> Option<ObjectName> {
        None
    }

    /// Whether it is being deleted, so that it is not checked any more. By default it is used, and checked, until it is gone.
    fn is_ending(_: &ObjectMeta) -> bool {
        false
    }

    /// Whether the user does not want it to be checked.
    fn is_suspended(_: &Self::Resource) -> bool {
        false
    }

    /// The status of one that the user does not want to be checked.
    fn report_suspended(previous: &Self::Status, _: &Circumstances<'_>, _: &Self::Desired) -> Self::Status {
        previous.clone()
    }

    /// Whether no check at `next` could earn a Ready anew in time, as far as its memory says. A timer ends it in any case.
    fn is_overdue(_: &Self::Memory, _: &Self::Desired, _next: Timestamp) -> bool {
        false
    }

    /// Flap damping: how long to wait for another check, before this one is believed.
    fn damp(_: &Self::Memory, _: &Timing, _: &Self::Desired, _: &Self::Observation) -> Option<Duration> {
        None
    }

    /// When its objects must be read again although no watch reports a change of them.
    fn read_again(_: &Self::Memory) -> Option<Timestamp> {
        None
    }

    /// Is given what a check found when its status is written, the time at which it ended, and that of the next.
    fn after_check(
        &self,
        _: &Self::Name,
        _: Self::Observation,
        _ended: Timestamp,
        _next: Option<Timestamp>,
    ) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// What is true without a check. `age` is the time since the last write, if it was ours.
    fn refresh(&self, _: &Self::Name, _: &Self::Status, _age: Option<Duration>) -> Refresh<Self::Status> {
        Refresh::Keep
    }

    /// Is given each status that becomes true, and the one before it. None before the first, and when the object is gone.
    fn status_changed(&self, _: &Self::Name, _before: Option<&Self::Status>, _now: Option<&Self::Status>) {}

    /// Is given the objects that one has begun or ceased to name.
    fn names_changed(&self, _: &Self::Name, _: &[ObjectName]) {}

    /// Is given the status of each object that the watch brings, before anything is done because of it.
    fn status_seen(&self, _: &Self::Name, _: &Self::Status) {}

    /// Is given the status of each object that another replica has looked after until now, before anything is done because of it.
    fn taken_over(&self, _: &Self::Name, _: &Self::Status) {}

    /// Is given what became of a list, after the objects in it.
    fn list_ended(&self, _namespace: Option<&str>, _: Listing) {}

    /// Whether something in a memory is open that no check needs any more.
    fn leaves_open(&self, _: &Self::Memory) -> bool {
        false
    }

    /// Takes what no check needs any more out of a memory at once. The future closes it. No worker is held meanwhile.
    fn close<'a>(&'a self, _: &'a Self::Name, _: &Self::Memory) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }

    /// Takes what is open out of a memory at once. The future closes it. The object is not checked for now.
    fn release<'a>(&'a self, _: &'a Self::Name, _: &Self::Memory) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }

    /// The same for a memory that is dropped. Whoever still holds it finds nothing in it.
    fn discard<'a>(&'a self, name: &'a Self::Name, memory: &Self::Memory) -> BoxFuture<'a, ()> {
        self.release(name, memory)
    }

    /// Drops what is remembered elsewhere of an object that is gone. Returns what people should know of that.
    fn forgotten(&self, _: &Self::Name) -> Option<Transition> {
        None
    }
}
