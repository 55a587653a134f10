//! Who must look again when an object changes.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use crate::names::{ConnectionRef, GatewayName, NAMES, ObjectKind, ObjectName};

/// Which connections, or gateways, name which objects.
#[derive(Debug)]
pub struct Dependents<O> {
    by_object: HashMap<(String, ObjectName), BTreeSet<O>>,
    by_owner: HashMap<O, Vec<ObjectName>>,
}

/// What names objects of its own namespace.
pub trait Owner: Clone + Ord + Hash {
    /// The namespace.
    fn namespace(&self) -> &Arc<str>;

    /// Its name there.
    fn name(&self) -> &Arc<str>;

    /// The one of this name in this namespace.
    fn new(namespace: String, name: String) -> Self;
}

macro_rules! owner {
    ($name:ty) => {
        impl Owner for $name {
            fn namespace(&self) -> &Arc<str> {
                &self.namespace
            }

            fn name(&self) -> &Arc<str> {
                &self.name
            }

            fn new(namespace: String, name: String) -> Self {
                Self { namespace: NAMES.share(namespace), name: name.into() }
            }
        }
    };
}

owner!(ConnectionRef);
owner!(GatewayName);

// === impl Dependents ===

impl<O> Default for Dependents<O> {
    fn default() -> Self {
        Self { by_object: HashMap::new(), by_owner: HashMap::new() }
    }
}

impl<O: Owner> Dependents<O> {
    /// Remembers what an owner names, in place of what it named before, which is returned.
    pub fn register(&mut self, owner: &O, mut objects: Vec<ObjectName>) -> Vec<ObjectName> {
        if self.named_by(owner) == objects {
            return objects;
        }
        let before = self.forget(owner);
        for object in &objects {
            let key = (owner.namespace().to_string(), object.clone());
            self.by_object.entry(key).or_default().insert(owner.clone());
        }
        objects.shrink_to_fit();
        self.by_owner.insert(owner.clone(), objects);
        before
    }

    /// What an owner names.
    pub fn named_by(&self, owner: &O) -> &[ObjectName] {
        self.by_owner.get(owner).map(Vec::as_slice).unwrap_or_default()
    }

    /// Drops an owner, and returns what it named.
    pub fn forget(&mut self, owner: &O) -> Vec<ObjectName> {
        let named = self.by_owner.remove(owner).unwrap_or_default();
        for object in &named {
            let key = (owner.namespace().to_string(), object.clone());
            if let Some(owners) = self.by_object.get_mut(&key) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.by_object.remove(&key);
                }
            }
        }
        named
    }

    /// Every owner that was registered.
    pub fn owners(&self) -> impl Iterator<Item = &O> {
        self.by_owner.keys()
    }

    /// The owners in a namespace that name an object.
    pub fn of(&self, namespace: &str, object: &ObjectName) -> Vec<O> {
        let key = (namespace.to_owned(), object.clone());
        self.by_object.get(&key).into_iter().flatten().cloned().collect()
    }

    /// The objects of a kind that owners name, each with its namespace; in one namespace, or in all.
    pub fn named(&self, kind: ObjectKind, namespace: Option<&str>) -> BTreeSet<(String, ObjectName)> {
        let wanted = |(of, object): &&(String, ObjectName)| {
            object.kind == kind && namespace.is_none_or(|namespace| namespace == of)
        };
        self.by_object.keys().filter(wanted).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(namespace: &str, name: &str) -> ConnectionRef {
        ConnectionRef { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn an_object_leads_to_the_connections_of_its_namespace_that_name_it() {
        let (a, b, elsewhere) = (connection("ns", "a"), connection("ns", "b"), connection("other", "a"));
        let (shared, own) = (ObjectName::secret("shared"), ObjectName::secret("own"));
        let mut dependents = Dependents::default();
        dependents.register(&a, vec![shared.clone()]);
        dependents.register(&b, vec![shared.clone(), own.clone()]);
        dependents.register(&elsewhere, vec![shared.clone()]);
        assert_eq!(dependents.of("ns", &shared), [a.clone(), b.clone()]);
        assert_eq!(dependents.of("ns", &ObjectName::config_map("shared")), []);
        let named = dependents.named(ObjectKind::Secret, Some("ns"));
        assert_eq!(named, [("ns".to_owned(), own.clone()), ("ns".to_owned(), shared.clone())].into());
        assert_eq!(dependents.named(ObjectKind::Secret, None).len(), 3);
        assert_eq!(dependents.named(ObjectKind::ConfigMap, None), [].into());

        dependents.register(&b, vec![shared.clone()]);
        assert_eq!(dependents.of("ns", &own), [], "what is no longer named is dropped");
        dependents.forget(&a);
        dependents.forget(&b);
        assert_eq!(dependents.of("ns", &shared), []);
        assert_eq!(dependents.of("other", &shared), std::slice::from_ref(&elsewhere));
        dependents.forget(&elsewhere);
        assert!(dependents.by_object.is_empty() && dependents.by_owner.is_empty());
    }
}
