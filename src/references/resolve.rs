//! From the objects that were read to all that a check needs of them.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Lookup, Object, Versions,
    anchors::BundleFault,
    gateway::{self, Gateway},
    jwt::Claims,
    slips::{self, Slip},
    tls::{self, KeyPairFault, TlsMaterial},
};
use crate::{
    auth::{Input, Method, Purpose, SecretKeyRef, ServiceAccountRef, Source},
    names::{ObjectKind, ObjectName},
    spec::Target,
};

/// Longest credential, in bytes. Vault's own have at most a few KiB, and it refuses long requests.
pub const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;

/// What a connection logs in with: the values of its method's inputs, in the same order. The token of a ServiceAccount is not among
/// them until it is requested, at the login. Its Debug is redacted.
#[derive(Debug)]
pub struct Credentials(Vec<SecretString>);

/// Everything that a check needs of the objects.
#[derive(Debug)]
pub struct Resolved {
    /// What to log in with.
    pub credentials: Credentials,
    /// What may be wrong with that.
    pub suspicion: Option<Suspicion>,
    /// The begin, if it is known, and the end of a credential that says so itself, in seconds since the epoch.
    pub life: Option<(Option<i64>, i64)>,
    /// The way to the instance.
    pub route: RouteMaterial,
}

/// What would explain that a credential is refused. It may as well be as it is meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// The field of the spec that names the credential.
    pub field: &'static str,
    /// The object and key that it names; none when the value is in the spec itself.
    pub source: Option<(ObjectName, String)>,
    /// What seems to be wrong.
    pub slip: Slip,
}

/// What the way to an instance needs of the objects.
#[derive(Debug)]
pub struct RouteMaterial {
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
    /// The value is longer than any credential.
    TooLong,
    /// The value cannot be meant.
    Malformed(Slip),
    /// The value holds no CA certificate.
    InvalidCertificate(BundleFault),
    /// The object holds no certificate with the key that belongs to it.
    InvalidKeyPair(KeyPairFault),
    /// The gateway breaks a rule that the installed CRD did not enforce.
    InvalidGateway(String),
    /// A token of the ServiceAccount would be for the API server, too: this audience.
    AudienceOfApiServer(String),
}

/// The objects that a check read.
pub type Lookups = BTreeMap<ObjectName, Lookup>;

// === impl Credentials ===

impl Credentials {
    /// The values of a method's inputs, in their order.
    pub fn new(values: Vec<SecretString>) -> Self {
        Self(values)
    }

    /// The values, in the order of the method's inputs.
    pub fn values(&self) -> &[SecretString] {
        &self.0
    }

    /// The value that proves a login: the last one.
    pub fn proof(&self) -> Option<&SecretString> {
        self.0.last()
    }

    /// The values that only the Secrets hold. One in the spec, such as a role id, is in the status, too.
    pub fn secrets(&self, method: &Method) -> Vec<&SecretString> {
        let is_secret = |input: &Input<'_>| match input.source {
            Source::Spec(_) => false,
            Source::Secret(_) | Source::ServiceAccount(_) => true,
        };
        let inputs = method.inputs();
        self.0.iter().zip(&inputs).filter(|(_, input)| is_secret(input)).map(|(value, _)| value).collect()
    }
}

fn source(reference: &SecretKeyRef) -> (ObjectName, String) {
    (ObjectName::secret(&reference.name), reference.key.clone())
}

/// The object and key of an input; none when the value is in the spec itself.
fn place(input: &Input<'_>) -> Option<(ObjectName, String)> {
    match input.source {
        Source::Spec(_) => None,
        Source::Secret(reference) => Some(source(reference)),
        Source::ServiceAccount(account) => Some((ObjectName::service_account(&account.name), String::new())),
    }
}

/// Takes the values that a target names, also by its gateway, out of the objects that were read.
pub fn resolve(target: &Target, objects: &Lookups) -> Result<Resolved, ReferenceFault> {
    let (credentials, suspicion) = suspected_credentials(target, objects)?;
    let jwt = credentials.values().iter().zip(target.method.inputs());
    let jwt = jwt.into_iter().find(|(_, input)| input.purpose == Purpose::Jwt);
    let life = jwt.and_then(|(value, _)| Claims::read(value.expose_secret())?.life());
    Ok(Resolved { credentials, suspicion, life, route: route(target, objects)? })
}

/// Takes what a target logs in with out of the objects that were read.
pub fn credentials(target: &Target, objects: &Lookups) -> Result<Credentials, ReferenceFault> {
    suspected_credentials(target, objects).map(|(credentials, _)| credentials)
}

