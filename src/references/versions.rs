//! The states of objects, as they were when they were read.
//!
//! Many parts remember what they rest on, so the list is made once and shared: a clone costs nothing, and a filter that takes
//! nothing out gives the same list.

use std::sync::Arc;

use crate::names::{ObjectName, pool::Pool};

/// One state of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Its `metadata.uid`, which many parts remember.
    pub uid: Arc<str>,
    /// Its `metadata.resourceVersion`; of a gateway, whose status changes that, its `metadata.generation`.
    pub resource_version: String,
}

/// The objects that one check read, with the state of each; none when there was nothing to use. Each is in it once, in the order
/// of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Versions(Arc<[(ObjectName, Option<Version>)]>);

/// The lists that somebody has: connections that name the same objects have the same one.
static LISTS: Pool<[(ObjectName, Option<Version>)]> = Pool::new();

// === impl Versions ===

impl Versions {
    /// Nothing was read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each object and its state, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Option<Version>)> {
        self.0.iter().map(|(name, version)| (name, version))
    }

    /// The state of an object, if it was read.
    pub fn get(&self, name: &ObjectName) -> Option<&Option<Version>> {
        let index = self.0.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
        self.0.get(index).map(|(_, version)| version)
    }

    /// Whether an object was read.
    pub fn contains(&self, name: &ObjectName) -> bool {
        self.get(name).is_some()
    }

    /// Those of some objects alone.
    #[must_use]
    pub fn only(&self, is_wanted: impl Fn(&ObjectName) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| is_wanted(name)) {
            return self.clone();
        }
        self.0.iter().filter(|(name, _)| is_wanted(name)).cloned().collect()
    }
}

impl FromIterator<(ObjectName, Option<Version>)> for Versions {
    fn from_iter<I: IntoIterator<Item = (ObjectName, Option<Version>)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        // Of one that is named twice the last counts, as in a map.
        all.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        Self(LISTS.share(all))
    }
}

impl<const N: usize> From<[(ObjectName, Option<Version>); N]> for Versions {
    fn from(all: [(ObjectName, Option<Version>); N]) -> Self {
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(resource_version: &str) -> Version {
        Version { uid: "u".into(), resource_version: resource_version.to_owned() }
    }

    fn secret(name: &str) -> ObjectName {
        ObjectName::secret(name)
    }

    #[test]
    fn objects_are_found_whatever_their_order_was_and_the_last_state_counts() {
        let all = Versions::from([
            (secret("b"), Some(version("1"))),
            (secret("a"), None),
            (secret("b"), Some(version("2"))),
            (secret("b"), Some(version("3"))),
        ]);
        assert_eq!(all.iter().map(|(name, _)| &*name.name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all.get(&secret("b")), Some(&Some(version("3"))));
        assert_eq!((all.get(&secret("a")), all.get(&secret("c"))), (Some(&None), None));
        assert_eq!(all, Versions::from([(secret("b"), Some(version("3"))), (secret("a"), None)]));
    }

    #[test]
    fn a_filter_that_takes_nothing_out_gives_the_same_list() {
        let all = Versions::from([(secret("a"), Some(version("1"))), (secret("b"), None)]);
        assert!(Arc::ptr_eq(&all.0, &all.only(|_| true).0));
        assert_eq!(all.only(|name| &*name.name == "b"), Versions::from([(secret("b"), None)]));
        assert!(all.only(|_| false).is_empty());
    }
}
