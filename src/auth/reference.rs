//! Names of the objects that hold what is logged in with.

use kube::KubeSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    names::path,
    schema::{FieldError, null, rules, text},
};

/// Shortest and longest life of a token, in seconds. Kubernetes makes none that is shorter.
const EXPIRATION_BOUNDS: std::ops::RangeInclusive<u32> = 600..=3600;

/// Most audiences of a token.
const MAX_AUDIENCES: usize = 8;

/// A key of a Secret in the connection's namespace. The Secret must carry the label
/// `appconnections.dev/credentials: "true"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("Secret"))]
    pub name: String,
    /// Key within the Secret's data.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::key("Secret"))]
    pub key: String,
}

/// A Secret in the same namespace, whose keys are those of its type. It must carry the label
/// `appconnections.dev/credentials: "true"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("Secret"))]
    pub name: String,
}

/// A ServiceAccount in the connection's namespace. It must carry the label `appconnections.dev/credentials: "true"`, and a Role must
/// let the operator request tokens for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of the ServiceAccount.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("ServiceAccount"))]
    pub name: String,
    /// Audiences of the token, as the role in Vault requires them. An audience of the Kubernetes API server is
    /// rejected, because Vault could use the token to act as the ServiceAccount in this cluster.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 256)))]
    #[x_kube(validation = rules::audiences())]
    pub audiences: Vec<String>,
    /// Lifetime of the token in seconds, from 600 to 3600. The operator requests a token for each login and does
    /// not store it.
    #[serde(default = "ten_minutes", deserialize_with = "or_ten_minutes")]
    #[schemars(range(min = 600, max = 3600))]
    pub expiration_seconds: u32,
}

// === impl SecretKeyRef ===

impl SecretKeyRef {
    /// Fails unless both are valid. `field` is where it stands.
    pub(super) fn check(&self, field: &'static str) -> Result<(), FieldError> {
        text::reference(field, &self.name, &self.key)
    }
}

// === impl ServiceAccountRef ===

impl ServiceAccountRef {
    /// Fails unless every field is valid. `field` is where it stands.
    pub(super) fn check(&self, field: &'static str) -> Result<(), FieldError> {
        text::object_name(field, &self.name)?;
        let is_audience = |text: &String| text::bounded(field, text, 1, 256).is_ok() && path::is_plain(text);
        if !(1..=MAX_AUDIENCES).contains(&self.audiences.len()) || !self.audiences.iter().all(is_audience) {
            return Err(FieldError::Audiences { field });
        }
        if !EXPIRATION_BOUNDS.contains(&self.expiration_seconds) {
            return Err(FieldError::Expiration { field });
        }
        Ok(())
    }
}

/// The shortest life that Kubernetes gives: the token is used at once.
fn ten_minutes() -> u32 {
    *EXPIRATION_BOUNDS.start()
}

fn or_ten_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    null::or(deserializer, ten_minutes)
}
