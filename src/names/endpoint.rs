//! Addresses of proxies, and the names that certificates are for.

use std::fmt;

use url::{Host, Url};

use super::written::{self, Written};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP CONNECT (RFC 9110, section 9.3.6). The proxy resolves names.
    Http,
    /// The same, over TLS.
    Https,
    /// SOCKS version 5 (RFC 1928) with addresses: names are resolved here.
    Socks5,
    /// SOCKS version 5 with names: the proxy resolves them.
    Socks5h,
}

/// The address of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
}

/// A text is no address of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write http://HOST[:PORT], https://HOST[:PORT], socks5://HOST[:PORT] or socks5h://HOST[:PORT]; a login belongs into a Secret"
)]
pub struct EndpointUrlError;

/// A name that a certificate is for: a DNS name, or an IPv4 address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerName(String);

/// A text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the name in the server's certificate, such as vault.internal, without scheme and port")]
pub struct ServerNameError;

// === impl Scheme ===

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    /// The scheme of its URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// The port that a URL without one means.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

// === impl EndpointUrl ===

impl EndpointUrl {
    /// Parses the host by the rules for web addresses, whatever the scheme is, so that an address in disguise is seen
    /// as what it is.
    pub fn parse(text: &str) -> Result<Self, EndpointUrlError> {
        let Written { scheme, path } = Written::parse(text).map_err(|_| EndpointUrlError)?;
        let named = |known: &Scheme| known.as_str().eq_ignore_ascii_case(scheme);
        let scheme = Scheme::ALL.into_iter().find(named).ok_or(EndpointUrlError)?;
        if !matches!(path, "" | "/") {
            return Err(EndpointUrlError);
        }
        let rest = &text[scheme.as_str().len()..];
        // A scheme of the web that has a default port which no proxy uses.
        let url = Url::parse(&format!("ftp{rest}")).map_err(|_| EndpointUrlError)?;
        let host = url.host().map(|host| host.to_owned());
        // In ASCII, an international name is longer.
        if matches!(&host, Some(Host::Domain(name)) if !written::is_dns_name(name)) {
            return Err(EndpointUrlError);
        }
        let port = match url.port() {
            // The parser drops a port that is the default of its scheme.
            None if rest.trim_end_matches('/').ends_with(":21") => 21,
            None => scheme.default_port(),
            Some(port) => port,
        };
        Ok(Self { scheme, host: host.ok_or(EndpointUrlError)?, port })
    }

    /// Whether the proxy itself speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

// === impl ServerName ===

impl ServerName {
    /// Accepts what stays the same when it becomes the host of a URL, but for upper case.
    pub fn parse(text: &str) -> Result<Self, ServerNameError> {
        let lower = text.to_ascii_lowercase();
        if !text.is_ascii() || !written::is_name(text) {
            return Err(ServerNameError);
        }
        match Host::parse(&lower) {
            Ok(host) if host.to_string() == lower => Ok(Self(lower)),
            _ => Err(ServerNameError),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_accepted_or_refused() {
        let table: &[(&str, Option<&str>)] = &[
            ("http://proxy.example.com", Some("http://proxy.example.com:80")),
            ("https://proxy.example.com/", Some("https://proxy.example.com:443")),
            ("SOCKS5h://Proxy.Example.com:1081", Some("socks5h://proxy.example.com:1081")),
            ("socks5://10.0.0.7", Some("socks5://10.0.0.7:1080")),
            ("socks5://[fd00::1]:1080", Some("socks5://[fd00::1]:1080")),
            ("socks5h://0x7f.1", Some("socks5h://127.0.0.1:1080")),
            ("http://proxy:21", Some("http://proxy:21")),
            ("http://proxy:8080", Some("http://proxy:8080")),
            ("http://bücher.example", Some("http://xn--bcher-kva.example:80")),
            ("socks5h://XN--BCHER-KVA.example", Some("socks5h://xn--bcher-kva.example:1080")),
            ("http://xn--a.example", None),
            (&"ü".repeat(63).replacen('ü', "http://ü", 1), None),
            ("socks4://proxy", None),
            ("proxy:1080", None),
            ("http://", None),
            ("http://proxy:0", None),
            ("http://proxy:99999", None),
            ("http://user@proxy", None),
            ("http://user:password@proxy", None),
            ("http://@proxy", None),
            ("http://pro\"xy", None),
            ("http://<proxy>", None),
            ("http://10.0.0.256", None),
            ("http://proxy:65536", None),
            ("http://proxy//", None),
            ("http://proxy/path", None),
            ("http://proxy?x", None),
            ("http://proxy#x", None),
        ];
        for (text, expected) in table {
            let parsed = EndpointUrl::parse(text).ok().map(|url| url.to_string());
            assert_eq!(parsed.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn server_names_stay_what_they_are() {
        for text in [
            "vault.internal",
            "xn--bcher-kva.example",
            "XN--bcher-kva.example",
            "Vault.Internal",
            "vault",
            "10.0.0.7",
            "_vault.example.com",
        ] {
            let name = ServerName::parse(text).expect(text);
            assert_eq!(name.as_str(), text.to_lowercase());
        }
        for text in [
            "",
            ".",
            "-",
            "a b",
            "vault.internal:8200",
            "https://vault",
            "0x7f.1",
            "127.1",
            "a/b",
            "ä",
            "::1",
            "a.",
            "1.2.3",
            "10.0.0.256",
            "a..b",
            "a-",
            "-a.example",
            "xn--a.example",
            "xn--a-.example",
            "bücher.example",
        ] {
            assert_eq!(ServerName::parse(text), Err(ServerNameError), "{text}");
        }
    }
}
