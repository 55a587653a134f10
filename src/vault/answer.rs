//! An answer of the server, and the faults that any answer can show.
//!
//! Pure. The body of an answer may hold a token: it is wiped when dropped, and no text of it reaches a message.

use std::{fmt, time::Duration};

use secrecy::zeroize::Zeroizing;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use url::Host;

use super::fields::{AnyObject, Label, fields};
use crate::network::chain::CertificateEnd;

/// How many of the texts of an error answer are looked at, and how much of each. Vault's own has one or two, of a line.
const MAX_TEXTS: usize = 8;
const MAX_TEXT_BYTES: usize = 512;

/// How much of a page that is not Vault's is looked at.
const MAX_PAGE_BYTES: usize = 4096;

/// One answer, read whole.
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// How long the server asks us to wait.
    pub retry_after: Option<Duration>,
    /// What the `Location` header names, if there is one.
    pub location: Option<Location>,
    /// Which TLS certificate that the server is trusted by ends first; none for plain http.
    pub certificate_end: Option<CertificateEnd>,
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
    /// Whether all that changes is http to https, and perhaps the port.
    pub upgrades: bool,
    /// Whether the path stays, so that another server is asked for the same.
    pub keeps_path: bool,
}

/// The server is not, or not now, one that can serve us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// What answers does not speak Vault's protocol: another program, or something that stands before Vault.
    NotVault {
        /// Its HTTP status code.
        status: u16,
    },
    /// The port speaks TLS, or sends us to one that does, and was asked without.
    HttpsRequired,
    /// Vault's listener takes only requests of a proxy that says for whom it asks.
    ForwardedForRequired,
    /// It redirects elsewhere.
    Redirected {
        /// The host it names.
        host: Option<String>,
    },
    /// It is a standby that could not hand the request on, or does not do that.
    NoActiveNode {
        /// The active node, as it knows it.
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
    /// What stands before it, such as a load balancer, fails.
    ProxyError {
        /// Its HTTP status code.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
}

fields! {
    /// What stands around Vault's answers. The texts of its errors are looked at, never shown.
    struct Envelope {
        errors: Option<Texts> = "errors",
        request_id: Option<Label> = "request_id",
    }
}

/// The begin of the error texts, in lower case.
#[derive(Default)]
struct Texts(Vec<String>);

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
        let (status, retry_after) = (self.status, self.retry_after);
        match status {
            204 => return None,
            200..=299 => {
                return self.json::<AnyObject>().is_none().then_some(ServerFault::NotVault { status });
            }
            300..=399 => return Some(self.redirect()),
            429 => return Some(ServerFault::RateLimited { retry_after }),
            472 => return Some(ServerFault::DisasterRecoverySecondary),
            _ => {}
        }
        let texts = self.errors();
        let says = |words: &str| texts.as_ref().is_some_and(|texts| texts.say(words));
        match status {
            503 if says("sealed") => Some(ServerFault::Sealed),
            // What a standby says that knows of no active node, or cannot reach it.
            500 | 503
                if says("active cluster node not found")
                    || says("no active vault instance")
                    || says("node is not active") =>
            {
                Some(ServerFault::NoActiveNode { host: None })
            }
            // 412: a performance replica that has not yet caught up with our token; it passes.
            412 | 500..=599 if texts.is_some() => Some(ServerFault::ServerError { status, retry_after }),
            412 | 500..=599 => Some(ServerFault::ProxyError { status, retry_after }),
            400 if says("x-forwarded-for") => Some(ServerFault::ForwardedForRequired),
            _ if texts.is_some() => None,
            400 if self.is_of_a_tls_port() => Some(ServerFault::HttpsRequired),
            _ => Some(ServerFault::NotVault { status }),
        }
    }

    /// A standby answers 307 with the same path at the node that it knows as active, when it could not forward the
    /// request or does not do that; nothing else of Vault's redirects.
    fn redirect(&self) -> ServerFault {
        let host = self.location.as_ref().map(Location::to_string);
        match &self.location {
            Some(location) if location.upgrades => ServerFault::HttpsRequired,
            Some(location) if self.status == 307 && location.keeps_path => ServerFault::NoActiveNode { host },
            None if self.status == 307 => ServerFault::NoActiveNode { host },
            _ => ServerFault::Redirected { host },
        }
    }

    /// Reads the body as JSON.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether one of Vault's error texts contains `words`, in lower case.
    pub fn error_says(&self, words: &str) -> bool {
        self.errors().is_some_and(|texts| texts.say(words))
    }

    /// The texts of Vault's own error answer; none of what is not one. Vault writes a list of texts, or the envelope of a
    /// success with nothing but warnings or data in it; a stranger's page or JSON has neither.
    fn errors(&self) -> Option<Texts> {
        let envelope = self.json::<Envelope>()?;
        envelope.errors.or_else(|| envelope.request_id.map(|_| Texts::default()))
    }

    /// Whether Go's server, or nginx, says that it was asked without TLS where it speaks TLS.
    fn is_of_a_tls_port(&self) -> bool {
        let page = &self.body[..self.body.len().min(MAX_PAGE_BYTES)];
        let page = String::from_utf8_lossy(page).to_lowercase();
        page.contains("http request to an https server")
            || page.contains("http request was sent to https port")
    }
}

