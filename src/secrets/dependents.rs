//! Who must look again when an object changes.

use std::collections::{BTreeSet, HashMap};

use crate::refs::{ConnectionRef, ObjectKind, ObjectName};

/// Which connections name which objects.
#[derive(Debug, Default)]
pub struct Dependents {
    by_object: HashMap<(String, ObjectName), BTreeSet<ConnectionRef>>,
    by_connection: HashMap<ConnectionRef, Vec<ObjectName>>,
}

// === impl Dependents ===

impl Dependents {
    /// Remembers what a connection names, in place of what it named before.
    pub fn register(&mut self, connection: &ConnectionRef, objects: Vec<ObjectName>) {
        if self.by_connection.get(connection) == Some(&objects) {
            return;
        }
        self.forget(connection);
        for object in &objects {
            let key = (connection.namespace.clone(), object.clone());
            self.by_object.entry(key).or_default().insert(connection.clone());
        }
        self.by_connection.insert(connection.clone(), objects);
    }

    /// Drops a connection.
    pub fn forget(&mut self, connection: &ConnectionRef) {
        for object in self.by_connection.remove(connection).unwrap_or_default() {
            let key = (connection.namespace.clone(), object);
            if let Some(connections) = self.by_object.get_mut(&key) {
                connections.remove(connection);
                if connections.is_empty() {
                    self.by_object.remove(&key);
                }
            }
        }
    }

    /// The connections of a namespace that name an object.
    pub fn of(&self, namespace: &str, object: &ObjectName) -> Vec<ConnectionRef> {
        let key = (namespace.to_owned(), object.clone());
        self.by_object.get(&key).into_iter().flatten().cloned().collect()
    }

    /// The objects of a kind that connections name, each with its namespace; in one namespace, or in all.
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
        ConnectionRef { namespace: namespace.to_owned(), name: name.to_owned() }
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
        assert!(dependents.by_object.is_empty() && dependents.by_connection.is_empty());
    }
}
