//! `run`: the operator.

use std::{env, sync::Arc};

use super::{RunArgs, stop};
use crate::{
    check::Checker,
    cluster::{Cluster, ClusterError, FIELD_MANAGER},
    controller::{
        self, Context, Settings,
        engine::publisher::Publisher,
        lease::{Candidate, Lost},
        shards::{
            Replica, Slots,
            ownership::{self, Ownership},
        },
    },
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
use kube::Api;

/// Runs until SIGTERM or SIGINT. Fails before anything begins when it cannot work.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    logs::start(args.log_format, args.log_level);
    let listener = serve::bind(args.listen_address)
        .await
        .with_context(|| format!("failed to listen on {} (--listen-address)", args.listen_address))?;
    let (pace, lockout_threshold) = args.login_budget()?;
    let stop = stop::signal()?;
    stop::end_in_any_case(args.shutdown_timeout).context("failed to start a thread")?;
    // What is sent needs the right to work, and of several replicas that share the namespaces also a slot.
    let outer_fence = if args.lease.is_some() { Fence::closed() } else { Fence::open() };
    let fence = if args.shards.is_some() { outer_fence.inner() } else { outer_fence.clone() };
    let cluster = Cluster::infer(fence.clone())?;
    probe(&cluster, &args.watch_namespaces).await?;

    let metrics = Metrics::new(!args.no_object_metrics);
    let board = Board::new(args.status_page);
    let plain_http = args.addresses.allow_plain_http;
    let policy = args.addresses.policy(cluster.api_servers().await)?;
    let readiness = Readiness::default();
    let checker = Checker {
        references: cluster.clone(),
        dialer: Dialer::behind(fence.clone(), policy.clone(), plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::adaptive(pace, Limits::below(lockout_threshold)),
        metrics: metrics.clone(),
    };
    let pod = env::var("POD_NAME").ok();
    let publisher = Publisher::new(cluster.client(), pod.as_deref());
    let lease_api = || Api::namespaced(cluster.unfenced(), cluster.own_namespace());
    let (grantor, shared) = ownership::shared();
    let replica = args.lease.clone().zip(args.shards).map(|(name, count)| {
        let slots = Slots { api: lease_api(), name, count, duration: args.lease_duration };
        Replica::new(
            slots,
            identity(pod.clone()),
            fence.clone(),
            grantor,
            (readiness.clone(), metrics.clone()),
        )
    });
    let ownerships =
        if replica.is_some() { shared } else { [(); controller::KINDS].map(|()| Ownership::all()) };
    let candidate = args.lease.map(|name| {
        let (api, lease) = (lease_api(), (name, args.lease_duration));
        match replica {
            Some(_) => Candidate::shared(api, lease, outer_fence, readiness.clone()),
            None => Candidate::new(api, lease, identity(pod), outer_fence, readiness.clone()),
        }
    });
    let context = Arc::new(Context {
        publisher,
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
        ownerships,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = settings.namespaces.join(","),
        "starting"
    );
    let served = serve::serve(listener, metrics, readiness.clone(), board);
    tokio::select! {
        outcome = work(context, settings, readiness, (candidate, replica), stop) => outcome,
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
            "not permitted to watch this namespace; grant the operator access to it, or remove it from the list"
        );
    }
    Ok(())
}

/// Looks after connections until `stop`, as soon as the Lease is held if there is one, and a slot if it is shared.
async fn work(
    context: Arc<Context>,
    settings: Settings,
    readiness: Readiness,
    (candidate, replica): (Option<Candidate>, Option<Replica>),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let metrics = context.checker.metrics.clone();
    let Some(candidate) = candidate else {
        metrics.leads(true);
        controller::run(context, settings, readiness, stop).await;
        return Ok(());
    };
    let lead = |end| {
        metrics.leads(true);
        controller::run(context, settings, readiness, end)
    };
    let share = async |end| match &replica {
        Some(replica) => replica.share(end, lead).await,
        None => {
            lead(end).await;
            Ok(())
        }
    };
    let outcome = candidate.lead(stop, share).await;
    metrics.leads(false);
    let ended: Result<(), Lost> = outcome?.unwrap_or(Ok(()));
    Ok(ended?)
}

/// A name that no other process has.
fn identity(pod: Option<String>) -> String {
    format!("{}_{:016x}", pod.unwrap_or_else(|| FIELD_MANAGER.to_owned()), fastrand::u64(..))
}
