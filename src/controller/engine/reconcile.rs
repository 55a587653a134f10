//! The reconcile of one object of any kind, in its eight steps.
//!
//! ```text
//!   1 register        which objects it names            memory
//!   2 due?            schedule::due                     pure
//!   3 observe         Kind::observe                     I/O
//!   4 judge           Kind::has_passed, Kind::damp      pure
//!   5 fold            Kind::report                      pure, from the status that is true at that moment
//!   6 write           publish                           I/O, only news; what can wait, after the run
//!   7 publish events  publish                           I/O, failure only logged
//!   8 requeue         the time of the next check        pure
//! ```
//!
//! An `Err` means that the Kubernetes API failed us. Everything else is an observation. What needs no reconcile is in
//! [`without_worker`](super::without_worker).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;

use super::{
    Requeue,
    kind::{Check, Kind, Refresh, Unchecked},
    object::{Intent, Object},
    registry::Entry,
    scheduler::RETRY_INTERVAL,
    state::State,
};
use crate::{
    cluster::ClusterError,
    names::ObjectName,
    references::{
        Version,
        dependents::Owner as _,
        ledger::{Freshness, Ledger},
    },
    verify::{
        events::request_too_long,
        kept::Facts,
        schedule::{self, Cause},
        stability::Timing,
        status::{Circumstances, Judged as _},
    },
};

/// One reconcile of one object.
pub struct Run<'a, K: Kind> {
    pub(super) kind: &'a K,
    pub(super) object: &'a Object<K>,
    /// Its name.
    pub name: K::Name,
    pub(super) entry: Arc<Entry<K>>,
    /// When it began, and for what.
    pub around: Circumstances<'a>,
}

/// Whether a check is due.
enum Due {
    /// It is. Whether an object that is named may have changed since it was read.
    Now(Cause, bool),
    /// Half of a change must not be read, whatever else is due. The end of the settle time leads to a reconcile.
    OnceSettled,
    /// It is not; what was postponed may be done at this time.
    Later(Option<Timestamp>),
}

/// Checks an object if that is due, and makes its status true.
pub(super) async fn reconcile<K: Kind>(kind: &K, object: &Object<K>) -> Result<Requeue, ClusterError> {
    let run = Run::new(kind, object);
    announce(kind, &run.name, || Some(object.spec_version()));
    let mut state = run.entry.state.lock().await;
    let state = run.begin(&mut state).await;
    if object.is_ending {
        kind.release(&run.name, &state.memory).await;
        return Ok(Requeue::OnChange);
    }
    match &*object.intent() {
        Intent::Check(desired) => run.check_if_due(state, desired).await,
        Intent::Suspend(desired) => run.suspend(state, desired).await,
        Intent::Refuse(message) => run.refuse(state, message).await,
    }
}

/// The time between two checks of an object, if it can be checked.
pub(super) fn interval<K: Kind>(object: &Object<K>) -> Option<Duration> {
    match &*object.intent() {
        Intent::Check(desired) => Some(K::interval(desired)),
        Intent::Suspend(_) | Intent::Refuse(_) => None,
    }
}

/// Tells every kind the state of an object that others may name.
pub(super) fn announce<K: Kind>(kind: &K, name: &K::Name, version: impl FnOnce() -> Option<Version>) {
    let Some(object) = K::as_object(name) else { return };
    let version = version();
    for registry in kind.context().registries() {
        registry.observed(name.namespace(), &object, version.as_ref());
    }
}

// === impl Run ===

impl<'a, K: Kind> Run<'a, K> {
    /// Begins now.
    pub(super) fn new(kind: &'a K, object: &'a Object<K>) -> Self {
        Self {
            kind,
            object,
            entry: kind.registry().of(&object.name),
            name: object.name.clone(),
            around: Circumstances {
                generation: object.generation,
                requested_at: object.requested_at.as_deref(),
                now: Timestamp::now(),
                jitter: fastrand::f64(),
            },
        }
    }

    /// Which of the objects that it names were read and seen.
    pub fn ledger(&self) -> &Mutex<Ledger> {
        &self.entry.ledger
    }

    /// Remembers which objects it names. Called before one is read, so that a change during that leads to another check.
    pub fn register(&self, names: Vec<ObjectName>) {
        let changed = self.kind.registry().register(&self.name, names);
        self.kind.names_changed(&self.name, &changed);
    }

