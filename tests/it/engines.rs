//! The secrets engine that `spec.require.secretSync` names, on a real server: is it there, and of the right kind?

use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    audit,
    cluster::Cluster,
    operator::Operator,
    specs,
    vault::{Vault, has_namespaces, other_engine},
    verdict::{assert_failed, is_ready},
    wait::PATIENCE,
};

/// What the documentation asks for, at each of these mounts.
const MOUNTS: [&str; 5] = ["demo_mount", "old", "keys", "team/a/kv", "gone"];

/// A Vault with engines of several kinds, and a token that may do at each path all that a sync needs.
async fn engines(prefix: &str) -> (Vault, String) {
    let vault = Vault::own(prefix, "");
    vault.write("sys/mounts/old", &json!({"type": "kv", "options": {"version": "1"}})).await;
    vault.write("sys/mounts/keys", &json!({"type": other_engine()})).await;
    vault.write("sys/mounts/team/a/kv", &json!({"type": "kv", "options": {"version": "2"}})).await;
    let all = r#"{ capabilities = ["create", "read", "update", "delete"] }"#;
    let lines = MOUNTS.map(|mount| format!("path \"{mount}/*\" {all}"));
    let policy = format!("{}\npath \"sys/mounts\" {{ capabilities = [\"read\"] }}", lines.join("\n"));
    vault.write("sys/policies/acl/sync", &json!({"policy": policy})).await;
    let token = vault.issue_token(&json!({"policies": ["sync"], "ttl": "1h"})).await;
    (vault, token)
}

fn syncing(vault: &Vault, secret: &str, sync: &Value) -> Value {
    let mut spec = specs::token(&vault.address, secret);
    spec["require"] = json!({"secretSync": sync});
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_as_required_is_reported_and_never_ready() {
    let cluster = Cluster::new("engines").await;
    let (vault, token) = engines("engines").await;
    let unlisted = r#"path "gone/*" { capabilities = ["create", "read", "update", "delete"] }"#;
    vault.write("sys/policies/acl/unlisted", &json!({"policy": unlisted})).await;
    let unlisted = vault.issue_token(&json!({"policies": ["unlisted"], "ttl": "1h"})).await;
    let documented = vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await;
    cluster.secret("token", &[("token", &token)]).await;
    cluster.secret("documented", &[("token", &documented)]).await;
    cluster.secret("unlisted", &[("token", &unlisted)]).await;
    let rows: &[(&str, &str, Value, Reason, &str)] = &[
        ("missing", "token", json!({"mount": "gone"}), Reason::SecretsMountNotFound, "vault secrets list"),
        (
            "mistyped",
            "documented",
            json!({"mount": "demo_mont"}),
            Reason::SecretsMountNotFound,
            "\"demo_mont\"",
        ),
        ("unlisted", "unlisted", json!({"mount": "gone"}), Reason::MissingCapabilities, "sys/mounts"),
        (
            "data",
            "documented",
            json!({"mount": "demo_mount/data"}),
            Reason::SecretsMountNotFound,
            "Set spec.require.secretSync.mount to",
        ),
        (
            "nested-data",
            "token",
            json!({"mount": "team/a/kv/data"}),
            Reason::SecretsMountNotFound,
            "\"team/a/kv\"",
        ),
        (
            "too-short",
            "token",
            json!({"mount": "team/a"}),
            Reason::SecretsMountNotFound,
            "vault secrets list",
        ),
        ("old", "token", json!({"mount": "old"}), Reason::KvVersionMismatch, "kvVersion to V1"),
        (
            "new",
            "token",
            json!({"mount": "demo_mount", "kvVersion": "V1"}),
            Reason::KvVersionMismatch,
            "kvVersion to V2",
        ),
        ("transit", "token", json!({"mount": "keys"}), Reason::NotKv, "not a KV engine"),
        ("cubbyhole", "token", json!({"mount": "cubbyhole"}), Reason::NotKv, "not a KV engine"),
    ];
    let good: &[(&str, &str, Value)] = &[
        ("good", "documented", json!({"mount": "demo_mount"})),
        ("good-nested", "token", json!({"mount": "/team/a/kv/"})),
        ("good-old", "token", json!({"mount": "old", "kvVersion": "V1"})),
    ];
    let operator = Operator::start(&cluster).await;
    for (name, secret, sync, ..) in rows {
        cluster.connect(name, &syncing(&vault, secret, sync)).await;
    }
    for (name, secret, sync) in good {
        cluster.connect(name, &syncing(&vault, secret, sync)).await;
    }
    for (name, _, _, reason, advice) in rows {
        let connection = cluster.wait_reason(name, *reason).await;
        assert_failed(name, &connection, *reason, advice);
    }
    for (name, ..) in good {
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    operator.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_a_vault_namespace_is_found_there_and_from_above() {
    if !has_namespaces() {
        return;
    }
    let cluster = Cluster::new("engines-below").await;
    let (vault, _) = engines("engines-below").await;
    let policy = r#"path "team-a/demo_mount/data/*" { capabilities = ["create", "read", "update", "delete"] }
        path "sys/mounts" { capabilities = ["read"] }"#;
    vault.write("sys/policies/acl/above", &json!({"policy": policy})).await;
    let above = vault.issue_token(&json!({"policies": ["above"], "ttl": "1h"})).await;
    let body = json!({"policies": ["vault-connection"], "ttl": "1h"});
    let answer = vault.write("team-a/auth/token/create", &body).await;
    let inside = answer["auth"]["client_token"].as_str().expect("a token is issued");
    cluster.secret("above", &[("token", &above)]).await;
    cluster.secret("inside", &[("token", inside)]).await;
    let _operator = Operator::start(&cluster).await;
    let mut within = syncing(&vault, "inside", &json!({"mount": "demo_mount"}));
    within["namespace"] = json!("team-a");
    let mut mistyped = syncing(&vault, "inside", &json!({"mount": "old"}));
    mistyped["namespace"] = json!("team-a");
    cluster.connect("within", &within).await;
    cluster.connect("above", &syncing(&vault, "above", &json!({"mount": "team-a/demo_mount"}))).await;
    cluster.connect("mistyped", &mistyped).await;
    cluster.wait("within", "Ready", PATIENCE, is_ready).await;
    cluster.wait("above", "Ready", PATIENCE, is_ready).await;
    let told = cluster.wait_reason("mistyped", Reason::SecretsMountNotFound).await;
    assert_failed("mistyped", &told, Reason::SecretsMountNotFound, "in Vault namespace \"team-a\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_comes_or_changes_is_noticed() {
    let cluster = Cluster::new("engines-change").await;
    let (vault, token) = engines("engines-change").await;
    cluster.secret("token", &[("token", &token)]).await;
    let _operator = Operator::start(&cluster).await;
    cluster.connect("gone", &syncing(&vault, "token", &json!({"mount": "gone"}))).await;
    cluster.wait_reason("gone", Reason::SecretsMountNotFound).await;
    vault.write("sys/mounts/gone", &json!({"type": "kv", "options": {"version": "2"}})).await;
    cluster.wait("gone", "Ready once it is there", PATIENCE, is_ready).await;
    let asked = audit::vault_paths(&vault).await.iter().filter(|path| path.contains("ui/mounts")).count();
    cluster.change("gone", &json!({"spec": {"require": {"secretSync": {"mount": "keys"}}}})).await;
    cluster.wait_reason("gone", Reason::NotKv).await;
    assert!(asked > 0);
}
