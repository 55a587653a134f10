//! The reconcile of one `VaultConnection`.
//!
//! ```text
//!   1 register  which objects it names              memory
//!   2 due?      schedule::due                       pure
//!   3 observe   Checker::check                      I/O
//!   4 judge     judge::judge                        pure   ┐
//!   5 fold      report::checked                     pure   ┘ one call
//!   6 write     Look::publish                       I/O, only news
//!   7 tell      an event, metrics                   I/O, failure only logged
//!   8 again     schedule::wait                      pure
//! ```
//!
//! An `Err` means that the Kubernetes API failed us. Everything else is an observation. Two things need no reconcile,
//! and wait for none: the end of a Ready that was not earned anew in time, and the report of a panic.

pub mod checker;
mod engine;
pub mod instances;
pub mod kind;
pub mod observe;
pub mod publish;
mod sessions;
pub mod snapshot;
pub mod standing;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::events::Recorder};
use tokio::time::Instant;

use self::{
    checker::{Checked, Checker, Leftover, Subject},
    publish::is_ready,
    standing::{LastCheck, Standing},
};
use super::{
    engine::{Requeue, scheduler::RETRY, task},
    records::{Record, Records},
    tell::tell,
};
use crate::{
    api::{
        REQUESTED_AT,
        condition::{ConditionType, Reason},
        connection::VaultConnection,
        desired::Desired,
    },
    cluster::{self, Cluster, ClusterError},
    conditions,
    refs::{ConnectionRef, ObjectName},
    secrets::{Version, ledger::Freshness},
    verify::{
        belief, events, judge,
        observation::{Fault, Observation},
        report,
        schedule::{self, Cause},
    },
};

/// A connection as the API server has it, readable or not.
pub type Guarded = DeserializeGuard<VaultConnection>;

/// Longest time that the end of tokens may take after a check. They end by themselves, so it is not worth more.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What every reconcile shares.
pub struct Context {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// Makes checks.
    pub checker: Checker<Cluster>,
    /// What is kept of each connection.
    pub records: Arc<Records>,
    /// Publishes events.
    pub recorder: Recorder,
    /// How often the times in an unchanged status are written.
    pub heartbeat: Duration,
}

/// One look at one connection.
struct Look<'a> {
    context: &'a Context,
    object: &'a Guarded,
    connection: ConnectionRef,
    record: Arc<Record>,
    reference: ObjectReference,
    seen: Version,
    generation: i64,
    requested_at: Option<&'a str>,
    /// Whether a check is asked for by a value that is too long.
    is_too_long: bool,
    now: Timestamp,
}

/// Looks at a connection: checks it if that is due, and makes its status true.
async fn reconcile(object: &Guarded, context: &Context) -> Result<Requeue, ClusterError> {
    let look = Look::new(object, context);
    let mut standing = look.record.standing.lock().await;
    let standing = look.begin(&mut standing).await;
    if object.meta().deletion_timestamp.is_some() {
        look.revoke(standing.kept.abandon()).await;
        return Ok(Requeue::OnChange);
    }
    match &object.0 {
        Ok(VaultConnection { spec, .. }) => match Desired::parse(spec) {
            Ok(desired) if spec.suspend => look.suspend(standing, &desired).await,
            Ok(desired) => look.check_if_due(standing, &desired).await,
            Err(error) => look.refuse(standing, &error.to_string()).await,
        },
        Err(error) => look.refuse(standing, &format!("the spec cannot be read: {error}")).await,
    }
}

/// Ends a Ready that was not earned anew in time, by what the spec says without a check. A check may be under way.
async fn expire(object: &Guarded, context: &Context) -> Result<(), ClusterError> {
    let look = Look::new(object, context);
    let now = std::time::Instant::now();
    let expired = || look.record.snapshot().expires().is_some_and(|expires| expires <= now);
    look.publish(|status| {
        // It may have been earned anew, or ended, while this waited for its turn.
        if !expired() || !conditions::is_true(&status.conditions, ConditionType::Ready) {
            return None;
        }
        let around = look.circumstances(look.now);
        Some(match &object.0 {
            Ok(VaultConnection { spec, .. }) => match Desired::parse(spec) {
                Ok(desired) if spec.suspend => report::suspended(status, &around, &desired),
                Ok(desired) => report::overdue(status, &around, &desired),
                Err(error) => report::invalid_spec(status, &around, &error.to_string()),
            },
            Err(error) => report::invalid_spec(status, &around, &format!("the spec cannot be read: {error}")),
        })
    })
    .await
}