// === impl ServerFault ===

impl ServerFault {
    /// Whether it is about the node itself and not about what was asked of it, so that it holds whatever the node said
    /// of itself before.
    pub fn is_of_the_node(&self) -> bool {
        match self {
            Self::NoActiveNode { .. }
            | Self::Sealed
            | Self::NotInitialized
            | Self::DisasterRecoverySecondary
            | Self::StandbyDisconnected
            | Self::NodeRemoved
            | Self::HttpsRequired
            | Self::ForwardedForRequired => true,
            Self::NotVault { .. }
            | Self::Redirected { .. }
            | Self::RateLimited { .. }
            | Self::ServerError { .. }
            | Self::ProxyError { .. } => false,
        }
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::ServerError { retry_after, .. }
            | Self::ProxyError { retry_after, .. } => *retry_after,
            Self::NoActiveNode { .. }
            | Self::Sealed
            | Self::NotInitialized
            | Self::DisasterRecoverySecondary
            | Self::StandbyDisconnected
            | Self::NodeRemoved
            | Self::HttpsRequired
            | Self::ForwardedForRequired
            | Self::NotVault { .. }
            | Self::Redirected { .. } => None,
        }
    }

    /// The host in it, which the server names.
    pub fn host_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::Redirected { host } | Self::NoActiveNode { host } => Some(host),
            Self::Sealed
            | Self::NotInitialized
            | Self::DisasterRecoverySecondary
            | Self::StandbyDisconnected
            | Self::NodeRemoved
            | Self::HttpsRequired
            | Self::ForwardedForRequired
            | Self::NotVault { .. }
            | Self::RateLimited { .. }
            | Self::ServerError { .. }
            | Self::ProxyError { .. } => None,
        }
    }
}

// === impl Texts ===

impl Texts {
    fn say(&self, words: &str) -> bool {
        self.0.iter().any(|text| text.contains(words))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(Text(text)) = list.next_element()? {
            if texts.len() < MAX_TEXTS {
                texts.push(text);
            }
        }
        Ok(Texts(texts))
    }
}

