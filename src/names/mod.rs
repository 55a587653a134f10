//! Names and addresses, valid by construction.
//!
//! A leaf: it knows no Kubernetes type and no Vault request. Whoever holds one of these values need not check it again.

mod endpoint;
pub mod path;
pub mod pool;
pub mod text;
pub mod written;

use std::{fmt, sync::Arc};

use url::{Host, Url};

pub use self::{
    endpoint::{EndpointUrl, EndpointUrlError, Scheme, ServerName, ServerNameError},
    path::{MountPath, MountPathError, VaultNamespace, VaultNamespaceError},
};
use self::{
    pool::Pool,
    written::{Written, WrittenError},
};

/// Texts that many names have in common: namespaces, and the objects that connections name.
pub static NAMES: Pool<str> = Pool::new();

/// Identity of a `VaultConnection` in the cluster. It stands in a dozen tables, so that copies share the texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRef {
    /// Kubernetes namespace of the connection, and of everything that it may name.
    pub namespace: Arc<str>,
    /// Name of the connection.
    pub name: Arc<str>,
}

/// Identity of a `VaultGateway` in the cluster. Copies share the texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayName {
    /// Kubernetes namespace of the gateway, and of everything that it may name.
    pub namespace: Arc<str>,
    /// Name of the gateway.
    pub name: Arc<str>,
}

/// The kinds of object that a connection may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A Secret with credentials or CA certificates.
    Secret,
    /// A `ConfigMap` with CA certificates.
    ConfigMap,
    /// A `VaultGateway` to go through.
    VaultGateway,
    /// A ServiceAccount to log in as.
    ServiceAccount,
}

/// An object that a connection names. It has no namespace: a connection reads only its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// What kind of object it is.
    pub kind: ObjectKind,
    /// Its `metadata.name`.
    pub name: Arc<str>,
}

/// The address of a Vault instance: `http` or `https`, a host, and perhaps a port and a path prefix.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceUrl(Url);

/// Why a text is no instance URL. Each says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstanceUrlError {
    /// It does not parse, or its scheme is not one that Vault speaks.
    #[error("it must have the form https://HOST[:PORT][/PREFIX], such as https://vault.example.com:8200")]
    Form,
    /// It carries a user name or password.
    #[error("it must not hold a user name or password; credentials go into Secrets that spec.auth names")]
    UserInfo,
    /// It carries a query or a fragment.
    #[error("it must not hold a query or a fragment")]
    QueryOrFragment,
    /// Its host is neither a name nor an address.
    #[error(
        "the host must be a name of letters, digits, '-', '_' and '.', an IPv4 address such as 10.0.0.7, or an IPv6 address in brackets such as [2001:db8::1]"
    )]
    Host,
    /// Its host is an international name that IDNA does not take, or that is too long for the DNS.
    #[error(
        "the host is not a valid international name (IDNA), or too long in its ASCII form: write it in its own letters, such as vault.bücher.example"
    )]
    International,
    /// Its port is no number, or too large.
    #[error("the port must be a number from 1 to 65535; leave it out for the usual one")]
    Port,
}

// === impl ConnectionRef ===

impl fmt::Display for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl GatewayName ===

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl ObjectKind ===

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Secret, Self::ConfigMap, Self::VaultGateway, Self::ServiceAccount];

    /// The `kind` of its manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::VaultGateway => "VaultGateway",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

// === impl ObjectName ===

impl ObjectName {
    /// Names a Secret.
    pub fn secret(name: &str) -> Self {
        Self::new(ObjectKind::Secret, name)
    }

    /// Names a `ConfigMap`.
    pub fn config_map(name: &str) -> Self {
        Self::new(ObjectKind::ConfigMap, name)
    }

    /// Names a `VaultGateway`.
    pub fn gateway(name: &str) -> Self {
        Self::new(ObjectKind::VaultGateway, name)
    }

    /// Names a ServiceAccount.
    pub fn service_account(name: &str) -> Self {
        Self::new(ObjectKind::ServiceAccount, name)
    }

    /// Names an object of a kind. All who name it share the text.
    pub fn new(kind: ObjectKind, name: &str) -> Self {
        Self { kind, name: NAMES.share(name) }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.name)
    }
}

