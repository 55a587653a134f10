//! Manifests in the place of a cluster: the connections to check, and the objects that they may name.
//!
//! Each mistake is noted with its place, and keeps back only what it concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    process::ExitStatus,
};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    documents::{self, ParseFailure, Place},
    foreign,
    names::{self, NameRule},
    shape::{Fault, Shape},
    sources::Source,
};
use crate::{
    api::{connection::VaultConnection, gateway::VaultGateway},
    cluster,
    names::{ObjectKind, ObjectName},
    references::{Lookup, Object, References, Version, gateway::SPEC_KEY},
    spec::{DesiredGateway, SpecError},
};

/// The namespace of a manifest that names none, as for kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// How deep lists may lie in each other.
const MAX_LIST_DEPTH: usize = 8;

/// Something in the input cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("failed to read {name}")]
    Read { name: String, source: io::Error },
    #[error("failed to find a file that matches {pattern}")]
    NoMatch { pattern: String },
    #[error(
        "failed to find a .yaml, .yml or .json file in {name}{}",
        if *recursive { "" } else { " (-R also searches its subdirectories)" }
    )]
    EmptyFolder { name: String, recursive: bool },
    #[error(
        "failed to find kubectl, which -k {folder} needs: install it, or pipe the output of `kustomize build {folder}` into check -f -"
    )]
    NoKubectl { folder: String },
    #[error("kubectl kustomize {folder} failed ({status})")]
    Kustomize { folder: String, status: ExitStatus },
    // A parser's own words show what stands there, which may be a secret.
    #[error(
        "failed to parse {place} as YAML: see line {}, column {}{}", failure.line, failure.column,
        if failure.is_template { "; it looks like a Helm template: pipe the output of `helm template` into check -f - instead" } else { "" }
    )]
    Yaml { place: String, failure: ParseFailure },
    #[error("{place} is not a Kubernetes object")]
    NoObject { place: Place },
    #[error(
        "failed to parse {object} in {place}: values below data must be base64, and those below stringData must be strings"
    )]
    Secret { place: Place, object: String },
    #[error("failed to parse {object} in {place}")]
    Manifest { place: Place, object: String, source: Fault },
    #[error("{object} in {place} has unknown fields: {}", fields.join(", "))]
    UnknownFields { place: Place, object: String, fields: Vec<String> },
    #[error("a {kind} in {place} has no metadata.name")]
    NoName { place: Place, kind: String },
    #[error("{object} in {place} has an invalid {field}: it must be {rule}")]
    BadName { place: Place, object: String, field: &'static str, rule: NameRule },
    #[error(
        "{object} in {place}: {field} is {found}, and Kubernetes accepts only strings there; put it in quotes"
    )]
    Unquoted { place: Place, object: String, field: String, found: &'static str },
    #[error("{object} is defined twice; the second definition is in {place}")]
    Twice { place: Place, object: String },
    #[error("VaultGateway {name:?} in {place} is invalid")]
    Gateway { place: Place, name: String, source: SpecError },
    #[error("VaultConnection {name:?} in {place} is invalid")]
    Connection { place: Place, name: String, source: SpecError },
    #[error(
        "VaultConnection {name:?} in {place} has a wrapped secret ID, and a check would use up its wrapping token: apply it, and read its status in the cluster"
    )]
    Wrapped { place: Place, name: String },
    #[error(
        "VaultConnection {name:?} in {place} logs in as a ServiceAccount, whose tokens only the cluster can issue: apply it, and read its status in the cluster"
    )]
    ServiceAccount { place: Place, name: String },
    #[error("failed to find a VaultConnection in the files given: nothing to check")]
    NoConnection,
}

