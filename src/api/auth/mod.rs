//! How a connection logs in. A method is one file here and one variant of [`Auth`]; the compiler names the rest.

mod app_role;
mod token;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    app_role::{AppRole, RoleId, SecretId},
    token::Token,
};

/// How to log in to Vault: exactly one method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// Log in with an AppRole (recommended): a role id and a secret id.
    AppRole(AppRole),
    /// Use an access token that somebody else issued. It is renewed when it is renewable, and never revoked.
    Token(Token),
}

/// A key of a Secret in the connection's namespace. The Secret must carry the label
/// `appconnections.dev/credentials: "true"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "write the name of a Secret: lower case letters, digits, '-' and '.'"))]
    pub name: String,
    /// Key within the Secret's data.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._A-Za-z0-9]+$')").message(
        "write a key of the Secret's data: letters, digits, '-', '_' and '.'"))]
    pub key: String,
}

/// A Secret in the same namespace, whose keys are those of its type. It must carry the label
/// `appconnections.dev/credentials: "true"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "write the name of a Secret: lower case letters, digits, '-' and '.'"))]
    pub name: String,
}

// === impl Auth ===

impl Auth {
    /// The method's name in `status.connection.method`.
    pub fn method(&self) -> &'static str {
        match self {
            Self::AppRole(_) => "app-role",
            Self::Token(_) => "token",
        }
    }
}
