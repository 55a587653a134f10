//! What a connection costs that works.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    audit, cluster::Cluster, operator::Operator, specs, vault::Vault, verdict::is_ready, wait::PATIENCE,
};

/// How many checks to look at.
const CHECKS: u64 = 10;

/// The shortest interval that the schema allows is 10 s.
const DEADLINE: Duration = Duration::from_secs(130);

/// Lets a connection with this `require` become Ready, and tells what ten checks ask of Vault from then on.
async fn ten_checks(prefix: &str, require: Option<Value>) -> Vec<String> {
    let (cluster, vault) = (Cluster::new(prefix).await, Vault::own(prefix, ""));
    let role = vault.app_role(prefix, json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::app_role(&vault.address, &role.mount, "credentials");
    spec["check"] = json!({"interval": "10s"});
    if let Some(require) = require {
        spec["require"] = require;
    }
    cluster.connect("connection", &spec).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;

    let asked_before = audit::vault_paths(&vault).await.len();
    let kube_before = audit::kube_requests(&cluster).await.len();
    let checks_before = operator.checks("Connected").await;
    assert_eq!(checks_before, 1);
    operator.await_count("checks_total{reason=\"Connected\"", checks_before + CHECKS, DEADLINE).await;

    let asked = audit::vault_paths(&vault).await.split_off(asked_before);
    let kube = audit::kube_requests(&cluster).await.split_off(kube_before);
    eprintln!("ten settled checks: Vault {asked:?}, Kubernetes {kube:?}");
    assert_eq!(kube.len(), 0, "{kube:#?}");
    assert_eq!(operator.count("vault_requests_total{operation=\"health\"").await, 1);
    assert_eq!(operator.count("checks_total").await, checks_before + CHECKS, "each of them passed");
    asked
}

#[tokio::test]
async fn ten_checks_of_a_settled_connection_are_ten_requests_to_vault_and_none_to_kubernetes() {
    assert_eq!(ten_checks("settled", None).await, ["auth/token/lookup-self"; 10]);
}

#[tokio::test]
async fn the_engine_of_a_settled_connection_costs_no_request() {
    let require = json!({"secretSync": {"mount": "demo_mount"}});
    assert_eq!(ten_checks("settled-sync", Some(require)).await, ["sys/capabilities-self"; 10]);
}
