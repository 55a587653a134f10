//! What is due and waits for a worker, by Kubernetes namespace and instance, in the order of their turns.
//!
//! Pure. Whose turn it is, and who may begin, the [queue](super::queue) decides.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use super::queue::{Lane, Priority};

/// The two rows of what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Renewals,
    Normal,
}

/// What is due, by namespace, in the order of their turns.
#[derive(Debug)]
pub(super) struct Waiting<K> {
    pub(super) namespaces: HashMap<Arc<str>, Namespace<K>>,
    pub(super) turns: VecDeque<Arc<str>>,
    /// The turns of the namespaces at each instance: who is busy elsewhere does not lose its turn there.
    pub(super) turns_at: HashMap<Arc<str>, VecDeque<Arc<str>>>,
}

/// What is due of one namespace, by instance, in the order of their turns.
#[derive(Debug)]
pub(super) struct Namespace<K> {
    pub(super) instances: HashMap<Option<Arc<str>>, Due<K>>,
    pub(super) turns: VecDeque<Option<Arc<str>>>,
}

/// What is due of one namespace at one instance: renewals by when the Ready ends, then all by when they became due.
#[derive(Debug)]
pub(super) struct Due<K> {
    renewals: BTreeSet<(Place, K)>,
    normal: BTreeSet<(Place, K)>,
}

/// The place of an object in its row.
pub(super) type Place = (Instant, Instant);

// === impl Priority ===

impl Priority {
    pub(super) fn row(self) -> Row {
        match self {
            Self::Renewal { .. } => Row::Renewals,
            Self::Normal => Row::Normal,
        }
    }

    /// The place in its row of what is due since then.
    pub(super) fn place(self, due: Instant) -> Place {
        match self {
            Self::Renewal { ends } => (ends, due),
            Self::Normal => (due, due),
        }
    }
}

// === impl Waiting, Namespace, Due ===

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self { namespaces: HashMap::new(), turns: VecDeque::new(), turns_at: HashMap::new() }
    }
}

impl<K: Ord> Waiting<K> {
    /// What is due in a lane.
    pub(super) fn lane(&mut self, Lane { namespace, instance }: &Lane) -> Option<&mut Due<K>> {
        self.namespaces.get_mut(namespace)?.instances.get_mut(instance)
    }

    /// The first that is due of a namespace at an instance.
    pub(super) fn first(&self, namespace: &str, instance: &Arc<str>, row: Row) -> Option<&K> {
        let lanes = &self.namespaces.get(namespace)?.instances;
        lanes.get(&Some(Arc::clone(instance)))?.first(row)
    }
}

impl<K> Default for Namespace<K> {
    fn default() -> Self {
        Self { instances: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self { renewals: BTreeSet::new(), normal: BTreeSet::new() }
    }
}

impl<K: Ord> Due<K> {
    pub(super) fn of(&mut self, row: Row) -> &mut BTreeSet<(Place, K)> {
        match row {
            Row::Renewals => &mut self.renewals,
            Row::Normal => &mut self.normal,
        }
    }

    pub(super) fn first(&self, row: Row) -> Option<&K> {
        let due = match row {
            Row::Renewals => &self.renewals,
            Row::Normal => &self.normal,
        };
        due.first().map(|(_, key)| key)
    }

    /// Whether nothing is due.
    pub(super) fn is_empty(&self) -> bool {
        self.renewals.is_empty() && self.normal.is_empty()
    }
}
