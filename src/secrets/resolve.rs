//! From the objects that were read to credentials and CA certificates.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{Lookup, Versions};
use crate::{
    api::{
        auth::{RoleId, SecretKeyRef},
        desired::{CaSource, Method, Target},
        tls::Trust,
    },
    refs::{MountPath, ObjectName},
};

/// What a connection logs in with. Its Debug is redacted.
#[derive(Debug)]
pub enum Credentials {
    /// For an AppRole login.
    AppRole(AppRolePair),
    /// An access token.
    Token(SecretString),
}

/// What an AppRole login needs.
#[derive(Debug)]
pub struct AppRolePair {
    /// Path of the auth method.
    pub mount: MountPath,
    /// The role id.
    pub role_id: SecretString,
    /// The secret id, or the wrapping token that holds it.
    pub secret_id: SecretString,
    /// Whether it is wrapped.
    pub wrapped: bool,
}

/// CA certificates that a connection gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CaPem {
    /// In PEM form.
    pub pem: Vec<u8>,
    /// Whether they are trusted alone.
    pub trust: Trust,
}

/// Everything that a check needs of the objects.
#[derive(Debug)]
pub struct Resolved {
    /// What to log in with.
    pub credentials: Credentials,
    /// CA certificates to trust.
    pub ca: Option<CaPem>,
}

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceFault {
    /// The field of the spec that names it.
    pub field: &'static str,
    /// The object and key that it names; none when the value is in the spec itself.
    pub source: Option<(ObjectName, String)>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It does not exist.
    Missing,
    /// It lacks the label that a Secret must carry.
    NotLabelled,
    /// Kubernetes does not let us read it.
    Forbidden,
    /// It has no such key.
    NoKey,
    /// The value is empty.
    Empty,
    /// The value is not UTF-8 text.
    NotUtf8,
    /// The value starts or ends with white space.
    Whitespace,
    /// The value holds no CA certificate.
    InvalidCertificate,
}

/// The objects that a check read.
pub type Lookups = BTreeMap<ObjectName, Lookup>;

// === impl Credentials ===

impl Credentials {
    /// The values themselves.
    pub fn values(&self) -> Vec<&SecretString> {
        match self {
            Self::AppRole(AppRolePair { mount: _, role_id, secret_id, wrapped: _ }) => {
                vec![role_id, secret_id]
            }
            Self::Token(token) => vec![token],
        }
    }
}

/// Takes the values that a target names out of the objects that were read, which are all that it names.
pub fn resolve(target: &Target, objects: &Lookups) -> Result<Resolved, ReferenceFault> {
    let credentials = match &target.method {
        Method::AppRole { mount, role_id, secret_id, wrapped } => Credentials::AppRole(AppRolePair {
            mount: mount.clone(),
            role_id: match role_id {
                RoleId::Value(value) => SecretString::from(value.as_str()),
                RoleId::SecretRef(reference) => text(objects, "spec.auth.appRole.roleId", reference)?,
            },
            secret_id: text(objects, "spec.auth.appRole.secretId", secret_id)?,
            wrapped: *wrapped,
        }),
        Method::Token(reference) => Credentials::Token(text(objects, "spec.auth.token", reference)?),
    };
    Ok(Resolved { credentials, ca: ca(target, objects)? })
}

/// The state of each object that was read.
pub fn versions(objects: &Lookups) -> Versions {
    objects.iter().map(|(name, lookup)| (name.clone(), lookup.version().cloned())).collect()
}

/// The fault of CA certificates that do not parse.
pub fn invalid_certificate(source: &CaSource) -> ReferenceFault {
    ReferenceFault { field: CA_FIELD, source: ca_source(source), problem: Problem::InvalidCertificate }
}

const CA_FIELD: &str = "spec.tls.caBundle";

fn ca_source(source: &CaSource) -> Option<(ObjectName, String)> {
    match source {
        CaSource::ConfigMap(reference) => {
            Some((ObjectName::config_map(&reference.name), reference.key.clone()))
        }
        CaSource::Secret(reference) => Some((ObjectName::secret(&reference.name), reference.key.clone())),
        CaSource::Inline(_) => None,
    }
}

fn ca(target: &Target, objects: &Lookups) -> Result<Option<CaPem>, ReferenceFault> {
    let Some(ca) = &target.ca else { return Ok(None) };
    let pem = match (&ca.source, ca_source(&ca.source)) {
        (CaSource::Inline(pem), _) => pem.clone().into_bytes(),
        (CaSource::ConfigMap(_) | CaSource::Secret(_), source) => {
            let (object, key) = source.expect("a source outside the spec names an object");
            bytes(objects, CA_FIELD, object, &key)?.to_vec()
        }
    };
    Ok(Some(CaPem { pem, trust: ca.trust }))
}

/// A value that Vault takes as one word.
fn text(
    objects: &Lookups,
    field: &'static str,
    reference: &SecretKeyRef,
) -> Result<SecretString, ReferenceFault> {
    let object = ObjectName::secret(&reference.name);
    let bytes = bytes(objects, field, object.clone(), &reference.key)?;
    let fault = |problem| ReferenceFault { field, source: Some((object, reference.key.clone())), problem };
    match std::str::from_utf8(bytes) {
        Err(_) => Err(fault(Problem::NotUtf8)),
        // Trimming would hide that other users of the same Secret see the newline.
        Ok(text) if text.trim() != text => Err(fault(Problem::Whitespace)),
        Ok(text) => Ok(SecretString::from(text)),
    }
}

