//! `run`: the operator.

use std::{env, sync::Arc};

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter};
use tokio::signal::unix::{SignalKind, signal};

use super::RunArgs;
use crate::{
    cluster::{Cluster, FIELD_MANAGER},
    controller::{
        self, Settings,
        connection::{Context, checker::Checker, instances::Instances, logins::Logins},
    },
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
    let readiness = Readiness::default();
    let checker = Checker {
        references: cluster.clone(),
        dialer: args.addresses.dialer(cluster.api_servers().await),
        instances: Instances::default(),
        logins: Logins::new(args.logins_per_second),
        metrics: metrics.clone(),
    };
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: env::var("POD_NAME").ok() };
    let context = Arc::new(Context {
        recorder: Recorder::new(cluster.client(), reporter),
        cluster,
        checker,
        records: Arc::default(),
        heartbeat: args.heartbeat,
    });
    let settings = Settings { namespaces: args.watch_namespaces, concurrency: args.concurrency };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?settings.namespaces, "starting");
    tokio::select! {
        () = controller::run(context, settings, readiness.clone(), stop) => Ok(()),
        outcome = serve::serve(listener, metrics, readiness) => outcome.context("failed to serve metrics"),
    }
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
