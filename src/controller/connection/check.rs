//! The check of a connection that is due.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Connections, REVOKE_TIMEOUT};
use crate::{
    api::{condition::Reason, status::VaultConnectionStatus},
    check::{CheckState, Checked, Outcome, Subject},
    cluster::ClusterError,
    controller::{
        context::Context,
        engine::{kind::Check, reconcile::Run},
    },
    session::{entry::Entry, shutdown},
    verify::{judge, memory::Memory, observation::Observation, schedule::Cause},
};

/// What a check found.
pub struct Found {
    /// What was seen.
    pub observation: Observation,
    /// What is kept to have a login: what is due of it is revoked after the check.
    pub session: Arc<Entry>,
}

/// Makes a check, unless it is given up: the operator stops, or the connection is gone. An error is one of the Kubernetes API.
pub(super) async fn observe(
    context: &Context,
    run: &Run<'_, Connections>,
    check: &Check<'_, Connections>,
    memory: &CheckState,
) -> Result<Option<Found>, ClusterError> {
    let started = Instant::now();
    prepare(run, check, memory);
    let left = memory.session.known().memory.stability.time_left(check.desired.interval, run.around.now);
    let subject = Subject {
        connection: &run.name,
        desired: check.desired,
        ledger: run.ledger(),
        stale: check.is_outdated,
        is_ready: check.is_ready,
        register: &|names| run.register(names),
        now: run.around.now,
        deadline: left.filter(|_| check.is_ready).map(|left| Instant::now() + left),
    };
    let Checked { observation, waited } = match context.checker.check(&subject, memory).await? {
        Outcome::Checked(checked) => checked,
        Outcome::GivenUp => {
            give_up(context, &run.name.namespace, &memory.session).await;
            return Ok(None);
        }
    };
    for connection in waited {
        context.connections.trigger(connection);
    }
    count(context, run, check, (&observation, started));
    Ok(Some(Found { observation, session: Arc::clone(&memory.session) }))
}

/// Memory: what the cause of the check says of what is remembered.
fn prepare(run: &Run<'_, Connections>, check: &Check<'_, Connections>, memory: &CheckState) {
    let is_current =
        |status: &&VaultConnectionStatus| status.observed_generation == Some(run.around.generation);
    if let Some(earlier) = check.earlier.filter(is_current) {
        memory.recall(Memory::restore(&check.desired.target, earlier));
    }
    if check.cause == Cause::Requested {
        memory.session.known().memory.request();
    }
}

/// Revokes what the check leaves. Of a connection that is gone, nothing is kept.
async fn give_up(context: &Context, namespace: &str, session: &Entry) {
    let tokens = if shutdown::is_gone() { session.reset() } else { session.take_due() };
    context.checker.sessions().revoke(namespace, tokens, Instant::now() + REVOKE_TIMEOUT).await;
}

/// Telemetry: that a check was made.
fn count(
    context: &Context,
    run: &Run<'_, Connections>,
    check: &Check<'_, Connections>,
    (observation, started): (&Observation, Instant),
) {
    let reason = judge::reason(check.desired, observation);
    context.checker.metrics.checked(reason, started.elapsed());
    tracing::debug!(
        connection = %run.name,
        cause = check.cause.as_str(),
        reason = reason.map(Reason::as_str),
        milliseconds = started.elapsed().as_millis(),
        "checked"
    );
}
