//! How a connection logs in. A method is one file here and one variant of [`Auth`]; the compiler names the rest.

mod app_role;
mod token;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

pub use self::{
    app_role::{AppRole, RoleId, SecretId},
    token::Token,
};
use super::rules;

/// How to log in to Vault: exactly one method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Each method, for a null is none.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            app_role: Option<AppRole>,
            token: Option<Token>,
        }
        match Written::deserialize(deserializer)? {
            Written { app_role: Some(app_role), token: None } => Ok(Self::AppRole(app_role)),
            Written { app_role: None, token: Some(token) } => Ok(Self::Token(token)),
            Written { app_role: None, token: None } | Written { app_role: Some(_), token: Some(_) } => {
                Err(D::Error::custom("auth: set exactly one of appRole and token"))
            }
        }
    }
}
