//! Names that Vault takes, whatever their characters: mounts, Vault namespaces and paths, on a real server.

use serde_json::json;

use crate::support::{
    cluster::Cluster,
    operator::Operator,
    specs,
    vault::{AppRole, Vault, has_namespaces},
    verdict::is_ready,
    wait::PATIENCE,
};

/// Names that mean something to a URL, or are not ASCII, and what of them a URL may hold.
const NAMES: [(&str, &str, &str); 4] = [
    ("blanks", "team a/app role", "team%20a/app%20role"),
    ("signs", "me@example.com:app+role*", "me%40example.com%3Aapp%2Brole%2A"),
    ("japanese", "チーム/認証", "%E3%83%81%E3%83%BC%E3%83%A0/%E8%AA%8D%E8%A8%BC"),
    ("quotes", "a\"b'c<d>\\e", "a%22b%27c%3Cd%3E%5Ce"),
];

#[tokio::test]
async fn every_name_of_a_mount_that_vault_takes_can_be_written() {
    let (cluster, vault) = (Cluster::new("names").await, Vault::own("names", ""));
    let _operator = Operator::start(&cluster).await;
    for (name, mount, escaped) in NAMES {
        vault.write(&format!("sys/auth/{escaped}"), &json!({"type": "approle"})).await;
        vault
            .write(&format!("sys/mounts/kv-{escaped}"), &json!({"type": "kv", "options": {"version": "2"}}))
            .await;
        let quoted = mount.replace('\\', "\\\\").replace('"', "\\\"");
        let policy = format!(
            "path \"kv-{quoted}/data/*\" {{ capabilities = [\"create\", \"read\", \"update\", \"delete\"] }}\n\
             path \"sys/mounts\" {{ capabilities = [\"read\"] }}"
        );
        vault.write(&format!("sys/policies/acl/{name}"), &json!({"policy": policy})).await;
        let settings = json!({"token_ttl": "1h", "token_policies": name});
        let role_id = vault.role(escaped, "role", settings).await;
        let secret_id = vault.secret_id_of(escaped, "role").await;
        let role = AppRole { mount: mount.to_owned(), role_id };
        cluster.secret(name, &specs::pair(&role, &secret_id)).await;
        let mut spec = specs::app_role(&vault.address, mount, name);
        spec["require"] = json!({"secretSync": {"mount": format!("kv-{mount}"), "path": "*"}});
        cluster.connect(name, &spec).await;
        let ready = cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let shown = ready.status.and_then(|status| status.connection).and_then(|connection| connection.mount);
        assert_eq!(shown.as_deref(), Some(mount), "the status shows it as Vault does");
    }
}

#[tokio::test]
async fn every_name_of_a_namespace_that_vault_takes_can_be_written() {
    if !has_namespaces() {
        return;
    }
    let (cluster, vault) = (Cluster::new("spaces").await, Vault::own("spaces", ""));
    let _operator = Operator::start(&cluster).await;
    let names =
        [("signs", "me@example.com:a", "me%40example.com%3Aa"), ("japanese", "開発", "%E9%96%8B%E7%99%BA")];
    for (name, namespace, escaped) in names {
        vault.write(&format!("sys/namespaces/{escaped}"), &json!({})).await;
        vault.write(&format!("{escaped}/sys/auth/approle"), &json!({"type": "approle"})).await;
        let path = format!("{escaped}/auth/approle/role/role");
        vault.write(&path, &json!({"token_ttl": "1h"})).await;
        let role_id = vault.read(&format!("{path}/role-id")).await;
        let role_id = role_id["data"]["role_id"].as_str().expect("a role id").to_owned();
        let secret_id = vault.write(&format!("{path}/secret-id"), &json!({})).await;
        let secret_id = secret_id["data"]["secret_id"].as_str().expect("a secret id").to_owned();
        let role = AppRole { mount: "approle".to_owned(), role_id };
        cluster.secret(name, &specs::pair(&role, &secret_id)).await;
        let mut spec = specs::app_role(&vault.address, "approle", name);
        spec["namespace"] = json!(namespace);
        cluster.connect(name, &spec).await;
        let ready = cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let shown =
            ready.status.and_then(|status| status.connection).and_then(|connection| connection.namespace);
        assert_eq!(shown.as_deref(), Some(namespace), "the status shows it as Vault does");
    }
}
