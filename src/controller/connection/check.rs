//! The check of a connection that is due, in the order of its steps.

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Reconcile, publish::is_ready, state::ConnectionState};
use crate::{
    api::{condition::Reason, status::VaultConnectionStatus},
    check::{CheckState, Checked, Leftover, Subject},
    cluster::ClusterError,
    controller::engine::scheduler::RETRY,
    session::shutdown,
    spec::Desired,
    verify::{
        judge,
        observation::{Fault, Observation},
        report,
        schedule::Cause,
        stability,
    },
};

impl Reconcile<'_> {
    /// Makes a check and says what it found, unless the operator stops meanwhile.
    pub(super) async fn check(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
        cause: Cause,
        outdated: bool,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        let status = self.status().await;
        self.prepare(state, desired, cause, &status);
        let Checked { observation, leftovers, waited } =
            self.observe(state, desired, &status, outdated).await?;
        if shutdown::is_stopping() {
            self.leave(state, leftovers).await;
            return Ok(());
        }
        for connection in waited {
            self.context.registry.trigger(connection);
        }
        self.count(desired, cause, &observation, started);
        let outcome = self.conclude(state, desired, &observation).await;
        self.revoke(leftovers).await;
        outcome
    }

    /// Memory: what the cause of the check says of what is remembered.
    fn prepare(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
        cause: Cause,
        status: &VaultConnectionStatus,
    ) {
        if cause == Cause::Started {
            state.recall(&desired.target, status, self.generation);
        }
        if cause.is_extra() {
            state.last_extra = Some(self.now);
        }
        if cause == Cause::Requested {
            state.too_long_reported = false;
            state.check.memory.request();
        }
    }

    /// I/O: the references, Vault. An error is one of the Kubernetes API.
    async fn observe(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
        status: &VaultConnectionStatus,
        outdated: bool,
    ) -> Result<Checked, ClusterError> {
        let is_ready = is_ready(status, self.generation);
        let left = state.time_left(desired.interval, self.now).filter(|_| is_ready);
        let subject = Subject {
            connection: &self.connection,
            desired,
            ledger: &self.entry.ledger,
            stale: outdated,
            is_ready,
            register: &|names| self.register(names),
            now: self.now,
            deadline: left.map(|left| Instant::now() + left),
        };
        let outcome = self.context.checker.check(&subject, &mut state.check).await;
        if outcome.is_err() {
            self.end_overdue(state, desired, Timestamp::now() + RETRY).await?;
        }
        outcome
    }

    /// What was seen while the operator stops may come from that. The next operator checks again.
    async fn leave(&self, state: &mut ConnectionState, mut leftovers: Vec<Leftover>) {
        if shutdown::is_gone() {
            leftovers.extend(state.check.abandon());
            state.check = CheckState::default();
        }
        self.revoke(leftovers).await;
    }

    /// Telemetry: that a check was made.
    fn count(&self, desired: &Desired, cause: Cause, observation: &Observation, started: Instant) {
        let reason = judge::reason(desired, observation);
        self.context.checker.metrics.checked(reason, started.elapsed());
        tracing::debug!(
            connection = %self.connection,
            cause = cause.as_str(),
            reason = reason.map(Reason::as_str),
            milliseconds = started.elapsed().as_millis(),
            "checked"
        );
    }

    /// Pure, then I/O: judges what was seen, and publishes the status that follows from it, unless one failure of a Ready
    /// connection is to be seen twice.
    async fn conclude(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
        observation: &Observation,
    ) -> Result<(), ClusterError> {
        if observation.fault.is_none() {
            self.entry.snapshot().earned(desired.interval, std::time::Instant::now());
        }
        // A Ready that another credential earned has nothing to say for this one.
        let was_ready = is_ready(&self.status().await, self.generation)
            && state.check.memory.has_passed_with_current(&desired.target);
        let run = stability::Timing { began: self.now, ended: Timestamp::now(), was_ready };
        let outcome = match state.check.memory.stability.weigh(&run, desired, observation) {
            Some(wait) => {
                self.note(state, wait);
                Ok(())
            }
            None => self.publish_checked(state, desired, observation, run.ended).await,
        };
        let credential_ends = observation.login.as_ref().and_then(|login| login.ends_soon);
        let next = state.checked.as_ref().map(|checked| checked.next);
        self.context.checker.metrics.objects().checked(&self.connection, run.ended, next, credential_ends);
        outcome
    }

    /// Ends a Ready that no look at `next` could earn anew in time.
    pub(super) async fn end_overdue(
        &self,
        state: &ConnectionState,
        desired: &Desired,
        next: Timestamp,
    ) -> Result<(), ClusterError> {
        let memory = &state.check.memory;
        if !memory.stability.is_overdue(desired.interval, next) {
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

    async fn publish_checked(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
        observation: &Observation,
        now: Timestamp,
    ) -> Result<(), ClusterError> {
        let around = self.circumstances(now);
        self.publish(|status| {
            let (status, wait) = report::checked(status, &around, desired, observation);
            self.note(state, wait);
            Some(status)
        })
        .await
    }
}
