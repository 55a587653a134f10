//! The reconcile of one `VaultConnection`.
//!
//! ```text
//!   1 register  which objects it names              memory
//!   2 due?      schedule::due                       pure
//!   3 observe   Checker::check                      I/O
//!   4 judge     judge::judge                        pure   ┐
//!   5 fold      report::checked                     pure   ┘ one call
//!   6 write     Cluster::apply_status               I/O, only news
//!   7 tell      an event, metrics                   I/O, failure only logged
//!   8 again     schedule::wait                      pure
//! ```
//!
//! An `Err` means that the Kubernetes API failed us. Everything else is an observation.

pub mod checker;
mod engine;
pub mod instances;
pub mod logins;
pub mod observe;
pub mod recollection;
pub mod seats;
mod sessions;
pub mod standing;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{
    Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{controller::Action, events::Recorder},
};
use tokio::time::Instant;

use self::{
    checker::{Checked, Checker, Leftover, Subject},
    seats::Seats,
    standing::{LastCheck, Standing},
};
use super::{
    looks::RETRY,
    records::{Record, Records},
    tell::tell,
};
use crate::{
    api::{
        REQUESTED_AT, condition::Reason, connection::VaultConnection, desired::Desired,
        status::VaultConnectionStatus,
    },
    cluster::{self, Cluster, ClusterError, Written},
    refs::{ConnectionRef, ObjectName},
    secrets::{Version, ledger::Freshness},
    verify::{
        belief,
        events::{self, transition},
        judge,
        observation::{Fault, Observation},
        report::{self, Circumstances},
        schedule::{self, Cause},
    },
};

/// A connection as the API server has it, readable or not.
pub type Guarded = DeserializeGuard<VaultConnection>;

/// Longest time that the end of tokens may take after a check. They end by themselves, so it is not worth more.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Shortest wait for a seat. Nobody is late by it, and a thousand that wait cost next to nothing.
const STAND: Duration = Duration::from_millis(200);

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
    /// How many checks of one instance may be under way.
    pub seats: Seats,
    /// How often the times in an unchanged status are written.
    pub heartbeat: Duration,
}

/// One look at one connection.
struct Look<'a> {
    context: &'a Context,
    connection: ConnectionRef,
    record: &'a Record,
    reference: ObjectReference,
    seen: Version,
    generation: i64,
    requested_at: Option<&'a str>,
    /// Whether a check is asked for by a value that is too long.
    is_too_long: bool,
    now: Timestamp,
}

