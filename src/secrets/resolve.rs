//! From the objects that were read to all that a check needs of them.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{
    Lookup, Versions,
    gateway::{self, Gateway},
    tls::{self, TlsMaterial},
};
use crate::{
    api::{
        auth::{RoleId, SecretKeyRef},
        desired::{Method, Target},
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

/// Everything that a check needs of the objects.
#[derive(Debug)]
pub struct Resolved {
    /// What to log in with.
    pub credentials: Credentials,
    /// The way to the instance.
    pub way: WayMaterial,
}

/// What the way to an instance needs of the objects.
#[derive(Debug)]
pub struct WayMaterial {
    /// For the TLS connection to the instance.
    pub tls: TlsMaterial,
    /// The gateway to go through.
    pub gateway: Option<Gateway>,
    /// The objects of the connection's namespace that the way rests on, CA certificates apart.
    pub rests_on: Versions,
}

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceFault {
    /// The field of the spec that names it, and of which object, if not of the connection.
    pub field: String,
    /// The object and key that it names; none when the value is in the spec itself.
    pub source: Option<(ObjectName, String)>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The object holds no certificate with the key that belongs to it.
    InvalidKeyPair,
    /// The gateway breaks a rule that the installed CRD did not enforce.
    InvalidGateway(String),
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

/// Takes the values that a target names, also by its gateway, out of the objects that were read.
pub fn resolve(target: &Target, objects: &Lookups) -> Result<Resolved, ReferenceFault> {
    Ok(Resolved { credentials: credentials(target, objects)?, way: way(target, objects)? })
}

/// Takes what a target logs in with out of the objects that were read.
pub fn credentials(target: &Target, objects: &Lookups) -> Result<Credentials, ReferenceFault> {
    let value = |field, reference: &SecretKeyRef| {
        text(objects, field, &ObjectName::secret(&reference.name), &reference.key)
    };
    Ok(match &target.method {
        Method::AppRole { mount, role_id, secret_id, wrapped } => Credentials::AppRole(AppRolePair {
            mount: mount.clone(),
            role_id: match role_id {
                RoleId::Value(value) => SecretString::from(value.as_str()),
                RoleId::SecretRef(reference) => value("spec.auth.appRole.roleId", reference)?,
            },
            secret_id: value("spec.auth.appRole.secretId", secret_id)?,
            wrapped: *wrapped,
        }),
        Method::Token(reference) => Credentials::Token(value("spec.auth.token", reference)?),
    })
}

fn way(target: &Target, objects: &Lookups) -> Result<WayMaterial, ReferenceFault> {
    let tls = tls::resolve(&target.tls, objects, "spec.tls", "")?;
    let mut names: Vec<ObjectName> =
        target.tls.client_certificate.as_deref().map(ObjectName::secret).into_iter().collect();
    let gateway = match &target.gateway {
        Some(name) => {
            let desired = gateway::read_spec(name, objects)?;
            names.push(ObjectName::gateway(name));
            names.extend(desired.references());
            Some(Gateway::resolve(name, &desired, objects, &gateway::whose(name))?)
        }
        None => None,
    };
    let mut rests_on = versions(objects);
    rests_on.retain(|name, _| names.contains(name));
    Ok(WayMaterial { tls, gateway, rests_on })
}

/// The state of each object that was read.
pub fn versions(objects: &Lookups) -> Versions {
    objects.iter().map(|(name, lookup)| (name.clone(), lookup.version().cloned())).collect()
}

/// A value that a server takes as one word.
pub(super) fn text(
    objects: &Lookups,
    field: &str,
    object: &ObjectName,
    key: &str,
) -> Result<SecretString, ReferenceFault> {
    let problem = match std::str::from_utf8(bytes(objects, field, object, key)?) {
        Err(_) => Problem::NotUtf8,
        // Trimming would hide that other users of the same Secret see the newline.
        Ok(text) if text.trim() != text => Problem::Whitespace,
        Ok(text) => return Ok(SecretString::from(text)),
    };
    Err(ReferenceFault { field: field.to_owned(), source: Some((object.clone(), key.to_owned())), problem })
}

pub(super) fn bytes<'a>(
    objects: &'a Lookups,
    field: &str,
    object: &ObjectName,
    key: &str,
) -> Result<&'a [u8], ReferenceFault> {
    let problem = match objects.get(object) {
        Some(Lookup::Found(found)) => match found.data.get(key) {
            Some(value) if value.is_empty() => Problem::Empty,
            Some(value) => return Ok(value),
            None => Problem::NoKey,
        },
        Some(Lookup::NotLabelled) => Problem::NotLabelled,
        Some(Lookup::Forbidden) => Problem::Forbidden,
        Some(Lookup::Missing) | None => Problem::Missing,
    };
    Err(ReferenceFault { field: field.to_owned(), source: Some((object.clone(), key.to_owned())), problem })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        api::{
            desired::{Ca, CaSource, TlsSettings},
            tls::Trust,
        },
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
            tls: TlsSettings::default(),
            gateway: None,
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
        let Ok(Resolved { credentials: Credentials::AppRole(pair), .. }) = resolved else {
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
        let key_pair = rcgen::KeyPair::generate().expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&key_pair).expect("a certificate").pem();
        let text = format!("{pem}\n");
        let mut objects =
            with(secret(&[("roleId", b"r"), ("secretId", b"s"), ("ca", text.as_bytes()), ("key", b"no")]));
        let config_map = crate::api::tls::ConfigMapKeyRef { name: "ca".to_owned(), key: "ca".to_owned() };
        objects.insert(ObjectName::config_map("ca"), secret(&[("ca", text.as_bytes())]));
        let resolved = |source| {
            let ca = Some(Ca { source, trust: Trust::WithSystem });
            resolve(&Target { tls: TlsSettings { ca, ..TlsSettings::default() }, ..target() }, &objects)
        };
        for source in [
            CaSource::Inline(text.clone()),
            CaSource::Secret(key("approle", "ca")),
            CaSource::ConfigMap(config_map),
        ] {
            let way = resolved(source).expect("resolved").way;
            let found = way.tls.authorities.expect("a CA");
            assert_eq!((found.certificates.len(), found.trust), (1, Trust::WithSystem));
            assert!(way.rests_on.is_empty(), "certificates are compared by what they hold");
        }
        for source in [CaSource::Inline("no".to_owned()), CaSource::Secret(key("approle", "key"))] {
            assert_eq!(resolved(source).expect_err("no PEM").problem, Problem::InvalidCertificate);
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
