//! `run`: the operator.

use std::{env, sync::Arc};

use anyhow::Context as _;
use kube::{
    Api,
    runtime::events::{Recorder, Reporter},
};
use tokio::signal::unix::{SignalKind, signal};

use super::RunArgs;
use crate::{
    cluster::{Cluster, FIELD_MANAGER},
    controller::{
        self, Settings,
        connection::{Context, checker::Checker, instances::Instances, logins::Logins, seats::Seats},
        lease::Candidate,
    },
    gateway::{connect::SystemNames, dial::Dialer},
    telemetry::{
        logs,
        metrics::Metrics,
        serve::{self, Readiness},
    },
};

/// Runs until SIGTERM or SIGINT. Fails before anything begins when it cannot work.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    logs::start(args.log_format, args.log_level);
    let listener = serve::bind(args.listen_address)
        .await
        .with_context(|| format!("failed to listen on {} (--listen-address)", args.listen_address))?;
    let stop = stop_signal()?;
    let cluster = Cluster::infer().await?;
    if args.watch_namespaces.is_empty() {
        cluster.probe(None).await?;
    }
    for namespace in &args.watch_namespaces {
        cluster.probe(Some(namespace)).await?;
    }

    let metrics = Metrics::new();
    let plain_http = args.addresses.allow_plain_http;
    let policy = args.addresses.policy(cluster.api_servers().await)?;
    let readiness = Readiness::default();
    let checker = Checker {
        references: cluster.clone(),
        dialer: Dialer::new(policy.clone(), plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::new(args.logins_per_second),
        metrics: metrics.clone(),
    };
    let pod = env::var("POD_NAME").ok();
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: pod.clone() };
    let candidate = args.lease.map(|name| {
        let leases = Api::namespaced(cluster.client(), cluster.own_namespace());
        Candidate::new(leases, name, identity(pod))
    });
    let context = Arc::new(Context {
        recorder: Recorder::new(cluster.client(), reporter),
        cluster,
        checker,
        records: Arc::default(),
        seats: Seats::of(args.concurrency),
        heartbeat: args.heartbeat,
    });
    let records = Arc::clone(&context.records);
    let followed = controller::policy::follow(policy, records, metrics.clone());
    let settings = Settings { namespaces: args.watch_namespaces, concurrency: args.concurrency };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?settings.namespaces, "starting");
    let served = serve::serve(listener, metrics, readiness.clone());
    tokio::select! {
        outcome = work(context, settings, readiness, candidate, stop) => outcome,
        outcome = served => outcome.context("failed to serve metrics"),
        never = followed => match never {},
    }
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
        controller::run(context, settings, readiness, stop).await;
        return Ok(());
    };
    // Who waits for the Lease does all that is asked of it.
    readiness.set();
    Ok(candidate.lead(stop, |end| controller::run(context, settings, readiness, end)).await?)
}

/// A name that no other process has.
fn identity(pod: Option<String>) -> String {
    format!("{}_{:016x}", pod.unwrap_or_else(|| FIELD_MANAGER.to_owned()), fastrand::u64(..))
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