/// The credentials, and what may be wrong with them.
fn suspected_credentials(
    target: &Target,
    objects: &Lookups,
) -> Result<(Credentials, Option<Suspicion>), ReferenceFault> {
    let inputs = target.method.inputs();
    let values = inputs.iter().filter_map(|input| value(input, objects).transpose());
    let values: Vec<_> = values.collect::<Result<_, _>>()?;
    let suspicion = suspect(&inputs, &values);
    Ok((Credentials(values), suspicion))
}

/// The value of an input, unless it cannot be meant: no login is spent on it. That of a ServiceAccount is not made yet.
fn value(input: &Input<'_>, objects: &Lookups) -> Result<Option<SecretString>, ReferenceFault> {
    let value = match input.source {
        Source::Spec(value) => SecretString::from(value),
        Source::Secret(SecretKeyRef { name, key }) => {
            text(objects, input.field, &ObjectName::secret(name), key)?
        }
        Source::ServiceAccount(ServiceAccountRef { name, .. }) => {
            return found(objects, input.field, (&ObjectName::service_account(name), "")).map(|_| None);
        }
    };
    match slips::certain(input.purpose, value.expose_secret()) {
        None => Ok(Some(value)),
        Some(slip) => Err(ReferenceFault {
            field: input.field.to_owned(),
            source: place(input),
            problem: Problem::Malformed(slip),
        }),
    }
}

/// What may be wrong with the values: the credential is suspected before the name that goes with it.
fn suspect(inputs: &[Input<'_>], values: &[SecretString]) -> Option<Suspicion> {
    let suspicion = |input: &Input<'_>, slip| Suspicion { field: input.field, source: place(input), slip };
    let is_twice = |first: &SecretString, last: &SecretString, purpose| {
        matches!(purpose, Purpose::SecretId | Purpose::WrappingToken)
            && first.expose_secret() == last.expose_secret()
    };
    if let ([.., input], [first, last]) = (inputs, values)
        && is_twice(first, last, input.purpose)
    {
        return Some(suspicion(input, Slip::Twice));
    }
    inputs.iter().zip(values).rev().find_map(|(input, value)| {
        let slip = slips::suspected(input.purpose, value.expose_secret())?;
        Some(suspicion(input, slip))
    })
}

fn route(target: &Target, objects: &Lookups) -> Result<RouteMaterial, ReferenceFault> {
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
    let rests_on = versions(objects).only(|name| names.contains(name));
    Ok(RouteMaterial { tls, gateway, rests_on })
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
    let bytes = bytes(objects, field, object, key)?;
    let problem = match std::str::from_utf8(bytes) {
        _ if bytes.len() > MAX_CREDENTIAL_BYTES => Problem::TooLong,
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
    let problem = match found(objects, field, (object, key))?.data.get(key) {
        Some(value) if value.is_empty() => Problem::Empty,
        Some(value) => return Ok(value),
        None => Problem::NoKey,
    };
    Err(ReferenceFault { field: field.to_owned(), source: Some((object.clone(), key.to_owned())), problem })
}

/// An object that may be used.
fn found<'a>(
    objects: &'a Lookups,
    field: &str,
    (object, key): (&ObjectName, &str),
) -> Result<&'a Object, ReferenceFault> {
    let problem = match objects.get(object) {
        Some(Lookup::Found(found)) => return Ok(found),
        Some(Lookup::NotLabelled) => Problem::NotLabelled,
        Some(Lookup::Forbidden) => Problem::Forbidden,
        Some(Lookup::Missing) | None => Problem::Missing,
    };
    Err(ReferenceFault { field: field.to_owned(), source: Some((object.clone(), key.to_owned())), problem })
}

