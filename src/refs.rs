//! Names and addresses, valid by construction.
//!
//! A leaf: it knows no Kubernetes type and no Vault request. Whoever holds one of these values need not check it again.

mod endpoint;

use std::fmt;

use url::{Host, Url};

pub use self::endpoint::{EndpointUrl, EndpointUrlError, Scheme, ServerName, ServerNameError};

/// Identity of a `VaultConnection` in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRef {
    /// Kubernetes namespace of the connection, and of everything that it may name.
    pub namespace: String,
    /// Name of the connection.
    pub name: String,
}

/// Identity of a `VaultGateway` in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayName {
    /// Kubernetes namespace of the gateway, and of everything that it may name.
    pub namespace: String,
    /// Name of the gateway.
    pub name: String,
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
}

/// An object that a connection names. It has no namespace: a connection reads only its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// What kind of object it is.
    pub kind: ObjectKind,
    /// Its `metadata.name`.
    pub name: String,
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
}

/// Path of an auth method or secrets engine, without slashes at its ends: `approle`, `team-a/approle`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MountPath(String);

/// A text is no mount path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mount is a path of letters, digits, '.', '_' and '-', such as approle or team-a/approle")]
pub struct MountPathError;

/// A Vault namespace other than the root one: `admin/team-a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaultNamespace(String);

/// A text is no Vault namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a Vault namespace is a path of letters, digits, '.', '_' and '-', such as admin/team-a; leave it empty for the root namespace"
)]
pub struct VaultNamespaceError;

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
    pub const ALL: [Self; 3] = [Self::Secret, Self::ConfigMap, Self::VaultGateway];

    /// The `kind` of its manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::VaultGateway => "VaultGateway",
        }
    }
}

// === impl ObjectName ===

impl ObjectName {
    /// Names a Secret.
    pub fn secret(name: &str) -> Self {
        Self { kind: ObjectKind::Secret, name: name.to_owned() }
    }

    /// Names a `ConfigMap`.
    pub fn config_map(name: &str) -> Self {
        Self { kind: ObjectKind::ConfigMap, name: name.to_owned() }
    }

    /// Names a `VaultGateway`.
    pub fn gateway(name: &str) -> Self {
        Self { kind: ObjectKind::VaultGateway, name: name.to_owned() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.name)
    }
}

// === impl InstanceUrl ===

impl InstanceUrl {
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
        Ok(Self(url))
    }

    /// The URL of an API path: `sys/health` becomes `https://HOST/PREFIX/v1/sys/health`.
    pub fn api(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/v1/{path}", self.0.path().trim_end_matches('/')));
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

// === impl MountPath ===

impl MountPath {
    /// Accepts one slash at each end, as Vault's own tools do.
    pub fn parse(text: &str) -> Result<Self, MountPathError> {
        path_segments(text).map(Self).ok_or(MountPathError)
    }

    /// The path without slashes at its ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl VaultNamespace ===

impl VaultNamespace {
    /// Empty, `/` and `root` all mean the root namespace, for which no header is sent.
    pub fn parse(text: &str) -> Result<Option<Self>, VaultNamespaceError> {
        if matches!(text, "" | "/" | "root" | "root/") {
            return Ok(None);
        }
        path_segments(text).map(|path| Some(Self(path))).ok_or(VaultNamespaceError)
    }

    /// The path without slashes at its ends, as the `X-Vault-Namespace` header takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Joins the segments of a path, or tells that one of them could change the request's meaning.
fn path_segments(text: &str) -> Option<String> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let sound = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    text.split('/').all(sound).then(|| text.to_owned())
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
    fn mounts_cannot_leave_their_place_in_the_path() {
        for text in ["approle", "/approle/", "team-a/approle", "a.b_c-d"] {
            assert!(MountPath::parse(text).is_ok(), "{text}");
        }
        for text in ["", "/", "a//b", "..", "a/../b", "a?b", "a#b", "a b", "a%2fb", "ä"] {
            assert_eq!(MountPath::parse(text), Err(MountPathError), "{text}");
        }
    }

    #[test]
    fn the_root_namespace_has_several_spellings_and_no_header() {
        for text in ["", "/", "root", "root/"] {
            assert_eq!(VaultNamespace::parse(text), Ok(None), "{text}");
        }
        let nested = VaultNamespace::parse("/admin/team-a/").expect("valid").expect("not root");
        assert_eq!(nested.as_str(), "admin/team-a");
        assert_eq!(VaultNamespace::parse("a b"), Err(VaultNamespaceError));
    }

    proptest! {
        #[test]
        fn no_text_changes_the_host_or_leaves_its_place(
            url in "https?://(a|b\\.c|\\[::1\\]|0x7f\\.1|u@h)(:[0-9]{1,3})?(/[a-z.%?#]{0,4}){0,2}",
            path in "/?[a-z.?#%@:]{1,3}(/[a-z.?#]{1,2})?/?",
        ) {
            let Ok(instance) = InstanceUrl::parse(&url) else { return Ok(()) };
            let Ok(mount) = MountPath::parse(&path) else { return Ok(()) };
            let request = instance.api(&format!("auth/{}/login", mount.as_str()));
            prop_assert_eq!(request.host(), Some(instance.host()));
            prop_assert_eq!(request.port_or_known_default(), Some(instance.port()));
            let place = format!("/v1/auth/{}/login", mount.as_str());
            prop_assert!(request.path().ends_with(&place), "{}", request);
            prop_assert!(request.query().is_none() && request.fragment().is_none());
            prop_assert!(request.username().is_empty() && request.password().is_none());
        }
    }
}
