//! The controller: which events lead to a look at an object, and how everything begins and ends.
//!
//! ```text
//!   watch of connections ──────────────┐
//!   watches of labelled objects ─ settle ─▶ queue ─▶ connection::reconcile, at most N at once
//!   time of the next check ────────────┤
//!   gateway::reconcile ────────────────┤
//!   change of the address policy ──────┘
//!
//!   watch of gateways ─────────────────┐
//!   watches of labelled objects ───────┼──▶ queue ─▶ gateway::reconcile
//!   time of the next check ────────────┤
//!   change of the address policy ──────┘
//! ```

pub mod connection;
pub mod gateway;
pub mod last_write;
pub mod lease;
mod looks;
pub mod policy;
pub mod records;
mod tell;
pub mod watch;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, future, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch as tokio_watch,
    },
    time::Instant,
};

use self::{
    connection::{Context, Guarded},
    gateway::{GatewayContext, GuardedGateway},
    looks::{Calls, conclude, looks},
    records::Change,
};
use crate::{
    api::connection::VaultConnection,
    refs::{ConnectionRef, GatewayName, ObjectKind},
    telemetry::serve::Readiness,
};

/// How long checks under way may go on when the operator stops.
const FINISH: Duration = Duration::from_millis(2500);

/// How long the end of kept sessions may take after that. With [`FINISH`] below the 5 s that are promised.
const REVOKE: Duration = Duration::from_secs(2);

/// How many sessions are ended at once when the operator stops.
const REVOKE_AT_ONCE: usize = 64;

/// How many gateways are checked at once. Each check waits for its slowest endpoint, and costs next to nothing else.
const GATEWAYS_AT_ONCE: u16 = 16;

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
    let (changed, settling) = unbounded_channel();
    let (records, scope) = (Arc::clone(&context.records), namespace.clone());
    let calls = Calls {
        seen: recollect(Arc::clone(&context)),
        called: records
            .queue(namespace.as_deref())
            .map(|connection| ObjectRef::new(&connection.name).within(&connection.namespace)),
        recall: move || {
            for connection in records.connections(scope.as_deref()) {
                records.look_again(connection);
            }
        },
    };
    let (store, looks) = looks::<Guarded, _>(
        api(&context, namespace.as_deref()),
        Arc::clone(&context),
        |object, context| Box::pin(connection::reconcile(object, context)),
        concurrency,
        calls,
        stopped.clone(),
    );
    let gateways = gateways_of(Arc::clone(&context), namespace.clone(), changed.clone(), stopped.clone());
    let follow = follow_objects(Arc::clone(&context), namespace, changed, settling);
    let work = async move {
        // The end of a session may wait for its Vault; the looks at other connections do not.
        let looks = looks.for_each_concurrent(None, |outcome| {
            let context = Arc::clone(&context);
            async move {
                let forget = |object: ObjectRef<Guarded>| async {
                    let namespace = object.namespace.unwrap_or_default();
                    connection::forget(&ConnectionRef { namespace, name: object.name }, &context).await;
                };
                conclude(outcome, &context.checker.metrics, forget).await;
            }
        });
        let (follow, looks, gateways) = (pin!(follow), pin!(looks), pin!(gateways));
        // The watches of objects never end by themselves.
        future::select(looks, future::select(follow, gateways)).await;
    };
    (store, work)
}

/// The looks at gateways. They end only with those at connections.
async fn gateways_of(
    shared: Arc<Context>,
    namespace: Option<String>,
    changed: UnboundedSender<Change>,
    stopped: tokio_watch::Receiver<bool>,
) {
    let context = Arc::new(GatewayContext::new(Arc::clone(&shared), changed));
    let (records, recalled) = (Arc::clone(&shared.records), Arc::clone(&context));
    let calls = Calls {
        seen: |_: &Event<GuardedGateway>| {},
        called: records
            .gateway_queue(namespace.as_deref())
            .map(|gateway| ObjectRef::new(&gateway.name).within(&gateway.namespace)),
        recall: move || {
            for gateway in recalled.known() {
                records.look_at_gateway(gateway);
            }
        },
    };
    let (_, looks) = looks::<GuardedGateway, _>(
        api(&shared, namespace.as_deref()),
        Arc::clone(&context),
        |object, context| Box::pin(gateway::reconcile(object, context)),
        GATEWAYS_AT_ONCE,
        calls,
        stopped,
    );
    looks
        .for_each_concurrent(None, |outcome| {
            let context = Arc::clone(&context);
            async move {
                let forget = |object: ObjectRef<GuardedGateway>| async {
                    let namespace = object.namespace.unwrap_or_default();
                    gateway::forget(&GatewayName { namespace, name: object.name }, &context).await;
                };
                conclude(outcome, &context.shared.checker.metrics, forget).await;
            }
        })
        .await;
    future::pending::<()>().await;
}

/// Notes what the first list tells of logins that earlier processes made, before anybody looks at what it holds.
fn recollect(context: Arc<Context>) -> impl FnMut(&Event<Guarded>) {
    let mut is_first = true;
    move |event| {
        let recollection = &context.checker.logins.recollection;
        match event {
            Event::InitApply(object) if is_first => {
                let namespace = object.namespace().unwrap_or_default();
                let connection = ConnectionRef { namespace, name: object.name_any() };
                if let Ok(VaultConnection { status: Some(status), .. }) = &object.0 {
                    recollection.found(&connection, status);
                }
            }
            Event::InitDone if is_first => {
                is_first = false;
                recollection.listed();
            }
            Event::Init | Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_) => {}
        }
    }
}

/// Follows labelled Secrets and `ConfigMap`s, and asks for a look at the connections that name them.
async fn follow_objects(
    context: Arc<Context>,
    namespace: Option<String>,
    changed: UnboundedSender<Change>,
    settling: UnboundedReceiver<Change>,
) {
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
        watch::settle(settling, records()),
    )
    .await;
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
