//! The AppRole login.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle>

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::Serialize;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    fields::{Count, Label, Policies, Present, Seconds, fields},
    token::{self, TokenInfo},
};
use crate::names::MountPath;

/// Longest token that is taken. Batch tokens, the longest ones, have a few hundred bytes and grow with their metadata.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a login gives.
pub struct Login {
    /// The token.
    pub token: SecretString,
    /// What Vault says of it.
    pub info: TokenInfo,
}

/// Why there is no login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// The server cannot serve us.
    Server(ServerFault),
    /// The role id or the secret id is wrong.
    InvalidCredentials,
    /// Denied, for a reason that Vault does not tell.
    Denied,
    /// The role or the secret id is bound to other addresses. Vault looks at that after it has taken the secret id, so that
    /// this does not count for the lockout.
    SourceAddress,
    /// There is no auth method at the mount.
    MountNotFound,
    /// The Vault namespace does not exist.
    NamespaceNotFound,
    /// A second factor is asked for.
    MfaRequired,
    /// An answer that Vault's documentation does not name.
    Unexpected {
        /// Its HTTP status code.
        status: u16,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

fields! {
    struct Success {
        auth: Option<Auth> = "auth",
    }

    /// `Auth` of HashiCorp's `sdk/logical`.
    struct Auth {
        client_token: SecretString = "client_token",
        token_type: Label = "token_type",
        policies: Policies = "policies",
        lease_duration: Seconds = "lease_duration",
        renewable: bool = "renewable",
        num_uses: Count = "num_uses",
        mfa_requirement: Present = "mfa_requirement",
    }
}

/// Asks for a login.
pub fn request(mount: &MountPath, role_id: &SecretString, secret_id: &SecretString) -> Request {
    let body = Body { role_id: role_id.expose_secret(), secret_id: secret_id.expose_secret() };
    let body = serde_json::to_vec(&body).expect("two strings serialize");
    Request {
        operation: Operation::Login,
        path: format!("auth/{}/login", mount.as_str()),
        body: Some(Zeroizing::new(body)),
    }
}

/// Reads the answer to [`request`].
pub fn read(answer: &Answer) -> Result<Login, LoginFault> {
    if let Some(fault) = answer.server_fault() {
        return Err(LoginFault::Server(fault));
    }
    match answer.status {
        200 => read_success(answer),
        // Vault before 1.16 answered 400 "missing client token" where it now answers 403: the path is no login.
        400 if answer.error_says("missing client token") => Err(LoginFault::Denied),
        400 if answer.error_says("source address") && answer.error_says("cidr restrictions") => {
            Err(LoginFault::SourceAddress)
        }
        400 => Err(LoginFault::InvalidCredentials),
        403 => Err(LoginFault::Denied),
        404 if answer.error_says("namespace not found") => Err(LoginFault::NamespaceNotFound),
        // 405: the method that is mounted there takes no login of this kind.
        404 | 405 => Err(LoginFault::MountNotFound),
        status => Err(LoginFault::Unexpected { status }),
    }
}

fn read_success(answer: &Answer) -> Result<Login, LoginFault> {
    let unexpected = || LoginFault::Unexpected { status: answer.status };
    let auth = answer.json::<Success>().and_then(|success| success.auth).ok_or_else(unexpected)?;
    match auth.client_token.expose_secret().len() {
        0 if auth.mfa_requirement.0 => return Err(LoginFault::MfaRequired),
        1..=MAX_TOKEN_BYTES => {}
        _ => return Err(unexpected()),
    }
    let info = TokenInfo {
        kind: auth.token_type.0,
        policies: auth.policies.names,
        policies_cut: auth.policies.cut,
        ttl: token::life(auth.lease_duration.0),
        renewable: auth.renewable,
        uses_left: token::uses(auth.num_uses),
        ..TokenInfo::default()
    };
    Ok(Login { token: auth.client_token, info })
}

// === impl LoginFault ===

impl LoginFault {
    /// Whether Vault may count it among the failed logins after which it locks a role.
    pub fn counts_for_the_lockout(&self) -> bool {
        match self {
            Self::InvalidCredentials | Self::Denied => true,
            Self::Server(_)
            | Self::SourceAddress
            | Self::MountNotFound
            | Self::NamespaceNotFound
            | Self::MfaRequired
            | Self::Unexpected { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vault::testing::json;

    fn fault(status: u16, body: &str) -> LoginFault {
        read(&json(status, body)).map(|_| ()).expect_err("no login")
    }

    #[test]
    fn refusals_are_told_apart() {
        let table: &[(&str, u16, &str, LoginFault)] = &[
            (
                "wrong role id or secret id",
                400,
                r#"{"errors":["invalid role or secret ID"]}"#,
                LoginFault::InvalidCredentials,
            ),
            ("no such mount", 403, r#"{"errors":["permission denied"]}"#, LoginFault::Denied),
            ("no such mount, older Vault", 400, r#"{"errors":["missing client token"]}"#, LoginFault::Denied),
            (
                "no such mount, with a route error",
                404,
                r#"{"errors":["no handler for route \"auth/x/login\""]}"#,
                LoginFault::MountNotFound,
            ),
            (
                "no such namespace",
                404,
                r#"{"errors":["namespace not found"]}"#,
                LoginFault::NamespaceNotFound,
            ),
            (
                "sealed in between",
                503,
                r#"{"errors":["Vault is sealed"]}"#,
                LoginFault::Server(ServerFault::Sealed),
            ),
            (
                "a role of other addresses",
                400,
                r#"{"errors":["source address \"10.0.0.1\" unauthorized by CIDR restrictions on the role: %!w(<nil>)"]}"#,
                LoginFault::SourceAddress,
            ),
            (
                "a secret id of other addresses",
                400,
                r#"{"errors":["source address \"10.0.0.1\" unauthorized through CIDR restrictions on the secret ID"]}"#,
                LoginFault::SourceAddress,
            ),
            (
                "a method without such a login",
                405,
                r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#,
                LoginFault::MountNotFound,
            ),
            (
                "the page of a proxy",
                403,
                "<html>forbidden</html>",
                LoginFault::Server(ServerFault::NotVault { status: 403 }),
            ),
            ("a teapot", 418, r#"{"errors":[]}"#, LoginFault::Unexpected { status: 418 }),
            ("a success without a login", 200, r#"{"data":{}}"#, LoginFault::Unexpected { status: 200 }),
            (
                "a login that wants a second factor",
                200,
                r#"{"auth":{"client_token":"","lease_duration":0,"mfa_requirement":{"mfa_request_id":"x"}}}"#,
                LoginFault::MfaRequired,
            ),
        ];
        for (name, status, body, expected) in table {
            assert_eq!(fault(*status, body), *expected, "{name}");
        }
    }

    #[test]
    fn a_login_tells_the_life_of_its_token() {
        let login = read(&json(200, r#"{"auth":{"client_token":"s.x","accessor":"a","policies":["default","p"],
            "lease_duration":30,"renewable":true,"token_type":"service","num_uses":0,"mfa_requirement":null}}"#))
        .map_err(|_| ())
        .expect("a login");
        assert_eq!(login.info.ttl, Some(Duration::from_secs(30)));
        assert_eq!(login.info.uses_left, None);
        assert_eq!(login.info.policies, ["default", "p"]);
        assert!(login.info.renewable);
    }

    #[test]
    fn a_token_that_no_vault_gives_is_not_taken() {
        let with = |bytes: usize| {
            let token = "t".repeat(bytes);
            read(&json(200, &format!(r#"{{"auth":{{"client_token":"{token}"}}}}"#))).map(|_| ())
        };
        assert_eq!(with(MAX_TOKEN_BYTES), Ok(()));
        assert_eq!(with(MAX_TOKEN_BYTES + 1), Err(LoginFault::Unexpected { status: 200 }));
    }

    #[test]
    fn only_what_vault_counts_is_counted() {
        let counted = [LoginFault::InvalidCredentials, LoginFault::Denied];
        assert!(counted.iter().all(LoginFault::counts_for_the_lockout));
        let others = [LoginFault::SourceAddress, LoginFault::MountNotFound, LoginFault::MfaRequired];
        assert!(!others.iter().any(LoginFault::counts_for_the_lockout));
    }

    #[test]
    fn values_are_escaped_into_the_body() {
        let mount = MountPath::parse("approle").expect("valid");
        let request = request(&mount, &SecretString::from("r\"1"), &SecretString::from("s\\2"));
        assert_eq!(request.path, "auth/approle/login");
        let body = request.body.expect("a body");
        let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(parsed, serde_json::json!({"role_id": "r\"1", "secret_id": "s\\2"}));
    }
}
