//! What is left of credentials in the operator's memory once a check has ended.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    bed::variable,
    canary::{Canary, Needles},
    cluster::Cluster,
    memory::{self, Hit},
    operator::Operator,
    specs,
    vault::Vault,
    wait::PATIENCE,
};

/// The promise: a second after a check, nothing in memory shows its secret id.
const PROMISED: Duration = Duration::from_secs(1);

/// A role of a real Vault whose role id and secret id are canaries.
struct Role {
    mount: String,
    role_id: Canary,
    secret_id: Canary,
}

// === impl Role ===

impl Role {
    async fn new(vault: &Vault, prefix: &str, settings: Value) -> Self {
        let mount = vault.app_role(prefix, settings).await.mount;
        let (role_id, secret_id) = (Canary::new("role id", "role-"), Canary::new("secret id", "secret-"));
        let role = format!("auth/{mount}/role/role");
        vault.write(&format!("{role}/role-id"), &json!({"role_id": role_id.value})).await;
        vault.write(&format!("{role}/custom-secret-id"), &json!({"secret_id": secret_id.value})).await;
        Self { mount, role_id, secret_id }
    }

    fn pair(&self) -> [(&'static str, &str); 2] {
        [("roleId", &self.role_id.value), ("secretId", &self.secret_id.value)]
    }
}

/// A token of a user that is a canary.
async fn token_canary(vault: &Vault) -> Canary {
    let token = Canary::new("token", "token-");
    let settings = json!({"id": token.value, "policies": ["vault-connection"], "ttl": "1h"});
    vault.issue_token(&settings).await;
    token
}

/// As it is held, and as it stands in its Secret.
fn forms(canary: &Canary) -> Needles {
    Needles::of([canary.plain(), canary.base64()].concat())
}

fn list(hits: &[Hit]) -> String {
    hits.iter().map(|hit| format!("{} in {}\n", hit.what, hit.place)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_after_a_check_no_secret_id_is_left_in_memory() {
    let (cluster, vault) = (Cluster::new("memory").await, Vault::shared());
    let kept = Role::new(&vault, "memory-kept", json!({"token_ttl": "1h"})).await;
    let short = Role::new(&vault, "memory-short", json!({"token_ttl": "30s"})).await;
    let secure = Role::new(&vault, "memory-tls", json!({"token_ttl": "1h"})).await;
    let (refused, token) = (Canary::new("refused secret id", "secret-"), token_canary(&vault).await);
    let refused_token = Canary::new("refused token", "token-");
    let refused_role = Role::new(&vault, "memory-refused", json!({})).await;
    for (name, role) in [("kept", &kept), ("short", &short), ("secure", &secure)] {
        cluster.secret(name, &role.pair()).await;
    }
    let wrong = [("roleId", refused_role.role_id.value.as_str()), ("secretId", refused.value.as_str())];
    cluster.secret("refused", &wrong).await;
    cluster.secret("token", &[("token", &token.value)]).await;
    cluster.secret("refused-token", &[("token", &refused_token.value)]).await;

    let operator = Operator::start(&cluster).await;
    let ca = fs::read_to_string(variable("BED_VAULT_CA")).expect("the bed has a CA");
    let mut over_tls = specs::app_role(&vault.tls_address, &secure.mount, "secure");
    over_tls["tls"] = json!({"caBundle": {"inline": ca}});
    let rows = [
        ("kept", specs::app_role(&vault.address, &kept.mount, "kept"), Reason::Connected),
        ("short", specs::app_role(&vault.address, &short.mount, "short"), Reason::Connected),
        ("secure", over_tls, Reason::Connected),
        (
            "refused",
            specs::app_role(&vault.address, &refused_role.mount, "refused"),
            Reason::InvalidCredentials,
        ),
        ("refused-token", specs::token(&vault.address, "refused-token"), Reason::TokenRejected),
        ("token", specs::token(&vault.address, "token"), Reason::Connected),
    ];
    for (name, spec, _) in &rows {
        let mut spec = spec.clone();
        spec["check"] = json!({"interval": if *name == "short" { "10s" } else { "10m" }});
        cluster.connect(name, &spec).await;
    }
    for (name, _, reason) in &rows {
        cluster.wait_reason(name, *reason).await;
    }
    // A second login reads the Secret anew, and nothing is written after it that could cover what is left.
    let checks = u64::try_from(rows.len()).expect("a small number") + 1;
    operator.await_count("checks_total", checks, PATIENCE).await;
    // The one wait for time itself: how long a value may be left is what is promised.
    tokio::time::sleep(PROMISED).await;

    let found = |canary: &Canary| memory::search(operator.pid, &forms(canary));
    assert!(!found(&token).is_empty(), "the token that is kept is found, or else nothing could be");
    let secret_ids = [&kept.secret_id, &short.secret_id, &secure.secret_id, &refused];
    let role_ids = [&kept.role_id, &short.role_id, &secure.role_id, &refused_role.role_id];
    let left: String = secret_ids.into_iter().chain(role_ids).map(|canary| list(&found(canary))).collect();
    assert!(left.is_empty(), "this is left in memory:\n{left}");
    // Nothing is promised of a token that was refused: its connection is kept for some seconds.
    eprintln!("left of a refused token: {}", list(&found(&refused_token)));
}
