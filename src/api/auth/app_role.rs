//! The AppRole method: <https://developer.hashicorp.com/vault/docs/auth/approle>.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::SecretKeyRef;
use crate::api::{null, rules};

/// An AppRole login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRole {
    /// Path at which the AppRole auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "approle or team-a/approle"))]
    pub mount: String,
    /// The role id: written here, or kept in a Secret.
    #[x_kube(validation = Rule::new("has(self.value) != has(self.secretRef)").message(
        "set exactly one of value and secretRef"))]
    pub role_id: RoleId,
    /// The secret id, kept in a Secret.
    pub secret_id: SecretId,
}

/// A role id: exactly one of its forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

// === impl RoleId ===

impl<'de> Deserialize<'de> for RoleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Each form, for a null is none.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            value: Option<String>,
            secret_ref: Option<SecretKeyRef>,
        }
        match Written::deserialize(deserializer)? {
            Written { value: Some(value), secret_ref: None } => Ok(Self::Value(value)),
            Written { value: None, secret_ref: Some(secret) } => Ok(Self::SecretRef(secret)),
            Written { value: None, secret_ref: None } | Written { value: Some(_), secret_ref: Some(_) } => {
                Err(D::Error::custom("roleId: set exactly one of value and secretRef"))
            }
        }
    }
}

/// Vault's own default path for the method.
fn default_mount() -> String {
    "approle".to_owned()
}

fn or_default_mount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, default_mount)
}
