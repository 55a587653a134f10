//! Response wrapping: a secret id that comes in a token which can be opened once.
//!
//! <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    fields::{Seconds, fields},
    token,
};
use crate::names::{MountPath, VaultNamespace};

/// A secret id that was unwrapped.
#[derive(Debug)]
pub struct Unwrapped {
    /// The secret id. Nobody can read it a second time.
    pub secret_id: SecretString,
    /// Its life; none when it does not end.
    pub ttl: Option<Duration>,
}

/// Why a wrapping token gives no secret id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrapFault {
    /// The server cannot serve us.
    Server(ServerFault),
    /// It has been opened, has expired, or never was one.
    Spent,
    /// It holds something else than a secret id of this mount. It was not opened.
    OtherOrigin,
    /// The Vault namespace does not exist.
    NamespaceNotFound,
    /// An answer that Vault's documentation does not name.
    Unexpected {
        /// Its HTTP status code.
        status: u16,
    },
}

#[derive(Serialize)]
struct LookupBody<'a> {
    token: &'a str,
}

fields! {
    struct OriginBody {
        data: Option<Origin> = "data",
    }

    struct Origin {
        creation_path: Option<String> = "creation_path",
    }

    struct SecretIdBody {
        data: Option<SecretId> = "data",
    }

    struct SecretId {
        secret_id: Option<SecretString> = "secret_id",
        secret_id_ttl: Seconds = "secret_id_ttl",
    }
}

/// Asks where a wrapping token comes from. That does not open it.
pub fn lookup(wrapping_token: &SecretString) -> Request {
    let body = serde_json::to_vec(&LookupBody { token: wrapping_token.expose_secret() })
        .expect("a string serializes");
    Request {
        operation: Operation::WrappingLookup,
        path: "sys/wrapping/lookup".to_owned(),
        body: Some(body.into()),
    }
}

/// Opens a wrapping token, which is sent as the token of the request.
pub fn unwrap() -> Request {
    let body = Some(b"{}".to_vec().into());
    Request { operation: Operation::Unwrap, path: "sys/wrapping/unwrap".to_owned(), body }
}

/// Reads the answer to [`lookup`]: fails unless the token was made by generating a secret id at this mount. Whoever
/// could swap the token in its Secret could otherwise have another credential sent to the login.
pub fn read_lookup(
    answer: &Answer,
    mount: &MountPath,
    namespace: Option<&VaultNamespace>,
) -> Result<(), WrapFault> {
    refusal(answer)?;
    let origin = answer.json::<OriginBody>().and_then(|body| body.data?.creation_path);
    let path = origin.ok_or(WrapFault::Unexpected { status: answer.status })?;
    // Vault Enterprise puts the namespace before the path.
    let prefix = namespace.map(|namespace| format!("{}/", namespace.as_str())).unwrap_or_default();
    let path = path.strip_prefix(&prefix).unwrap_or(&path);
    let role = path
        .strip_prefix(&format!("auth/{}/role/", mount.as_str()))
        .and_then(|rest| rest.strip_suffix("/secret-id"));
    match role {
        Some(role) if !role.is_empty() && !role.contains('/') => Ok(()),
        _ => Err(WrapFault::OtherOrigin),
    }
}

/// Reads the answer to [`unwrap`].
pub fn read_unwrap(answer: &Answer) -> Result<Unwrapped, WrapFault> {
    refusal(answer)?;
    let data = answer.json::<SecretIdBody>().and_then(|body| body.data);
    let read = data.and_then(|data| {
        let secret_id = data.secret_id.filter(|secret_id| !secret_id.expose_secret().is_empty())?;
        Some(Unwrapped { secret_id, ttl: token::life(data.secret_id_ttl.0) })
    });
    read.ok_or(WrapFault::Unexpected { status: answer.status })
}

fn refusal(answer: &Answer) -> Result<(), WrapFault> {
    if let Some(fault) = answer.server_fault() {
        return Err(WrapFault::Server(fault));
    }
    match answer.status {
        200 => Ok(()),
        400 | 403 => Err(WrapFault::Spent),
        404 if answer.error_says("namespace not found") => Err(WrapFault::NamespaceNotFound),
        status => Err(WrapFault::Unexpected { status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    fn looked_up(status: u16, body: &str, namespace: &str) -> Result<(), WrapFault> {
        let mount = MountPath::parse("team/approle").expect("valid");
        let namespace = VaultNamespace::parse(namespace).expect("valid");
        read_lookup(&json(status, body), &mount, namespace.as_ref())
    }

    #[test]
    fn only_a_secret_id_of_the_mount_is_opened() {
        let from = |path: &str| format!(r#"{{"data":{{"creation_path":"{path}","creation_ttl":60}}}}"#);
        let table: &[(&str, &str, Result<(), WrapFault>)] = &[
            ("auth/team/approle/role/demo/secret-id", "", Ok(())),
            ("auth/team/approle/role/demo/secret-id", "admin", Ok(())),
            ("admin/auth/team/approle/role/demo/secret-id", "admin", Ok(())),
            ("auth/approle/role/demo/secret-id", "", Err(WrapFault::OtherOrigin)),
            ("auth/team/approle/role/demo/custom-secret-id", "", Err(WrapFault::OtherOrigin)),
            ("auth/team/approle/role/a/b/secret-id", "", Err(WrapFault::OtherOrigin)),
            ("auth/team/approle/role//secret-id", "", Err(WrapFault::OtherOrigin)),
            ("sys/wrapping/wrap", "", Err(WrapFault::OtherOrigin)),
        ];
        for (path, namespace, expected) in table {
            assert_eq!(looked_up(200, &from(path), namespace), *expected, "{path} {namespace}");
        }
        let spent = r#"{"errors":["wrapping token is not valid or does not exist"]}"#;
        assert_eq!(looked_up(400, spent, ""), Err(WrapFault::Spent));
        assert_eq!(
            looked_up(404, r#"{"errors":["namespace not found"]}"#, ""),
            Err(WrapFault::NamespaceNotFound)
        );
        assert_eq!(looked_up(200, "{}", ""), Err(WrapFault::Unexpected { status: 200 }));
        let sealed = looked_up(503, r#"{"errors":["Vault is sealed"]}"#, "");
        assert_eq!(sealed, Err(WrapFault::Server(ServerFault::Sealed)));
    }

    #[test]
    fn what_is_unwrapped_does_not_print() {
        let body = r#"{"data":{"secret_id":"canary","secret_id_accessor":"a","secret_id_num_uses":0,"secret_id_ttl":60}}"#;
        let unwrapped = read_unwrap(&json(200, body)).expect("unwrapped");
        assert_eq!(unwrapped.secret_id.expose_secret(), "canary");
        assert_eq!(unwrapped.ttl, Some(Duration::from_secs(60)));
        assert!(!format!("{unwrapped:?}").contains("canary"));
    }
}
