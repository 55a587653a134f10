//! An answer of the server, and the faults that any answer can show.
//!
//! Pure. The body of an answer may hold a token: it is wiped when dropped, and no text of it reaches a message.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use url::Host;

/// One answer, read whole.
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// How long the server asks us to wait.
    pub retry_after: Option<Duration>,
    /// What the `Location` header names, if there is one.
    pub location: Option<Location>,
    /// When the server's TLS certificate ends; none for plain http.
    pub certificate_end: Option<Timestamp>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// Where a redirect leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The host.
    pub host: Host<String>,
    /// The port, if it is not that of the scheme.
    pub port: Option<u16>,
}

/// The server is not, or not now, one that can serve us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// What answers does not speak Vault's protocol.
    NotVault {
        /// Its HTTP status code.
        status: u16,
    },
    /// It redirects elsewhere.
    Redirected {
        /// The host it names.
        host: Option<String>,
    },
    /// It is sealed.
    Sealed,
    /// It is not initialized.
    NotInitialized,
    /// It is a disaster recovery secondary.
    DisasterRecoverySecondary,
    /// It is a standby that lost its active node.
    StandbyDisconnected,
    /// It was removed from its cluster.
    NodeRemoved,
    /// It asks to wait.
    RateLimited {
        /// For how long.
        retry_after: Option<Duration>,
    },
    /// It fails.
    ServerError {
        /// Its HTTP status code.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
}

/// The envelope of Vault's error answers. Its texts are looked at, never shown.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

// === impl Location ===

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The fault that the status code and the shape of the answer show, whatever was asked.
    ///
    /// Status codes by <https://developer.hashicorp.com/vault/api-docs#http-status-codes>: 412, 429, 472, 473, 5xx
    /// have one meaning on every path.
    pub fn server_fault(&self) -> Option<ServerFault> {
        match self.status {
            300..=399 => {
                Some(ServerFault::Redirected { host: self.location.as_ref().map(Location::to_string) })
            }
            429 => Some(ServerFault::RateLimited { retry_after: self.retry_after }),
            472 => Some(ServerFault::DisasterRecoverySecondary),
            503 if self.error_says("sealed") => Some(ServerFault::Sealed),
            // 412: a performance replica that has not yet caught up with our token; it passes.
            412 | 500..=599 => {
                Some(ServerFault::ServerError { status: self.status, retry_after: self.retry_after })
            }
            _ if self.is_vault() => None,
            status => Some(ServerFault::NotVault { status }),
        }
    }

    /// Reads the body as JSON.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether one of Vault's error texts contains `words`, in lower case.
    pub fn error_says(&self, words: &str) -> bool {
        let errors = self.json::<Errors>().map(|envelope| envelope.errors).unwrap_or_default();
        errors.iter().any(|error| error.to_lowercase().contains(words))
    }

    /// Whether the body has the shape of Vault's API: nothing (204), a JSON object, or the error envelope.
    fn is_vault(&self) -> bool {
        match self.status {
            204 => true,
            200..=299 => self.json::<serde_json::Map<String, serde_json::Value>>().is_some(),
            _ => self.json::<Errors>().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    #[test]
    fn faults_that_any_answer_can_show() {
        let none = None;
        let error = |status| Some(ServerFault::ServerError { status, retry_after: None });
        let not_vault = |status| Some(ServerFault::NotVault { status });
        let table: &[(&str, u16, &str, Option<ServerFault>)] = &[
            ("a success", 200, r#"{"data":{}}"#, none.clone()),
            ("nothing to say", 204, "", none.clone()),
            ("Vault's own refusal", 403, r#"{"errors":["permission denied"]}"#, none.clone()),
            ("Vault's own 404", 404, r#"{"errors":[]}"#, none),
            ("a web page", 200, "<html>hello</html>", not_vault(200)),
            ("a web server's 404", 404, "<html>not found</html>", not_vault(404)),
            ("JSON that is not Vault's", 401, r#"{"message":"who are you"}"#, not_vault(401)),
            ("a truncated answer", 200, r#"{"auth":{"client_to"#, not_vault(200)),
            ("sealed", 503, r#"{"errors":["Vault is sealed"]}"#, Some(ServerFault::Sealed)),
            ("a load balancer without a backend", 503, "<html>no backend</html>", error(503)),
            ("an internal error", 500, r#"{"errors":["internal error"]}"#, error(500)),
            ("a replica behind", 412, r#"{"errors":["required index state not present"]}"#, error(412)),
            (
                "a quota",
                429,
                r#"{"errors":["request path: rate limit quota exceeded"]}"#,
                Some(ServerFault::RateLimited { retry_after: None }),
            ),
            ("a redirect", 307, "", Some(ServerFault::Redirected { host: None })),
            ("a disaster recovery secondary", 472, "", Some(ServerFault::DisasterRecoverySecondary)),
        ];
        for (name, status, body, expected) in table {
            assert_eq!(json(*status, body).server_fault(), *expected, "{name}");
        }
    }

    #[test]
    fn deeply_nested_json_is_no_answer() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(json(200, &deep).server_fault(), Some(ServerFault::NotVault { status: 200 }));
    }
}