/// What the input holds.
#[derive(Default)]
pub(super) struct Manifests {
    /// The connections with their places, in the order of the input.
    pub(super) connections: Vec<(Place, VaultConnection)>,
    /// What cannot be used.
    pub(super) errors: Vec<InputError>,
    /// What objects of others are, and what to give instead.
    pub(super) hints: Vec<String>,
    /// The objects of kinds that are of no use here.
    pub(super) ignored: Vec<String>,
    objects: BTreeMap<(String, ObjectName), Held>,
    /// Objects that are there, but cannot be used. Nothing is sent of them.
    broken: BTreeSet<(String, ObjectName)>,
}

/// A Secret, `ConfigMap` or `VaultGateway`. What a user wrote into a file of theirs is not wiped.
struct Held {
    labelled: bool,
    data: BTreeMap<String, Vec<u8>>,
}

// === impl Manifests ===

impl Manifests {
    /// Takes everything that the sources hold.
    pub(super) fn of(sources: Vec<Result<Source, InputError>>) -> Self {
        let mut manifests = Self::default();
        for source in sources {
            match source {
                Ok(Source { name, text }) => manifests.add_text(&name, &text),
                Err(error) => manifests.errors.push(error),
            }
        }
        if manifests.connections.is_empty() && manifests.errors.is_empty() {
            manifests.errors.push(InputError::NoConnection);
        }
        manifests
    }

    /// The first of these objects of a namespace that is there and cannot be used.
    pub(super) fn broken_of(&self, namespace: &str, names: &[ObjectName]) -> Option<ObjectName> {
        names.iter().find(|name| self.broken.contains(&(namespace.to_owned(), (*name).clone()))).cloned()
    }

    fn add_text(&mut self, source: &str, text: &str) {
        for (place, parsed) in documents::parse(source, text) {
            match parsed {
                Ok(document) => self.add(&place, document, MAX_LIST_DEPTH),
                Err(failure) => {
                    // The line says more than the line of the document's begin.
                    let place = match place.document {
                        Some((number, _)) => format!("document {number} of {}", place.source),
                        None => place.source,
                    };
                    self.errors.push(InputError::Yaml { place, failure });
                }
            }
        }
    }

    fn add(&mut self, place: &Place, document: Value, depth: usize) {
        match document {
            Value::Null => {}
            Value::Array(items) if depth > 0 => {
                for item in items {
                    self.add(place, item, depth - 1);
                }
            }
            Value::Object(_) => {
                let outcome = self.add_object(place, document, depth);
                self.errors.extend(outcome.err());
            }
            _ => self.errors.push(InputError::NoObject { place: place.clone() }),
        }
    }

    fn add_object(&mut self, place: &Place, mut manifest: Value, depth: usize) -> Result<(), InputError> {
        let word = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (word("apiVersion"), word("kind"));
        if let Some(item_kind) = kind.strip_suffix("List").filter(|_| depth > 0)
            && let Value::Array(items) = manifest["items"].take()
        {
            for item in items {
                self.add(place, typed(item, &version, item_kind), depth - 1);
            }
            return Ok(());
        }
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(hint) = foreign::hint(&version, &kind, &manifest) {
            self.hints.push(format!("{kind} {name:?} in {place} {hint}"));
            if kind == "Secret" {
                self.broken.insert(key_of(ObjectKind::Secret, &manifest));
            }
            return Ok(());
        }
        match (version.as_str(), kind.as_str()) {
            ("v1", "Secret") => self.add_secret(place, manifest),
            ("v1", "ConfigMap") => self.add_config_map(place, manifest),
            (version, "VaultGateway") if version == VaultGateway::api_version(&()) => {
                self.add_gateway(place, manifest)
            }
            (version, "VaultConnection") if version == VaultConnection::api_version(&()) => {
                self.add_connection(place, manifest)
            }
            _ => {
                let object =
                    if kind.is_empty() { "a document without a kind" } else { &format!("{kind} {name:?}") };
                self.ignored.push(format!("{object} in {place}"));
                Ok(())
            }
        }
    }

