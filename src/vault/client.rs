//! Sends requests to one instance, in one Vault namespace.
//!
//! Every call has a deadline. A fault is a value; its text never holds a body, a token or a URL query.

use std::{sync::Arc, time::Duration};

use http::{
    Method,
    header::{
        ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
    },
};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    Request,
    answer::{Answer, Location},
};
use crate::{
    names::{InstanceUrl, VaultNamespace},
    network::{
        faults::TransportFault,
        http::{Heard, HttpClient},
        route::Route,
    },
};

/// Who we are, for the log of the server.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one instance, in one Vault namespace.
#[derive(Clone)]
pub struct Client {
    http: Arc<HttpClient>,
    route: Arc<Route>,
    namespace: Option<VaultNamespace>,
    /// The Kubernetes namespace of the connection.
    tenant: Arc<str>,
}

// === impl Client ===

impl Client {
    /// A client for the instance at the end of a route, over the HTTP client of that route, for a connection of the Kubernetes
    /// namespace `tenant`.
    pub fn new(
        http: Arc<HttpClient>,
        route: &Arc<Route>,
        namespace: Option<VaultNamespace>,
        tenant: &str,
    ) -> Self {
        Self { http, route: Arc::clone(route), namespace, tenant: tenant.into() }
    }

    /// Distinguishes clients that take different routes to an instance.
    pub fn route_id(&self) -> usize {
        Arc::as_ptr(&self.http).addr()
    }

    /// The route that its requests take.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Where it sends requests.
    pub fn instance(&self) -> &InstanceUrl {
        &self.route.instance
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(
        &self,
        request: Request,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, TransportFault> {
        let operation = request.operation;
        let started = Instant::now();
        let outcome = timeout_at(deadline, self.exchange(request, token))
            .await
            .unwrap_or(Err(TransportFault::TimedOut));
        if !serves(&outcome) {
            self.http.demote();
        }
        tracing::debug!(
            operation = operation.as_str(),
            instance = %self.route.instance,
            status = outcome.as_ref().ok().map(|answer| answer.status),
            fault = ?outcome.as_ref().err().map(TransportFault::without_texts),
            milliseconds = started.elapsed().as_millis(),
            "request to Vault"
        );
        outcome
    }

    /// Asks once; and once more, if a standby redirects to another address of the instance's own name.
    async fn exchange(
        &self,
        request: Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, TransportFault> {
        let answer = self.ask(&request, token).await?;
        let elsewhere = answer.location.as_ref().filter(|_| matches!(answer.status, 307 | 308));
        match elsewhere {
            Some(location) if self.http.follow_redirect(&self.tenant, &location.host).await => {
                self.ask(&request, token).await
            }
            _ => Ok(answer),
        }
    }

    async fn ask(&self, request: &Request, token: Option<&SecretString>) -> Result<Answer, TransportFault> {
        let limit = request.operation.max_answer_bytes();
        let asked = self.route.instance.api(&request.path);
        let request = self.request(request, token).ok_or(TransportFault::NameNotResolved)?;
        let heard = self.http.send(&self.tenant, request, limit).await?;
        let Heard { status, headers, certificate_end, body } = heard;
        Ok(Answer {
            status: status.as_u16(),
            retry_after: retry_after(&headers, Timestamp::now()),
            location: location(&headers, &asked),
            certificate_end,
            body,
        })
    }

    /// The request on the wire. None if the host of the instance is no host of a request: no server has such a name.
    fn request(&self, request: &Request, token: Option<&SecretString>) -> Option<http::Request<String>> {
        let url = self.route.instance.api(&request.path);
        let (method, body) = match &request.body {
            // A copy that the connection owns is made here and nowhere else; it is wiped when it is freed.
            Some(body) => (Method::POST, String::from_utf8(body.to_vec()).ok()?),
            None => (Method::GET, String::new()),
        };
        let mut wire = http::Request::builder().method(method).uri(url.path()).body(body).ok()?;
        *wire.headers_mut() = self.headers(request, token)?;
        Some(wire)
    }

    fn headers(&self, request: &Request, token: Option<&SecretString>) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&self.route.instance.authority()).ok()?);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        // Vault Agent and Vault Proxy may demand this header as a shield against request forgery.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|_| !request.operation.is_root_only()) {
            // Beyond ASCII it goes as UTF-8, as Vault's own clients send it: OpenBao finds no namespace by an escaped one.
            let value = HeaderValue::from_bytes(namespace.as_str().as_bytes()).ok()?;
            headers.insert("x-vault-namespace", value);
        }
        if request.operation.carries_a_secret_id() {
            // The buffers of a connection hold what went through them until something else overwrites it.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(token) = token {
            // A token that is no header value cannot be Vault's: it is sent empty and refused as any wrong one.
            let mut value =
                HeaderValue::from_str(token.expose_secret()).unwrap_or(HeaderValue::from_static(""));
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        Some(headers)
    }
}

