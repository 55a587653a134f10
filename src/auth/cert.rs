//! The certificate method: <https://developer.hashicorp.com/vault/docs/auth/cert>. The credential is the client certificate of the
//! TLS connection.

use kube::{KubeSchema, core::Rule};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    Input, LoginFault, LoginMethod, LoginRequest, Names, Refusal,
    parts::{body, default_mount, role},
};
use crate::{
    names::MountPath,
    schema::{FieldError, rules, text},
};

default_mount!("cert");

/// A login with the client certificate that `spec.tls.clientCertificate` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cert {
    /// Path at which the certificate auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "cert or team-a/cert"))]
    pub mount: String,
    /// Name of the role at that mount. If it is not set, Vault uses any role that matches the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::plain())]
    pub role: Option<String>,
}

/// The same, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertLogin {
    mount: MountPath,
    role: Option<String>,
}

/// The rule on a spec that there is a certificate to log in with.
pub fn needs_client_certificate() -> Rule {
    Rule::new("!has(self.auth.cert) || (has(self.tls) && has(self.tls.clientCertificate))")
        .message("auth.cert logs in with a client certificate: set tls.clientCertificate")
}

// === impl Cert ===

impl Cert {
    pub(super) fn parse(&self) -> Result<CertLogin, FieldError> {
        let name = self.role.as_deref().map(|name| role("spec.auth.cert.role", name)).transpose()?;
        Ok(CertLogin { mount: text::mount("spec.auth.cert.mount", &self.mount)?, role: name })
    }
}

// === impl CertLogin ===

impl LoginMethod for CertLogin {
    fn names(&self) -> Names {
        Names { name: "cert", title: "certificate", field: "spec.auth.cert" }
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn uses_client_certificate(&self) -> bool {
        true
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn request(&self, _values: &[SecretString]) -> Option<LoginRequest> {
        let role: Vec<_> = self.role.as_deref().map(|role| ("name", role)).into_iter().collect();
        Some(LoginRequest { path: self.path(), body: body(&role) })
    }

    fn lockout_alias(&self, _values: &[SecretString]) -> Option<SecretString> {
        None
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        let says = refusal.says;
        match refusal.status {
            400 if says("no client certificate found") => Some(LoginFault::CertificateNotSeen),
            400 if says("no chain matching all constraints") => Some(LoginFault::NotAuthorized),
            400 => Some(LoginFault::InvalidCredentials),
            500 if says("certificate has expired or is not yet valid") => {
                Some(LoginFault::CertificateExpired)
            }
            _ => None,
        }
    }

    fn explain(&self, fault: &LoginFault, at: &str) -> Option<String> {
        let role = self.role.as_ref().map(|role| format!("the role {role:?}"));
        Some(match fault {
            LoginFault::InvalidCredentials => {
                let role = role.map_or_else(
                    || "no role trusts the CA that issued it".to_owned(),
                    |role| format!("{role} (spec.auth.cert.role) does not exist, or does not trust the CA that issued it"),
                );
                format!(
                    "Vault rejected the client certificate at {at}: {role}. Compare the role's `certificate` with the issuer of spec.tls.clientCertificate."
                )
            }
            LoginFault::NotAuthorized => format!(
                "Vault does not allow this identity to log in with {} at {at}. Compare allowed_common_names, allowed_dns_sans, allowed_uri_sans, allowed_organizational_units and required_extensions of the role with the certificate.",
                role.as_deref().unwrap_or("the role")
            ),
            LoginFault::CertificateNotSeen => format!(
                "Vault received no client certificate at {at}. Use https:// in spec.instanceUrl, remove tls_disable_client_certs from Vault's listener, and do not terminate TLS in between, for example at a load balancer."
            ),
            LoginFault::CertificateExpired => "The client certificate named in spec.tls.clientCertificate has expired or is not valid yet. Renew it; if it is valid, compare the clocks of the operator and Vault.".to_owned(),
            // `read_refusal` gives no others.
            _ => return None,
        })
    }

    fn denied(&self, at: &str) -> String {
        format!(
            "Vault denied {at}. Check that a certificate auth method is mounted there (spec.auth.cert.mount), and that the role may log in from the operator's address (token_bound_cidrs)."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::assert_refusals;

    #[test]
    fn refusals_are_distinguished() {
        let method = CertLogin { mount: MountPath::parse("cert").expect("valid"), role: None };
        assert_refusals(
            &method,
            &[
                (
                    400,
                    "invalid certificate or no client certificate supplied",
                    Some(LoginFault::InvalidCredentials),
                ),
                (
                    400,
                    "no chain matching all constraints could be found for this login certificate",
                    Some(LoginFault::NotAuthorized),
                ),
                (400, "no client certificate found", Some(LoginFault::CertificateNotSeen)),
                (
                    500,
                    "failed to verify client's certificate: x509: certificate has expired or is not yet valid: current time",
                    Some(LoginFault::CertificateExpired),
                ),
                (500, "internal error", None),
                (403, "permission denied", None),
            ],
        );
        assert_eq!(method.request(&[]).expect("a request").body.as_slice(), b"{}");
        let web = CertLogin { role: Some("web".to_owned()), ..method };
        assert_eq!(web.request(&[]).expect("a request").body.as_slice(), br#"{"name":"web"}"#);
    }
}
