//! What needs no worker and waits for no reconcile: the end of a Ready that was not earned anew in time, what runs leave to be done after
//! them, the report of a panic, and what is done for an object that is gone.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};

use super::{
    events,
    kind::{Kind, Unchecked},
    object::{Intent, Object, reference},
    reconcile::{Run, announce},
};
use crate::{
    api::{ObjectStatus as _, condition::ConditionType},
    cluster::ClusterError,
    conditions,
};

/// How long what was opened for objects may take to end before another replica looks after them.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many of them are ended at once: enough to keep an instance busy, few enough to leave it room for others.
const HANDED_OVER_AT_ONCE: usize = 32;

/// Ends a Ready that was not earned anew in time, by what the spec says without a check. A check may be under way.
pub(super) async fn expire<K: Kind>(kind: &K, object: &Object<K>) -> Result<(), ClusterError> {
    let run = Run::new(kind, object);
    let now = Instant::now();
    run.publish(|status| {
        // It may have been earned anew, or ended, while this waited for its turn.
        let has_expired = run.entry.snapshot().expires().is_some_and(|expires| expires <= now);
        if !has_expired || !conditions::is_true(status.conditions(), ConditionType::Ready) {
            return None;
        }
        let unchecked = |why| kind.report_unchecked(&run.name, status, &run.around, why);
        Some(match &*object.intent() {
            Intent::Check(desired) => unchecked(Unchecked::Overdue(desired, None)),
            Intent::Suspend(desired) => K::report_suspended(status, &run.around, desired),
            Intent::Refuse(message) => unchecked(Unchecked::Invalid(message)),
        })
    })
    .await
}

/// Does what the runs of an object have left: writes its status, and closes what no check needs any more.
pub(super) async fn clean_up<K: Kind>(kind: &K, object: &Object<K>) -> Result<(), ClusterError> {
    // It may be gone since that was planned.
    let Some(entry) = kind.registry().get(&object.name) else { return Ok(()) };
    let written = Run::new(kind, object).publish(|_| None).await;
    kind.close(&object.name, &entry.memory()).await;
    written
}

/// Says in the status that a run panicked, and drops what it may have left half done.
pub(super) async fn report_panic<K: Kind>(
    kind: &K,
    object: &Object<K>,
    retry: Duration,
) -> Result<(), ClusterError> {
    let run = Run::new(kind, object);
    let half_done = run.entry.state.lock().await.take().map(|_| run.entry.replace_memory());
    let outcome = run.publish(|status| Some(run.unchecked(status, Unchecked::Panicked(retry)))).await;
    // The last that is done with it: that may panic, too.
    if let Some(half_done) = half_done {
        kind.discard(&run.name, &half_done).await;
    }
    outcome
}

/// Forgets an object that is gone, and ends what was opened for it.
pub(super) async fn forget<K: Kind>(kind: &K, name: &K::Name) {
    let event = kind.forgotten(name);
    announce(kind, name, || None);
    let Some((entry, named)) = kind.registry().forget(name) else { return };
    kind.names_changed(name, &named);
    // What is secret in it goes first: neither a Vault nor an API server that hangs may keep it.
    drop(entry.state.lock().await.take());
    kind.discard(name, &entry.memory()).await;
    let Some(published) = entry.published.lock().await.take() else { return };
    kind.status_changed(name, Some(&published.status()), None);
    if let Some(event) = event {
        let object = reference::<K>(name, &published.uid);
        events::publish(kind.registry().events(), &kind.context().publisher, object, event).await;
    }
}

/// Forgets objects that another replica looks after from now on, and ends what was opened for them, as far as time allows: nobody may
/// act on them meanwhile.
pub(super) async fn hand_over<K: Kind>(kind: &K, names: Vec<K::Name>) {
    let count = names.len();
    let mut released = Vec::with_capacity(count);
    for name in &names {
        kind.context().board.forget(K::NAME, name);
        let Some((entry, _)) = kind.registry().forget(name) else { continue };
        drop(entry.state.lock().await.take());
        released.push(kind.discard(name, &entry.memory()));
        if let Some(published) = entry.published.lock().await.take() {
            kind.status_changed(name, Some(&published.status()), None);
        }
    }
    let released = stream::iter(released).for_each_concurrent(HANDED_OVER_AT_ONCE, |released| released);
    if tokio::time::timeout(HAND_OVER_TIMEOUT, released).await.is_err() {
        let kind = K::NAME;
        tracing::warn!(
            kind,
            objects = count,
            "did not revoke every session before its connection moved to another replica; the remaining tokens stay valid until their TTL"
        );
    }
}