/// The begin of a text, in lower case.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_lowercase()))
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
        let page = |status| Some(ServerFault::ProxyError { status, retry_after: None });
        let not_vault = |status| Some(ServerFault::NotVault { status });
        let table: &[(&str, u16, &str, Option<ServerFault>)] = &[
            ("a success", 200, r#"{"data":{}}"#, none.clone()),
            ("nothing to say", 204, "", none.clone()),
            ("Vault's own refusal", 403, r#"{"errors":["permission denied"]}"#, none.clone()),
            ("Vault's own 404", 404, r#"{"errors":[]}"#, none.clone()),
            ("a web page", 200, "<html>hello</html>", not_vault(200)),
            ("a web server's 404", 404, "<html>not found</html>", not_vault(404)),
            ("JSON that is not Vault's", 401, r#"{"message":"who are you"}"#, not_vault(401)),
            ("a truncated answer", 200, r#"{"auth":{"client_to"#, not_vault(200)),
            ("sealed", 503, r#"{"errors":["Vault is sealed"]}"#, Some(ServerFault::Sealed)),
            ("a load balancer without a backend", 503, "<html>no backend</html>", page(503)),
            ("a gateway that waited in vain", 504, "", page(504)),
            (
                "a standby without an active node",
                503,
                r#"{"errors":["no active Vault instance found"]}"#,
                Some(ServerFault::NoActiveNode { host: None }),
            ),
            (
                "a standby that cannot reach it",
                500,
                r#"{"errors":["local node not active but active cluster node not found"]}"#,
                Some(ServerFault::NoActiveNode { host: None }),
            ),
            (
                "a listener that wants a proxy before it",
                400,
                r#"{"errors":["missing x-forwarded-for header and configured to reject when not present"]}"#,
                Some(ServerFault::ForwardedForRequired),
            ),
            (
                "a TLS port of Vault",
                400,
                "Client sent an HTTP request to an HTTPS server.\n",
                Some(ServerFault::HttpsRequired),
            ),
            (
                "a TLS port of nginx",
                400,
                "<center>The plain HTTP request was sent to HTTPS port</center>",
                Some(ServerFault::HttpsRequired),
            ),
            ("a proxy's 400", 400, "<html>bad request</html>", not_vault(400)),
            ("a proxy's limit of the body", 413, "<html>too large</html>", not_vault(413)),
            ("a proxy that takes no POST", 405, "", not_vault(405)),
            ("errors of another shape", 403, r#"{"errors":[{"code":"DENIED"}]}"#, not_vault(403)),
            ("errors that are null", 403, r#"{"errors":null}"#, not_vault(403)),
            (
                "an envelope with a warning",
                404,
                r#"{"request_id":"","warnings":["w"],"data":null}"#,
                none.clone(),
            ),
            ("errors beside null data", 400, r#"{"data":null,"warnings":null,"Errors":["x"]}"#, none.clone()),
            ("an internal error", 500, r#"{"errors":["internal error"]}"#, error(500)),
            ("a replica behind", 412, r#"{"errors":["required index state not present"]}"#, error(412)),
            (
                "a quota",
                429,
                r#"{"errors":["request path: rate limit quota exceeded"]}"#,
                Some(ServerFault::RateLimited { retry_after: None }),
            ),
            ("a redirect", 302, "", Some(ServerFault::Redirected { host: None })),
            (
                "a standby that knows of no active node",
                307,
                "",
                Some(ServerFault::NoActiveNode { host: None }),
            ),
            ("a disaster recovery secondary", 472, "", Some(ServerFault::DisasterRecoverySecondary)),
        ];
        for (name, status, body, expected) in table {
            assert_eq!(json(*status, body).server_fault(), *expected, "{name}");
        }
    }

    #[test]
    fn a_standby_that_does_not_forward_is_distinguished_from_other_redirects() {
        let to = |upgrades, keeps_path| {
            Some(Location { host: Host::Domain("b".to_owned()), port: Some(8200), upgrades, keeps_path })
        };
        let host = Some("b:8200".to_owned());
        let table = [
            (307, to(false, true), ServerFault::NoActiveNode { host: host.clone() }),
            (307, to(false, false), ServerFault::Redirected { host: host.clone() }),
            (302, to(false, true), ServerFault::Redirected { host }),
            (301, to(true, true), ServerFault::HttpsRequired),
            (307, to(true, true), ServerFault::HttpsRequired),
            (308, to(true, false), ServerFault::HttpsRequired),
        ];
        for (status, location, expected) in table {
            let answer = Answer { location, ..json(status, "") };
            assert_eq!(answer.server_fault(), Some(expected), "{status}");
        }
    }

    #[test]
    fn deeply_nested_json_is_no_answer() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let within = format!(r#"{{"data":{deep}}}"#);
        for body in [deep, within] {
            assert_eq!(json(200, &body).server_fault(), Some(ServerFault::NotVault { status: 200 }));
        }
    }
}
