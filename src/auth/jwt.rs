//! The JWT method: <https://developer.hashicorp.com/vault/docs/auth/jwt>. Vault verifies a signed token itself, by the keys that it was
//! given.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    LoginFault, Names, Refusal, SecretKeyRef, ServiceAccountRef,
    parts::default_mount,
    signed::{self, Fields, SignedLogin, SignedMethod, SignedToken},
};
use crate::schema::{FieldError, rules};

default_mount!("jwt");

/// A login with a signed token (JWT), which Vault verifies by keys that it was given. The token is that of a ServiceAccount, or in
/// a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.serviceAccountRef) != has(self.secretRef)").message(
    "set exactly one of serviceAccountRef and secretRef"))]
pub struct Jwt {
    /// Path at which the JWT auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "jwt or team-a/jwt"))]
    pub mount: String,
    /// Name of the role at that mount.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::plain())]
    pub role: String,
    /// The ServiceAccount to log in as. The operator requests a token for each login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
    /// The key of a Secret that contains a JWT of another issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// The same, valid by construction.
pub type JwtLogin = SignedLogin<Jwt>;

// === impl Jwt ===

impl Jwt {
    pub(super) fn parse(&self) -> Result<JwtLogin, FieldError> {
        let token = match (&self.service_account_ref, &self.secret_ref) {
            (Some(account), None) => SignedToken::ServiceAccount(account.clone()),
            (None, Some(secret)) => SignedToken::Secret(secret.clone()),
            (None, None) | (Some(_), Some(_)) => return Err(FieldError::JwtSource),
        };
        SignedLogin::parse(&self.mount, &self.role, token)
    }
}

impl SignedMethod for Jwt {
    const NAMES: Names = Names { name: "jwt", title: "JWT", field: "spec.auth.jwt" };
    const FIELDS: Fields = signed::fields!("spec.auth.jwt");

    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault> {
        let says = |words: &[&str]| words.iter().any(|words| (refusal.says)(words));
        if refusal.status != 400 {
            return None;
        }
        Some(if says(&["could not load configuration"]) {
            LoginFault::NotConfigured
        } else if says(&["fetching keys", "get keys failed", "error checking"]) {
            LoginFault::Unverified
        } else if says(&["role_type"]) {
            LoginFault::RoleTypeMismatch
        } else if says(&["could not be found"]) {
            LoginFault::RoleNotFound
        } else if says(&["audience"]) {
            LoginFault::AudienceMismatch
        } else if says(&["is expired", "expiration time", "not before", "not valid yet", "issued at"]) {
            LoginFault::Expired
        } else if says(&["claim"]) {
            LoginFault::NotAuthorized
        } else {
            LoginFault::NotAccepted
        })
    }

    fn explain(login: &JwtLogin, fault: &LoginFault, at: &str) -> Option<String> {
        Some(match fault {
            LoginFault::NotAccepted => format!(
                "Vault rejected the JWT at {at}: none of its keys verifies the signature, or the value is not a JWT. Check that jwt_validation_pubkeys, jwks_url or oidc_discovery_url of the auth method provides the issuer's current keys."
            ),
            LoginFault::Unverified => format!(
                "Vault could not verify the JWT at {at}, because it could not fetch the issuer's keys. Check jwks_url or oidc_discovery_url of the auth method, and Vault's network. For a cluster whose keys require a login, set jwt_validation_pubkeys."
            ),
            LoginFault::RoleTypeMismatch => format!(
                "Vault accepts only browser logins for the role {:?} at {at}. Create a role with role_type=jwt, and name it in spec.auth.jwt.role.",
                login.role
            ),
            LoginFault::Expired => format!(
                "Vault rejected the JWT at {at}, because it has expired or is not valid yet. Store a new one in the Secret named in spec.auth.jwt; if it is a ServiceAccount's token, compare the clocks of Vault and the cluster."
            ),
            // `read_refusal` gives no others that read otherwise than those of the Kubernetes method.
            _ => return None,
        })
    }

    fn denied(at: &str) -> String {
        format!(
            "Vault denied {at}. Check that a JWT auth method is mounted there (spec.auth.jwt.mount), and that the role may log in from the operator's address (token_bound_cidrs)."
        )
    }

    fn not_authorized(_: &JwtLogin) -> String {
        "Compare bound_subject, bound_claims and bound_issuer of the role and the auth method with the JWT's claims. The subject of a ServiceAccount is system:serviceaccount:NAMESPACE:NAME.".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{assert_refusals, service_account};

    #[test]
    fn refusals_are_distinguished() {
        let written = Jwt {
            mount: default_mount(),
            role: "sync".to_owned(),
            service_account_ref: Some(service_account()),
            secret_ref: None,
        };
        let method = written.parse().expect("valid");
        let claims = r#"error validating claims: claim "team" is missing"#;
        let bound =
            r#"error validating claims: claim "team" does not match any associated bound claim values"#;
        assert_refusals(
            &method,
            &[
                (400, r#"role "nope" could not be found"#, Some(LoginFault::RoleNotFound)),
                (400, "role with oidc role_type is not allowed", Some(LoginFault::RoleTypeMismatch)),
                (400, "error validating token: invalid subject (sub) claim", Some(LoginFault::NotAuthorized)),
                (400, claims, Some(LoginFault::NotAuthorized)),
                (400, bound, Some(LoginFault::NotAuthorized)),
                (
                    400,
                    "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience",
                    Some(LoginFault::AudienceMismatch),
                ),
                (
                    400,
                    "error validating token: invalid expiration time (exp) claim: token is expired",
                    Some(LoginFault::Expired),
                ),
                (
                    400,
                    "error validating token: error verifying token: no known key successfully validated the token signature",
                    Some(LoginFault::NotAccepted),
                ),
                (400, "compact JWS format must have three parts", Some(LoginFault::NotAccepted)),
                (400, "could not load configuration", Some(LoginFault::NotConfigured)),
                (
                    400,
                    "error verifying token: fetching keys oidc: get keys failed",
                    Some(LoginFault::Unverified),
                ),
                (403, "permission denied", None),
            ],
        );
    }
}
