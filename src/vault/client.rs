//! Sends requests to one instance, in one Vault namespace.
//!
//! Every call has a deadline. A fault is a value; its text never holds a body, a token or a URL query.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER},
    tls::TlsInfo,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, timeout_at};
use url::Url;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    Request,
    answer::{Answer, Location},
    transport::TransportFault,
    wire,
};
use crate::{
    gateway::{http::HttpClient, way::Way},
    refs::{InstanceUrl, ServerName, VaultNamespace},
};

/// Sends requests to one instance, in one Vault namespace.
#[derive(Clone)]
pub struct Client {
    http: Arc<HttpClient>,
    instance: InstanceUrl,
    server_name: Option<ServerName>,
    namespace: Option<VaultNamespace>,
}

// === impl Client ===

impl Client {
    /// A client for the instance at the end of a way, over the HTTP client of that way.
    pub fn new(http: Arc<HttpClient>, way: &Way, namespace: Option<VaultNamespace>) -> Self {
        let (instance, server_name) = (way.instance.clone(), way.server_name.clone());
        Self { http, instance, server_name, namespace }
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
            self.http.leave();
        }
        tracing::debug!(
            operation = operation.as_str(),
            instance = %self.instance,
            status = outcome.as_ref().ok().map(|answer| answer.status),
            fault = ?outcome.as_ref().err(),
            milliseconds = started.elapsed().as_millis(),
            "vault asked"
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
            Some(location) if self.http.move_to(&location.host).await => self.ask(&request, token).await,
            _ => Ok(answer),
        }
    }

    async fn ask(&self, request: &Request, token: Option<&SecretString>) -> Result<Answer, TransportFault> {
        let (http, url, headers) = (self.http.get(), self.url(&request.path), self.headers(request, token));
        let call = match &request.body {
            // reqwest owns the bytes of a body and does not wipe them; a copy for it is made here and nowhere else.
            Some(body) => http
                .post(url)
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.to_vec()),
            None => http.get(url),
        };
        let mut response = call.headers(headers).send().await.map_err(|error| fault(&error))?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers(), Timestamp::now()),
            location: location(response.headers(), &self.instance.api(&request.path)),
            certificate_end: response.extensions().get().and_then(certificate_end),
            body: Zeroizing::new(Vec::new()),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
            if answer.body.len() + chunk.len() > request.operation.max_answer_bytes() {
                // What is this long is not Vault: the readers see an answer without a body, and say so.
                answer.body.clear();
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// The URL of an API path. Its host is the name for TLS; where the connection goes, the HTTP client knows already.
    fn url(&self, path: &str) -> Url {
        let mut url = self.instance.api(path);
        if let Some(name) = &self.server_name {
            url.set_host(Some(name.as_str())).expect("a server name is a host");
        }
        url
    }

    fn headers(&self, request: &Request, token: Option<&SecretString>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Vault Agent and Vault Proxy may demand this header as a shield against request forgery.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if self.server_name.is_some() {
            let host = HeaderValue::from_str(&self.instance.authority());
            headers.insert(HOST, host.expect("the host and port of a URL are ASCII text"));
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|_| !request.operation.is_root_only()) {
            // Beyond ASCII it goes as UTF-8, as Vault's own clients send it: OpenBao finds no namespace by an escaped one.
            let value = HeaderValue::from_bytes(namespace.as_str().as_bytes());
            let value = value.expect("a Vault namespace has no control character");
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
        headers
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
            | TransportFault::Gateway(_),
        ) => true,
    }
}

/// Longest wait that a server may ask for. Whoever asks for more asks for a person.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How long the server asks us to wait: in seconds or until a date (RFC 9110, section 10.2.3), at least a second, at
/// most [`LONGEST_RETRY_AFTER`].
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER))
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

/// Tells a failed exchange by the first known cause in its chain.
fn fault(error: &reqwest::Error) -> TransportFault {
    let other = || if error.is_timeout() { TransportFault::TimedOut } else { TransportFault::Failed };
    wire::fault_of(error).unwrap_or_else(other)
}

/// The end of the certificate that the server showed.
fn certificate_end(info: &TlsInfo) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(info.peer_certificate()?).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
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
        assert_eq!(wait("18446744073709551615"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(wait("Fri, 01 Jan 2027 00:00:00 GMT"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(wait("Thu, 01 Jan 2026 00:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Wed, 31 Dec 2025 00:00:30 GMT"), Some(Duration::from_secs(1)));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn of_a_redirect_only_the_host_is_told() {
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
    fn of_a_redirect_is_told_what_it_changes() {
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