/// Says in the status that a run panicked, and drops what it may have left half done.
async fn report_panic(object: &Guarded, context: &Context, retry: Duration) -> Result<(), ClusterError> {
    let look = Look::new(object, context);
    let half_done = look.record.standing.lock().await.take();
    let outcome = look
        .publish(|status| Some(report::internal_error(status, &look.circumstances(look.now), retry)))
        .await;
    // The last that is done with it: that may panic, too.
    if let Some(mut half_done) = half_done {
        look.revoke(half_done.kept.abandon()).await;
    }
    outcome
}

/// Forgets a connection that is gone, and ends what was logged in for it.
pub(super) async fn forget(connection: &ConnectionRef, context: &Context) {
    let Some(record) = context.records.forget(connection) else { return };
    if let Some(published) = record.published.lock().await.take() {
        context.checker.metrics.moved(published.status().state, None);
    }
    let Some(mut standing) = record.standing.lock().await.take() else { return };
    let leftovers = standing.kept.abandon();
    context.checker.revoke(&connection.namespace, leftovers, Instant::now() + AFTERWARDS).await;
}

// === impl Look ===

impl<'a> Look<'a> {
    fn new(object: &'a Guarded, context: &'a Context) -> Self {
        let meta = object.meta();
        let annotation = meta.annotations.as_ref().and_then(|map| map.get(REQUESTED_AT)).map(String::as_str);
        let connection =
            ConnectionRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        Self {
            context,
            object,
            record: context.records.of(&connection),
            connection,
            reference: object.object_ref(&()),
            seen: cluster::version(meta),
            generation: meta.generation.unwrap_or_default(),
            requested_at: annotation.and_then(schedule::request),
            is_too_long: annotation.is_some_and(|text| schedule::request(text).is_none()),
            now: Timestamp::now(),
        }
    }

