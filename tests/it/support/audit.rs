//! What the operator really asked, from the audit logs of the servers.
//!
//! A log is complete up to a request of ours once that request is in it: so we make one that has a name of its own, and
//! look for it, in the place of a sleep.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;

use super::{
    bed::{unique, variable},
    cluster::{Cluster, operator_user},
    vault::Vault,
    wait::{PATIENCE, eventually},
};

/// A request to the API server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeRequest {
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub uri: String,
    #[serde(default)]
    object_ref: ObjectRef,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

/// A request to Vault.
#[derive(Debug, Deserialize)]
struct VaultLine {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    auth: VaultAuth,
    request: VaultRequest,
}

#[derive(Debug, Default, Deserialize)]
struct VaultAuth {
    #[serde(default)]
    display_name: String,
}

#[derive(Debug, Deserialize)]
struct VaultRequest {
    path: String,
}

/// What operators asked the API server about the namespace of a test, watches apart, until now.
pub async fn kube_requests(cluster: &Cluster) -> Vec<KubeRequest> {
    let marker = unique("marker");
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = config_maps.get_opt(&marker).await.expect("the API server answers");
    assert!(found.is_none());
    let text = complete_log(Path::new(&variable("BED_KUBE_AUDIT")), &marker).await;
    let (user, namespace) = (operator_user(), cluster.namespace.as_str());
    text.lines()
        .filter(|line| line.contains(namespace))
        .map(|line| serde_json::from_str::<KubeRequest>(line).expect("a line of the audit log is JSON"))
        .filter(|request| {
            request.verb != "watch"
                && request.user.username == user
                && request.object_ref.namespace == namespace
        })
        .collect()
}

/// The paths that were asked of a Vault until now, by anybody but its administrator. `sys/health` is not among them:
/// a Vault does not audit it.
pub async fn vault_paths(vault: &Vault) -> Vec<String> {
    let text = vault_log(vault).await;
    text.lines()
        .map(|line| serde_json::from_str::<VaultLine>(line).expect("a line of the audit log is JSON"))
        .filter(|line| line.kind == "request" && line.auth.display_name != "root")
        .map(|line| line.request.path)
        // What a Vault writes to see whether its audit log can be written.
        .filter(|path| path != "sys/audit/test")
        .collect()
}

/// The audit log of a Vault until now, a line of JSON for each request and each answer.
pub async fn vault_log(vault: &Vault) -> String {
    let marker = unique("marker");
    vault.read_missing(&format!("demo_mount/data/{marker}")).await;
    complete_log(&vault.audit, &marker).await
}

/// How often a path is among them.
pub fn count(paths: &[String], path: &str) -> usize {
    paths.iter().filter(|asked| *asked == path).count()
}

/// A log, once `marker` is in it. Its last line may be half written.
async fn complete_log(log: &Path, marker: &str) -> String {
    eventually("our own request is in the audit log", PATIENCE, async || {
        let bytes = fs::read(log).expect("the bed keeps an audit log");
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text.contains(marker).then_some(text)
    })
    .await
}

// === impl KubeRequest ===

impl KubeRequest {
    /// Whether it is about this resource, or resource/subresource.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        let (kind, sub) = resource.split_once('/').unwrap_or((resource, ""));
        self.verb == verb && self.object_ref.resource == kind && self.object_ref.subresource == sub
    }
}
