//! The userpass method: <https://developer.hashicorp.com/vault/docs/auth/userpass>.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    LoginFault, Names, Password, Refusal, UserName,
    parts::{Fields, default_mount, fields},
    user::{UserLogin, UserMethod},
};
use crate::schema::{FieldError, rules};

default_mount!("userpass");

/// A login with a user name and a password that Vault keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Userpass {
    /// Path at which the userpass auth method is mounted, as `vault auth list` shows it and not escaped; it may be nested.
    #[serde(default = "default_mount", deserialize_with = "or_default_mount")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault auth list", "userpass or team-a/userpass"))]
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
pub type UserpassLogin = UserLogin<Userpass>;

// === impl Userpass ===

impl Userpass {
    pub(super) fn parse(&self) -> Result<UserpassLogin, FieldError> {
        UserLogin::parse(&self.mount, &self.username, &self.password)
    }
}

impl UserMethod for Userpass {
    const NAMES: Names = Names { name: "userpass", title: "userpass", field: "spec.auth.userpass" };
    const MOUNT: &'static str = "spec.auth.userpass.mount";
    const USER_NAME: Fields = fields!("spec.auth.userpass.username");
    const PASSWORD: Fields = fields!("spec.auth.userpass.password");

    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault> {
        (refusal.status == 400).then_some(LoginFault::InvalidCredentials)
    }

    fn explain(fault: &LoginFault, at: &str) -> Option<String> {
        Some(match fault {
            LoginFault::InvalidCredentials => format!(
                "Vault rejected the user name and password at {at}. Update the Secret named in spec.auth.userpass. A changed Secret is tried immediately; the same pair is not retried before status.nextLoginTime."
            ),
            // `read_refusal` gives no others.
            _ => return None,
        })
    }

    fn denied(at: &str) -> String {
        format!(
            "Vault denied {at}. Check that a userpass auth method is mounted there (spec.auth.userpass.mount), that the user is not locked after failed logins, and that it may log in from the operator's address (token_bound_cidrs). Then request a check (annotation appconnections.dev/requestedAt); otherwise the next attempt is at status.nextLoginTime."
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
        let written = Userpass {
            mount: "userpass".to_owned(),
            username: UserName::Value("Alice".to_owned()),
            password: Password { secret_ref },
        };
        let method = written.parse().expect("valid");
        assert_refusals(
            &method,
            &[
                (400, "invalid username or password", Some(LoginFault::InvalidCredentials)),
                (500, "missing password", None),
                (403, "permission denied", None),
            ],
        );
        let values = ["Alice".into(), "p\"w".into()];
        let alias = method.lockout_alias(&values).expect("Vault locks users");
        assert_eq!(alias.expose_secret(), "alice");
        let request = method.request(&values).expect("a request");
        assert_eq!(request.path, "auth/userpass/login/Alice");
        assert_eq!(request.body.as_slice(), br#"{"password":"p\"w"}"#);
        for name in ["a/b", "..", "a?b", " a", "a%2fb", ""] {
            let username = UserName::Value(name.to_owned());
            assert!(Userpass { username, ..written.clone() }.parse().is_err(), "{name:?}");
        }
    }
}
