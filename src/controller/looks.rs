//! The looks at the objects of one kind: at each one when the watch tells of it, when it is called, and when its time
//! has come.

use std::{fmt::Debug, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        controller::{self, Action, Error, applier},
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch as tokio_watch;

use super::{chain, watch};
use crate::{cluster::ClusterError, telemetry::metrics::Metrics};

/// How soon to try again when the API server failed us.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// How long an object is left alone after a defect of ours.
const AFTER_PANIC: Duration = Duration::from_mins(5);

/// Looks at an object.
pub(super) type Look<K, C> = fn(Arc<K>, Arc<C>) -> BoxFuture<'static, Result<Action, ClusterError>>;

/// What became of a look.
pub(super) type Outcome<K> = Result<(ObjectRef<K>, Action), Error<ClusterError, watcher::Error>>;

/// What goes with the watch.
pub(super) struct Calls<E, S, F> {
    /// Is told each event before anybody looks because of it.
    pub(super) seen: E,
    /// Objects that something else wants to be looked at.
    pub(super) called: S,
    /// Asks for every object that is known, by way of `called`: a new list does not tell what went meanwhile.
    pub(super) recall: F,
}

/// The looks at all objects of an API, at most so many at once, until they are stopped.
pub(super) fn looks<K, C>(
    api: Api<K>,
    context: Arc<C>,
    look: Look<K, C>,
    concurrency: u16,
    calls: Calls<
        impl FnMut(&Event<K>) + Send + 'static,
        impl Stream<Item = ObjectRef<K>> + Send + 'static,
        impl Fn() + Send + 'static,
    >,
    stopped: tokio_watch::Receiver<bool>,
) -> (Store<K>, impl Stream<Item = Outcome<K>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let config = watcher::Config::default().timeout(watch::WATCH_SECONDS);
    let Calls { seen, called, recall } = calls;
    let objects = watch::announced_with_content(watcher(api, config))
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .inspect_ok(seen)
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                recall();
            }
        })
        .touched_objects()
        .map_ok(|object| ObjectRef::from_obj(&object));
    let queue = stream::select(objects, called.map(Ok)).take_until(until_stopped(stopped));
    let looks = applier(
        move |object, context| guarded(look(object, context)),
        |_, _, _| Action::requeue(RETRY),
        context,
        store.clone(),
        queue,
        controller::Config::default().concurrency(concurrency),
    );
    (store, looks)
}

/// Logs and counts what a look led to, and forgets an object that is no longer there.
pub(super) async fn conclude<K, F>(
    outcome: Outcome<K>,
    metrics: &Metrics,
    forget: impl FnOnce(ObjectRef<K>) -> F,
) where
    K: Resource<DynamicType = ()>,
    F: Future<Output = ()>,
{
    match outcome {
        Ok(_) => {}
        Err(Error::ObjectNotFound(object)) => {
            // It is that of this kind: `applier` has erased the type.
            let mut gone = ObjectRef::new(&object.name);
            gone.namespace = object.namespace;
            forget(gone).await;
        }
        Err(Error::ReconcilerFailed(error, object)) => {
            metrics.cluster_failed();
            tracing::warn!(error = chain(&error), %object, "the API server failed; trying again");
        }
        Err(Error::QueueError(error)) => {
            let kind = K::kind(&()).into_owned();
            tracing::warn!(error = chain(&error), kind, "the watch failed; it is tried again");
        }
        Err(Error::RunnerError(error)) => tracing::error!(error = chain(&error), "the queue failed"),
    }
}

/// A defect of ours that one object shows must not stop the others: a panic is told by the hook, and this object is left
/// alone for a while.
fn guarded(
    look: BoxFuture<'static, Result<Action, ClusterError>>,
) -> BoxFuture<'static, Result<Action, ClusterError>> {
    let look = AssertUnwindSafe(look).catch_unwind();
    Box::pin(async move {
        match look.await {
            Ok(outcome) => outcome,
            Err(_) => Ok(Action::requeue(AFTER_PANIC)),
        }
    })
}

async fn until_stopped(mut stopped: tokio_watch::Receiver<bool>) {
    // The sender lives as long as the controller.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