fn bytes<'a>(
    objects: &'a Lookups,
    field: &'static str,
    object: ObjectName,
    key: &str,
) -> Result<&'a [u8], ReferenceFault> {
    let problem = match objects.get(&object) {
        Some(Lookup::Found(found)) => match found.data.get(key) {
            Some(value) if value.is_empty() => Problem::Empty,
            Some(value) => return Ok(value),
            None => Problem::NoKey,
        },
        Some(Lookup::NotLabelled) => Problem::NotLabelled,
        Some(Lookup::Forbidden) => Problem::Forbidden,
        Some(Lookup::Missing) | None => Problem::Missing,
    };
    Err(ReferenceFault { field, source: Some((object, key.to_owned())), problem })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        api::desired::Ca,
        refs::{InstanceUrl, MountPath},
        secrets::{Object, Version},
    };

    fn key(name: &str, key: &str) -> SecretKeyRef {
        SecretKeyRef { name: name.to_owned(), key: key.to_owned() }
    }

    fn target() -> Target {
        Target {
            instance: InstanceUrl::parse("https://vault.example.com").expect("valid"),
            namespace: None,
            method: Method::AppRole {
                mount: MountPath::parse("approle").expect("valid"),
                role_id: RoleId::SecretRef(key("approle", "roleId")),
                secret_id: key("approle", "secretId"),
                wrapped: false,
            },
            ca: None,
        }
    }

    fn secret(data: &[(&str, &[u8])]) -> Lookup {
        Lookup::Found(Object {
            version: Version { uid: "u".to_owned(), resource_version: "1".to_owned() },
            labelled: true,
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec().into())).collect(),
        })
    }

    fn with(lookup: Lookup) -> Lookups {
        Lookups::from([(ObjectName::secret("approle"), lookup)])
    }

    #[test]
    fn values_are_taken_as_they_are() {
        let resolved = resolve(&target(), &with(secret(&[("roleId", b"r"), ("secretId", b"s 1")])));
        let Ok(Resolved { credentials: Credentials::AppRole(pair), ca: None }) = resolved else {
            panic!("{resolved:?}")
        };
        assert_eq!((pair.role_id.expose_secret(), pair.secret_id.expose_secret()), ("r", "s 1"));
    }

    #[test]
    fn each_problem_is_told_with_its_field_object_and_key() {
        let good: (&str, &[u8]) = ("roleId", b"r");
        let table: Vec<(&str, Lookup, Problem)> = vec![
            ("no Secret", Lookup::Missing, Problem::Missing),
            ("no label", Lookup::NotLabelled, Problem::NotLabelled),
            ("no right", Lookup::Forbidden, Problem::Forbidden),
            ("no key", secret(&[good]), Problem::NoKey),
            ("nothing in it", secret(&[good, ("secretId", b"")]), Problem::Empty),
            ("a trailing newline", secret(&[good, ("secretId", b"s\n")]), Problem::Whitespace),
            ("a leading blank", secret(&[good, ("secretId", b" s")]), Problem::Whitespace),
            ("not UTF-8", secret(&[good, ("secretId", b"\xff\xfe")]), Problem::NotUtf8),
        ];
        for (name, lookup, problem) in table {
            let fault = resolve(&target(), &with(lookup)).expect_err(name);
            assert_eq!(fault.problem, problem, "{name}");
            let (object, key) = fault.source.expect("the Secret");
            assert_eq!(object, ObjectName::secret("approle"));
            let first_or_second =
                matches!(problem, Problem::Missing | Problem::NotLabelled | Problem::Forbidden);
            assert_eq!(key, if first_or_second { "roleId" } else { "secretId" }, "{name}");
        }
    }

    #[test]
    fn ca_certificates_may_have_newlines_and_come_from_three_places() {
        let mut objects = with(secret(&[("roleId", b"r"), ("secretId", b"s"), ("ca", b"pem\n")]));
        let config_map = crate::api::tls::ConfigMapKeyRef { name: "ca".to_owned(), key: "ca".to_owned() };
        objects.insert(ObjectName::config_map("ca"), secret(&[("ca", b"pem\n")]));
        for source in [
            CaSource::Inline("pem\n".to_owned()),
            CaSource::Secret(key("approle", "ca")),
            CaSource::ConfigMap(config_map),
        ] {
            let target = Target { ca: Some(Ca { source, trust: Trust::WithSystem }), ..target() };
            let ca = resolve(&target, &objects).expect("resolved").ca.expect("a CA");
            assert_eq!((ca.pem.as_slice(), ca.trust), (b"pem\n".as_slice(), Trust::WithSystem));
        }
    }

    #[test]
    fn credentials_do_not_print() {
        let held = Credentials::AppRole(AppRolePair {
            mount: MountPath::parse("approle").expect("valid"),
            role_id: "canary".into(),
            secret_id: "canary".into(),
            wrapped: true,
        });
        let token = Credentials::Token("canary".into());
        assert!(!format!("{held:?}{token:?}").contains("canary"));
    }
}
