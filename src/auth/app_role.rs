//! The AppRole method: <https://developer.hashicorp.com/vault/docs/auth/approle>.

use kube::KubeSchema;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{Input, LoginFault, LoginMethod, LoginRequest, Purpose, Refusal, SecretKeyRef, Source, body};
use crate::{
    names::MountPath,
    schema::{FieldError, null, rules, text},
};

/// An AppRole login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRole {
    /// Path at which the AppRole auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "approle or team-a/approle"))]
    pub mount: String,
    /// The role ID, either inline or in a Secret.
    #[x_kube(validation = Rule::new("has(self.value) != has(self.secretRef)").message(
        "set exactly one of value and secretRef"))]
    pub role_id: RoleId,
    /// The secret ID, in a Secret. Omit it only for a role with `bind_secret_id=false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<SecretId>,
}

/// A role id: exactly one of its forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleId {
    /// The role ID itself. It is not a secret on its own, and the status shows it.
    Value(#[schemars(length(min = 1, max = 4096))] String),
    /// The key of a Secret that contains it.
    SecretRef(SecretKeyRef),
}

/// Where the secret id is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretId {
    /// The key of a Secret that contains it.
    pub secret_ref: SecretKeyRef,
    /// Whether the Secret contains a response-wrapping token (created with `vault write -wrap-ttl=...`) instead of
    /// the secret ID. The operator unwraps it once and keeps the secret ID only in memory, so it needs a new
    /// wrapping token after a restart.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

/// An AppRole login, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRoleLogin {
    /// Path of the auth method.
    pub mount: MountPath,
    /// Where the role id is.
    pub role_id: RoleId,
    /// Where the secret id is; none for a role without one.
    pub secret_id: Option<SecretKeyRef>,
    /// Whether what is there is a wrapping token that holds the secret id.
    pub wrapped: bool,
}

// === impl AppRole ===

impl AppRole {
    pub(super) fn parse(&self) -> Result<AppRoleLogin, FieldError> {
        let Self { mount, role_id, secret_id } = self;
        match role_id {
            RoleId::Value(value) => text::bounded("spec.auth.appRole.roleId.value", value, 1, 4096)?,
            RoleId::SecretRef(SecretKeyRef { name, key }) => {
                text::reference("spec.auth.appRole.roleId.secretRef", name, key)?;
            }
        }
        if let Some(SecretId { secret_ref: SecretKeyRef { name, key }, .. }) = secret_id {
            text::reference("spec.auth.appRole.secretId.secretRef", name, key)?;
        }
        Ok(AppRoleLogin {
            mount: text::mount("spec.auth.appRole.mount", mount)?,
            role_id: role_id.clone(),
            secret_id: secret_id.as_ref().map(|it| it.secret_ref.clone()),
            wrapped: secret_id.as_ref().is_some_and(|it| it.wrapped),
        })
    }
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

// === impl AppRoleLogin ===

impl LoginMethod for AppRoleLogin {
    fn name(&self) -> &'static str {
        "app-role"
    }

    fn title(&self) -> &'static str {
        "AppRole"
    }

    fn field(&self) -> &'static str {
        "spec.auth.appRole"
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let (field, source) = match &self.role_id {
            RoleId::Value(value) => ("spec.auth.appRole.roleId.value", Source::Spec(value)),
            RoleId::SecretRef(secret) => ("spec.auth.appRole.roleId", Source::Secret(secret)),
        };
        let role_id = Input { field, source, purpose: Purpose::RoleId };
        let purpose = if self.wrapped { Purpose::WrappingToken } else { Purpose::SecretId };
        let secret_id = self.secret_id.as_ref().map(|secret| {
            let source = Source::Secret(secret);
            Input { field: "spec.auth.appRole.secretId", source, purpose }
        });
        std::iter::once(role_id).chain(secret_id).collect()
    }

    fn request(&self, values: &[SecretString]) -> Option<LoginRequest> {
        let fields: Vec<_> = ["role_id", "secret_id"]
            .into_iter()
            .zip(values.iter().map(ExposeSecret::expose_secret))
            .collect();
        Some(LoginRequest { path: self.path(), body: body(&fields) })
    }

    fn lockout_alias(&self, values: &[SecretString]) -> Option<SecretString> {
        values.first().cloned()
    }

    fn shown_role_id(&self) -> Option<&str> {
        match &self.role_id {
            RoleId::Value(value) => Some(value),
            RoleId::SecretRef(_) => None,
        }
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        let says = refusal.says;
        match refusal.status {
            400 if says("source address") && says("cidr restrictions") => Some(LoginFault::SourceAddress),
            400 => Some(LoginFault::InvalidCredentials),
            _ => None,
        }
    }

    fn invalid_credentials(&self, at: &str) -> String {
        if self.secret_id.is_none() {
            return format!(
                "Vault rejected the role ID at {at}. Correct the role ID, or, if the role requires a secret ID, set spec.auth.appRole.secretId (or bind_secret_id=false on the role). Also check the mount and the Vault namespace. A changed role ID is tried immediately; the same one is not retried before status.nextLoginTime."
            );
        }
        format!(
            "Vault rejected the role ID and secret ID at {at}. Update the Secret named in spec.auth.appRole: one of them is wrong, or the secret ID has expired, is used up or was destroyed. Also check the mount and the Vault namespace. A changed Secret is tried immediately; the same pair is not retried before status.nextLoginTime."
        )
    }

    fn denied(&self, at: &str) -> String {
        format!(
            "Vault denied {at}. Check that an AppRole auth method is mounted there (spec.auth.appRole.mount), that the role is not locked after failed logins, and that it may log in from the operator's address. Then request a check (annotation appconnections.dev/requestedAt); otherwise the next attempt is at status.nextLoginTime."
        )
    }

    fn source_address(&self, at: &str) -> String {
        format!(
            "Vault does not accept this role ID and secret ID from the operator's address at {at}. Add the address to secret_id_bound_cidrs of the role, or to cidr_list of the secret ID."
        )
    }
}

/// Vault's own default path for the method.
fn default_mount() -> String {
    "approle".to_owned()
}

fn or_default_mount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, default_mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_into_the_body() {
        let key = |key: &str| SecretKeyRef { name: "s".to_owned(), key: key.to_owned() };
        let login = AppRoleLogin {
            mount: MountPath::parse("approle").expect("valid"),
            role_id: RoleId::SecretRef(key("roleId")),
            secret_id: Some(key("secretId")),
            wrapped: false,
        };
        let request = login.request(&["r\"1".into(), "s\\2".into()]).expect("a request");
        assert_eq!(request.path, "auth/approle/login");
        let parsed: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(parsed, serde_json::json!({"role_id": "r\"1", "secret_id": "s\\2"}));
        let without = AppRoleLogin { secret_id: None, ..login };
        assert_eq!(without.inputs().len(), 1);
        let request = without.request(&["role".into()]).expect("a request");
        assert_eq!(request.body.as_slice(), br#"{"role_id":"role"}"#);
    }
}
