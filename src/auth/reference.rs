//! Names of the objects that hold what is logged in with.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;

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