// === impl InstanceUrl ===

impl InstanceUrl {
    /// Parses what a user wrote: the plain form alone, which the CRD's rules accept too.
    pub fn written(text: &str) -> Result<Self, InstanceUrlError> {
        match Written::parse(text) {
            Ok(Written { scheme, .. }) if !matches!(&*scheme.to_ascii_lowercase(), "http" | "https") => {
                Err(InstanceUrlError::Form)
            }
            // Everything but the letters of the host has just been found good.
            Ok(_) => Self::parse(text).ok().filter(Self::fits_the_dns).ok_or(InstanceUrlError::International),
            Err(WrittenError::Form) => Err(InstanceUrlError::Form),
            Err(WrittenError::UserInfo) => Err(InstanceUrlError::UserInfo),
            Err(WrittenError::QueryOrFragment) => Err(InstanceUrlError::QueryOrFragment),
            Err(WrittenError::Host) => Err(InstanceUrlError::Host),
            Err(WrittenError::Port) => Err(InstanceUrlError::Port),
        }
    }

    /// Parses by the WHATWG rules, so that the host seen here is the host that is dialled.
    pub fn parse(text: &str) -> Result<Self, InstanceUrlError> {
        let url = Url::parse(text).map_err(|_| InstanceUrlError::Form)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.port() == Some(0) {
            return Err(InstanceUrlError::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InstanceUrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InstanceUrlError::QueryOrFragment);
        }
        // The WHATWG rules let a name hold quotes and braces, on which other parsers fail.
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if matches!(url.host(), Some(Host::Domain(name)) if !name.chars().all(sound)) {
            return Err(InstanceUrlError::Host);
        }
        Ok(Self(url))
    }

    /// Whether the DNS can have the host: in ASCII, an international name is longer.
    fn fits_the_dns(&self) -> bool {
        match self.host() {
            Host::Domain(name) => written::is_dns_name(name),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        }
    }

    /// The URL of an API path, which is not escaped yet: `sys/health` becomes `https://HOST/PREFIX/v1/sys/health`.
    pub fn api(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/v1/{}", self.0.path().trim_end_matches('/'), path::escaped(path)));
        url
    }

    /// The host: a name, or an address that no resolver is asked for.
    pub fn host(&self) -> Host<&str> {
        self.0.host().expect("an instance URL has a host")
    }