/// Whether another address of the instance's name would not do better.
fn serves(outcome: &Result<Answer, TransportFault>) -> bool {
    match outcome {
        Ok(answer) => answer.status < 500,
        Err(TransportFault::Failed | TransportFault::TimedOut | TransportFault::Tls(_)) => false,
        // No address was in use.
        Err(
            TransportFault::NotAllowed(_)
            | TransportFault::PlainHttp
            | TransportFault::NameNotResolved
            | TransportFault::Refused
            | TransportFault::OutOfResources
            | TransportFault::Gateway(_),
        ) => true,
    }
}

/// Longest wait that a server may ask for. Whoever asks for more asks for a person.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How long the server asks us to wait: in seconds or until a date (RFC 9110, section 10.2.3), at least a second, at
/// most [`MAX_RETRY_AFTER`].
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.clamp(Duration::from_secs(1), MAX_RETRY_AFTER))
}

/// The host that a redirect names, and what it changes. The rest of its URL may hold anything, and is left out.
fn location(headers: &HeaderMap, asked: &Url) -> Option<Location> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let url: Url = asked.join(location).ok().filter(|url| !location.is_empty() && url.has_host())?;
    Some(Location {
        host: url.host()?.to_owned(),
        port: url.port(),
        upgrades: asked.scheme() == "http" && url.scheme() == "https" && asked.host() == url.host(),
        keeps_path: asked.path() == url.path(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_come_in_seconds_or_as_a_date() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let wait = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("0"), Some(Duration::from_secs(1)));
        assert_eq!(wait("18446744073709551615"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("Fri, 01 Jan 2027 00:00:00 GMT"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("Thu, 01 Jan 2026 00:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Wed, 31 Dec 2025 00:00:30 GMT"), Some(Duration::from_secs(1)));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn of_a_redirect_only_the_host_is_reported() {
        let instance = InstanceUrl::parse("https://vault.example.com").expect("valid");
        let host = |text: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(text))]);
            location(&headers, &instance.api("sys/health")).map(|location| location.to_string())
        };
        assert_eq!(
            host("https://evil.example.com:8/v1/x?token=s.abc").as_deref(),
            Some("evil.example.com:8")
        );
        assert_eq!(host("/elsewhere").as_deref(), Some("vault.example.com"));
        assert_eq!(host("https://").as_deref(), None);
        assert_eq!(host("").as_deref(), None, "a standby that knows no active node");
    }

    #[test]
    fn a_redirect_reports_what_it_changes() {
        let changes = |instance: &str, text: &'static str| {
            let asked = InstanceUrl::parse(instance).expect("valid").api("auth/approle/login");
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(text))]);
            location(&headers, &asked).map(|location| (location.upgrades, location.keeps_path))
        };
        let table = [
            ("https://a:8200", "https://b:8200/v1/auth/approle/login", (false, true)),
            ("http://a:8200", "https://a/v1/auth/approle/login", (true, true)),
            ("http://a:8200", "https://a/", (true, false)),
            ("http://a:8200", "https://b/v1/auth/approle/login", (false, true)),
            ("https://a:8200", "http://a/v1/auth/approle/login", (false, true)),
            ("https://a/vault", "https://b/v1/auth/approle/login", (false, false)),
        ];
        for (instance, text, expected) in table {
            assert_eq!(changes(instance, text), Some(expected), "{instance} {text}");
        }
    }
}
