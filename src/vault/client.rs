//! Sends requests to one instance, in one Vault namespace.
//!
//! Every call has a deadline. A fault is a value; its text never holds a body, a token or a URL query.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use rustls::CertificateError;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    Request,
    answer::Answer,
    transport::{TlsFault, TransportFault},
};
use crate::{
    gateway::dial::ResolveFault,
    refs::{InstanceUrl, VaultNamespace},
};

/// Longest answer that is read. The longest that we ask for, a login's, has a few KiB.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Sends requests to one instance, in one Vault namespace.
#[derive(Clone)]
pub struct Client {
    http: Arc<reqwest::Client>,
    instance: InstanceUrl,
    namespace: Option<VaultNamespace>,
}

// === impl Client ===

impl Client {
    /// A client for an instance over a shared HTTP client.
    pub fn new(http: Arc<reqwest::Client>, instance: InstanceUrl, namespace: Option<VaultNamespace>) -> Self {
        Self { http, instance, namespace }
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

    async fn exchange(
        &self,
        request: Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, TransportFault> {
        let url = self.instance.api(&request.path);
        let headers = self.headers(&request, token);
        let call = match request.body {
            // reqwest owns the bytes of a body and does not wipe them; a copy for it is made here and nowhere else.
            Some(body) => {
                let call =
                    self.http.post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                call.body(body.to_vec())
            }
            None => self.http.get(url),
        };
        let mut response = call.headers(headers).send().await.map_err(|error| fault(&error))?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers(), Timestamp::now()),
            location: redirect_host(response.headers(), &self.instance),
            body: Zeroizing::new(Vec::new()),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
            if answer.body.len() + chunk.len() > MAX_ANSWER_BYTES {
                // What is this long is not Vault: the readers see an answer without a body, and say so.
                answer.body.clear();
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn headers(&self, request: &Request, token: Option<&SecretString>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Vault Agent and Vault Proxy may demand this header as a shield against request forgery.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = self.namespace.as_ref().filter(|_| !request.operation.is_root_only()) {
            let value = HeaderValue::from_str(namespace.as_str()).expect("a Vault namespace is ASCII text");
            headers.insert("x-vault-namespace", value);
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

/// The host that a redirect names. The rest of its URL may hold anything, and is left out.
fn redirect_host(headers: &HeaderMap, instance: &InstanceUrl) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let url: Url = instance.api("").join(location).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")))
}

/// Tells a failed exchange by the first known cause in its chain.
fn fault(error: &reqwest::Error) -> TransportFault {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(known) = known_cause(error) {
            return known;
        }
        cause = error.source();
    }
    if error.is_timeout() { TransportFault::TimedOut } else { TransportFault::Failed }
}

fn known_cause(error: &(dyn StdError + 'static)) -> Option<TransportFault> {
    if let Some(resolve) = error.downcast_ref::<ResolveFault>() {
        return Some(match resolve {
            ResolveFault::NotResolved => TransportFault::NameNotResolved,
            ResolveFault::Refused(refusal) => TransportFault::NotAllowed(refusal.clone()),
        });
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(TransportFault::Tls(tls_fault(tls)));
    }
    let io = error.downcast_ref::<io::Error>()?;
    // An io::Error that wraps another error hides it from `source`.
    if let Some(known) = io.get_ref().and_then(|inner| known_cause(inner)) {
        return Some(known);
    }
    (io.kind() == io::ErrorKind::ConnectionRefused).then_some(TransportFault::Refused)
}

fn tls_fault(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownAuthority,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::WrongName
            }
            _ => TlsFault::Other,
        },
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Other,
    }
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
            redirect_host(&HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(text))]), &instance)
        };
        assert_eq!(
            host("https://evil.example.com:8/v1/x?token=s.abc").as_deref(),
            Some("evil.example.com:8")
        );
        assert_eq!(host("/elsewhere").as_deref(), Some("vault.example.com"));
        assert_eq!(host("https://").as_deref(), None);
    }
}