    /// Whether a status that says this calls this generation of the spec Ready.
    fn is_ready(&self, facts: &Facts<'_>) -> bool {
        facts.is_ready && facts.observed_generation == Some(self.around.generation)
    }

    /// The eight steps. A status is folded from the one that is true when it is written, so 5 is called in 6.
    async fn check_if_due(
        &self,
        state: &mut State<K::Memory>,
        desired: &K::Desired,
    ) -> Result<Requeue, ClusterError> {
        // 1, memory
        self.register(K::names(desired, &state.memory));
        self.end_overdue(state, desired, self.around.now).await?;
        // 2, pure
        let (due, is_ready) = self.facts(|facts| (self.due(state, facts), self.is_ready(facts))).await;
        self.report_long_request(state).await;
        let earlier = match due {
            Due::Now(Cause::Started, _) => Some(self.status().await),
            Due::Now(..) | Due::OnceSettled | Due::Later(_) => None,
        };
        let earlier = earlier.as_deref();
        let check = match due {
            Due::Now(cause, is_outdated) => Check { desired, cause, is_outdated, is_ready, earlier },
            Due::OnceSettled => return Ok(Requeue::OnChange),
            Due::Later(postponed) => return self.refresh(state, postponed).await,
        };
        // 3, I/O
        let Some(seen) = self.observe(state, &check).await? else {
            return Ok(requeue::<K>(state, None));
        };
        let around = self.circumstances(Timestamp::now());
        // 4, pure
        let damped = self.judge(state, desired, (&seen, around.now)).await;
        if let Some(wait) = damped {
            state.note(&around, wait, false);
        }
        // 5, pure; 6 and 7, I/O
        let mut fold = |previous: &K::Status| self.fold(state, previous, &around, (desired, &seen));
        let outcome = if damped.is_some() { Ok(()) } else { self.publish(|it| Some(fold(it))).await };
        self.kind.context().board.checked(K::NAME, &self.name, around.now, state.next_check());
        self.kind.after_check(&self.name, seen, around.now, state.next_check()).await;
        // 8, pure
        outcome.map(|()| requeue::<K>(state, None))
    }