    fn add_secret(&mut self, place: &Place, manifest: Value) -> Result<(), InputError> {
        let key = key_of(ObjectKind::Secret, &manifest);
        let data = parse::<Secret>(place, manifest, NameRule::Subdomain).map(|secret| {
            let mut data = bytes(secret.data.unwrap_or_default());
            // The API server lets stringData win, too.
            data.extend(texts(secret.string_data.unwrap_or_default()));
            Held { labelled: cluster::is_labelled(&secret.metadata), data }
        });
        self.hold(place, key, data)
    }

    fn add_config_map(&mut self, place: &Place, manifest: Value) -> Result<(), InputError> {
        let key = key_of(ObjectKind::ConfigMap, &manifest);
        let data = parse::<ConfigMap>(place, manifest, NameRule::Subdomain).map(|config_map| {
            let mut data = bytes(config_map.binary_data.unwrap_or_default());
            data.extend(texts(config_map.data.unwrap_or_default()));
            Held { labelled: cluster::is_labelled(&config_map.metadata), data }
        });
        self.hold(place, key, data)
    }

    fn add_gateway(&mut self, place: &Place, manifest: Value) -> Result<(), InputError> {
        let key = key_of(ObjectKind::VaultGateway, &manifest);
        let data = parse::<VaultGateway>(place, manifest, NameRule::Label).and_then(|gateway| {
            DesiredGateway::parse(&gateway.spec).map_err(|source| InputError::Gateway {
                place: place.clone(),
                name: gateway.name_any(),
                source,
            })?;
            let spec = serde_json::to_vec(&gateway.spec).expect("a spec serializes");
            let data = BTreeMap::from([(SPEC_KEY.to_owned(), spec)]);
            Ok(Held { labelled: cluster::is_labelled(&gateway.metadata), data })
        });
        self.hold(place, key, data)
    }

    fn add_connection(&mut self, place: &Place, manifest: Value) -> Result<(), InputError> {
        let mut connection: VaultConnection = parse(place, manifest, NameRule::Label)?;
        connection.metadata.namespace = Some(namespace_of(&connection.metadata));
        let same = |(_, other): &(Place, VaultConnection)| {
            other.namespace() == connection.namespace() && other.name_any() == connection.name_any()
        };
        if self.connections.iter().any(same) {
            let object =
                format!("VaultConnection {}/{}", namespace_of(&connection.metadata), connection.name_any());
            return Err(InputError::Twice { place: place.clone(), object });
        }
        self.connections.push((place.clone(), connection));
        Ok(())
    }

    fn hold(
        &mut self,
        place: &Place,
        key: (String, ObjectName),
        held: Result<Held, InputError>,
    ) -> Result<(), InputError> {
        let held = held.inspect_err(|_| {
            self.broken.insert(key.clone());
        })?;
        match self.objects.insert(key.clone(), held) {
            None => Ok(()),
            Some(_) => {
                // Nobody knows which of them is meant, so neither is sent anywhere.
                self.broken.insert(key.clone());
                let (namespace, ObjectName { kind, name }) = key;
                let object = format!("{} {namespace}/{name}", kind.as_str());
                Err(InputError::Twice { place: place.clone(), object })
            }
        }
    }
}

impl References for Manifests {
    type Error = Infallible;

    async fn read(&self, namespace: &str, object: &ObjectName) -> Result<Lookup, Infallible> {
        let found = self.objects.get(&(namespace.to_owned(), object.clone()));
        Ok(match found {
            None => Lookup::Missing,
            Some(Held { labelled: false, .. }) if object.kind == ObjectKind::Secret => Lookup::NotLabelled,
            Some(Held { labelled, data }) => Lookup::Found(Object {
                // A file has no versions, and nothing in it changes during a check.
                version: Version { uid: "".into(), resource_version: String::new() },
                labelled: *labelled,
                data: data.iter().map(|(key, value)| (key.clone(), Zeroizing::new(value.clone()))).collect(),
            }),
        })
    }
}

