//! How much memory a connection takes at rest, before an outage and after it: the whole operator in this process, counted by its
//! allocator.
//!
//! ```text
//!   api_server ─ list, watch ─▶ controller::run ─ checks ─▶ instance
//!        ▲                            │
//!        └── status writes, events ───┘        live bytes of 400 connections, then of 800; of 200, and again after an outage
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

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{
    sync::{Mutex, MutexGuard, oneshot},
    task::JoinHandle,
    time::sleep,
};
use vault_connection_operator::{
    check::Checker,
    cluster::Cluster,
    controller::{
        self, Context, Settings,
        engine::{publisher::Publisher, registry::Follower as _},
        shards::ownership::Ownership,
    },
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

use self::{api_server::ApiServer, instance::Instance};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many connections there are at first. Hash tables grow by the factor 2, so that they are as full with twice as many.
const CONNECTIONS: usize = 400;

/// How many bytes one takes. See `docs/performance.md`.
const EXPECTED_BYTES: usize = 4_150;

/// How many go through an outage. Whatever it leaves grows with their number.
const IN_OUTAGE: usize = 200;

/// How many bytes more one may take after an outage: what a table keeps that has grown.
const MAX_BYTES_OF_AN_OUTAGE: usize = 100;

/// Bytes are counted for the whole process, so that there is one operator at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// An operator, and all that it talks to.
struct Operator {
    api: ApiServer,
    instance: Instance,
    context: Arc<Context>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    _alone: MutexGuard<'static, ()>,
}

#[tokio::test]
async fn a_connection_at_rest_takes_no_more_memory_than_it_did() {
    let operator = Operator::start().await;
    operator.api.show(CONNECTIONS).await;
    let few = operator.live_bytes_once_all_are("Connected", CONNECTIONS).await;
    operator.api.show(2 * CONNECTIONS).await;
    let many = operator.live_bytes_once_all_are("Connected", 2 * CONNECTIONS).await;
    let each = many.saturating_sub(few) / CONNECTIONS;
    println!("{each} bytes for each connection; {few} with the first {CONNECTIONS}");
    exit_for_a_profiler("MEMORY_EXIT");
    operator.stop().await;
    assert!(
        each <= EXPECTED_BYTES + EXPECTED_BYTES / 10,
        "{each} bytes, a tenth more than the expected {EXPECTED_BYTES}: find out what holds them"
    );
    assert!(
        each >= EXPECTED_BYTES - EXPECTED_BYTES / 10,
        "{each} bytes: lower the expected {EXPECTED_BYTES}"
    );
}

#[tokio::test]
async fn what_an_outage_takes_is_given_back_when_it_is_over() {
    let operator = Operator::start().await;
    operator.api.show(IN_OUTAGE).await;
    let before = operator.live_bytes_once_all_are("Connected", IN_OUTAGE).await;
    operator.instance.seal(true);
    assert_eq!(operator.context.connections.trigger_in(&|_| true), IN_OUTAGE);
    let during = operator.live_bytes_once_all_are("Sealed", IN_OUTAGE).await;
    operator.instance.seal(false);
    // The next probe finds it, and wakes those that wait.
    let after = operator.live_bytes_once_all_are("Connected", IN_OUTAGE).await;
    let [during, after] = [during, after].map(|bytes| bytes.saturating_sub(before) / IN_OUTAGE);
    println!("{during} bytes more for each connection during an outage, {after} after it");
    exit_for_a_profiler("MEMORY_EXIT_AFTER_OUTAGE");
    let events = operator.api.events();
    operator.stop().await;
    assert_eq!(events, 2 * IN_OUTAGE, "each transition of each connection was published");
    assert!(
        after <= MAX_BYTES_OF_AN_OUTAGE,
        "{after} bytes more for each connection than before the outage: find out what holds them"
    );
}

/// For a profiler: whatever is still there at the end is what is held at rest.
fn exit_for_a_profiler(variable: &str) {
    if std::env::var_os(variable).is_some() {
        std::process::exit(0);
    }
}

// === impl Operator ===

impl Operator {
    /// Starts one that has no connection yet.
    async fn start() -> Self {
        let alone = ALONE.lock().await;
        let instance = Instance::start().await;
        let api = ApiServer::new(instance.address);
        let context = context(&api);
        // One check at a time, so that there is one HTTP connection however many connections there are.
        let ownerships = std::array::from_fn(|_| Ownership::all());
        let settings =
            Settings { namespaces: Vec::new(), concurrency: 1, shutdown_timeout: Duration::ZERO, ownerships };
        let (stop, stopped) = oneshot::channel::<()>();
        let run = controller::run(Arc::clone(&context), settings, Readiness::default(), async {
            let _ = stopped.await;
        });
        let running = tokio::spawn(run);
        Self { api, instance, context, stop, running, _alone: alone }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.running.await.expect("it ends by itself");
    }

    /// What is allocated once so many connections are in a state and nothing is left to do.
    async fn live_bytes_once_all_are(&self, state: &str, connections: usize) -> usize {
        let all = format!(r#"connections{{state="{state}"}} {connections}"#);
        let is_idle = |text: &str| {
            ["queue_depth", "workers_busy"]
                .iter()
                .all(|name| text.contains(&format!(r#"_{name}{{kind="VaultConnection"}} 0"#)))
        };
        let mut before = None;
        loop {
            sleep(Duration::from_millis(50)).await;
            let text = self.context.checker.metrics.text(Format::Classic);
            let is_done = text.contains(&all) && is_idle(&text);
            drop(text);
            let allocated = ALLOCATOR.stats();
            let live =
                allocated.bytes_allocated.checked_sub(allocated.bytes_deallocated).expect("no more is freed");
            if is_done && before == Some(live) {
                return live;
            }
            before = is_done.then_some(live);
        }
    }
}

/// An operator that may dial this machine.
fn context(api: &ApiServer) -> Arc<Context> {
    let cluster = Cluster::with_client(api.client(), "http://api.invalid".parse().expect("a URL"));
    let allow = vec!["127.0.0.0/8".parse().expect("an entry")];
    let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
    Arc::new(Context {
        publisher: Publisher::new(cluster.client(), None),
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
