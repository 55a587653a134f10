//! `run`: the operator.

use std::{env, sync::Arc};

use super::{RunArgs, stop};
use crate::{
    check::Checker,
    cluster::{Cluster, ClusterError, FIELD_MANAGER},
    controller::{self, Context, Settings, lease::Candidate},
    network::{connect::SystemNames, dial::Dialer, fence::Fence},
    session::{account::Limits, instances::Instances, logins::Logins},
    telemetry::{
        logs::{self, chain},
        metrics::Metrics,
        page::board::Board,
        serve::{self, Readiness},
    },
};
use anyhow::Context as _;
use kube::{
    Api,
    runtime::events::{Recorder, Reporter},
};

/// Runs until SIGTERM or SIGINT. Fails before anything begins when it cannot work.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    logs::start(args.log_format, args.log_level);
    let listener = serve::bind(args.listen_address)
        .await
        .with_context(|| format!("failed to listen on {} (--listen-address)", args.listen_address))?;
    let stop = stop::signal()?;
    stop::end_in_any_case(args.shutdown_timeout).context("failed to start a thread")?;
    let fence = if args.lease.is_some() { Fence::closed() } else { Fence::open() };
    let cluster = Cluster::infer(fence.clone())?;
    probe(&cluster, &args.watch_namespaces).await?;

    let metrics = Metrics::new(!args.no_object_metrics);
    let board = Board::new(args.status_page);
    let pace = args.pace();
    let plain_http = args.addresses.allow_plain_http;
    let policy = args.addresses.policy(cluster.api_servers().await)?;
    let readiness = Readiness::default();
    let checker = Checker {
        references: cluster.clone(),
        dialer: Dialer::behind(fence.clone(), policy.clone(), plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::adaptive(pace, Limits::below(args.lockout_threshold)),
        metrics: metrics.clone(),
    };
    let pod = env::var("POD_NAME").ok();
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: pod.clone() };
    let candidate = args.lease.map(|name| {
        let leases = Api::namespaced(cluster.unfenced(), cluster.own_namespace());
        Candidate::new(leases, (name, args.lease_duration), identity(pod), fence, readiness.clone())
    });
    let context = Arc::new(Context {
        recorder: Recorder::new(cluster.client(), reporter),
        cluster,
        checker,
        connections: Arc::default(),
        gateways: Arc::default(),
        board: board.clone(),
        heartbeat: args.heartbeat,
    });
    let followed = controller::policy::follow(policy, context.registries(), metrics.clone());
    let settings = Settings {
        namespaces: args.watch_namespaces,
        concurrency: args.concurrency,
        shutdown_timeout: args.shutdown_timeout,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = settings.namespaces.join(","),
        "starting"
    );
    let served = serve::serve(listener, metrics, readiness.clone(), board);
    tokio::select! {
        outcome = work(context, settings, readiness, candidate, stop) => outcome,
        never = served => match never {},
        never = followed => match never {},
    }
}

/// Makes sure that there is something to watch. Of several namespaces some may be forbidden: the others are served, and
/// these as soon as somebody gives the right.
async fn probe(cluster: &Cluster, namespaces: &[String]) -> Result<(), ClusterError> {
    if namespaces.is_empty() {
        return cluster.probe(None).await;
    }
    let mut forbidden = Vec::new();
    for namespace in namespaces {
        match cluster.probe(Some(namespace)).await {
            Ok(()) => {}
            Err(error) if error.is_forbidden() => forbidden.push((namespace, error)),
            Err(error) => return Err(error),
        }
    }
    if forbidden.len() == namespaces.len()
        && let Some((_, error)) = forbidden.pop()
    {
        return Err(error);
    }
    for (namespace, error) in forbidden {
        tracing::error!(
            namespace,
            error = chain(&error),
            "this namespace cannot be watched; grant the operator access to it, or remove it from the list"
        );
    }
    Ok(())
}

/// Looks after connections until `stop`, as soon as the Lease is held if there is one.
async fn work(
    context: Arc<Context>,
    settings: Settings,
    readiness: Readiness,
    candidate: Option<Candidate>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Some(candidate) = candidate else {
        context.checker.metrics.leads(true);
        controller::run(context, settings, readiness, stop).await;
        return Ok(());
    };
    let metrics = context.checker.metrics.clone();
    let lead = |end| {
        metrics.leads(true);
        controller::run(context, settings, readiness, end)
    };
    let outcome = candidate.lead(stop, lead).await;
    metrics.leads(false);
    Ok(outcome?)
}

/// A name that no other process has.
fn identity(pod: Option<String>) -> String {
    format!("{}_{:016x}", pod.unwrap_or_else(|| FIELD_MANAGER.to_owned()), fastrand::u64(..))
}
