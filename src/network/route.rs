//! What two connections must have in common to see the same instance, and to share an HTTP client for it.

use std::sync::Arc;

use super::address_policy::Rules;
use crate::{
    names::{InstanceUrl, ServerName},
    references::{Versions, resolve::RouteMaterial, tls::Authorities},
};

/// A route to an instance. Of the objects that hold keys and passwords it knows the versions only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The instance at its end.
    pub instance: InstanceUrl,
    /// The name that its certificate must be for, if not the host of its URL.
    pub server_name: Option<ServerName>,
    /// The CA certificates that are trusted there.
    pub authorities: Option<Authorities>,
    /// The gateway and the client certificates on it, with the namespace that they belong to.
    pub own: Option<(String, Versions)>,
    /// What the address policy allows on it. What was built under other rules serves nobody.
    pub rules: Arc<Rules>,
}

// === impl Route ===

impl Route {
    /// The route of a connection in `namespace`.
    pub fn new(
        instance: &InstanceUrl,
        namespace: &str,
        material: &RouteMaterial,
        rules: &Arc<Rules>,
    ) -> Self {
        let own = Some(&material.rests_on).filter(|versions| !versions.is_empty());
        Self {
            instance: instance.clone(),
            server_name: material.tls.server_name.clone(),
            authorities: material.tls.authorities.clone(),
            own: own.map(|versions| (namespace.to_owned(), versions.clone())),
            rules: Arc::clone(rules),
        }
    }
}
