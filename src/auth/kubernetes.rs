//! The Kubernetes method: <https://developer.hashicorp.com/vault/docs/auth/kubernetes>. Vault has the token of a ServiceAccount reviewed
//! by the API server of its own configuration.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    LoginFault, Names, Refusal, ServiceAccountRef,
    parts::default_mount,
    signed::{self, Fields, SignedLogin, SignedMethod, SignedToken},
};
use crate::schema::{FieldError, rules};

default_mount!("kubernetes");

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
pub type KubernetesLogin = SignedLogin<Kubernetes>;

// === impl Kubernetes ===

impl Kubernetes {
    pub(super) fn parse(&self) -> Result<KubernetesLogin, FieldError> {
        let token = SignedToken::ServiceAccount(self.service_account_ref.clone());
        SignedLogin::parse(&self.mount, &self.role, token)
    }
}

impl SignedMethod for Kubernetes {
    const NAMES: Names = Names { name: "kubernetes", title: "Kubernetes", field: "spec.auth.kubernetes" };
    const FIELDS: Fields = signed::fields!("spec.auth.kubernetes");

    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault> {
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

    fn explain(_: &KubernetesLogin, fault: &LoginFault, at: &str) -> Option<String> {
        (*fault == LoginFault::Unverified).then(|| Self::denied(at))
    }

    fn denied(at: &str) -> String {
        format!(
            "Vault denied {at} without a reason. Check that a Kubernetes auth method is mounted there (spec.auth.kubernetes.mount), that kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt in its configuration are correct, and that the ServiceAccount still exists. A Vault without token_reviewer_jwt is not supported; use the method jwt there."
        )
    }

    fn not_authorized(login: &KubernetesLogin) -> String {
        let SignedToken::ServiceAccount(ServiceAccountRef { name, .. }) = &login.token else {
            return String::new();
        };
        format!(
            "Add ServiceAccount {name:?} to bound_service_account_names of the role, and this namespace to bound_service_account_namespaces."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        LoginMethod as _,
        testing::{assert_refusals, service_account},
    };

    #[test]
    fn refusals_are_distinguished() {
        let written = Kubernetes {
            mount: default_mount(),
            role: "sync".to_owned(),
            service_account_ref: service_account(),
        };
        let method = written.parse().expect("valid");
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
                (500, "could not load backend configuration", Some(LoginFault::NotConfigured)),
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
