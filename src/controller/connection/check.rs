//! The check of a connection that is due.

use tokio::time::Instant;

use super::{Connections, REVOKE_TIMEOUT};
use crate::{
    api::condition::Reason,
    check::{CheckState, Checked, Leftover, Subject},
    cluster::ClusterError,
    controller::{
        context::Context,
        engine::{kind::Check, reconcile::Run},
    },
    session::shutdown,
    verify::{judge, memory::Memory, observation::Observation, schedule::Cause},
};

/// What a check found.
pub struct Found {
    /// What was seen.
    pub observation: Observation,
    /// Tokens to revoke once the status is written.
    pub leftovers: Vec<Leftover>,
}

/// Makes a check, unless the operator stops meanwhile. An error is one of the Kubernetes API.
pub(super) async fn observe(
    context: &Context,
    run: &Run<'_, Connections>,
    check: &Check<'_, Connections>,
    memory: &mut CheckState,
) -> Result<Option<Found>, ClusterError> {
    let started = Instant::now();
    prepare(run, check, memory);
    let left = memory.memory.stability.time_left(check.desired.interval, run.around.now);
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
    let Checked { observation, leftovers, waited } = context.checker.check(&subject, memory).await?;
    if shutdown::is_stopping() {
        stop(context, &run.name.namespace, memory, leftovers).await;
        return Ok(None);
    }
    for connection in waited {
        context.connections.trigger(connection);
    }
    count(context, run, check, (&observation, started));
    Ok(Some(Found { observation, leftovers }))
}

/// Memory: what the cause of the check says of what is remembered.
fn prepare(run: &Run<'_, Connections>, check: &Check<'_, Connections>, memory: &mut CheckState) {
    if check.cause == Cause::Started && check.status.observed_generation == Some(run.around.generation) {
        memory.recall(Memory::restore(&check.desired.target, check.status));
    }
    if check.cause == Cause::Requested {
        memory.memory.request();
    }
}

/// What was seen while the operator stops may come from that. The next operator checks again.
async fn stop(context: &Context, namespace: &str, memory: &mut CheckState, mut leftovers: Vec<Leftover>) {
    if shutdown::is_gone() {
        leftovers.extend(memory.abandon());
        *memory = CheckState::default();
    }
    context.checker.revoke(namespace, leftovers, Instant::now() + REVOKE_TIMEOUT).await;
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
