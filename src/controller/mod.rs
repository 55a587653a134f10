//! The controller: which kinds there are, what leads to a reconcile of an object, and how everything begins and ends.
//!
//! ```text
//!   watch of connections ────────────────┐
//!   watches of labelled objects ─ settle ┼─▶ engine ─▶ Connections, at most N at once
//!   a gateway that works again, policy ──┘
//!
//!   watch of gateways ───────────────────┐
//!   watches of labelled objects ─ settle ┼─▶ engine ─▶ Gateways
//!   number of connections, policy ───────┘
//! ```

pub mod connection;
pub mod context;
pub mod engine;
pub mod gateway;
pub mod lease;
pub mod policy;
pub mod shards;
pub mod shutdown;

use std::{future::Future, panic, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PartialObjectMeta};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::context::Context;
use self::{
    connection::Connections,
    engine::{
        feed::{self, Change},
        kind::{Guarded, Kind},
        object::Object,
        watch,
    },
    gateway::Gateways,
    shards::ownership::Ownership,
};
use crate::{
    names::ObjectKind,
    telemetry::serve::{Readiness, Stage},
};

/// How many gateways are checked at once. Each check waits for its slowest endpoint, and costs next to nothing else.
const MAX_GATEWAY_CHECKS: u16 = 16;

/// How many kinds there are. Each has an engine.
pub const KINDS: usize = 2;

/// How the controller works.
pub struct Settings {
    /// The namespaces to watch; empty means all.
    pub namespaces: Vec<String>,
    /// How many connections are reconciled at once.
    pub concurrency: u16,
    /// How long the shutdown may take.
    pub shutdown_timeout: Duration,
    /// Which namespaces this replica works on, for each kind.
    pub ownerships: [Ownership; KINDS],
}

/// Runs until `stop` resolves, then finishes or gives up what is under way and revokes every session of ours.
pub async fn run(
    context: Arc<Context>,
    settings: Settings,
    readiness: Readiness,
    stop: impl Future<Output = ()>,
) {
    let scopes: Vec<Option<String>> = match settings.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    context.checker.logins.expect_lists(scopes.len());
    let stopping = CancellationToken::new();
    let connections = Arc::new(Connections::new(Arc::clone(&context), &scopes));
    let gateways = Arc::new(Gateways::new(Arc::clone(&context)));
    let [ownership, ownership_of_gateways] = settings.ownerships;
    let mut tasks = JoinSet::new();
    reconcile(&mut tasks, Arc::clone(&connections), settings.concurrency, ownership, (&scopes, &stopping));
    reconcile(&mut tasks, gateways, MAX_GATEWAY_CHECKS, ownership_of_gateways, (&scopes, &stopping));
    let reconciled = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(Ok(panicked)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
                panic::resume_unwind(panicked);
            }
        }
    };
    let followed = future::join_all(scopes.iter().map(|scope| follow_objects(&context, scope.clone())));
    let ready = async {
        connections.listed_once().await;
        readiness.set(Stage::Working);
    };
    let stopped = async {
        stop.await;
        tracing::info!("stopping");
        stopping.cancel();
    };
    let background = future::join4(followed, ready, stopped, probe_failing(&context));
    // The watches of objects never end by themselves; the reconciles end with the stop.
    future::select(pin!(reconciled), pin!(background)).await;
    let budget = settings.shutdown_timeout.saturating_sub(shutdown::RUN_END_TIMEOUT);
    shutdown::revoke_all(&context, budget).await;
}

/// Has failing instances asked again while somebody waits for them.
async fn probe_failing(context: &Context) {
    loop {
        for connection in context.checker.instances.probers().await {
            context.connections.trigger(connection);
        }
    }
}

/// Reconciles the objects of one kind in all watched namespaces until the operator stops. It is a task of its own, so that the end of
/// a check wakes nobody else.
fn reconcile<K: Kind>(
    tasks: &mut JoinSet<()>,
    kind: Arc<K>,
    workers: u16,
    ownership: Ownership,
    (scopes, stopping): (&[Option<String>], &CancellationToken),
) {
    let changes = changes::<K>(kind.context(), scopes);
    tasks.spawn(engine::run(kind, workers, changes, ownership, stopping.clone()));
}

/// What the watches of all namespaces report of one kind.
fn changes<K: Kind>(
    context: &Context,
    scopes: &[Option<String>],
) -> impl Stream<Item = Change<Object<K>>> + use<K> {
    let watch = |scope: &Option<String>| {
        let api = api::<Guarded<K>>(context, scope.as_deref());
        feed::watch(api, scope.clone(), Object::new).boxed()
    };
    stream::select_all(scopes.iter().map(watch))
}

/// Follows labelled Secrets and `ConfigMap`s, which lead to a reconcile of what names them.
async fn follow_objects(context: &Context, namespace: Option<String>) {
    let scope = namespace.as_deref();
    let shared = || (context.registries(), context.checker.metrics.clone());
    future::join(
        watch::follow(
            api::<PartialObjectMeta<Secret>>(context, scope),
            ObjectKind::Secret,
            namespace.clone(),
            shared(),
        ),
        watch::follow(
            api::<PartialObjectMeta<ConfigMap>>(context, scope),
            ObjectKind::ConfigMap,
            namespace.clone(),
            shared(),
        ),
    )
    .await;
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
