//! The controller: which events lead to a look at a connection, and how everything begins and ends.
//!
//! ```text
//!   watch of connections ──────────────┐
//!   watches of labelled objects ─ settle ─▶ queue ─▶ connection::reconcile, at most N at once
//!   time of the next check ────────────┘
//! ```

pub mod connection;
pub mod lease;
pub mod records;
pub mod watch;

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, future, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        controller::{self, Action, Error, applier},
        reflector::{self, ObjectRef, Store},
        watcher::{self, watcher},
    },
};
use tokio::{sync::watch as tokio_watch, time::Instant};

use self::connection::{Context, Guarded};
use crate::{
    api::connection::VaultConnection,
    cluster::ClusterError,
    refs::{ConnectionRef, ObjectKind},
    telemetry::serve::Readiness,
};

/// How long checks under way may go on when the operator stops.
const FINISH: Duration = Duration::from_millis(2500);

/// How long the end of kept sessions may take after that. With [`FINISH`] below the 5 s that are promised.
const REVOKE: Duration = Duration::from_secs(2);

/// How many sessions are ended at once when the operator stops.
const REVOKE_AT_ONCE: usize = 64;

/// How soon to try again when the API server failed us.
const RETRY: Duration = Duration::from_secs(5);

/// How long a connection is left alone after a defect of ours.
const AFTER_PANIC: Duration = Duration::from_mins(5);

/// How the controller works.
pub struct Settings {
    /// The namespaces to watch; empty means all.
    pub namespaces: Vec<String>,
    /// How many connections are looked at at once, in each watched namespace or in all.
    pub concurrency: u16,
}

/// Runs until `stop` resolves, then finishes or gives up what is under way and ends every session of ours.
pub async fn run(
    context: Arc<Context>,
    settings: Settings,
    readiness: Readiness,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = tokio_watch::channel(false);
    let scopes: Vec<Option<String>> = match settings.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    context.checker.logins.recollection.expect_lists(scopes.len());
    let mut stores = Vec::new();
    let mut running = Vec::new();
    for scope in scopes {
        let (store, work) = scope_of(Arc::clone(&context), scope, settings.concurrency, &stopped);
        stores.push(store);
        running.push(work);
    }
    let all_seen = async {
        for store in stores {
            // A store whose writer is gone belongs to an operator that stops.
            let _ = store.wait_until_ready().await;
        }
        readiness.set();
        future::pending::<()>().await;
    };
    let mut work = pin!(future::join_all(running));
    tokio::select! {
        _ = &mut work => {}
        () = all_seen => {}
        () = stop => {}
    }
    tracing::info!("stopping");
    stopping.send_replace(true);
    if tokio::time::timeout(FINISH, work).await.is_err() {
        tracing::warn!("some checks did not finish in time and are given up");
    }
    revoke_all(&context).await;
}

/// The work on one namespace, or on all of them.
fn scope_of(
    context: Arc<Context>,
    namespace: Option<String>,
    concurrency: u16,
    stopped: &tokio_watch::Receiver<bool>,
) -> (Store<Guarded>, impl Future<Output = ()>) {
    let (store, writer) = reflector::store::<Guarded>();
    let called = context.records.queue(namespace.as_deref());
    let config = watcher::Config::default().timeout(watch::WATCH_SECONDS);
    let (records, scope) = (Arc::clone(&context.records), namespace.clone());
    let events = watcher(api::<Guarded>(&context, namespace.as_deref()), config);
    let objects = watch::announced_with_content(events)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .inspect_ok(recollect(Arc::clone(&context)))
        .reflect(writer)
        .inspect_ok(move |event| {
            // What a new list does not hold was deleted while no watch was open: each known connection is looked for.
            if matches!(event, watcher::Event::InitDone) {
                for connection in records.connections(scope.as_deref()) {
                    records.look_again(connection);
                }
            }
        })
        .touched_objects()
        .map_ok(|object| ObjectRef::from_obj(&object));
    let calls = called
        .map(|connection| Ok(ObjectRef::<Guarded>::new(&connection.name).within(&connection.namespace)));
    let queue = stream::select(objects, calls).take_until(until_stopped(stopped.clone()));
    let looks = applier(
        |object, context| Box::pin(look(object, context)),
        |_, _, _| Action::requeue(RETRY),
        Arc::clone(&context),
        store.clone(),
        queue,
        controller::Config::default().concurrency(concurrency),
    );
    let follow = follow_objects(Arc::clone(&context), namespace);
    let work = async move {
        // The end of a session may wait for its Vault; the looks at other connections do not.
        let looks = looks.for_each_concurrent(None, |outcome| conclude(outcome, Arc::clone(&context)));
        let follow = pin!(follow);
        let looks = pin!(looks);
        // The watches of objects never end by themselves.
        future::select(looks, follow).await;
    };
    (store, work)
}

