//! Manifests in files, in the place of a cluster.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
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

use crate::{
    api::{
        connection::VaultConnection,
        desired::{DesiredGateway, SpecError},
        gateway::VaultGateway,
    },
    cluster,
    refs::{ObjectKind, ObjectName},
    secrets::{Lookup, Object, References, Version, gateway::SPEC_KEY},
};

/// The namespace of a manifest that names none, as for kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// Manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    // A parser's own words show what stands there, which may be a secret.
    #[error("failed to parse {} as YAML, at line {line} and column {column}", path.display())]
    Yaml { path: PathBuf, line: u64, column: u64 },
    #[error(
        "failed to understand Secret {name:?} in {}: data is a map of values in base64, stringData one of texts",
        path.display()
    )]
    Secret { path: PathBuf, name: String },
    #[error("failed to understand {kind} {name:?} in {}", path.display())]
    Manifest { path: PathBuf, kind: String, name: String, source: serde_json::Error },
    #[error("{} holds {kind} {name:?} with fields that do not exist: {}", path.display(), fields.join(", "))]
    UnknownFields { path: PathBuf, kind: String, name: String, fields: Vec<String> },
    #[error("{} holds a {kind} without metadata.name", path.display())]
    NoName { path: PathBuf, kind: String },
    #[error("{} holds {kind} {namespace}/{name} a second time", path.display())]
    Twice { path: PathBuf, kind: String, namespace: String, name: String },
    #[error("VaultGateway {name:?} in {} makes no sense", path.display())]
    Gateway { path: PathBuf, name: String, source: SpecError },
    #[error("failed to find a VaultConnection in the files given: nothing to check")]
    NoConnection,
}

/// What the files hold: the connections to check, and the objects that they may name.
#[derive(Default)]
pub(super) struct Files {
    /// The connections, in the order of the files.
    pub(super) connections: Vec<VaultConnection>,
    objects: BTreeMap<(String, ObjectName), Held>,
}

/// A Secret, `ConfigMap` or `VaultGateway`. What a user wrote into a file of theirs is not wiped.
struct Held {
    labelled: bool,
    data: BTreeMap<String, Vec<u8>>,
}

// === impl Files ===

