//! What the metadata of an object says: whether connections may use it, and in which state it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    api::{CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE},
    references::Version,
};

/// Whether an object carries the label that lets connections use it, and us watch it.
pub fn is_labelled(metadata: &ObjectMeta) -> bool {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(CREDENTIALS_LABEL));
    label.is_some_and(|value| value == CREDENTIALS_LABEL_VALUE)
}

/// The state of an object.
pub fn version(metadata: &ObjectMeta) -> Version {
    Version {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// The state of the spec of an object whose status is not of interest.
pub fn spec_version(metadata: &ObjectMeta) -> Version {
    let generation = metadata.generation.unwrap_or_default().to_string();
    Version { resource_version: generation, ..version(metadata) }
}
