//! When the Ready of each object must end, unless it is earned anew by then.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use tokio::time::Instant;

/// When the Ready of each object must end.
#[derive(Debug)]
pub(super) struct Expiries<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant>,
}

// === impl Expiries ===

impl<K: Clone + Ord + Hash> Expiries<K> {
    /// Nothing ends yet.
    pub(super) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }

    /// Says when the Ready of an object must end, if at all.
    pub(super) fn set(&mut self, key: K, time: Option<Instant>) {
        if let Some(before) = self.by_key.remove(&key) {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(time) = time {
            self.by_time.insert((time, key.clone()));
            self.by_key.insert(key, time);
        }
    }

    /// Takes an object whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let (_, key) = self.by_time.first().filter(|(time, _)| *time <= now)?.clone();
        self.set(key.clone(), None);
        Some(key)
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(time, _)| *time)
    }
}
