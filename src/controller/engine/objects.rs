//! Which objects there are, as the watches have them, and which of them this replica looks after.
//!
//! ```text
//!   watch ─▶ own:     seen, queued, reconciled
//!         ─▶ another's: kept as it is, so that it can be taken over at once
//!
//!   another grant ─▶ lost:   nothing begins, runs end ─▶ handed over: tokens are revoked ─▶ adopted
//!                 ─▶ gained: like a first list, the one whose last check is oldest first
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Listing, Reconciler, Requeue,
    feed::{Change, Failure},
    scheduler::{Entry, Outcome, Scheduler, Work},
};
use crate::{controller::shards::ownership::Ownership, references::dependents::Owner as _};

/// Which namespaces are this replica's, and what is under way in those that are not any more.
pub(super) struct Shard<K> {
    ownership: Ownership,
    /// How many objects there are in each namespace of ours.
    own: HashMap<String, usize>,
    /// How many tasks are under way for each object.
    tasks: HashMap<K, usize>,
    /// The objects that were lost by the present grant, and were not handed over yet.
    lost: Vec<K>,
    is_adopted: bool,
}

// === impl Shard ===

impl<K: Clone + Eq + Hash> Shard<K> {
    /// Nothing is known yet.
    pub(super) fn new(ownership: Ownership) -> Self {
        let (own, tasks) = (HashMap::new(), HashMap::new());
        Self { ownership, own, tasks, lost: Vec::new(), is_adopted: true }
    }

    /// Resolves when there is another grant, and the last one was adopted.
    pub(super) async fn changed(&mut self) {
        if !self.is_adopted {
            return std::future::pending().await;
        }
        self.ownership.changed().await;
    }

    /// Notes that a task was begun. Nobody asks for that while nothing can be lost.
    pub(super) fn begin(&mut self, key: &K) {
        if self.ownership.may_change() {
            *self.tasks.entry(key.clone()).or_default() += 1;
        }
    }

    /// Notes that a task has ended.
    pub(super) fn end(&mut self, key: &K) {
        if let Some(count) = self.tasks.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.tasks.remove(key);
            }
        }
    }

    /// How many namespaces hold objects of ours.
    pub(super) fn namespaces(&self) -> usize {
        self.own.len()
    }

    fn count(&mut self, namespace: &str) {
        *self.own.entry(namespace.to_owned()).or_default() += 1;
    }

    fn discount(&mut self, namespace: &str) {
        if let Some(count) = self.own.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.own.remove(namespace);
            }
        }
    }
}

// === impl Scheduler ===

impl<K: Reconciler> Scheduler<K> {
    /// An object that this replica looks after.
    pub(super) fn own(&self, key: &K::Key) -> Option<&Entry<K::Object>> {
        self.objects.get(key).filter(|entry| entry.is_own)
    }

    /// Takes in what a watch reports.
    pub(super) fn change(&mut self, change: Change<K::Object>) {
        match change {
            Change::Listed { namespace, objects } => self.list(namespace.as_deref(), objects),
            Change::Applied(object) => self.apply(object, Instant::now()),
            Change::Deleted(object) => self.delete(&K::key(&object)),
            Change::Failed { namespace, failure, message } => {
                let kind = K::NAME;
                tracing::warn!(error = message, kind, namespace, "the watch failed; retrying");
                if failure != Failure::Watch {
                    self.metrics.listed(K::NAME, namespace.as_deref(), false);
                }
                if failure == Failure::Forbidden {
                    self.kind.listed(namespace.as_deref(), Listing::Forbidden);
                }
            }
        }
    }

    fn list(&mut self, namespace: Option<&str>, objects: Vec<K::Object>) {
        let listed: BTreeSet<_> = objects.iter().map(K::key).collect();
        let is_gone = |key: &&K::Key| {
            namespace.is_none_or(|namespace| *namespace == **key.namespace()) && !listed.contains(*key)
        };
        let gone: Vec<_> = self.objects.keys().filter(is_gone).cloned().collect();
        // What a new list does not hold has gone while no watch was open.
        for key in &gone {
            self.delete(key);
        }
        for (object, due) in in_order(objects, K::last_check) {
            self.apply(object, due);
        }
        self.metrics.listed(K::NAME, namespace, true);
        self.kind.listed(namespace, Listing::Complete);
    }

    fn apply(&mut self, mut object: K::Object, due: Instant) {
        let key = K::key(&object);
        if !self.shard.ownership.owns(key.namespace()) {
            return self.keep(key, object);
        }
        let before = self.objects.get(&key).map(|before| Arc::clone(&before.object));
        let is_sound = is_sound(|| self.kind.seen(&key, &mut object, before.as_deref()));
        self.take_in(&key, Arc::new(object), due, is_sound);
    }

