//! An object as the engine keeps it: what it asks for, parsed once for each generation of its spec, and the status that the watch
//! shows.
//!
//! ```text
//!   watch ─▶ new ─▶ read ── spec of another generation ─▶ parse     once
//!                       └── the same one ───────────────▶ shared with the state before
//! ```
//!
//! There is one of these for each object of the cluster, so it keeps what a reconcile needs, and nothing else of the manifest.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp,
};
use kube::{
    Resource, ResourceExt,
    core::{DeserializeGuard, object::HasStatus},
};

use super::{
    kind::{Guarded, Kind},
    queue::Lane,
};
use crate::{
    api::REQUESTED_AT,
    cluster,
    references::{Version, dependents::Owner as _},
    telemetry::page::board::Seen,
    verify::{kept::Keep, schedule},
};

/// One state of an object, as the watch shows it.
pub struct Object<K: Kind> {
    /// Its name.
    pub name: K::Name,
    /// Its uid, and which state this is.
    pub version: Version,
    /// The generation of its spec.
    pub generation: i64,
    /// The value of the annotation that asks for a check.
    pub(super) requested_at: Option<Box<str>>,
    /// Whether a check is asked for by a value that is too long.
    pub(super) is_request_too_long: bool,
    /// Whether it is being deleted, as far as that matters to its kind.
    pub(super) is_ending: bool,
    /// Whether it is being deleted.
    is_deleted: bool,
    instance: Option<Arc<str>>,
    /// What its user wrote about it.
    description: Arc<str>,
    spec: Spec<K>,
    /// The status, if it can be read.
    shown: Mutex<Option<Kept<K>>>,
}

/// A status as it is kept. One that says the same as the one that we wrote is that one.
type Kept<K> = Arc<<<K as Kind>::Status as Keep>::Kept>;

/// What a spec asks for.
pub(super) enum Intent<D> {
    Check(D),
    Suspend(D),
    /// It is invalid, as this message says.
    Refuse(String),
}

/// The spec of an object.
enum Spec<K: Kind> {
    /// As the watch brought it: the manifest without its metadata, or why it cannot be read.
    Unread(Box<Result<K::Resource, String>>),
    Read(Arc<Intent<K::Desired>>),
}