/// Notes what the first list tells of logins that earlier processes made, before anybody looks at what it holds.
fn recollect(context: Arc<Context>) -> impl FnMut(&watcher::Event<Guarded>) {
    let mut is_first = true;
    move |event| {
        let recollection = &context.checker.logins.recollection;
        match event {
            watcher::Event::InitApply(object) if is_first => {
                let namespace = object.namespace().unwrap_or_default();
                let connection = ConnectionRef { namespace, name: object.name_any() };
                if let Ok(VaultConnection { status: Some(status), .. }) = &object.0 {
                    recollection.found(&connection, status);
                }
            }
            watcher::Event::InitDone if is_first => {
                is_first = false;
                recollection.listed();
            }
            watcher::Event::Init
            | watcher::Event::InitApply(_)
            | watcher::Event::InitDone
            | watcher::Event::Apply(_)
            | watcher::Event::Delete(_) => {}
        }
    }
}

/// Looks at a connection. A defect of ours that one connection shows must not stop the others: a panic is told by the
/// hook, and this connection is left alone for a while.
async fn look(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ClusterError> {
    let look = AssertUnwindSafe(connection::reconcile(object, context)).catch_unwind().await;
    look.unwrap_or_else(|_| Ok(Action::requeue(AFTER_PANIC)))
}

/// Follows labelled Secrets and `ConfigMap`s, and asks for a look at the connections that name them.
async fn follow_objects(context: Arc<Context>, namespace: Option<String>) {
    let (changed, receiver) = tokio::sync::mpsc::unbounded_channel();
    let records = || Arc::clone(&context.records);
    let scope = namespace.as_deref();
    future::join3(
        watch::follow(
            api::<PartialObjectMeta<Secret>>(&context, scope),
            ObjectKind::Secret,
            namespace.clone(),
            records(),
            changed.clone(),
        ),
        watch::follow(
            api::<PartialObjectMeta<ConfigMap>>(&context, scope),
            ObjectKind::ConfigMap,
            namespace.clone(),
            records(),
            changed,
        ),
        watch::settle(receiver, records()),
    )
    .await;
}

/// Logs what a look led to, and forgets a connection that is no longer there.
async fn conclude(
    outcome: Result<(ObjectRef<Guarded>, Action), Error<ClusterError, watcher::Error>>,
    context: Arc<Context>,
) {
    match outcome {
        Ok(_) => {}
        Err(Error::ObjectNotFound(object)) => {
            let namespace = object.namespace.clone().unwrap_or_default();
            connection::forget(&ConnectionRef { namespace, name: object.name.clone() }, &context).await;
        }
        Err(Error::ReconcilerFailed(error, object)) => {
            context.checker.metrics.cluster_failed();
            tracing::warn!(error = chain(&error), connection = %object, "the API server failed; trying again");
        }
        Err(Error::QueueError(error)) => {
            tracing::warn!(error = chain(&error), "the watch of connections failed; it is tried again");
        }
        Err(Error::RunnerError(error)) => tracing::error!(error = chain(&error), "the queue failed"),
    }
}

/// Ends every kept session of ours, as far as time allows.
async fn revoke_all(context: &Context) {
    let deadline = Instant::now() + REVOKE;
    let forget = |connection: ConnectionRef| async move {
        // A check that was given up may still hold its record; then there is nothing to take.
        let _ = tokio::time::timeout_at(deadline, connection::forget(&connection, context)).await;
    };
    stream::iter(context.records.connections(None)).for_each_concurrent(REVOKE_AT_ONCE, forget).await;
}

fn api<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.cluster.client(), namespace),
        None => Api::all(context.cluster.client()),
    }
}

async fn until_stopped(mut stopped: tokio_watch::Receiver<bool>) {
    // The sender lives as long as the controller.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// An error with all its causes, in one line. A cause that the text before it already tells is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