/// An item of a list, which need not repeat what the list says of all its items.
fn typed(mut item: Value, version: &str, kind: &str) -> Value {
    if let Value::Object(fields) = &mut item
        && !kind.is_empty()
    {
        fields.entry("apiVersion").or_insert_with(|| version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    item
}

/// Parses a manifest, and refuses fields that its kind does not have: a typo would be silently dropped. A status is passed
/// over, as the API server does with what is applied: a manifest may be what `kubectl get` printed.
fn parse<K>(place: &Place, mut manifest: Value, rule: NameRule) -> Result<K, InputError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let place = place.clone();
    let object = format!("{kind} {name:?}");
    if let Some((field, found)) = unquoted(&manifest) {
        return Err(InputError::Unquoted { place, object, field, found });
    }
    if let Value::Object(fields) = &mut manifest {
        fields.remove("status");
    }
    let (mut fields, shape) = (Vec::new(), Shape::of(&kind, &manifest));
    let parsed: Result<K, serde_json::Error> =
        serde_ignored::deserialize(manifest, |field| fields.push(field.to_string().replace(".?", "")));
    // kube's types do not read what made us choose them.
    fields.retain(|field| field != "apiVersion" && field != "kind");
    let parsed = match parsed {
        Err(_) if kind == Secret::kind(&()) => return Err(InputError::Secret { place, object }),
        Err(error) => return Err(InputError::Manifest { place, object, source: shape.fault(error) }),
        Ok(_) if name.is_empty() => return Err(InputError::NoName { place, kind }),
        Ok(_) if !fields.is_empty() => {
            return Err(InputError::UnknownFields { place, object, fields });
        }
        Ok(parsed) => parsed,
    };
    let namespace = namespace_of(parsed.meta());
    let wrong = if !names::is_valid(&name, rule) {
        Some(("metadata.name", rule))
    } else if !names::is_valid(&namespace, NameRule::Label) {
        Some(("metadata.namespace", NameRule::Label))
    } else {
        None
    };
    match wrong {
        Some((field, rule)) => Err(InputError::BadName { place, object, field, rule }),
        None => Ok(parsed),
    }
}

/// The first label or annotation whose value is no text, and what stands there.
fn unquoted(manifest: &Value) -> Option<(String, &'static str)> {
    ["labels", "annotations"].into_iter().find_map(|map| {
        manifest["metadata"][map].as_object()?.iter().find_map(|(key, value)| {
            let found = match value {
                Value::Bool(true) => "true without quotes",
                Value::Bool(false) => "false without quotes",
                Value::Number(_) => "a number without quotes",
                Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((format!("metadata.{map}.{key:?}"), found))
        })
    })
}

/// What an object is found by, as far as its manifest tells.
fn key_of(kind: ObjectKind, manifest: &Value) -> (String, ObjectName) {
    let word = |field: &str| manifest["metadata"][field].as_str().unwrap_or_default();
    let namespace = Some(word("namespace")).filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAMESPACE);
    (namespace.to_owned(), ObjectName::new(kind, word("name")))
}

/// The namespace of an object. An empty one is none, as for kubectl.
fn namespace_of(metadata: &ObjectMeta) -> String {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned()
}

fn bytes(data: BTreeMap<String, ByteString>) -> BTreeMap<String, Vec<u8>> {
    data.into_iter().map(|(key, value)| (key, value.0)).collect()
}

fn texts(data: BTreeMap<String, String>) -> BTreeMap<String, Vec<u8>> {
    data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: &str = "
apiVersion: appconnections.dev/v1alpha1
kind: VaultConnection
metadata: {name: a}
spec: {instanceUrl: https://vault.example.com, auth: {token: {secretRef: {name: t, key: token}}}}
";

    fn read(text: &str) -> Manifests {
        Manifests::of(vec![Ok(Source { name: "file.yaml".to_owned(), text: text.to_owned() })])
    }

    fn errors(text: &str) -> Vec<String> {
        read(text).errors.iter().map(ToString::to_string).collect()
    }

    /// The only error.
    fn error(text: &str) -> String {
        let errors = errors(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.into_iter().next().unwrap_or_default()
    }

    #[tokio::test]
    async fn secrets_are_found_by_namespace_and_need_the_label() {
        let files = read(&format!(
            "{CONNECTION}---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {{name: t, labels: {{appconnections.dev/credentials: 'true'}}}}
  data: {{token: YQ==, other: Yg==}}
  stringData: {{token: c}}
- {{apiVersion: v1, kind: Secret, metadata: {{name: bare}}}}
- {{apiVersion: apps/v1, kind: Deployment, metadata: {{name: passed-over}}}}
- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: ca}}, data: {{ca.crt: pem}}}}
"
        ));
        assert!(files.errors.is_empty(), "{:?}", files.errors);
        assert_eq!(files.connections.len(), 1);
        assert_eq!(files.ignored, ["Deployment \"passed-over\" in document 2 (line 7) of file.yaml"]);
        let read = async |namespace: &str, object: ObjectName| {
            files.read(namespace, &object).await.unwrap_or_else(|never| match never {})
        };
        let Lookup::Found(found) = read("default", ObjectName::secret("t")).await else {
            panic!("not found")
        };
        assert_eq!(found.data["token"].as_slice(), b"c");
        assert_eq!(found.data["other"].as_slice(), b"b");
        assert!(matches!(read("other", ObjectName::secret("t")).await, Lookup::Missing));
        assert!(matches!(read("default", ObjectName::secret("bare")).await, Lookup::NotLabelled));
        assert!(matches!(read("default", ObjectName::config_map("ca")).await, Lookup::Found(_)));
    }

    #[test]
    fn bad_manifests_are_refused_with_the_place() {
        let typo = error(&CONNECTION.replace("auth:", "atuh: {}, auth:"));
        assert_eq!(typo, "VaultConnection \"a\" in file.yaml has unknown fields: spec.atuh");
        assert_eq!(error("a: b\nc: [d"), "failed to parse file.yaml as YAML: see line 2, column 4");
        let secret =
            error("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {token: [canary]}}");
        assert_eq!(
            secret,
            "failed to parse Secret \"s\" in file.yaml: values below data must be base64, and those below stringData must be strings"
        );
        assert!(error(&CONNECTION.replace("name: a", "labels: {}")).contains("has no metadata.name"));
        assert!(
            error(&format!("{CONNECTION}---{CONNECTION}"))
                .contains("VaultConnection default/a is defined twice")
        );
        assert!(
            error(&CONNECTION.replace("token:", "tokn:")).contains("failed to parse VaultConnection \"a\"")
        );
        let no_url = error(
            "{apiVersion: appconnections.dev/v1alpha1, kind: VaultConnection, metadata: {name: a}, spec: {auth: {}}}",
        );
        assert!(no_url.starts_with("failed to parse VaultConnection \"a\" in file.yaml"), "{no_url}");
        let ignored = read(&format!("{CONNECTION}---\n{{data: canary}}")).ignored;
        assert_eq!(ignored, ["a document without a kind in document 2 (line 7) of file.yaml"]);
        assert!(error("just text").contains("is not a Kubernetes object"));
        assert_eq!(error(""), "failed to find a VaultConnection in the files given: nothing to check");
    }

    #[test]
    fn every_error_is_reported_and_the_good_ones_are_kept() {
        let text = format!(
            "{CONNECTION}---
a: [b
---
{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, data: {{token: '%'}}}}
---{}---{}",
            CONNECTION.replace("name: a", "name: B"),
            CONNECTION.replace("name: a", "name: c"),
        );
        let found = read(&text);
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "failed to parse document 2 of file.yaml as YAML: see line 7, column 4",
                "failed to parse Secret \"s\" in document 3 (line 9) of file.yaml: values below data must be base64, and those below stringData must be strings",
                "VaultConnection \"B\" in document 4 (line 11) of file.yaml has an invalid metadata.name: it must be a DNS label of at most 63 characters: lowercase letters, digits and '-', with a letter or digit at both ends",
            ]
        );
        let names: Vec<_> = found.connections.iter().map(|(_, connection)| connection.name_any()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn names_follow_the_rules_of_the_api_server() {
        let long = format!("name: {}", "a".repeat(64));
        let table: &[(&str, &str, bool)] = &[
            ("a letter", "name: a", true),
            ("63 characters", &long[..long.len() - 1], true),
            ("64 characters", &long, false),
            ("a dot", "name: a.b", false),
            ("upper case", "name: A", false),
            ("an underscore", "name: a_b", false),
            ("a dash first", "name: -a", false),
            ("a dash last", "name: a-", false),
            ("an escape sequence", "name: \"\\e[2J\"", false),
            ("a good namespace", "name: a, namespace: team-a", true),
            ("an empty namespace", "name: a, namespace: ''", true),
            ("a null namespace", "name: a, namespace: null", true),
            ("a dot in the namespace", "name: a, namespace: a.b", false),
            ("a namespace in upper case", "name: a, namespace: Team", false),
        ];
        for (name, metadata, good) in table {
            let errors = errors(&CONNECTION.replace("name: a", metadata));
            assert_eq!(errors.is_empty(), *good, "{name}: {errors:?}");
        }
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: a.b}}";
        assert!(errors(&format!("{CONNECTION}---\n{secret}")).is_empty());
        assert!(
            error(&format!("{CONNECTION}---\n{}", secret.replace("a.b", "a..b"))).contains("metadata.name")
        );
    }

    #[test]
    fn a_label_without_quotes_is_reported() {
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: s, labels: {appconnections.dev/credentials: true}}}";
        assert_eq!(
            error(secret),
            "Secret \"s\" in file.yaml: metadata.labels.\"appconnections.dev/credentials\" is true without quotes, and Kubernetes accepts only strings there; put it in quotes"
        );
    }

    #[test]
    fn lists_of_every_form_are_opened() {
        let item = "{metadata: {name: a}, spec: {instanceUrl: https://vault.example.com, auth: {token: {secretRef: {name: t, key: token}}}}}";
        let full = item.replacen('{', "{apiVersion: appconnections.dev/v1alpha1, kind: VaultConnection, ", 1);
        let other = full.replace("name: a}", "name: b}");
        let table = [
            (
                "a list of a kind",
                format!(
                    "{{apiVersion: appconnections.dev/v1alpha1, kind: VaultConnectionList, items: [{item}]}}"
                ),
                1,
            ),
            ("a list", format!("{{apiVersion: v1, kind: List, items: [{full}, {other}]}}"), 2),
            ("an array", format!("[{full}, {other}]"), 2),
            (
                "a list in a list",
                format!(
                    "{{kind: List, apiVersion: v1, items: [{{kind: List, apiVersion: v1, items: [{full}]}}]}}"
                ),
                1,
            ),
        ];
        for (name, text, count) in table {
            let found = read(&text);
            assert!(found.errors.is_empty(), "{name}: {:?}", found.errors);
            assert_eq!(found.connections.len(), count, "{name}");
        }
    }

    #[test]
    fn an_object_that_is_there_twice_or_broken_is_not_used() {
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: t}, stringData: {token: a}}";
        let names = [ObjectName::secret("t")];
        let broken = |text: &str| read(text).broken_of("default", &names).is_some();
        assert!(!broken(&format!("{CONNECTION}---\n{secret}")));
        assert!(broken(&format!("{CONNECTION}---\n{secret}\n---\n{secret}")));
        assert!(broken(&format!("{CONNECTION}---\n{}", secret.replace("token: a", "token: [a]"))));
    }
}
