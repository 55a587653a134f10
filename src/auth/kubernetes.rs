//! The Kubernetes method: <https://developer.hashicorp.com/vault/docs/auth/kubernetes>. Vault has the token of a ServiceAccount reviewed
//! by the API server of its own configuration.

use kube::KubeSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Input, LoginFault, LoginMethod, LoginRequest, Purpose, Refusal, ServiceAccountRef, Source, body, role,
};
use crate::{
    names::MountPath,
    schema::{FieldError, null, rules, text},
};

/// A login with a token of a ServiceAccount, which Vault has reviewed by the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// Path at which the Kubernetes auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "kubernetes or team-a/kubernetes"))]
    pub mount: String,
    /// Name of the role at that mount.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::plain())]
    pub role: String,
    /// The ServiceAccount to log in as.
    pub service_account_ref: ServiceAccountRef,
}

/// The same, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesLogin {
    mount: MountPath,
    role: String,
    account: ServiceAccountRef,
}

// === impl Kubernetes ===

impl Kubernetes {
    pub(super) fn parse(&self) -> Result<KubernetesLogin, FieldError> {
        self.service_account_ref.check("spec.auth.kubernetes.serviceAccountRef")?;
        Ok(KubernetesLogin {
            mount: text::mount("spec.auth.kubernetes.mount", &self.mount)?,
            role: role("spec.auth.kubernetes.role", &self.role)?,
            account: self.service_account_ref.clone(),
        })
    }
}

// === impl KubernetesLogin ===

impl LoginMethod for KubernetesLogin {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn title(&self) -> &'static str {
        "Kubernetes"
    }

    fn field(&self) -> &'static str {
        "spec.auth.kubernetes"
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn role(&self) -> Option<&str> {
        Some(&self.role)
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let source = Source::ServiceAccount(&self.account);
        let field = "spec.auth.kubernetes.serviceAccountRef";
        vec![Input { field, source, purpose: Purpose::Jwt }]
    }

    fn request(&self, values: &[SecretString]) -> Option<LoginRequest> {
        let [jwt] = values else { return None };
        let body = body(&[("role", &self.role), ("jwt", jwt.expose_secret())]);
        Some(LoginRequest { path: self.path(), body })
    }

    fn lockout_alias(&self, _values: &[SecretString]) -> Option<SecretString> {
        None
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        let says = refusal.says;
        match refusal.status {
            400 if says("invalid role name") => Some(LoginFault::RoleNotFound),
            403 if says("not authorized") => Some(LoginFault::NotAuthorized),
            403 if says("invalid audience") => Some(LoginFault::AudienceMismatch),
            // Vault says the same when the API server of its configuration cannot be asked.
            403 => Some(LoginFault::Unverified),
            500 if says("could not load backend configuration") => Some(LoginFault::NotConfigured),
            _ => None,
        }
    }

    fn invalid_credentials(&self, at: &str) -> String {
        format!(
            "Vault rejected the token of the ServiceAccount at {at}. Check the role and the configuration of the auth method."
        )
    }

    fn denied(&self, at: &str) -> String {
        format!(
            "Vault denied {at} without a reason. Check that a Kubernetes auth method is mounted there ({}.mount), that kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt in its configuration are correct, and that the ServiceAccount still exists. A Vault without token_reviewer_jwt is not supported; use the method jwt there.",
            self.field()
        )
    }

    fn not_authorized(&self) -> String {
        format!(
            "Add ServiceAccount {:?} to bound_service_account_names of the role, and this namespace to bound_service_account_namespaces.",
            self.account.name
        )
    }
}

/// Vault's own default path for the method.
fn default_mount() -> String {
    "kubernetes".to_owned()
}

fn or_default_mount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, default_mount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::assert_refusals;

    #[test]
    fn refusals_are_told_apart() {
        let method = KubernetesLogin {
            mount: MountPath::parse("kubernetes").expect("valid"),
            role: "sync".to_owned(),
            account: crate::auth::testing::service_account(),
        };
        assert_refusals(
            &method,
            &[
                (400, r#"invalid role name "nope""#, Some(LoginFault::RoleNotFound)),
                (403, "service account name not authorized", Some(LoginFault::NotAuthorized)),
                (403, "namespace not authorized", Some(LoginFault::NotAuthorized)),
                (
                    403,
                    "invalid audience (aud) claim: audience claim does not match any expected audience",
                    Some(LoginFault::AudienceMismatch),
                ),
                (403, "permission denied", Some(LoginFault::Unverified)),
                (400, "missing jwt", None),
                (500, "internal error", None),
            ],
        );
        let request = method.request(&["a.b.c".into()]).expect("a request");
        assert_eq!(request.path, "auth/kubernetes/login");
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body, serde_json::json!({"role": "sync", "jwt": "a.b.c"}));
        assert!(method.lockout_alias(&[]).is_none(), "Vault never locks it");
    }
}