    /// What is kept, as far as this connection goes: one that was deleted and created again begins anew.
    async fn begin<'s>(&self, standing: &'s mut Option<Standing>) -> &'s mut Standing {
        let uid = self.object.uid().unwrap_or_default();
        if let Some(mut former) = standing.take_if(|standing| standing.uid != uid) {
            self.revoke(former.kept.abandon()).await;
        }
        standing.get_or_insert_with(|| Standing::new(uid))
    }

    async fn check_if_due(
        &self,
        standing: &mut Standing,
        desired: &Desired,
    ) -> Result<Requeue, ClusterError> {
        self.register(standing.kept.named_by(&desired.target));
        self.end_overdue(standing, desired, self.now).await?;
        let freshness = self.freshness(standing);
        if freshness == Freshness::Settling && standing.checked.is_some() {
            // Whatever else is due: half of a change must not be read. The end of the settle time asks for a look.
            return Ok(Requeue::OnChange);
        }
        let (stale, called) = (freshness == Freshness::Stale, self.record.take_call());
        let answered = self.status().await.last_handled_reconcile_at;
        let requests = (self.requested_at, answered.as_deref());
        let inputs = standing.due_inputs(self.generation, requests, stale, called);
        let (due, postponed) = (schedule::due(&inputs, self.now), schedule::postponed(&inputs, self.now));
        match due {
            Some(cause) => self.check(standing, desired, cause, stale).await?,
            None => self.publish(|_| None).await?,
        }
        self.report_long_request(standing).await;
        Ok(again(standing, postponed.filter(|_| due.is_none())))
    }

    async fn check(
        &self,
        standing: &mut Standing,
        desired: &Desired,
        cause: Cause,
        stale: bool,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        let status = self.status().await;
        if cause == Cause::Started {
            standing.recall(&desired.target, &status, self.generation);
        }
        if cause.is_extra() {
            standing.last_extra = Some(self.now);
        }
        if cause == Cause::Requested {
            standing.too_long_reported = false;
            standing.kept.memory.request();
        }
        let subject = Subject {
            connection: &self.connection,
            desired,
            ledger: &self.record.ledger,
            stale,
            is_ready: is_ready(&status, self.generation),
            register: &|names| self.register(names),
            now: self.now,
            deadline: standing
                .time_left(desired.interval, self.now)
                .filter(|_| is_ready(&status, self.generation))
                .map(|left| started + left),
        };
        let Checked { observation, leftovers, waited } =
            match self.context.checker.check(&subject, &mut standing.kept).await {
                Ok(checked) => checked,
                Err(error) => {
                    self.end_overdue(standing, desired, Timestamp::now() + RETRY).await?;
                    return Err(error);
                }
            };
        if task::is_stopping() {
            // What was seen may come from that. The next operator looks again.
            self.revoke(leftovers).await;
            return Ok(());
        }
        for connection in waited {
            self.context.records.call(connection);
        }
        let reason = judge::reason(desired, &observation);
        self.context.checker.metrics.checked(reason, started.elapsed());
        tracing::debug!(
            connection = %self.connection,
            ?cause,
            reason = reason.map(Reason::as_str),
            milliseconds = started.elapsed().as_millis(),
            "checked"
        );
        if observation.fault.is_none() {
            self.record.snapshot().earned(desired.interval, std::time::Instant::now());
        }
        // A Ready that another credential earned has nothing to say for this one.
        let was_ready = is_ready(&self.status().await, self.generation)
            && standing.kept.memory.has_passed_with_current(&desired.target);
        let look = belief::Look { began: self.now, ended: Timestamp::now(), was_ready };
        let outcome = match standing.kept.memory.belief.weigh(&look, desired, &observation) {
            Some(wait) => {
                self.note(standing, wait);
                Ok(())
            }
            None => self.conclude(standing, desired, &observation, look.ended).await,
        };
        self.revoke(leftovers).await;
        outcome
    }

    /// Ends a Ready that no look at `next` could earn anew in time.
    async fn end_overdue(
        &self,
        standing: &Standing,
        desired: &Desired,
        next: Timestamp,
    ) -> Result<(), ClusterError> {
        let memory = &standing.kept.memory;
        if !memory.belief.is_overdue(desired.interval, next) {
            return Ok(());
        }
        let overdue = Observation {
            fault: Some(Fault::Overdue),
            versions: memory.versions(),
            refused: memory.refused_lately(self.now),
            ..Observation::default()
        };
        let around = self.circumstances(Timestamp::now());
        let next = |status: &_| report::checked(status, &around, desired, &overdue).0;
        self.publish(|status| is_ready(status, self.generation).then(|| next(status))).await
    }

    async fn conclude(
        &self,
        standing: &mut Standing,
        desired: &Desired,
        observation: &Observation,
        now: Timestamp,
    ) -> Result<(), ClusterError> {
        let around = self.circumstances(now);
        self.publish(|status| {
            let (status, wait) = report::checked(status, &around, desired, observation);
            self.note(standing, wait);
            Some(status)
        })
        .await
    }

    async fn suspend(&self, standing: &mut Standing, desired: &Desired) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        standing.checked = None;
        let leftovers = standing.kept.abandon();
        let around = self.circumstances(self.now);
        let outcome = self.publish(|status| Some(report::suspended(status, &around, desired))).await;
        self.revoke(leftovers).await;
        outcome.map(|()| Requeue::OnChange)
    }

    /// Nothing can be asked for a spec that makes no sense; nothing but another spec can help.
    async fn refuse(&self, standing: &mut Standing, message: &str) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        standing.checked = None;
        let around = self.circumstances(self.now);
        self.publish(|status| Some(report::invalid_spec(status, &around, message))).await?;
        Ok(Requeue::OnChange)
    }

    /// Notes that a check was made, and when the next is to be.
    fn note(&self, standing: &mut Standing, wait: Duration) {
        let now = Timestamp::now();
        standing.checked = Some(LastCheck {
            generation: self.generation,
            request: self.requested_at.map(str::to_owned),
            at: now,
            next: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        });
    }

    /// How the objects stand to what was read of them. One that no watch tells of is stale after a while.
    fn freshness(&self, standing: &Standing) -> Freshness {
        match self.record.ledger.lock().unwrap_or_else(PoisonError::into_inner).freshness() {
            Freshness::Fresh if standing.kept.read_again.is_some_and(|time| time <= self.now) => {
                Freshness::Stale
            }
            freshness => freshness,
        }
    }

    /// Says once that a request is too long to be answered: its value would be copied into the status.
    async fn report_long_request(&self, standing: &mut Standing) {
        if !self.is_too_long || standing.too_long_reported {
            return;
        }
        standing.too_long_reported = true;
        tell(&self.context.recorder, &self.reference, events::request_too_long()).await;
    }

    fn register(&self, names: Vec<ObjectName>) {
        self.context.records.register(&self.connection, names);
    }

    async fn revoke(&self, leftovers: Vec<Leftover>) {
        let namespace = &self.connection.namespace;
        self.context.checker.revoke(namespace, leftovers, Instant::now() + AFTERWARDS).await;
    }
}

/// When to look again, if nothing changes: at the latest when what was postponed may be done.
fn again(standing: &Standing, postponed: Option<Timestamp>) -> Requeue {
    let Some(next) = standing.next().into_iter().chain(postponed).min() else { return Requeue::OnChange };
    Requeue::After(Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default())
}
