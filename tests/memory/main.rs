//! How much memory a connection takes at rest: the whole operator in this process, counted by its allocator.
//!
//! ```text
//!   api_server ─ list, watch ─▶ controller::run ─ first checks ─▶ instance
//!        ▲                            │
//!        └────── status writes ───────┘        live bytes of 400 connections, then of 800
//! ```
//!
//! Both servers answer without keeping anything, so that the difference is the operator's. Bytes do not depend on how busy a machine is,
//! so the figure is a bound. What the allocator and the system add to it is measured by `hack/bench`.

mod api_server;
mod instance;
#[path = "../it/support/fakes/openbao.rs"]
#[expect(dead_code, reason = "the tests of checks need more of it")]
mod openbao;

use std::{alloc::System, sync::Arc, time::Duration};

use kube::runtime::events::{Recorder, Reporter};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{sync::oneshot, time::sleep};
use vault_connection_operator::{
    check::Checker,
    cluster::Cluster,
    controller::{self, Context, Settings, shards::ownership::Ownership},
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::SystemNames,
        dial::Dialer,
        policy_file::PolicyHandle,
    },
    session::{account::Limits, instances::Instances, logins::Logins},
    telemetry::{
        metrics::{Metrics, exposition::Format},
        page::board::Board,
        serve::Readiness,
    },
};

use self::api_server::ApiServer;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many connections there are at first. Hash tables grow by the factor 2, so that they are as full with twice as many.
const CONNECTIONS: usize = 400;

/// How many bytes one takes. See `docs/performance.md`.
const EXPECTED_BYTES: usize = 4_600;

#[tokio::test]
async fn a_connection_at_rest_takes_no_more_memory_than_it_did() {
    let instance = instance::start().await;
    let api = ApiServer::new(instance);
    let context = context(&api);
    let metrics = context.checker.metrics.clone();
    // One check at a time, so that there is one HTTP connection however many connections there are.
    let ownerships = std::array::from_fn(|_| Ownership::all());
    let settings =
        Settings { namespaces: Vec::new(), concurrency: 1, shutdown_timeout: Duration::ZERO, ownerships };
    let (stop, stopped) = oneshot::channel::<()>();
    let run = controller::run(context, settings, Readiness::default(), async {
        let _ = stopped.await;
    });
    let operator = tokio::spawn(run);
    let few = live_bytes_of(CONNECTIONS, &api, &metrics).await;
    let many = live_bytes_of(2 * CONNECTIONS, &api, &metrics).await;
    let each = many.saturating_sub(few) / CONNECTIONS;
    println!("{each} bytes for each connection; {few} with the first {CONNECTIONS}");
    if std::env::var_os("MEMORY_EXIT").is_some() {
        // For a profiler: whatever is still there at the end is what is held at rest.
        std::process::exit(0);
    }
    let _ = stop.send(());
    operator.await.expect("it ends by itself");
    assert!(
        each <= EXPECTED_BYTES + EXPECTED_BYTES / 10,
        "{each} bytes, a tenth more than the expected {EXPECTED_BYTES}: find out what holds them"
    );
    assert!(
        each >= EXPECTED_BYTES - EXPECTED_BYTES / 10,
        "{each} bytes: lower the expected {EXPECTED_BYTES}"
    );
}

/// What is allocated once so many connections are Ready and nothing is left to do.
async fn live_bytes_of(connections: usize, api: &ApiServer, metrics: &Metrics) -> usize {
    api.show(connections).await;
    let ready = format!(r#"connections{{state="Connected"}} {connections}"#);
    let is_idle = |text: &str| {
        ["queue_depth", "workers_busy"]
            .iter()
            .all(|name| text.contains(&format!(r#"_{name}{{kind="VaultConnection"}} 0"#)))
    };
    let mut before = None;
    loop {
        sleep(Duration::from_millis(50)).await;
        let text = metrics.text(Format::Classic);
        let is_done = text.contains(&ready) && is_idle(&text);
        drop(text);
        let stats = ALLOCATOR.stats();
        let live = stats.bytes_allocated.checked_sub(stats.bytes_deallocated).expect("no more is freed");
        if is_done && before == Some(live) {
            return live;
        }
        before = is_done.then_some(live);
    }
}

/// An operator that may dial this machine.
fn context(api: &ApiServer) -> Arc<Context> {
    let cluster = Cluster::with_client(api.client(), "http://api.invalid".parse().expect("a URL"));
    let allow = vec!["127.0.0.0/8".parse().expect("an entry")];
    let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    Arc::new(Context {
        recorder: Recorder::new(cluster.client(), reporter),
        checker: Checker {
            references: cluster.clone(),
            dialer: Dialer::new(policy, true, Arc::new(SystemNames)),
            instances: Instances::default(),
            logins: Logins::new(1000, Limits::default()),
            metrics: Metrics::new(true),
        },
        cluster,
        connections: Arc::default(),
        gateways: Arc::default(),
        board: Board::default(),
        heartbeat: Duration::from_mins(30),
    })
}
