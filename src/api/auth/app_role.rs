//! The AppRole method: <https://developer.hashicorp.com/vault/docs/auth/approle>.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyRef;

/// An AppRole login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRole {
    /// Path at which the AppRole auth method is mounted; it may be nested.
    #[serde(default = "default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^/?[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$')").message(
        "write the path of the mount as `vault auth list` shows it, such as approle or team-a/approle: letters, digits, '.', '_' and '-'"))]
    pub mount: String,
    /// The role id: written here, or kept in a Secret.
    #[x_kube(validation = Rule::new("has(self.value) != has(self.secretRef)").message(
        "set exactly one of value and secretRef"))]
    pub role_id: RoleId,
    /// The secret id, kept in a Secret.
    pub secret_id: SecretId,
}

/// A role id: exactly one of its forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleId {
    /// The role id itself. It is no secret on its own, and the status shows it.
    Value(#[schemars(length(min = 1, max = 4096))] String),
    /// The key of a Secret that holds it.
    SecretRef(SecretKeyRef),
}

/// Where the secret id is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretId {
    /// The key of a Secret that holds it.
    pub secret_ref: SecretKeyRef,
    /// Whether the Secret holds a response-wrapping token instead, as `vault write -wrap-ttl=...` gives it. It is opened
    /// once, and the secret id is kept in the operator's memory only: after a restart of the operator a new wrapping
    /// token is needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

/// Vault's own default path for the method.
fn default_mount() -> String {
    "approle".to_owned()
}