    /// The port, explicit or by the scheme.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().expect("http and https have default ports")
    }

    /// Scheme, host and port, whatever the path: the server that is asked.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The host and port as the URL has them: what the `Host` header says.
    pub fn authority(&self) -> String {
        self.0.authority().to_owned()
    }

    /// Whether the requests would travel unencrypted.
    pub fn is_plain_http(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// The text without a trailing slash, for messages and the status.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl fmt::Display for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instance_urls_are_accepted_or_refused_with_the_reason() {
        use InstanceUrlError::{Form, QueryOrFragment, UserInfo};
        let table: &[(&str, Result<&str, InstanceUrlError>)] = &[
            ("https://vault.example.com", Ok("https://vault.example.com")),
            ("https://vault.example.com/", Ok("https://vault.example.com")),
            ("https://vault.example.com:8200/prefix/", Ok("https://vault.example.com:8200/prefix")),
            ("http://[::1]:8200", Ok("http://[::1]:8200")),
            ("HTTPS://Vault.Example.Com", Ok("https://vault.example.com")),
            ("https://0x7f.1", Ok("https://127.0.0.1")),
            ("vault.example.com", Err(Form)),
            ("ftp://vault.example.com", Err(Form)),
            ("https://", Err(Form)),
            ("https://:8200", Err(Form)),
            ("https://vault.example.com:0", Err(Form)),
            ("https://vault.example.com:99999", Err(Form)),
            ("https://user@vault.example.com", Err(UserInfo)),
            ("https://:pass@vault.example.com", Err(UserInfo)),
            ("https://vault.example.com?x=1", Err(QueryOrFragment)),
            ("https://vault.example.com#x", Err(QueryOrFragment)),
        ];
        for (text, expected) in table {
            let parsed = InstanceUrl::parse(text);
            assert_eq!(parsed.as_ref().map(InstanceUrl::as_str), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn api_paths_follow_the_prefix() {
        let url = InstanceUrl::parse("https://vault.example.com/edge/").expect("valid");
        assert_eq!(url.api("sys/health").as_str(), "https://vault.example.com/edge/v1/sys/health");
        let url = InstanceUrl::parse("https://vault.example.com:8200").expect("valid");
        assert_eq!(
            url.api("auth/team-a/approle/login").as_str(),
            "https://vault.example.com:8200/v1/auth/team-a/approle/login"
        );
    }

    #[test]
    fn paths_of_one_server_have_one_origin() {
        let origin = |text| InstanceUrl::parse(text).expect("valid").origin();
        assert_eq!(origin("https://Vault.example.com:443/a"), "https://vault.example.com");
        assert_eq!(origin("https://vault.example.com/b/c"), "https://vault.example.com");
        assert_eq!(origin("http://[::1]:8200/a"), "http://[::1]:8200");
    }

    #[test]
    fn of_what_a_user_writes_only_the_plain_form_is_taken() {
        use InstanceUrlError::{Form, Host, International, Port, QueryOrFragment, UserInfo};
        let table: &[(&str, Result<&str, InstanceUrlError>)] = &[
            ("HTTPS://Vault.Example.Com:8200/", Ok("https://vault.example.com:8200")),
            ("https://bücher.example", Ok("https://xn--bcher-kva.example")),
            ("ftp://vault.example.com", Err(Form)),
            (" https://vault.example.com", Err(Form)),
            ("https:vault.example.com", Err(Form)),
            ("https://a@b", Err(UserInfo)),
            ("https://a?b", Err(QueryOrFragment)),
            ("https://a\"b.example", Err(Host)),
            ("https://10.0.0.256", Err(Host)),
            ("https://xn--a.example", Err(International)),
            ("https://XN--A.example", Err(International)),
            ("https://xn--a-ecp.example", Err(International)),
            ("https://xn--a--.example", Err(Host)),
            ("https://xn--bcher-kva-.example", Err(Host)),
            ("https://xn--vault.example", Err(International)),
            ("https://xn--bcher-kva.example", Ok("https://xn--bcher-kva.example")),
            ("https://XN--BCHER-KVA.Example", Ok("https://xn--bcher-kva.example")),
            ("https://BÜCHER.example.:8200", Ok("https://xn--bcher-kva.example.:8200")),
            ("https://\u{378}.example", Err(International)),
            ("https://\u{301}a.example", Err(International)),
            (&format!("https://{}.example", "ü".repeat(63)), Err(International)),
            ("https://a:65536", Err(Port)),
        ];
        for (text, expected) in table {
            let parsed = InstanceUrl::written(text);
            assert_eq!(parsed.as_ref().map(InstanceUrl::as_str), expected.as_ref().copied(), "{text}");
        }
        for text in ["https://a\"b.example", "https://{a}.example", "https://a'b", "https://a*"] {
            assert_eq!(InstanceUrl::parse(text), Err(Host), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_changes_the_host_or_leaves_its_place(
            url in "https?://(a|b\\.c|\\[::1\\]|0x7f\\.1|u@h)(:[0-9]{1,3})?(/[a-z.%?#]{0,4}){0,2}",
            path in "/?[a-z.?#%@: \\\\ü]{1,3}(/[a-z.?#+\"]{1,2})?/?",
        ) {
            let Ok(instance) = InstanceUrl::parse(&url) else { return Ok(()) };
            let Ok(mount) = MountPath::parse(&path) else { return Ok(()) };
            let request = instance.api(&format!("auth/{}/login", mount.as_str()));
            prop_assert_eq!(request.host(), Some(instance.host()));
            prop_assert_eq!(request.port_or_known_default(), Some(instance.port()));
            let place = format!("/v1/auth/{}/login", path::escaped(mount.as_str()));
            prop_assert!(request.path().ends_with(&place), "{}", request);
            let segments = request.path().split('/').count() - instance.api("").path().split('/').count();
            prop_assert_eq!(segments, 2 + mount.as_str().matches('/').count(), "{}", request);
            prop_assert!(request.query().is_none() && request.fragment().is_none());
            prop_assert!(request.username().is_empty() && request.password().is_none());
        }
    }
}
