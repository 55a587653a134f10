//! The login: what all methods have in common. What differs is in [`crate::auth`].

use secrecy::{ExposeSecret, SecretString};

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    fields::{Count, Label, Policies, Present, Seconds, fields},
    token::{self, TokenInfo},
};
use crate::auth::{LoginFault, LoginRequest, Method, Refusal};

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
pub enum NoLogin {
    /// The server cannot serve us.
    Server(ServerFault),
    /// The server does not give one.
    Refused(LoginFault),
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
pub fn request(LoginRequest { path, body }: LoginRequest) -> Request {
    Request { operation: Operation::Login, path, body: Some(body) }
}

/// Reads the answer to [`request`], which logged in by this method.
pub fn read(method: &Method, answer: &Answer) -> Result<Login, NoLogin> {
    let refusal = Refusal { status: answer.status, says: &|words| answer.error_says(words) };
    // A failure of the server whose text the method knows.
    if let Some(fault) = method.read_refusal(&refusal).filter(|_| answer.status >= 500) {
        return Err(NoLogin::Refused(fault));
    }
    if let Some(fault) = answer.server_fault() {
        return Err(NoLogin::Server(fault));
    }
    if answer.status == 200 {
        return read_success(answer).map_err(NoLogin::Refused);
    }
    Err(NoLogin::Refused(match answer.status {
        // Vault before 1.16 answered 400 "missing client token" where it now answers 403: the path is no login.
        400 if answer.error_says("missing client token") => LoginFault::Denied,
        404 if answer.error_says("namespace not found") => LoginFault::NamespaceNotFound,
        // 405: the method that is mounted there takes no login of this kind.
        404 | 405 => LoginFault::MountNotFound,
        status => {
            let general = if status == 403 { LoginFault::Denied } else { LoginFault::Unexpected { status } };
            method.read_refusal(&refusal).unwrap_or(general)
        }
    }))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vault::testing::json;

    /// Reads an answer to an AppRole login.
    fn read(answer: &Answer) -> Result<Login, NoLogin> {
        super::read(&crate::vault::testing::app_role(), answer)
    }

    fn fault(status: u16, body: &str) -> NoLogin {
        read(&json(status, body)).map(|_| ()).expect_err("no login")
    }

    #[test]
    fn refusals_are_distinguished() {
        let table: &[(&str, u16, &str, NoLogin)] = &[
            (
                "wrong role id or secret id",
                400,
                r#"{"errors":["invalid role or secret ID"]}"#,
                NoLogin::Refused(LoginFault::InvalidCredentials),
            ),
            (
                "no such mount",
                403,
                r#"{"errors":["permission denied"]}"#,
                NoLogin::Refused(LoginFault::Denied),
            ),
            (
                "no such mount, older Vault",
                400,
                r#"{"errors":["missing client token"]}"#,
                NoLogin::Refused(LoginFault::Denied),
            ),
            (
                "no such mount, with a route error",
                404,
                r#"{"errors":["no handler for route \"auth/x/login\""]}"#,
                NoLogin::Refused(LoginFault::MountNotFound),
            ),
            (
                "no such namespace",
                404,
                r#"{"errors":["namespace not found"]}"#,
                NoLogin::Refused(LoginFault::NamespaceNotFound),
            ),
            (
                "sealed in between",
                503,
                r#"{"errors":["Vault is sealed"]}"#,
                NoLogin::Server(ServerFault::Sealed),
            ),
            (
                "a role of other addresses",
                400,
                r#"{"errors":["source address \"10.0.0.1\" unauthorized by CIDR restrictions on the role: %!w(<nil>)"]}"#,
                NoLogin::Refused(LoginFault::SourceAddress),
            ),
            (
                "a secret id of other addresses",
                400,
                r#"{"errors":["source address \"10.0.0.1\" unauthorized through CIDR restrictions on the secret ID"]}"#,
                NoLogin::Refused(LoginFault::SourceAddress),
            ),
            (
                "a method without such a login",
                405,
                r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#,
                NoLogin::Refused(LoginFault::MountNotFound),
            ),
            (
                "the page of a proxy",
                403,
                "<html>forbidden</html>",
                NoLogin::Server(ServerFault::NotVault { status: 403 }),
            ),
            ("a teapot", 418, r#"{"errors":[]}"#, NoLogin::Refused(LoginFault::Unexpected { status: 418 })),
            (
                "a success without a login",
                200,
                r#"{"data":{}}"#,
                NoLogin::Refused(LoginFault::Unexpected { status: 200 }),
            ),
            (
                "a login that wants a second factor",
                200,
                r#"{"auth":{"client_token":"","lease_duration":0,"mfa_requirement":{"mfa_request_id":"x"}}}"#,
                NoLogin::Refused(LoginFault::MfaRequired),
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
        assert_eq!(with(MAX_TOKEN_BYTES + 1), Err(NoLogin::Refused(LoginFault::Unexpected { status: 200 })));
    }
}