/// What events of an object refer to.
pub(super) fn reference<K: Kind>(name: &K::Name, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::Resource::api_version(&()).into_owned()),
        kind: Some(K::NAME.to_owned()),
        namespace: Some(name.namespace().to_string()),
        name: Some(name.name().to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

// === impl Object ===

impl<K: Kind> Object<K> {
    /// Takes what is needed out of what the watch brings. The spec is not read yet.
    pub fn new(watched: Guarded<K>) -> Self {
        let meta = watched.meta();
        let annotation = meta.annotations.as_ref().and_then(|map| map.get(REQUESTED_AT)).map(String::as_str);
        let requested_at = annotation.and_then(schedule::request).map(Box::from);
        let namespace = watched.namespace().unwrap_or_default();
        let object = Self {
            version: cluster::version(meta),
            generation: meta.generation.unwrap_or_default(),
            is_request_too_long: annotation.is_some() && requested_at.is_none(),
            requested_at,
            is_ending: K::is_ending(meta),
            is_deleted: meta.deletion_timestamp.is_some(),
            name: K::Name::new(namespace, watched.name_any()),
            instance: None,
            description: Arc::default(),
            spec: Spec::Unread(Box::new(Err(String::new()))),
            shown: Mutex::default(),
        };
        let DeserializeGuard(found) = watched;
        let mut found = found.map_err(|error| error.to_string());
        let status = found.as_mut().ok().and_then(|resource| {
            // Above all its `managedFields`, which take more memory than everything else of an object.
            *resource.meta_mut() = ObjectMeta::default();
            mem::take(resource.status_mut())
        });
        Self {
            spec: Spec::Unread(Box::new(found)),
            shown: Mutex::new(status.map(|status| Arc::new(status.keep()))),
            ..object
        }
    }

    /// Reads the spec, unless it is that of the state `before`. It may panic; then it is read again by whoever wants it.
    pub(super) fn read(&mut self, before: Option<&Self>) {
        let is_same =
            |before: &&Self| before.version.uid == self.version.uid && before.generation == self.generation;
        if let Some(before) = before.filter(is_same)
            && let Spec::Read(intent) = &before.spec
        {
            self.spec = Spec::Read(Arc::clone(intent));
            self.instance.clone_from(&before.instance);
            self.description = Arc::clone(&before.description);
            self.name = before.name.clone();
            self.version.uid = Arc::clone(&before.version.uid);
            return;
        }
        if let Spec::Unread(found) = &self.spec {
            self.description = found.as_ref().as_ref().map(K::description).unwrap_or_default().into();
            let intent = parse::<K>(found);
            self.instance = found.as_ref().as_ref().ok().and_then(K::instance).map(Arc::from);
            self.spec = Spec::Read(Arc::new(intent));
        }
    }

    /// What the spec asks for.
    pub(super) fn intent(&self) -> Arc<Intent<K::Desired>> {
        match &self.spec {
            Spec::Unread(found) => Arc::new(parse::<K>(found)),
            Spec::Read(intent) => Arc::clone(intent),
        }
    }

    /// The state of its spec, whatever its status is.
    pub(super) fn spec_version(&self) -> Version {
        Version { resource_version: self.generation.to_string(), ..self.version.clone() }
    }

    /// Who pays for its runs.
    pub(super) fn lane(&self) -> Lane {
        Lane { namespace: Arc::clone(self.name.namespace()), instance: self.instance.clone() }
    }

    /// The status, if it can be read.
    pub(super) fn shown(&self) -> Option<Arc<K::Status>> {
        self.kept().map(|kept| Arc::new(K::Status::restored(&kept)))
    }

    /// When the last check was, as far as the status says.
    pub(super) fn last_check(&self) -> Option<Timestamp> {
        K::Status::last_check(self.lock().as_ref()?)
    }

    /// The status as it is kept.
    pub(super) fn kept(&self) -> Option<Kept<K>> {
        self.lock().clone()
    }

    /// Shares a status that says the same as the one that the watch shows.
    pub(super) fn is_shown_as(&self, status: &Kept<K>) {
        *self.lock() = Some(Arc::clone(status));
    }

    /// What the status page shows of it beside its status.
    pub(super) fn on_page(&self) -> Seen {
        let description = self.description.as_ref().to_owned();
        Seen { generation: self.generation, is_ending: self.is_deleted, description }
    }

    /// What its events refer to.
    pub(super) fn reference(&self) -> ObjectReference {
        reference::<K>(&self.name, &self.version.uid)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept<K>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse<K: Kind>(found: &Result<K::Resource, String>) -> Intent<K::Desired> {
    match found {
        Ok(resource) => match K::parse(resource) {
            Ok(desired) if K::is_suspended(resource) => Intent::Suspend(desired),
            Ok(desired) => Intent::Check(desired),
            Err(message) => Intent::Refuse(message),
        },
        Err(error) => Intent::Refuse(format!("The spec is invalid: {error}.")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::status::VaultConnectionStatus, controller::connection::Connections};

    fn manifest() -> Value {
        let key = |key: &str| json!({"secretRef": {"name": "vault-approle", "key": key}});
        json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
            "metadata": {"name": "a", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "instanceUrl": "https://vault.example.com",
                "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}},
            },
            "status": {"observedGeneration": 1},
        })
    }

    fn read(manifest: Value, before: Option<&Object<Connections>>) -> Object<Connections> {
        let mut object = Object::new(serde_json::from_value(manifest).expect("it has metadata"));
        object.read(before);
        object
    }

    #[test]
    fn a_spec_is_parsed_once_for_each_generation() {
        let first = read(manifest(), None);
        let mut manifest = manifest();
        manifest["metadata"]["resourceVersion"] = json!("2");
        let next = read(manifest.clone(), Some(&first));
        assert!(Arc::ptr_eq(&first.intent(), &next.intent()));
        assert_eq!((next.version.resource_version.as_str(), next.lane()), ("2", first.lane()));
        let changes: [fn(&mut Value); 2] = [
            |manifest| manifest["metadata"]["generation"] = json!(2),
            |manifest| manifest["metadata"]["uid"] = json!("another"),
        ];
        for change in changes {
            let mut manifest = manifest.clone();
            manifest["spec"]["suspend"] = json!(true);
            change(&mut manifest);
            assert!(matches!(*read(manifest, Some(&next)).intent(), Intent::Suspend(_)));
        }
    }

    #[test]
    fn the_metadata_of_the_manifest_is_not_kept_until_the_list_ends() {
        let mut manifest = manifest();
        manifest["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
        let object = Object::<Connections>::new(serde_json::from_value(manifest).expect("it has metadata"));
        let Spec::Unread(found) = &object.spec else { panic!("nobody has read it") };
        let kept = found.as_ref().as_ref().expect("it can be read");
        assert_eq!(kept.metadata, ObjectMeta::default());
        assert_eq!((object.name.to_string().as_str(), object.generation), ("ns/a", 1));
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_keeps_its_name() {
        let mut manifest = manifest();
        manifest["spec"]["instanceUrl"] = json!(7);
        let object = read(manifest, None);
        assert!(matches!(&*object.intent(), Intent::Refuse(why) if why.starts_with("The spec is invalid: ")));
        assert_eq!((object.name.to_string().as_str(), object.shown()), ("ns/a", None));
        assert_eq!(object.lane(), Lane { namespace: "ns".into(), instance: None });
    }

    #[test]
    fn a_status_that_says_the_same_is_held_once() {
        let object = read(manifest(), None);
        assert_eq!(object.shown().and_then(|status| status.observed_generation), Some(1));
        let ours = Arc::new(VaultConnectionStatus::default().keep());
        object.is_shown_as(&ours);
        assert!(object.kept().is_some_and(|kept| Arc::ptr_eq(&kept, &ours)));
    }
}