/// Whether an object was read whose changes no watch reports.
pub fn is_unwatched(objects: &Lookups) -> bool {
    objects.iter().any(|(name, lookup)| match name.kind {
        ObjectKind::ConfigMap => !matches!(lookup, Lookup::Found(object) if object.labelled),
        // The chart has no right to watch them.
        ObjectKind::ServiceAccount => true,
        ObjectKind::Secret | ObjectKind::VaultGateway => false,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        api::tls::Trust,
        auth::{AppRoleLogin, RoleId},
        names::{InstanceUrl, MountPath},
        references::Version,
        spec::{Ca, CaSource, TargetFields, TlsSettings},
    };

    fn key(name: &str, key: &str) -> SecretKeyRef {
        SecretKeyRef { name: name.to_owned(), key: key.to_owned() }
    }

    fn method(role_id: RoleId) -> Method {
        Method::AppRole(AppRoleLogin {
            mount: MountPath::parse("approle").expect("valid"),
            role_id,
            secret_id: Some(key("approle", "secretId")),
            wrapped: false,
        })
    }

    fn target() -> TargetFields {
        TargetFields {
            instance: InstanceUrl::parse("https://vault.example.com").expect("valid"),
            namespace: None,
            method: method(RoleId::SecretRef(key("approle", "roleId"))),
            tls: TlsSettings::default(),
            gateway: None,
        }
    }

    fn secret(data: &[(&str, &[u8])]) -> Lookup {
        Lookup::Found(Object {
            version: Version { uid: "u".into(), resource_version: "1".to_owned() },
            labelled: true,
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec().into())).collect(),
        })
    }

    fn with(lookup: Lookup) -> Lookups {
        Lookups::from([(ObjectName::secret("approle"), lookup)])
    }

    #[test]
    fn values_are_taken_as_they_are() {
        let resolved = resolve(&target().into(), &with(secret(&[("roleId", b"r"), ("secretId", b"s 1")])));
        let credentials = resolved.expect("resolved").credentials;
        let values: Vec<_> = credentials.values().iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(values, ["r", "s 1"]);
    }

    #[test]
    fn each_problem_is_reported_with_its_field_object_and_key() {
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
            ("too long", secret(&[good, ("secretId", &[b's'; MAX_CREDENTIAL_BYTES + 1])]), Problem::TooLong),
            (
                "too long, and nothing else",
                secret(&[good, ("secretId", &[0xff; MAX_CREDENTIAL_BYTES + 1])]),
                Problem::TooLong,
            ),
            (
                "a document",
                secret(&[good, ("secretId", b"{\"data\": {}}")]),
                Problem::Malformed(Slip::Document),
            ),
            (
                "a byte order mark",
                secret(&[good, ("secretId", b"\xef\xbb\xbfs")]),
                Problem::Malformed(Slip::Invisible),
            ),
        ];
        for (name, lookup, problem) in table {
            let fault = resolve(&target().into(), &with(lookup)).expect_err(name);
            assert_eq!(fault.problem, problem, "{name}");
            let (object, key) = fault.source.expect("the Secret");
            assert_eq!(object, ObjectName::secret("approle"));
            let first_or_second =
                matches!(problem, Problem::Missing | Problem::NotLabelled | Problem::Forbidden);
            assert_eq!(key, if first_or_second { "roleId" } else { "secretId" }, "{name}");
        }
    }

    #[test]
    fn the_longest_credential_is_taken() {
        let longest = vec![b's'; MAX_CREDENTIAL_BYTES];
        assert!(
            resolve(&target().into(), &with(secret(&[("roleId", b"r"), ("secretId", &longest)]))).is_ok()
        );
    }

    #[test]
    fn a_slip_is_reported_of_the_value_that_has_it() {
        let id: &[u8] = b"7d3b6a4e-0000-4000-8000-00000000b002";
        let suspicion = |role_id: &[u8], secret_id: &[u8]| {
            let found =
                resolve(&target().into(), &with(secret(&[("roleId", role_id), ("secretId", secret_id)])));
            found.expect("resolved").suspicion.map(|found| (found.field, found.slip))
        };
        let (role, secret_id) = ("spec.auth.appRole.roleId", "spec.auth.appRole.secretId");
        assert_eq!(suspicion(id, b"custom"), None);
        assert_eq!(suspicion(b"demo", b"custom"), Some((role, Slip::NameForId)));
        assert_eq!(suspicion(b"demo", b"'custom'"), Some((secret_id, Slip::Quoted)));
        assert_eq!(suspicion(id, id), Some((secret_id, Slip::Twice)));
        let inline = |value: &str| {
            let method = method(RoleId::Value(value.to_owned()));
            resolve(&TargetFields { method, ..target() }.into(), &with(secret(&[("secretId", b"custom")])))
        };
        let fault = inline("\"7d3b6a4e-0000-4000-8000-00000000b002\"").expect_err("in quotes");
        assert_eq!((fault.field.as_str(), fault.source), ("spec.auth.appRole.roleId.value", None));
        assert!(inline("7d3b6a4e-0000-4000-8000-00000000b002").is_ok());
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
            let tls = TlsSettings { ca, ..TlsSettings::default() };
            resolve(&TargetFields { tls, ..target() }.into(), &objects)
        };
        for source in [
            CaSource::Inline(text.as_str().into()),
            CaSource::Secret(key("approle", "ca")),
            CaSource::ConfigMap(config_map),
        ] {
            let route = resolved(source).expect("resolved").route;
            let found = route.tls.authorities.expect("a CA");
            assert_eq!((found.anchors.len(), found.trust), (1, Trust::WithSystem));
            assert!(route.rests_on.is_empty(), "certificates are compared by what they hold");
        }
        for source in [CaSource::Inline("no".into()), CaSource::Secret(key("approle", "key"))] {
            assert_eq!(
                resolved(source).expect_err("no PEM").problem,
                Problem::InvalidCertificate(BundleFault::Empty)
            );
        }
    }

    #[test]
    fn credentials_do_not_print() {
        let held = Credentials::new(vec!["canary".into(), "canary".into()]);
        assert!(!format!("{held:?}").contains("canary"));
    }
}