    /// Takes in the state of an object of ours that the kind has seen.
    fn take_in(&mut self, key: &K::Key, object: Arc<K::Object>, due: Instant, is_sound: bool) {
        let is_ending = K::is_ending(&object);
        let before = self.objects.insert(key.clone(), Entry { object, is_own: true });
        if before.as_ref().is_none_or(|before| !before.is_own) {
            self.shard.count(key.namespace());
        }
        let was_ending = before.is_some_and(|before| K::is_ending(&before.object));
        // What is then done for its end must not be ended by its next change.
        if let Some(running) = self.running.get(key).filter(|_| is_ending && !was_ending) {
            running.run.end();
        }
        if !is_sound {
            self.note_failure(key, &Outcome::Panicked);
            self.panic(key);
        }
        self.expiries.set(key.clone(), self.kind.expires(key).map(Instant::from_std));
        self.push(key, due);
    }

    /// Keeps an object that another replica looks after, unread. What its status reports concerns us, too, before we log in.
    fn keep(&mut self, key: K::Key, object: K::Object) {
        if !is_sound(|| self.kind.seen_elsewhere(&key, &object)) {
            self.note_failure(&key, &Outcome::Panicked);
        }
        self.objects.insert(key, Entry { object: Arc::new(object), is_own: false });
    }

    fn delete(&mut self, key: &K::Key) {
        if !self.objects.remove(key).is_some_and(|entry| entry.is_own) {
            return;
        }
        self.shard.discount(key.namespace());
        self.drop_plans(key);
        match self.running.get(key) {
            // Its end leads to what is done for an object that is gone.
            Some(running) => running.run.end(),
            None => self.forget(key),
        }
    }

    fn drop_plans(&mut self, key: &K::Key) {
        self.queue.remove(key);
        self.cleanups.remove(key);
        self.panicked.remove(key);
        self.expiries.set(key.clone(), None);
    }

    /// Goes by another grant from now on.
    pub(super) fn regrant(&mut self) {
        let (mut gained, mut lost) = (Vec::new(), Vec::new());
        let mut owned: HashMap<&str, bool> = HashMap::new();
        for (key, entry) in &self.objects {
            let namespace = key.namespace();
            let is_own = *owned.entry(namespace).or_insert_with(|| self.shard.ownership.owns(namespace));
            match (entry.is_own, is_own) {
                (false, true) => gained.push(key.clone()),
                (true, false) => lost.push(key.clone()),
                (false, false) | (true, true) => {}
            }
        }
        if !(gained.is_empty() && lost.is_empty()) {
            let (kind, gained, lost) = (K::NAME, gained.len(), lost.len());
            tracing::info!(kind, gained, lost, "objects moved to or from this replica");
        }
        for key in lost {
            self.lose(key);
        }
        let gained: Vec<_> = gained
            .into_iter()
            .filter_map(|key| self.objects.remove(&key).map(|entry| (key, entry.object)))
            .collect();
        for ((key, mut object), due) in in_order(gained, |(_, object)| K::last_check(object)) {
            let is_sound = is_sound(|| self.kind.gained(&key, &mut object));
            self.take_in(&key, object, due, is_sound);
        }
        self.shard.is_adopted = false;
        self.hand_over();
    }

    /// Begins nothing more for an object, and ends what is under way.
    fn lose(&mut self, key: K::Key) {
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.is_own = false;
        }
        self.shard.discount(key.namespace());
        self.drop_plans(&key);
        if let Some(running) = self.running.get(&key) {
            running.run.end();
        }
        self.shard.lost.push(key);
    }

    /// Once nothing is under way for objects that are not ours: ends what was opened for them, and then reports that.
    pub(super) fn hand_over(&mut self) {
        let Shard { ownership, tasks, lost, is_adopted, .. } = &mut self.shard;
        if *is_adopted || tasks.keys().any(|key| !ownership.owns(key.namespace())) {
            return;
        }
        let Some(first) = lost.first().cloned() else {
            *is_adopted = true;
            ownership.adopt();
            return;
        };
        let lost = std::mem::take(lost);
        let handed_over = Arc::clone(&self.kind).hand_over(lost);
        self.spawn(first, Work::HandOver, async move {
            handed_over.await;
            Ok(Requeue::OnChange)
        });
    }
}

/// Whether the kind took something in without a panic. This is the engine's own task: an object that makes us panic must not end it.
fn is_sound(take_in: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(take_in)).is_ok()
}

/// Each object with the time at which it is due: the oldest Ready is earned anew first. A time to come, which we did not write, lets
/// nobody wait for all others.
fn in_order<O>(mut objects: Vec<O>, last_check: impl Fn(&O) -> Option<Timestamp>) -> Vec<(O, Instant)> {
    let (today, now) = (Timestamp::now(), Instant::now());
    objects.sort_by_key(|object| last_check(object).filter(|last| *last <= today));
    let places = (0..objects.len() as u64).rev();
    let due = places.map(|place| now.checked_sub(Duration::from_nanos(place)).unwrap_or(now));
    objects.into_iter().zip(due).collect()
}