    /// What is remembered, as far as this object goes: one that was deleted and created again begins anew.
    async fn begin<'s>(&self, state: &'s mut Option<State<K::Memory>>) -> &'s mut State<K::Memory> {
        let uid = &self.object.version.uid;
        if state.take_if(|state| state.uid != *uid).is_some() {
            self.kind.discard(&self.name, &self.entry.replace_memory()).await;
        }
        state.get_or_insert_with(|| State::new(Arc::clone(uid), self.entry.memory()))
    }

    fn due(&self, state: &State<K::Memory>, facts: &Facts<'_>) -> Due {
        let freshness = self.freshness(&state.memory);
        if freshness == Freshness::Settling && state.checked.is_some() {
            return Due::OnceSettled;
        }
        let (is_outdated, triggered) = (freshness == Freshness::Stale, self.entry.take_trigger());
        let now = self.around.now;
        let inputs = state.due_inputs(&self.around, facts.handled_request, is_outdated, triggered);
        match schedule::due(&inputs, now) {
            Some(cause) => Due::Now(cause, is_outdated),
            None => Due::Later(schedule::postponed(&inputs, now)),
        }
    }

    /// How the objects stand to what was read of them. One that no watch reports is stale after a while.
    fn freshness(&self, memory: &K::Memory) -> Freshness {
        match self.entry.ledger.lock().unwrap_or_else(PoisonError::into_inner).freshness() {
            Freshness::Fresh if K::read_again(memory).is_some_and(|time| time <= self.around.now) => {
                Freshness::Stale
            }
            freshness => freshness,
        }
    }

    /// Makes a check, unless it is given up.
    async fn observe(
        &self,
        state: &mut State<K::Memory>,
        check: &Check<'_, K>,
    ) -> Result<Option<K::Observation>, ClusterError> {
        let Check { desired, cause, .. } = *check;
        if cause.is_extra() {
            state.last_extra = Some(self.around.now);
        }
        if cause == Cause::Requested {
            state.too_long_reported = false;
        }
        let outcome = self.kind.observe(self, check, &state.memory).await;
        if outcome.is_err() {
            self.end_overdue(state, desired, Timestamp::now() + RETRY_INTERVAL).await?;
        }
        outcome
    }

    /// Whether to believe what a check found. If not yet: how long to wait for another one.
    async fn judge(
        &self,
        state: &State<K::Memory>,
        desired: &K::Desired,
        (seen, ended): (&K::Observation, Timestamp),
    ) -> Option<Duration> {
        if K::has_passed(seen) {
            self.entry.snapshot().earned(K::interval(desired), Instant::now());
        }
        let was_ready = self.facts(|facts| self.is_ready(facts)).await;
        let timing = Timing { began: self.around.now, ended, was_ready };
        K::damp(&state.memory, &timing, desired, seen)
    }

    /// The status after a check. Notes when the next one is to be.
    fn fold(
        &self,
        state: &mut State<K::Memory>,
        previous: &K::Status,
        around: &Circumstances<'_>,
        found: (&K::Desired, &K::Observation),
    ) -> K::Status {
        let (status, wait) = self.kind.report(&self.name, previous, around, found);
        state.note(around, wait, K::has_passed(found.1));
        status
    }

    /// Ends a Ready that no check at `next` could earn anew in time.
    async fn end_overdue(
        &self,
        state: &State<K::Memory>,
        desired: &K::Desired,
        next: Timestamp,
    ) -> Result<(), ClusterError> {
        if !K::is_overdue(&state.memory, desired, next) {
            return Ok(());
        }
        let memory: &K::Memory = &state.memory;
        let overdue = |status: &_| self.unchecked(status, Unchecked::Overdue(desired, Some(memory)));
        self.publish(|status| self.is_ready(&Facts::of(status)).then(|| overdue(status))).await
    }

    /// Makes the status true, as far as that needs no check.
    async fn refresh(
        &self,
        state: &State<K::Memory>,
        postponed: Option<Timestamp>,
    ) -> Result<Requeue, ClusterError> {
        let mut later = None;
        self.publish_aged(|status, age| match self.kind.refresh(&self.name, status, age) {
            Refresh::Keep => None,
            Refresh::Replace(next) => Some(next).filter(|next| K::Status::is_news(status, next)),
            Refresh::Later(wait) => {
                later = Some(wait);
                None
            }
        })
        .await?;
        // A check is due no sooner.
        Ok(later.map_or_else(|| requeue::<K>(state, postponed), Requeue::After))
    }

    async fn suspend(
        &self,
        state: &mut State<K::Memory>,
        desired: &K::Desired,
    ) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        state.checked = None;
        let released = self.kind.release(&self.name, &state.memory);
        let outcome = self.publish(|status| Some(K::report_suspended(status, &self.around, desired))).await;
        released.await;
        outcome.map(|()| Requeue::OnChange)
    }

    /// Nothing can be asked for an invalid spec; only another spec can help.
    async fn refuse(&self, state: &mut State<K::Memory>, message: &str) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        state.checked = None;
        self.publish(|status| Some(self.unchecked(status, Unchecked::Invalid(message)))).await?;
        Ok(Requeue::OnChange)
    }

    /// Publishes once that a request is too long to be answered: its value would be copied into the status.
    async fn report_long_request(&self, state: &mut State<K::Memory>) {
        if !self.object.is_request_too_long || state.too_long_reported {
            return;
        }
        state.too_long_reported = true;
        self.report(request_too_long()).await;
    }

    /// The status without a check.
    pub(super) fn unchecked(&self, status: &K::Status, why: Unchecked<'_, K>) -> K::Status {
        self.kind.report_unchecked(&self.name, status, &self.circumstances(Timestamp::now()), why)
    }

    fn circumstances(&self, now: Timestamp) -> Circumstances<'a> {
        Circumstances { now, ..self.around }
    }
}

/// When to reconcile again, if nothing changes: at the latest when what was postponed may be done.
fn requeue<K: Kind>(state: &State<K::Memory>, postponed: Option<Timestamp>) -> Requeue {
    let check = state.next_check();
    let read = K::read_again(&state.memory).filter(|_| check.is_some());
    let Some(next) = [check, read, postponed].into_iter().flatten().min() else { return Requeue::OnChange };
    Requeue::After(Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default())
}