/// Looks at a connection: checks it if that is due, and makes its status true.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ClusterError> {
    let meta = object.meta();
    let annotation = meta.annotations.as_ref().and_then(|map| map.get(REQUESTED_AT)).map(String::as_str);
    let connection =
        ConnectionRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let record = context.records.of(&connection);
    let look = Look {
        context: &context,
        connection,
        record: &record,
        reference: object.object_ref(&()),
        seen: cluster::version(meta),
        generation: meta.generation.unwrap_or_default(),
        requested_at: annotation.and_then(schedule::request),
        is_too_long: annotation.is_some_and(|text| schedule::request(text).is_none()),
        now: Timestamp::now(),
    };
    let mut standing = record.standing.lock().await;
    let standing = look.begin(&mut standing, &object).await;
    if meta.deletion_timestamp.is_some() {
        look.revoke(standing.kept.abandon()).await;
        return Ok(Action::await_change());
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

/// Forgets a connection that is gone, and ends what was logged in for it.
pub async fn forget(connection: &ConnectionRef, context: &Context) {
    let Some(record) = context.records.forget(connection) else { return };
    let Some(mut standing) = record.standing.lock().await.take() else { return };
    context.checker.metrics.moved(standing.status().state, None);
    let leftovers = standing.kept.abandon();
    context.checker.revoke(&connection.namespace, leftovers, Instant::now() + AFTERWARDS).await;
}

// === impl Look ===

impl Look<'_> {
    /// How things stand, as far as this connection goes: one that was deleted and created again begins anew.
    async fn begin<'s>(&self, standing: &'s mut Option<Standing>, object: &Guarded) -> &'s mut Standing {
        let uid = object.uid().unwrap_or_default();
        if let Some(mut former) = standing.take_if(|standing| standing.uid != uid) {
            self.context.checker.metrics.moved(former.status().state, None);
            self.revoke(former.kept.abandon()).await;
        }
        standing.get_or_insert_with(|| {
            let status = object.0.as_ref().ok().and_then(|connection| connection.status.clone());
            let standing = Standing::new(uid, status.unwrap_or_default());
            self.context.checker.metrics.moved(None, standing.written.state);
            standing
        })
    }

    async fn check_if_due(&self, standing: &mut Standing, desired: &Desired) -> Result<Action, ClusterError> {
        self.register(standing.kept.named_by(&desired.target));
        self.end_overdue(standing, desired, self.now).await?;
        let freshness = self.freshness(standing);
        if freshness == Freshness::Settling && standing.checked.is_some() {
            // Whatever else is due: half of a change must not be read. The end of the settle time asks for a look.
            return Ok(Action::await_change());
        }
        let Some(_seat) = self.context.seats.take(&desired.target.instance) else {
            return Ok(Action::requeue(STAND.mul_f64(1.0 + fastrand::f64())));
        };
        let (stale, called) = (freshness == Freshness::Stale, self.record.take_call());
        let inputs = standing.due_inputs(self.generation, self.requested_at, stale, called);
        let (due, postponed) = (schedule::due(&inputs, self.now), schedule::postponed(&inputs, self.now));
        match due {
            Some(cause) => self.check(standing, desired, cause, stale).await?,
            None => self.write_the_unwritten(standing).await?,
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
        if cause == Cause::Started {
            standing.recall(&desired.target, self.generation);
        }
        if cause.is_extra() {
            standing.last_extra = Some(self.now);
        }
        if cause == Cause::Requested {
            standing.too_long_reported = false;
            standing.kept.memory.forgive();
        }
        let subject = Subject {
            connection: &self.connection,
            desired,
            ledger: &self.record.ledger,
            stale,
            register: &|names| self.register(names),
            now: self.now,
            deadline: standing
                .time_left(self.generation, desired.interval, self.now)
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
        let was_ready = standing.is_ready(self.generation);
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
        standing: &mut Standing,
        desired: &Desired,
        next: Timestamp,
    ) -> Result<(), ClusterError> {
        let memory = &standing.kept.memory;
        if !standing.is_ready(self.generation) || !memory.belief.is_overdue(desired.interval, next) {
            return Ok(());
        }
        let overdue = Observation {
            fault: Some(Fault::Overdue),
            versions: memory.versions(),
            refused: memory.refused_lately(self.now),
            ..Observation::default()
        };
        let around = Circumstances { now: Timestamp::now(), ..self.circumstances() };
        let (status, _) = report::checked(standing.status(), &around, desired, &overdue);
        self.write(standing, status).await
    }

    async fn conclude(
        &self,
        standing: &mut Standing,
        desired: &Desired,
        observation: &Observation,
        now: Timestamp,
    ) -> Result<(), ClusterError> {
        let around = Circumstances { now, ..self.circumstances() };
        let (status, wait) = report::checked(standing.status(), &around, desired, observation);
        self.note(standing, wait);
        self.write(standing, status).await
    }

    async fn suspend(&self, standing: &mut Standing, desired: &Desired) -> Result<Action, ClusterError> {
        self.register(Vec::new());
        standing.checked = None;
        let leftovers = standing.kept.abandon();
        let status = report::suspended(standing.status(), &self.circumstances(), desired);
        let outcome = self.write(standing, status).await;
        self.revoke(leftovers).await;
        outcome.map(|()| Action::await_change())
    }

    /// Nothing can be asked for a spec that makes no sense; nothing but another spec can help.
    async fn refuse(&self, standing: &mut Standing, message: &str) -> Result<Action, ClusterError> {
        self.register(Vec::new());
        standing.checked = None;
        let status = report::invalid_spec(standing.status(), &self.circumstances(), message);
        self.write(standing, status).await?;
        Ok(Action::await_change())
    }

    /// Writes a status, if it says something new or its times are too old, and tells of a transition.
    async fn write(
        &self,
        standing: &mut Standing,
        status: VaultConnectionStatus,
    ) -> Result<(), ClusterError> {
        let news = report::is_news(standing.status(), &status);
        if !news
            && !report::needs_heartbeat(
                standing.status().last_check_time.as_ref(),
                self.now,
                self.context.heartbeat,
            )
        {
            return self.write_the_unwritten(standing).await;
        }
        self.context.checker.metrics.moved(standing.status().state, status.state);
        standing.unwritten = Some(status);
        self.write_the_unwritten(standing).await
    }

    async fn write_the_unwritten(&self, standing: &mut Standing) -> Result<(), ClusterError> {
        let Some(status) = standing.unwritten.clone() else { return Ok(()) };
        let Context { cluster, checker, .. } = self.context;
        let state = standing.last_write.state_to_write(&self.seen);
        let place = (self.connection.namespace.as_str(), self.connection.name.as_str());
        let after = match cluster.apply_status::<VaultConnection>(place, &state, &status).await? {
            Written::Stands(after) => after,
            Written::Outdated => {
                // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
                tracing::debug!(connection = %self.connection, "changed before its status was written");
                return Ok(());
            }
            Written::Gone => {
                standing.unwritten = None;
                checker.metrics.moved(status.state, standing.written.state);
                return Ok(());
            }
        };
        standing.last_write.wrote(self.seen.clone(), after);
        standing.unwritten = None;
        let before = std::mem::replace(&mut standing.written, status);
        checker.metrics.status_written();
        if let Some(transition) = transition(&before.conditions, &standing.written.conditions) {
            tell(&self.context.recorder, &self.reference, transition).await;
        }
        Ok(())
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

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            generation: self.generation,
            requested_at: self.requested_at,
            now: self.now,
            jitter: fastrand::f64(),
        }
    }
}

/// When to look again, if nothing changes: at the latest when what was postponed may be done.
fn again(standing: &Standing, postponed: Option<Timestamp>) -> Action {
    let Some(next) = standing.next().into_iter().chain(postponed).min() else {
        return Action::await_change();
    };
    Action::requeue(Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default())
}
