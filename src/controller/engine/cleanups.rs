//! What runs leave to be done, and nothing waits for: a status that says nothing urgent is written, and connections revoke the tokens
//! that their checks have replaced.
//!
//! ```text
//!   the end of a run ─▶ is something left? ─▶ postponed while runs of its lane wait ─▶ a fair queue of its own ─▶ clean_up
//! ```
//!
//! It takes no worker, so that no check waits for it; and it comes after the checks of the same namespace at the same instance, whose
//! answers it would slow down. What waits stays with its object: there the end of the object, its move to another replica
//! and the stop of the operator find it.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use tokio::time::Instant;

use super::{
    Reconciler,
    queue::{Lane, Limits, Priority, Queue},
    scheduler::{Outcome, RETRY_INTERVAL, Scheduler, Work, later},
};

/// How many cleanups there are at once: half of them at one instance, and a quarter for one namespace there. So a slow instance keeps
/// those of no other waiting.
const MAX_CLEANUPS: u16 = 32;

/// What is to be cleaned up.
pub(super) struct Cleanups<K> {
    /// While runs of its lane wait for a worker.
    postponed: HashMap<Lane, BTreeSet<K>>,
    queue: Queue<K>,
}

// === impl Cleanups ===

impl<K: Clone + Ord + Hash> Cleanups<K> {
    /// Nothing is left.
    pub(super) fn new() -> Self {
        Self { postponed: HashMap::new(), queue: Queue::new(Limits::of(MAX_CLEANUPS)) }
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, key: &K) {
        self.queue.remove(key);
        self.postponed.retain(|_, keys| {
            keys.remove(key);
            !keys.is_empty()
        });
    }

    fn postpone(&mut self, lane: Lane, key: &K) {
        self.postponed.entry(lane).or_default().insert(key.clone());
    }

    /// Lets what was postponed in a lane have its turn.
    fn admit(&mut self, lane: &Lane, now: Instant) {
        for key in self.postponed.remove(lane).into_iter().flatten() {
            self.queue.push(key, lane.clone(), Priority::Normal, now.into_std());
        }
    }
}

// === impl Scheduler ===

impl<K: Reconciler> Scheduler<K> {
    /// Notes what the runs of an object have left, when one has ended.
    pub(super) fn plan_cleanup(&mut self, key: &K::Key) {
        let Some(entry) = self.own(key) else { return };
        let lane = K::lane(&entry.object);
        if self.kind.has_cleanup(key) {
            self.cleanups.postpone(lane.clone(), key);
        }
        // Whatever else begins in this lane begins later, or has a worker.
        if !self.queue.has_waiting(&lane) {
            self.cleanups.admit(&lane, Instant::now());
        }
    }

    /// Starts as many cleanups as there may be.
    pub(super) fn start_cleanups(&mut self, now: Instant) {
        while let Some(key) = self.cleanups.queue.pop(now.into_std()) {
            if !self.start(&key, Work::CleanUp, K::clean_up) {
                self.cleanups.queue.release(&key);
            }
        }
    }

    pub(super) fn end_cleanup(&mut self, key: &K::Key, outcome: &Outcome) {
        let again = self.cleanups.queue.release(key);
        self.note_failure(key, outcome);
        if let Outcome::Failed(_) = outcome {
            self.push(key, later(RETRY_INTERVAL));
        }
        // What could not be closed waits for the end of the next run.
        if again.is_some() {
            self.plan_cleanup(key);
        }
    }
}
