//! The LDAP method: <https://developer.hashicorp.com/vault/docs/auth/ldap>.
//!
//! OpenBao has it as an external plugin only, so that its tests are against a fake which answers as HashiCorp Vault does.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    LoginFault, Names, Password, Refusal, UserName,
    parts::{Fields, default_mount, fields},
    user::{UserLogin, UserMethod},
};
use crate::schema::{FieldError, rules};

default_mount!("ldap");

/// A login with a user name and a password of an LDAP directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ldap {
    /// Path at which the LDAP auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "ldap or team-a/ldap"))]
    pub mount: String,
    /// The user name, either inline or in a Secret. It must not contain '/'.
    #[x_kube(
        validation = Rule::new("has(self.value) != has(self.secretRef)").message(
            "set exactly one of value and secretRef"),
        validation = rules::user_name()
    )]
    pub username: UserName,
    /// The password, in a Secret.
    pub password: Password,
}

/// The same, valid by construction.
pub type LdapLogin = UserLogin<Ldap>;

// === impl Ldap ===

impl Ldap {
    pub(super) fn parse(&self) -> Result<LdapLogin, FieldError> {
        UserLogin::parse(&self.mount, &self.username, &self.password)
    }
}

impl UserMethod for Ldap {
    const NAMES: Names = Names { name: "ldap", title: "LDAP", field: "spec.auth.ldap" };
    const MOUNT: &'static str = "spec.auth.ldap.mount";
    const USER_NAME: Fields = fields!("spec.auth.ldap.username");
    const PASSWORD: Fields = fields!("spec.auth.ldap.password");

    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault> {
        match refusal.status {
            400 => Some(LoginFault::InvalidCredentials),
            500 if (refusal.says)("failed to connect") || (refusal.says)("ldap") => {
                Some(LoginFault::DirectoryUnavailable)
            }
            _ => None,
        }
    }

    fn explain(fault: &LoginFault, at: &str) -> Option<String> {
        Some(match fault {
            LoginFault::InvalidCredentials => format!(
                "Vault rejected the user name and password at {at}. Update the Secret named in spec.auth.ldap, or correct Vault's own directory account (binddn, bindpass): Vault gives the same answer for both. A changed Secret is tried immediately; the same pair is not retried before status.nextLoginTime."
            ),
            LoginFault::DirectoryUnavailable => format!(
                "Vault could not reach the directory server for {at}. Check the directory server, and `url` in the configuration of the LDAP auth method."
            ),
            // `read_refusal` gives no others.
            _ => return None,
        })
    }

    fn denied(at: &str) -> String {
        format!(
            "Vault denied {at}. Check that an LDAP auth method is mounted there (spec.auth.ldap.mount), that the user is not locked after failed logins, and that it may log in from the operator's address (token_bound_cidrs). Then request a check (annotation appconnections.dev/requestedAt); otherwise the next attempt is at status.nextLoginTime."
        )
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::auth::{LoginMethod as _, SecretKeyRef, testing::assert_refusals};

    #[test]
    fn refusals_are_distinguished_and_the_alias_is_in_lower_case() {
        let secret_ref = SecretKeyRef { name: "s".to_owned(), key: "password".to_owned() };
        let written = Ldap {
            mount: "ldap".to_owned(),
            username: UserName::Value("Alice".to_owned()),
            password: Password { secret_ref },
        };
        let method = written.parse().expect("valid");
        assert_refusals(
            &method,
            &[
                (400, "invalid credentials", Some(LoginFault::InvalidCredentials)),
                (400, "ldap operation failed: failed to bind as user", Some(LoginFault::InvalidCredentials)),
                (
                    500,
                    "ldap.(Client).Authenticate: failed to connect: dial tcp 10.0.0.7:389: connect: connection refused",
                    Some(LoginFault::DirectoryUnavailable),
                ),
                (500, "internal error", None),
                (403, "permission denied", None),
            ],
        );
        let values = ["Alice".into(), "p\"w".into()];
        let alias = method.lockout_alias(&values).expect("Vault locks users");
        assert_eq!(alias.expose_secret(), "alice");
        let request = method.request(&values).expect("a request");
        assert_eq!(request.path, "auth/ldap/login/Alice");
        assert_eq!(request.body.as_slice(), br#"{"password":"p\"w"}"#);
        for name in ["a/b", "..", "a?b", " a", "a%2fb", ""] {
            let username = UserName::Value(name.to_owned());
            assert!(Ldap { username, ..written.clone() }.parse().is_err(), "{name:?}");
        }
    }
}
