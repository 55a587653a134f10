//! What the first check of a connection costs.

use serde_json::json;

use crate::support::{
    audit::{self, KubeRequest},
    cluster::Cluster,
    operator::Operator,
    specs,
    vault::Vault,
    verdict::is_ready,
    wait::PATIENCE,
};

/// What the servers were asked by one check.
struct Cost {
    health: u64,
    vault: Vec<String>,
    kube: Vec<KubeRequest>,
}

// === impl Cost ===

impl Cost {
    fn kube(&self, verb: &str, resource: &str) -> usize {
        self.kube.iter().filter(|request| request.is(verb, resource)).count()
    }

    fn writes(&self) -> usize {
        let writing = ["create", "update", "patch", "delete", "deletecollection"];
        self.kube.iter().filter(|request| writing.contains(&request.verb.as_str())).count()
    }

    /// Reads of one Secret. The watch of Secrets begins with a list too, but not of a name.
    fn secret_reads(&self) -> usize {
        let named = self.kube.iter().filter(|request| request.uri.contains("metadata.name%3D"));
        named.filter(|request| request.is("list", "secrets")).count()
    }
}

/// Lets a connection with this `require` become Ready, stops the operator, and tells what was asked until then.
async fn first_check(require: Option<serde_json::Value>) -> (Cost, String) {
    let (cluster, vault) = (Cluster::new("first-check").await, Vault::own("first-check", ""));
    let role = vault.app_role("first-check", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::app_role(&vault.address, &role.mount, "credentials");
    if let Some(require) = require {
        spec["require"] = require;
    }
    cluster.connect("connection", &spec).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    let health = operator.count("vault_requests_total{operation=\"health\"").await;
    let (status, _) = operator.stop();
    assert!(status.success(), "{status}");
    let (vault, kube) = (audit::vault_paths(&vault).await, audit::kube_requests(&cluster).await);
    eprintln!("first check: health {health}, Vault {vault:?}");
    (Cost { health, vault, kube }, role.mount)
}

fn assert_cost(cost: &Cost, mount: &str, self_check: &[&str]) {
    assert_eq!(cost.health, 1, "sys/health is counted by the operator: Vault does not audit it");
    let login = format!("auth/{mount}/login");
    let expected = [&[login.as_str()], self_check, &["auth/token/revoke-self"]].concat();
    assert_eq!(cost.vault, expected, "one login, one self-check, and the end of the session at the stop");
    assert_eq!(cost.kube("patch", "vaultconnections/status"), 1, "{:#?}", cost.kube);
    assert_eq!(cost.writes(), 1, "no event and nothing else is written: {:#?}", cost.kube);
    assert_eq!(cost.secret_reads(), 1, "the Secret is read once: {:#?}", cost.kube);
    assert_eq!(cost.kube("get", "secrets"), 1, "its state was asked for before that");
}

#[tokio::test]
async fn the_first_check_is_one_health_one_login_one_lookup_and_one_status() {
    let (cost, mount) = first_check(None).await;
    assert_cost(&cost, &mount, &["auth/token/lookup-self"]);
}

#[tokio::test]
async fn with_requirements_the_self_check_is_the_question_for_them() {
    let capabilities = json!({"capabilities": [{"path": "demo_mount/data/app", "verbs": ["read"]}]});
    let (cost, mount) = first_check(Some(capabilities)).await;
    assert_cost(&cost, &mount, &["sys/capabilities-self"]);
}

#[tokio::test]
async fn with_a_sync_of_secrets_its_engine_is_looked_up_too() {
    let (cost, mount) = first_check(Some(json!({"secretSync": {"mount": "demo_mount"}}))).await;
    assert_cost(&cost, &mount, &["sys/capabilities-self", "sys/internal/ui/mounts/demo_mount"]);
}
