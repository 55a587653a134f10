//! What OpenBao 2.7.2 answers to a login of the documented role, word by word but for ids and times.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The mount of the role.
pub const MOUNT: &str = "approle";

/// What it says of a mount that is not there, or that the token may not use.
pub const NO_ENGINE: &str =
    "preflight capability check returned 403, please ensure client's policies grant access to path \"nope/\"";

pub fn health(cluster_id: &str) -> Value {
    json!({
        "initialized": true, "sealed": false, "standby": false, "replication_performance_mode": "primary",
        "replication_dr_mode": "disabled", "server_time_utc": Timestamp::now().as_second(),
        "version": "2.7.2", "cluster_name": "vault-cluster-fake", "cluster_id": cluster_id,
    })
}

/// What stands around every other answer.
fn envelope() -> Value {
    json!({
        "request_id": "7d3b6a4e-0000-4000-8000-00000000c003", "lease_id": "", "renewable": false,
        "lease_duration": 0, "data": null, "wrap_info": null, "warnings": null, "auth": null,
    })
}

pub fn login(token: &str) -> Value {
    let mut answer = envelope();
    answer["auth"] = json!({
        "client_token": token, "accessor": "fake", "policies": ["default", "vault-connection"],
        "token_policies": ["default", "vault-connection"], "metadata": {"role_name": "role"},
        "lease_duration": 3600, "renewable": true, "entity_id": "7d3b6a4e-0000-4000-8000-00000000d004",
        "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0,
    });
    answer
}

pub fn lookup(token: &str) -> Value {
    let now = Timestamp::now();
    let mut answer = envelope();
    answer["data"] = json!({
        "accessor": "fake", "creation_time": now.as_second(), "creation_ttl": 3600, "display_name": MOUNT,
        "entity_id": "7d3b6a4e-0000-4000-8000-00000000d004", "expire_time": now.to_string(),
        "explicit_max_ttl": 0, "id": token, "issue_time": now.to_string(), "meta": {"role_name": "role"},
        "num_uses": 0, "orphan": true, "path": format!("auth/{MOUNT}/login"),
        "policies": ["default", "vault-connection"], "renewable": true, "ttl": 3599, "type": "service",
    });
    answer
}

/// Of a wrapping token that holds a secret id of the role.
pub fn wrapping() -> Value {
    let mut answer = envelope();
    answer["data"] = json!({
        "creation_path": format!("auth/{MOUNT}/role/role/secret-id"), "creation_time": Timestamp::now().to_string(),
        "creation_ttl": 300,
    });
    answer
}

pub fn unwrapped(secret_id: &str) -> Value {
    let mut answer = envelope();
    answer["data"] = json!({
        "secret_id": secret_id, "secret_id_accessor": "fake", "secret_id_num_uses": 0, "secret_id_ttl": 0,
    });
    answer
}

/// Of the engine of the documented policy.
pub fn engine() -> Value {
    let mut answer = envelope();
    answer["data"] = json!({
        "accessor": "kv_fake", "config": {"default_lease_ttl": 2_764_800, "force_no_cache": false, "max_lease_ttl": 2_764_800},
        "deprecation_status": "supported", "description": "", "external_entropy_access": false, "local": false,
        "options": {"version": "2"}, "path": "demo_mount/", "plugin_version": "",
        "running_plugin_version": "v2.7.2+builtin.bao", "running_sha256": "", "seal_wrap": false, "type": "kv",
        "uuid": "7d3b6a4e-0000-4000-8000-00000000e005",
    });
    answer
}

/// By the documented policy.
pub fn capabilities(paths: &Value) -> Value {
    let mut answer = envelope();
    let mut data = json!({});
    for path in paths.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let granted = match path {
            "sys/mounts" => json!(["read"]),
            path if path.starts_with("demo_mount/data/") => json!(["create", "delete", "read", "update"]),
            _ => json!(["deny"]),
        };
        answer[path] = granted.clone();
        data[path] = granted;
    }
    answer["data"] = data;
    answer
}
