//! Who holds how many workers, and who may take one more.

use std::{collections::HashMap, sync::Arc};

use super::queue::{Lane, Limits};

/// Who holds how many workers.
#[derive(Debug)]
pub(super) struct Held {
    limits: Limits,
    total: usize,
    by_namespace: HashMap<Arc<str>, HeldByNamespace>,
    by_instance: HashMap<Arc<str>, usize>,
}

#[derive(Debug, Default)]
struct HeldByNamespace {
    total: usize,
    by_instance: HashMap<Arc<str>, usize>,
}

// === impl Held ===

impl Held {
    /// Nobody holds any.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, total: 0, by_namespace: HashMap::new(), by_instance: HashMap::new() }
    }

    /// How many are held in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Whether none is free.
    pub(super) fn is_full(&self) -> bool {
        self.total >= self.limits.workers
    }

    /// Whether a namespace may take one more worker: it holds fewer than are free.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        let held = self.by_namespace.get(namespace).map_or(0, |held| held.total);
        held < self.limits.workers - self.total
    }

    /// The same for those that an instance may take.
    pub(super) fn admits_at(&self, namespace: &str, instance: &str) -> bool {
        let all = self.by_instance.get(instance).copied().unwrap_or_default();
        let own = self.by_namespace.get(namespace).and_then(|held| held.by_instance.get(instance));
        own.copied().unwrap_or_default() < self.limits.per_instance.saturating_sub(all)
    }

    /// Notes that a run began.
    pub(super) fn take(&mut self, lane: &Lane) {
        self.total += 1;
        let own = self.by_namespace.entry(lane.namespace.clone()).or_default();
        own.total += 1;
        if let Some(instance) = &lane.instance {
            *own.by_instance.entry(instance.clone()).or_default() += 1;
            *self.by_instance.entry(instance.clone()).or_default() += 1;
        }
    }

    /// Notes that a run ended.
    pub(super) fn give_back(&mut self, lane: &Lane) {
        self.total -= 1;
        if let Some(own) = self.by_namespace.get_mut(&lane.namespace) {
            own.total -= 1;
            if let Some(instance) = &lane.instance {
                decrement(&mut own.by_instance, instance);
            }
            if own.total == 0 {
                self.by_namespace.remove(&lane.namespace);
            }
        }
        if let Some(instance) = &lane.instance {
            decrement(&mut self.by_instance, instance);
        }
    }
}

fn decrement(counts: &mut HashMap<Arc<str>, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
