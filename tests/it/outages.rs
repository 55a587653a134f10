//! A Vault that was fine and is not.

use std::time::{Duration, Instant};

use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    audit,
    cluster::Cluster,
    operator::Operator,
    specs,
    vault::Vault,
    verdict::{assert_failed, is_ready},
    wait::PATIENCE,
};

/// How long a connection that was Ready is given before an outage is believed.
const GRACE: Duration = Duration::from_secs(10);

/// An interval of 10 s and the waits of a failure that has just begun.
const NEXT_CHECK: Duration = Duration::from_secs(25);

/// A connection that is checked as often as the schema allows, and its Vault.
async fn ready_connection(prefix: &str) -> (Cluster, Vault, Operator) {
    let (cluster, vault) = (Cluster::new(prefix).await, Vault::own(prefix, ""));
    let role = vault.app_role(prefix, json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::app_role(&vault.address, &role.mount, "credentials");
    spec["check"] = json!({"interval": "10s"});
    cluster.connect("connection", &spec).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    (cluster, vault, operator)
}

#[tokio::test]
async fn a_sealed_vault_shows_at_the_next_check_and_an_unsealed_one_by_itself() {
    let (cluster, vault, _operator) = ready_connection("seal").await;
    vault.seal().await;
    cluster.request_check("connection", "now").await;
    let sealed = cluster.wait_reason("connection", Reason::Sealed).await;
    assert_failed("sealed", &sealed, Reason::Sealed, "Unseal it");

    vault.unseal().await;
    cluster.wait("connection", "Ready", NEXT_CHECK, is_ready).await;
}

#[tokio::test]
async fn a_short_outage_leaves_the_status_alone_and_a_long_one_is_reported() {
    const NO_ANSWER: &str = "vault_requests_total{operation=\"lookup_self\",answer=\"none\"";
    const PASSED: &str = "checks_total{reason=\"Connected\"";
    let (cluster, vault, operator) = ready_connection("outage").await;
    let patches = async || {
        let requests = audit::kube_requests(&cluster).await;
        requests.iter().filter(|request| request.is("patch", "vaultconnections/status")).count()
    };
    assert_eq!(patches().await, 1);
    let passed = operator.count(PASSED).await;

    vault.stop();
    operator.await_count(NO_ANSWER, 1, NEXT_CHECK).await;
    vault.start();
    operator.await_count(PASSED, passed + 1, NEXT_CHECK).await;
    assert_eq!(patches().await, 1, "Ready all the time, and nothing to write");

    let failed = operator.checks("ConnectionRefused").await;
    vault.stop();
    let begin = Instant::now();
    let down = cluster.wait("connection", "not Ready", NEXT_CHECK * 2, |found| !is_ready(found)).await;
    assert_failed("down", &down, Reason::ConnectionRefused, "Check that Vault is running");
    eprintln!("an outage was believed {:?} after its begin", begin.elapsed());
    assert!(begin.elapsed() >= GRACE);
    assert!(operator.checks("ConnectionRefused").await >= failed + 2, "one failure alone is not believed");

    vault.start();
    cluster.wait("connection", "Ready", NEXT_CHECK * 2, is_ready).await;
}
