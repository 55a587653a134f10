//! What tests of login methods have in common.

use std::process::Command;

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, Resource, api::PostParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use super::{
    bed::{program, run, unique, variable},
    cluster::{Cluster, RELEASE, RELEASE_NAMESPACE},
    vault::Vault,
    verdict::assert_failed,
};

/// What the roles at Vault expect.
pub const AUDIENCE: &str = "vault";

/// The ServiceAccount that they are for.
pub const ACCOUNT: &str = "sync";

/// A namespace, and the Vault of the bed.
pub struct Stage {
    pub cluster: Cluster,
    pub vault: Vault,
}

impl Stage {
    pub async fn new(prefix: &str) -> Self {
        Self { cluster: Cluster::new(prefix).await, vault: Vault::shared() }
    }

    async fn create<K>(&self, object: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        let api: Api<K> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        api.create(&PostParams::default(), &object).await.expect("it is created");
    }

    /// A ServiceAccount, whose owner agrees by the label.
    pub async fn account(&self, name: &str, is_labelled: bool) {
        let labels = if is_labelled { json!({"appconnections.dev/credentials": "true"}) } else { json!({}) };
        self.create::<ServiceAccount>(json!({"metadata": {"name": name, "labels": labels}})).await;
    }

    /// Lets the operator request its tokens, as troubleshooting.md has it under `TokenForbidden`.
    pub async fn grant(&self, name: &str) {
        self.create::<Role>(json!({
            "metadata": {"name": format!("tokens-of-{name}")},
            "rules": [
                {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [name], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"]},
            ],
        }))
        .await;
        self.create::<RoleBinding>(json!({
            "metadata": {"name": format!("tokens-of-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("tokens-of-{name}")},
            "subjects": [{"kind": "ServiceAccount", "name": RELEASE, "namespace": RELEASE_NAMESPACE}],
        }))
        .await;
    }

    /// A token of a ServiceAccount, as its administrator gets it.
    pub fn token_of(&self, account: &str, audience: Option<&str>) -> String {
        let mut command: Command = program("kubectl");
        command.args(["create", "token", account, "--namespace", &self.cluster.namespace]);
        command.args(audience.map(|audience| format!("--audience={audience}")));
        run(&mut command).trim().to_owned()
    }

    pub async fn mount(&self, kind: &str) -> String {
        let mount = unique(kind);
        self.vault.write(&format!("sys/auth/{mount}"), &json!({"type": kind})).await;
        mount
    }

    pub async fn fails(&self, name: &str, reason: Reason, words: &str) {
        let found = self.cluster.wait_reason(name, reason).await;
        assert_failed(name, &found, reason, words);
    }

    pub async fn connect(&self, name: &str, auth: Value) {
        self.cluster.connect(name, &self.spec(&auth)).await;
    }

    pub fn spec(&self, auth: &Value) -> Value {
        json!({"instanceUrl": self.vault.address, "auth": auth})
    }
}

/// A reference to a service account, whose token is for this audience.
pub fn account_ref(name: &str, audience: &str) -> Value {
    json!({"name": name, "audiences": [audience]})
}

/// The public key of the API server's tokens.
pub fn issuer_key() -> String {
    let folder = variable("BED_APISERVER_CA").replace("ca.pem", "service-account.key");
    run(Command::new("openssl").args(["ec", "-pubout", "-in", &folder]))
}

/// What lets a ServiceAccount of a namespace review tokens.
pub fn reviewer_binding(namespace: &str) -> ClusterRoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": unique("reviewer")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": namespace}],
    }))
    .expect("an object")
}
