//! The controller: which events lead to a look at an object, and how everything begins and ends.
//!
//! ```text
//!   watch of connections ──────────────┐
//!   watches of labelled objects ─ settle ─▶ engine ─▶ connection::reconcile, at most N at once
//!   gateway::reconcile ────────────────┤
//!   change of the address policy ──────┘
//!
//!   watch of gateways ─────────────────┐
//!   watches of labelled objects ───────┼──▶ engine ─▶ gateway::reconcile
//!   change of the address policy ──────┘
//! ```

pub mod connection;
pub mod engine;
mod events;
pub mod gateway;
pub mod last_write;
pub mod lease;
pub mod policy;
pub mod published;
pub mod registry;
pub mod shutdown;
pub mod snapshot;
pub mod watch;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, future, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use self::{
    connection::{Context, Guarded, kind::Connections},
    engine::{
        feed::{self, Change as Seen},
        queue::Limits,
        scheduler::Scheduler,
    },
    gateway::{GatewayContext, GuardedGateway},
    registry::Change,
};
use crate::{
    names::ObjectKind,
    telemetry::serve::{Readiness, Stage},
};

/// How many gateways are checked at once. Each check waits for its slowest endpoint, and costs next to nothing else.
const GATEWAYS_AT_ONCE: u16 = 16;

/// How the controller works.
pub struct Settings {
    /// The namespaces to watch; empty means all.
    pub namespaces: Vec<String>,
    /// How many connections are looked at at once.
    pub concurrency: u16,
    /// How long the shutdown may take.
    pub shutdown_timeout: Duration,
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
    let (changed, settling) = unbounded_channel();
    let connections = Arc::new(Connections::new(Arc::clone(&context), &scopes));
    let gateways = Arc::new(GatewayContext::new(Arc::clone(&context), changed.clone()));
    let reconciled = future::join(
        scheduler(&context, Arc::clone(&connections), settings.concurrency, &stopping)
            .run(changes::<Guarded>(&context, &scopes), context.registry.queue(None)),
        scheduler(&context, gateways, GATEWAYS_AT_ONCE, &stopping)
            .run(changes::<GuardedGateway>(&context, &scopes), context.registry.gateway_queue(None)),
    );
    let followed = future::join(
        future::join_all(scopes.iter().map(|scope| follow_objects(&context, scope.clone(), changed.clone()))),
        watch::settle(settling, Arc::clone(&context.registry)),
    );
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
    let budget = settings.shutdown_timeout.saturating_sub(shutdown::RUNS_END);
    shutdown::revoke_all(&context, budget).await;
}

/// Has failing instances asked again while somebody waits for them.
async fn probe_failing(context: &Context) {
    loop {
        for connection in context.checker.instances.probers().await {
            context.registry.trigger(connection);
        }
    }
}

fn scheduler<K: engine::Kind>(
    context: &Context,
    kind: Arc<K>,
    workers: u16,
    stopping: &CancellationToken,
) -> Scheduler<K> {
    Scheduler::new(kind, Limits::of(workers), context.checker.metrics.clone(), stopping.clone())
}

/// What the watches of all namespaces tell of one kind.
fn changes<K>(context: &Context, scopes: &[Option<String>]) -> impl futures::Stream<Item = Seen<K>> + use<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let watch =
        |scope: &Option<String>| feed::watch(api::<K>(context, scope.as_deref()), scope.clone()).boxed();
    stream::select_all(scopes.iter().map(watch))
}

/// Follows labelled Secrets and `ConfigMap`s, and asks for a look at the connections that name them.
async fn follow_objects(context: &Context, namespace: Option<String>, changed: UnboundedSender<Change>) {
    let scope = namespace.as_deref();
    let shared = || (Arc::clone(&context.registry), context.checker.metrics.clone());
    future::join(
        watch::follow(
            api::<PartialObjectMeta<Secret>>(context, scope),
            ObjectKind::Secret,
            namespace.clone(),
            shared(),
            changed.clone(),
        ),
        watch::follow(
            api::<PartialObjectMeta<ConfigMap>>(context, scope),
            ObjectKind::ConfigMap,
            namespace.clone(),
            shared(),
            changed,
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
