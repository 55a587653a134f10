//! Several replicas: one works, the others wait for its Lease.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use vault_connection_operator::{api::condition::Reason, manifests};

use crate::support::{
    access, audit,
    bed::{signal, unique, variable},
    cluster::{Cluster, RELEASE, RELEASE_NAMESPACE},
    operator::Operator,
    specs,
    vault::Vault,
    verdict::is_ready,
    wait::PATIENCE,
};

#[tokio::test]
async fn the_second_replica_waits_and_takes_over_when_the_first_stops() {
    let (cluster, vault) = (Cluster::new("replicas").await, Vault::shared());
    let role = vault.app_role("replicas", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    // The chart calls the Lease as its release, and gives rights to no other.
    let flags = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--lease", RELEASE];
    let first = Operator::start_with(&cluster, &flags).await;
    cluster.connect("connection", &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;

    let second = Operator::start_with(&cluster, &flags).await;
    cluster.request_check("connection", "by the first").await;
    first.await_count("checks_total", 2, PATIENCE).await;
    assert_eq!(second.count("checks_total").await, 0, "it stands by");
    let (status, _) = first.stop();
    assert_eq!(status.code(), Some(0));

    second.await_count("checks_total", 1, PATIENCE).await;
    second.stop();
    let logins = audit::count(&audit::vault_paths(&vault).await, &format!("auth/{}/login", role.mount));
    assert_eq!(logins, 3, "one each, and one that was asked for");
    assert_eq!(vault.sessions(&role.mount).await, 0);
}

/// How soon another replica must work when the holder crashes: the promise is 15 s, from the crash to the first check.
const CRASH_TAKEOVER: Duration = Duration::from_secs(15);

/// How soon another replica must work when the holder stops by itself, and how long a busy machine may take beside that.
const GRACEFUL_TAKEOVER: Duration = Duration::from_secs(2 + 3);

/// Two replicas that check one connection in turn, of which the first leads.
struct Pair {
    cluster: Cluster,
    vault: Vault,
    mount: String,
    lease: String,
    first: Operator,
    second: Operator,
}

impl Pair {
    async fn new(prefix: &str) -> Self {
        let (cluster, vault) = (Cluster::new(prefix).await, Vault::shared());
        // Each check needs a login of its own.
        let role = vault.app_role(prefix, json!({"token_ttl": "5s"})).await;
        let secret_id = vault.secret_id(&role).await;
        cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
        let lease = unique("lease");
        // The chart gives rights to its own Lease only; the tests of this file run side by side.
        let mut rights = access::grant(
            &lease,
            Some(RELEASE_NAMESPACE),
            &json!(manifests::lease_rules(&lease)),
            RELEASE_NAMESPACE,
        );
        rights[1]["subjects"][0]["name"] = json!(RELEASE);
        access::apply(Path::new(&variable("KUBECONFIG")), &rights);
        let flags = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--lease", &lease];
        let first = Operator::start_with(&cluster, &flags).await;
        let mut spec = specs::app_role(&vault.address, &role.mount, "credentials");
        spec["check"] = json!({"interval": "10s"});
        cluster.connect("connection", &spec).await;
        cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
        let second = Operator::start_with(&cluster, &flags).await;
        assert_eq!(second.count("leader").await, 0);
        Self { cluster, vault, mount: role.mount, lease, first, second }
    }

    /// How many logins Vault has seen, and how many requests the API server about the connection's namespace.
    async fn sent(&self) -> (usize, usize) {
        let paths = audit::vault_paths(&self.vault).await;
        let logins = audit::count(&paths, &format!("auth/{}/login", self.mount));
        (logins, audit::kube_requests(&self.cluster).await.len())
    }
}

#[tokio::test]
async fn a_leader_that_was_stopped_and_goes_on_sends_nothing() {
    let mut pair = Pair::new("resumed").await;
    signal(pair.first.pid, "STOP");
    pair.second.await_count("leader", 1, PATIENCE).await;
    pair.second.await_count("checks_total", 1, PATIENCE).await;
    // From now on, the second has nothing to send.
    pair.cluster.change("connection", &json!({"spec": {"suspend": true}})).await;
    pair.cluster.wait_reason("connection", Reason::Suspended).await;
    let before = pair.sent().await;
    signal(pair.first.pid, "CONT");
    let status = pair.first.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "it says that the Lease is lost");
    assert_eq!(pair.sent().await, before, "logins, requests to the API server");
}

#[tokio::test]
async fn the_lease_changes_hands_in_time() {
    let pair = Pair::new("handover").await;
    let began = Instant::now();
    let (status, took) = pair.first.stop();
    assert_eq!(status.code(), Some(0));
    pair.second.await_count("leader", 1, GRACEFUL_TAKEOVER).await;
    assert!(began.elapsed() < took + GRACEFUL_TAKEOVER, "{:?}", began.elapsed());

    let flags = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--lease", &pair.lease];
    let third = Operator::start_with(&pair.cluster, &flags).await;
    let began = Instant::now();
    signal(pair.second.pid, "KILL");
    third.await_count("leader", 1, PATIENCE).await;
    assert!(began.elapsed() < CRASH_TAKEOVER, "{:?}", began.elapsed());
}
