//! Several replicas: one works, the others wait for its Lease.

use serde_json::json;

use crate::support::{
    audit,
    cluster::{Cluster, RELEASE},
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
