//! The AppRole method: <https://developer.hashicorp.com/vault/docs/auth/approle>.

use kube::KubeSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    Input, LoginFault, LoginMethod, LoginRequest, Names, Purpose, Refusal, SecretKeyRef, Source,
    parts::{Fields, body, default_mount, fields, value_or_secret},
};
use crate::{
    names::MountPath,
    schema::{FieldError, null, rules, text},
};

const ROLE_ID: Fields = fields!("spec.auth.appRole.roleId");
const SECRET_ID: Fields = fields!("spec.auth.appRole.secretId");

default_mount!("approle");

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

value_or_secret! {
    /// A role id: exactly one of its forms.
    RoleId("roleId"),
    /// The role ID itself. It is not a secret on its own, and the status shows it.
    4096
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
        role_id.check(&ROLE_ID)?;
        if let Some(SecretId { secret_ref, .. }) = secret_id {
            secret_ref.check(SECRET_ID.secret)?;
        }
        Ok(AppRoleLogin {
            mount: text::mount("spec.auth.appRole.mount", mount)?,
            role_id: role_id.clone(),
            secret_id: secret_id.as_ref().map(|it| it.secret_ref.clone()),
            wrapped: secret_id.as_ref().is_some_and(|it| it.wrapped),
        })
    }
}

// === impl AppRoleLogin ===

impl LoginMethod for AppRoleLogin {
    fn names(&self) -> Names {
        Names { name: "app-role", title: "AppRole", field: "spec.auth.appRole" }
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let purpose = if self.wrapped { Purpose::WrappingToken } else { Purpose::SecretId };
        let secret_id = self.secret_id.as_ref().map(|secret| {
            let source = Source::Secret(secret);
            Input { field: SECRET_ID.whole, source, purpose }
        });
        std::iter::once(self.role_id.input(&ROLE_ID, Purpose::RoleId)).chain(secret_id).collect()
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
        self.role_id.inline()
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        let says = refusal.says;
        match refusal.status {
            400 if says("source address") && says("cidr restrictions") => Some(LoginFault::SourceAddress),
            400 => Some(LoginFault::InvalidCredentials),
            _ => None,
        }
    }

    fn explain(&self, fault: &LoginFault, at: &str) -> Option<String> {
        Some(match fault {
            LoginFault::InvalidCredentials if self.secret_id.is_none() => format!(
                "Vault rejected the role ID at {at}. Correct the role ID, or, if the role requires a secret ID, set spec.auth.appRole.secretId (or bind_secret_id=false on the role). Also check the mount and the Vault namespace. A changed role ID is tried immediately; the same one is not retried before status.nextLoginTime."
            ),
            LoginFault::InvalidCredentials => format!(
                "Vault rejected the role ID and secret ID at {at}. Update the Secret named in spec.auth.appRole: one of them is wrong, or the secret ID has expired, is used up or was destroyed. Also check the mount and the Vault namespace. A changed Secret is tried immediately; the same pair is not retried before status.nextLoginTime."
            ),
            LoginFault::SourceAddress => format!(
                "Vault does not accept this role ID and secret ID from the operator's address at {at}. Add the address to secret_id_bound_cidrs of the role, or to cidr_list of the secret ID."
            ),
            // `read_refusal` gives no others.
            _ => return None,
        })
    }

    fn denied(&self, at: &str) -> String {
        format!(
            "Vault denied {at}. Check that an AppRole auth method is mounted there (spec.auth.appRole.mount), that the role is not locked after failed logins, and that it may log in from the operator's address. Then request a check (annotation appconnections.dev/requestedAt); otherwise the next attempt is at status.nextLoginTime."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::assert_refusals;

    #[test]
    fn refusals_are_distinguished_and_values_are_escaped_into_the_body() {
        let key = |key: &str| SecretKeyRef { name: "s".to_owned(), key: key.to_owned() };
        let login = AppRoleLogin {
            mount: MountPath::parse("approle").expect("valid"),
            role_id: RoleId::SecretRef(key("roleId")),
            secret_id: Some(key("secretId")),
            wrapped: false,
        };
        assert_refusals(
            &login,
            &[
                (400, "invalid role or secret id", Some(LoginFault::InvalidCredentials)),
                (
                    400,
                    r#"source address "127.0.0.1" unauthorized through CIDR restrictions on the secret ID"#,
                    Some(LoginFault::SourceAddress),
                ),
                (403, "permission denied", None),
            ],
        );
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