impl Files {
    /// Reads files; `-` is standard input. Objects of other kinds are passed over, so that the output of kustomize or
    /// Helm can be given whole.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, FilesError> {
        let mut files = Self::default();
        for path in paths {
            let from_stdin = path.as_os_str() == "-";
            let named = if from_stdin { Path::new("standard input") } else { path };
            let text = if from_stdin { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
            let text = text.map_err(|source| FilesError::Read { path: named.to_owned(), source })?;
            files.add(named, &text)?;
        }
        if files.connections.is_empty() { Err(FilesError::NoConnection) } else { Ok(files) }
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), FilesError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
            FilesError::Yaml { path: path.to_owned(), line, column }
        })?;
        documents.into_iter().try_for_each(|document| self.add_manifest(path, document))
    }

    fn add_manifest(&mut self, path: &Path, manifest: Value) -> Result<(), FilesError> {
        let word = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
        match (word("apiVersion").as_str(), word("kind").as_str()) {
            ("v1", "List") => {
                let items = manifest["items"].as_array().cloned().unwrap_or_default();
                items.into_iter().try_for_each(|item| self.add_manifest(path, item))
            }
            ("v1", "Secret") => {
                let secret: Secret = parse(path, manifest)?;
                let mut data = bytes(secret.data.unwrap_or_default());
                // The API server lets stringData win, too.
                data.extend(texts(secret.string_data.unwrap_or_default()));
                self.add_object(path, ObjectKind::Secret, &secret.metadata, data)
            }
            ("v1", "ConfigMap") => {
                let config_map: ConfigMap = parse(path, manifest)?;
                let mut data = bytes(config_map.binary_data.unwrap_or_default());
                data.extend(texts(config_map.data.unwrap_or_default()));
                self.add_object(path, ObjectKind::ConfigMap, &config_map.metadata, data)
            }
            (version, "VaultGateway") if version == VaultGateway::api_version(&()) => {
                let gateway: VaultGateway = parse(path, manifest)?;
                DesiredGateway::parse(&gateway.spec).map_err(|source| FilesError::Gateway {
                    path: path.to_owned(),
                    name: gateway.name_any(),
                    source,
                })?;
                let spec = serde_json::to_vec(&gateway.spec).expect("a spec serializes");
                let data = BTreeMap::from([(SPEC_KEY.to_owned(), spec)]);
                self.add_object(path, ObjectKind::VaultGateway, &gateway.metadata, data)
            }
            (version, "VaultConnection") if version == VaultConnection::api_version(&()) => {
                let mut connection: VaultConnection = parse(path, manifest)?;
                connection.metadata.namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
                let same = |other: &VaultConnection| {
                    other.namespace() == connection.namespace() && other.name_any() == connection.name_any()
                };
                if self.connections.iter().any(same) {
                    return Err(twice(path, "VaultConnection", &connection.metadata));
                }
                self.connections.push(connection);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_object(
        &mut self,
        path: &Path,
        kind: ObjectKind,
        metadata: &ObjectMeta,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<(), FilesError> {
        let namespace = metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let name = ObjectName { kind, name: metadata.name.clone().unwrap_or_default() };
        let held = Held { labelled: cluster::is_labelled(metadata), data };
        match self.objects.insert((namespace, name), held) {
            Some(_) => Err(twice(path, kind.as_str(), metadata)),
            None => Ok(()),
        }
    }
}

impl References for Files {
    type Error = Infallible;

    async fn read(&self, namespace: &str, object: &ObjectName) -> Result<Lookup, Infallible> {
        let found = self.objects.get(&(namespace.to_owned(), object.clone()));
        Ok(match found {
            None => Lookup::Missing,
            Some(Held { labelled: false, .. }) if object.kind == ObjectKind::Secret => Lookup::NotLabelled,
            Some(Held { labelled, data }) => Lookup::Found(Object {
                // A file has no versions, and nothing in it changes during a check.
                version: Version { uid: String::new(), resource_version: String::new() },
                labelled: *labelled,
                data: data.iter().map(|(key, value)| (key.clone(), Zeroizing::new(value.clone()))).collect(),
            }),
        })
    }
}

/// Parses a manifest, and refuses fields that its kind does not have: a typo would be silently dropped.
fn parse<K>(path: &Path, manifest: Value) -> Result<K, FilesError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    let parsed: Result<K, serde_json::Error> =
        serde_ignored::deserialize(manifest, |field| fields.push(field.to_string()));
    // kube's types do not read what made us choose them.
    fields.retain(|field| field != "apiVersion" && field != "kind");
    let path = path.to_owned();
    match parsed {
        Err(_) if kind == Secret::kind(&()) => Err(FilesError::Secret { path, name }),
        Err(source) => Err(FilesError::Manifest { path, kind, name, source }),
        Ok(_) if name.is_empty() => Err(FilesError::NoName { path, kind }),
        Ok(_) if !fields.is_empty() => Err(FilesError::UnknownFields { path, kind, name, fields }),
        Ok(parsed) => Ok(parsed),
    }
}

fn twice(path: &Path, kind: &str, metadata: &ObjectMeta) -> FilesError {
    FilesError::Twice {
        path: path.to_owned(),
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
    }
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

    fn read(text: &str) -> Result<Files, FilesError> {
        let mut files = Files::default();
        files.add(Path::new("file.yaml"), text)?;
        Ok(files)
    }

    fn error(text: &str) -> String {
        read(text).err().map(|error| error.to_string()).unwrap_or_default()
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
        ))
        .map_err(|error| error.to_string())
        .expect("read");
        assert_eq!(files.connections.len(), 1);
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
        assert_eq!(typo, "file.yaml holds VaultConnection \"a\" with fields that do not exist: spec.atuh");
        assert_eq!(error("a: b\nc: [d"), "failed to parse file.yaml as YAML, at line 2 and column 4");
        let secret =
            error("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {token: [canary]}}");
        assert_eq!(
            secret,
            "failed to understand Secret \"s\" in file.yaml: data is a map of values in base64, stringData one of texts"
        );
        assert!(error(&CONNECTION.replace("name: a", "labels: {}")).contains("without metadata.name"));
        assert!(
            error(&format!("{CONNECTION}---{CONNECTION}"))
                .contains("VaultConnection default/a a second time")
        );
        assert!(
            error(&CONNECTION.replace("token:", "tokn:"))
                .contains("failed to understand VaultConnection \"a\"")
        );
    }
}
