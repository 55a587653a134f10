//! The fair queue: which object is reconciled next.
//!
//! ```text
//!   push ─▶ delayed ── its time has come ──▶ waiting, by namespace and instance ── pop ──▶ running ─▶ release
//! ```
//!
//! Pure: it keeps no clock and starts nothing. Whoever asks passes the time, and reports when a run has ended.
//!
//! **Fairness.** Workers are shared by Kubernetes namespace first, in turns, and then by instance. A namespace may hold
//! as many workers as are free for everybody else (a *dynamic threshold*, as switches share their buffers): alone it
//! takes half of them, two take a third each, and so on, so that there is always room for one that comes later,
//! however long the checks of the others take. At one instance the same holds for the workers that the instance may
//! take. What a Ready depends on goes before everything else; where there is more of that than can be done in time, whatever ends
//! first goes first.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Instant,
};

use super::{
    held::Held,
    waiting::{Row, Waiting},
};

/// How many runs that a Ready depends on may go before another one. Whoever has so many Ready connections that they could
/// keep all workers busy still gets to the new ones.
const MAX_RENEWALS_IN_A_ROW: u32 = 3;

/// How many runs there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub workers: usize,
    /// At one instance.
    pub per_instance: usize,
}

/// Who pays for a run: a tenant, and the server that may keep it waiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The Kubernetes namespace of the object.
    pub namespace: Arc<str>,
    /// The instance, as scheme, host and port. None when the object has not one but several, or none.
    pub instance: Option<Arc<str>>,
}

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A Ready depends on it, and ends without it.
    Renewal {
        /// When.
        ends: Instant,
    },
    /// Everything else.
    Normal,
}

/// The objects that are to be reconciled, each at most once at a time.
#[derive(Debug)]
pub struct Queue<K> {
    objects: HashMap<K, State>,
    delayed: BTreeSet<(Instant, K)>,
    waiting: Waiting<K>,
    /// The same, the oldest first.
    by_age: BTreeSet<(Instant, K)>,
    held: Held,
    renewals_in_a_row: u32,
}

/// Where an object is.
#[derive(Debug)]
enum State {
    Delayed { due: Instant, job: Job },
    Waiting { due: Instant, job: Job },
    Running { lane: Lane, again: Option<(Instant, Job)> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    lane: Lane,
    priority: Priority,
}

// === impl Limits ===

impl Limits {
    /// The limits for so many workers: an instance takes half of them at most, one namespace at one instance a quarter.
    pub fn of(workers: u16) -> Self {
        let workers = usize::from(workers).max(1);
        Self { workers, per_instance: (workers / 2).max(1) }
    }
}

// === impl Queue ===

impl<K: Clone + Ord + Hash> Queue<K> {
    /// Nothing is due.
    pub fn new(limits: Limits) -> Self {
        let held = Held::new(limits);
        let (objects, delayed, waiting) = (HashMap::new(), BTreeSet::new(), Waiting::default());
        Self { objects, delayed, waiting, by_age: BTreeSet::new(), held, renewals_in_a_row: 0 }
    }

    /// Asks for a run of an object at `due`. One that is asked for twice runs once, at the earlier time; one that runs
    /// now runs again.
    pub fn push(&mut self, key: K, lane: Lane, priority: Priority, due: Instant) {
        let job = Job { lane, priority };
        let due = match self.objects.get_mut(&key) {
            Some(State::Running { again, .. }) => {
                let due = again.as_ref().map_or(due, |(earlier, _)| due.min(*earlier));
                *again = Some((due, job));
                return;
            }
            Some(State::Delayed { due: planned, .. }) => due.min(*planned),
            // It keeps its place, if its lane is the same.
            Some(State::Waiting { due: since, .. }) => due.min(*since),
            None => due,
        };
        let was_waiting = matches!(self.objects.get(&key), Some(State::Waiting { .. }));
        self.remove(&key);
        if was_waiting {
            self.enqueue(key, due, job);
        } else {
            self.delayed.insert((due, key.clone()));
            self.objects.insert(key, State::Delayed { due, job });
        }
    }

    /// Says anew what goes first, of an object that is not running. It stays due since the same time.
    pub fn set_priority(&mut self, key: &K, priority: Priority) {
        match self.objects.get_mut(key) {
            Some(State::Delayed { job, .. }) => job.priority = priority,
            Some(State::Waiting { due, job }) => {
                if let Some(lane) = self.waiting.lane(&job.lane) {
                    lane.of(job.priority.row()).remove(&(job.priority.place(*due), key.clone()));
                    lane.of(priority.row()).insert((priority.place(*due), key.clone()));
                    job.priority = priority;
                }
            }
            Some(State::Running { .. }) | None => {}
        }
    }

    /// Starts the next run, if one is due and may begin now. It holds a worker until it is released.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        self.promote(now);
        if self.held.is_full() {
            return None;
        }
        let order = if self.renewals_in_a_row < MAX_RENEWALS_IN_A_ROW {
            [Row::Renewals, Row::Normal]
        } else {
            [Row::Normal, Row::Renewals]
        };
        let key = order.into_iter().find_map(|row| self.next(row))?;
        let job = self.dequeue(&key)?;
        self.renewals_in_a_row = match job.priority.row() {
            Row::Renewals => self.renewals_in_a_row.saturating_add(1),
            Row::Normal => 0,
        };
        self.held.take(&job.lane);
        self.objects.insert(key.clone(), State::Running { lane: job.lane, again: None });
        Some(key)
    }

    /// Ends a run. What was asked for meanwhile is dropped: the time for which it was asked is returned.
    pub fn release(&mut self, key: &K) -> Option<Instant> {
        let Some(State::Running { .. }) = self.objects.get(key) else { return None };
        let Some(State::Running { lane, again }) = self.objects.remove(key) else { return None };
        self.held.give_back(&lane);
        again.map(|(due, _)| due)
    }

    /// Forgets an object that is not running.
    pub fn remove(&mut self, key: &K) {
        match self.objects.get(key) {
            Some(State::Delayed { due, .. }) => {
                self.delayed.remove(&(*due, key.clone()));
                self.objects.remove(key);
            }
            Some(State::Waiting { .. }) => {
                self.dequeue(key);
            }
            Some(State::Running { .. }) | None => {}
        }
    }

    /// Whether a run of it is under way.
    pub fn is_running(&self, key: &K) -> bool {
        matches!(self.objects.get(key), Some(State::Running { .. }))
    }

    /// Whether something of a lane is due, and waits for a worker.
    pub fn has_waiting(&self, Lane { namespace, instance }: &Lane) -> bool {
        self.waiting.namespaces.get(namespace).is_some_and(|it| it.instances.contains_key(instance))
    }

    /// When the next object becomes due that is not due yet.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// How many wait for a worker, and since when the first of them is due.
    pub fn backlog(&self) -> (usize, Option<Instant>) {
        (self.by_age.len(), self.by_age.first().map(|(due, _)| *due))
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.held.total()
    }

    /// Lets those wait for a worker whose time has come.
    fn promote(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            let Some((due, key)) = self.delayed.pop_first() else { return };
            if let Some(State::Delayed { job, .. }) = self.objects.remove(&key) {
                self.enqueue(key, due, job);
            }
        }
    }

    /// The object whose turn it is, among those that may begin now.
    fn next(&self, row: Row) -> Option<K> {
        self.waiting.turns.iter().filter(|namespace| self.held.admits(namespace)).find_map(|name| {
            let namespace = self.waiting.namespaces.get(name)?;
            let due = |instance: &Option<Arc<str>>| {
                let is_its_turn = self.is_turn_at(name, instance.as_ref(), row);
                namespace.instances.get(instance).filter(|_| is_its_turn)?.first(row)
            };
            namespace.turns.iter().find_map(due).cloned()
        })
    }

    /// Whether a namespace may begin a run at an instance now, and nobody who may, too, was before it there.
    fn is_turn_at(&self, namespace: &str, instance: Option<&Arc<str>>, row: Row) -> bool {
        let Some(instance) = instance else { return true };
        let turns = self.waiting.turns_at.get(instance);
        self.held.admits_at(namespace, instance)
            && turns.into_iter().flatten().take_while(|earlier| ***earlier != *namespace).all(|earlier| {
                let may_begin = self.held.admits(earlier) && self.held.admits_at(earlier, instance);
                !may_begin || self.waiting.first(earlier, instance, row).is_none()
            })
    }

    fn enqueue(&mut self, key: K, due: Instant, job: Job) {
        let Lane { namespace, instance } = &job.lane;
        if !self.waiting.namespaces.contains_key(namespace) {
            self.waiting.turns.push_back(namespace.clone());
        }
        let lanes = self.waiting.namespaces.entry(namespace.clone()).or_default();
        if !lanes.instances.contains_key(instance) {
            lanes.turns.push_back(instance.clone());
            if let Some(instance) = instance {
                self.waiting.turns_at.entry(instance.clone()).or_default().push_back(namespace.clone());
            }
        }
        let lane = lanes.instances.entry(instance.clone()).or_default();
        lane.of(job.priority.row()).insert((job.priority.place(due), key.clone()));
        self.by_age.insert((due, key.clone()));
        self.objects.insert(key, State::Waiting { due, job });
    }

    /// Takes an object out of those that wait. Its namespace and its instance go to the end of their rows.
    fn dequeue(&mut self, key: &K) -> Option<Job> {
        let Some(State::Waiting { .. }) = self.objects.get(key) else { return None };
        let Some(State::Waiting { due, job }) = self.objects.remove(key) else { return None };
        self.by_age.remove(&(due, key.clone()));
        let Waiting { namespaces, turns, turns_at } = &mut self.waiting;
        let Lane { namespace, instance } = &job.lane;
        let lanes = namespaces.get_mut(namespace)?;
        let lane = lanes.instances.get_mut(instance)?;
        lane.of(job.priority.row()).remove(&(job.priority.place(due), key.clone()));
        let is_empty = lane.is_empty();
        if is_empty {
            lanes.instances.remove(instance);
        }
        next_turn(&mut lanes.turns, instance, !is_empty);
        if let Some((instance, turns)) = instance.as_ref().and_then(|it| Some((it, turns_at.get_mut(it)?))) {
            next_turn(turns, namespace, !is_empty);
            if turns.is_empty() {
                turns_at.remove(instance);
            }
        }
        let is_empty = lanes.instances.is_empty();
        if is_empty {
            namespaces.remove(namespace);
        }
        next_turn(turns, namespace, !is_empty);
        Some(job)
    }
}

/// Takes one out of its row, and lets it stand at the end if it stays.
fn next_turn<T: PartialEq>(turns: &mut VecDeque<T>, one: &T, stays: bool) {
    let place = turns.iter().position(|other| other == one);
    if let Some(one) = place.and_then(|place| turns.remove(place)).filter(|_| stays) {
        turns.push_back(one);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Namespace, instance and number of an object.
    type Key = (u8, u8, u8);

    fn lane(key: Key) -> Lane {
        let (namespace, instance) = (format!("ns-{}", key.0), format!("https://{}", key.1));
        Lane { namespace: namespace.into(), instance: Some(instance.into()) }
    }

    fn queue(workers: u16) -> Queue<Key> {
        Queue::new(Limits::of(workers))
    }

    fn push(queue: &mut Queue<Key>, keys: impl IntoIterator<Item = Key>, due: Instant) {
        for key in keys {
            queue.push(key, lane(key), Priority::Normal, due);
        }
    }

    /// Starts whatever may begin.
    fn pop_all(queue: &mut Queue<Key>, now: Instant) -> Vec<Key> {
        std::iter::from_fn(|| queue.pop(now)).collect()
    }

    #[test]
    fn what_is_not_due_waits_and_what_is_asked_for_twice_runs_once() {
        let (mut queue, now) = (queue(4), Instant::now());
        let later = now + Duration::from_secs(1);
        push(&mut queue, [(0, 0, 0)], later + Duration::from_secs(9));
        push(&mut queue, [(0, 0, 0)], later);
        assert_eq!((queue.pop(now), queue.next_due()), (None, Some(later)));
        assert!(!queue.has_waiting(&lane((0, 0, 0))));
        queue.promote(later);
        assert!(queue.has_waiting(&lane((0, 0, 0))) && !queue.has_waiting(&lane((0, 1, 0))));
        assert_eq!(pop_all(&mut queue, later), [(0, 0, 0)]);
        assert!(!queue.has_waiting(&lane((0, 0, 0))));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn an_object_never_runs_twice_at_once_and_again_when_it_was_asked_for_meanwhile() {
        let (mut queue, now) = (queue(8), Instant::now());
        push(&mut queue, [(0, 0, 0)], now);
        assert_eq!(queue.pop(now), Some((0, 0, 0)));
        assert!(queue.is_running(&(0, 0, 0)));
        push(&mut queue, [(0, 0, 0)], now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.release(&(0, 0, 0)), Some(now));
        assert_eq!(queue.pop(now), None, "who releases it asks for what is to come");
        assert_eq!(queue.release(&(0, 0, 0)), None);
    }

    #[test]
    fn a_namespace_holds_no_more_than_is_free_for_others() {
        let (mut queue, now) = (queue(64), Instant::now());
        push(&mut queue, (0..100).map(|number| (0, number, number)), now);
        assert_eq!(pop_all(&mut queue, now).len(), 32, "alone it leaves a half");
        push(&mut queue, (0..100).map(|number| (1, 100 + number, number)), now);
        assert_eq!(pop_all(&mut queue, now).len(), 16);
        push(&mut queue, (0..100).map(|number| (2, 200, number)), now);
        assert_eq!(pop_all(&mut queue, now).len(), 8, "three tarpits do not stop a fourth");
        push(&mut queue, [(3, 201, 0)], now);
        assert_eq!(pop_all(&mut queue, now), [(3, 201, 0)]);
    }

    #[test]
    fn an_instance_holds_no_more_than_its_share_and_nobody_all_of_it() {
        let (mut queue, now) = (queue(64), Instant::now());
        push(&mut queue, (0..100).map(|number| (0, 0, number)), now);
        assert_eq!(pop_all(&mut queue, now).len(), 16);
        push(&mut queue, [(0, 1, 0)], now);
        assert_eq!(pop_all(&mut queue, now), [(0, 1, 0)], "another instance of the same namespace");
        push(&mut queue, (0..100).map(|number| (1, 0, number)), now);
        assert_eq!(pop_all(&mut queue, now).len(), 8, "another namespace at the same instance");
        for workers in [1, 2, 3] {
            let mut queue = self::queue(workers);
            push(&mut queue, [(0, 0, 0)], now);
            assert_eq!(queue.pop(now), Some((0, 0, 0)), "{workers}");
        }
    }

    #[test]
    fn namespaces_and_instances_take_turns() {
        let (mut queue, now) = (queue(1), Instant::now());
        push(&mut queue, [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 2, 0), (2, 3, 0)], now);
        let mut order = Vec::new();
        while let Some(key) = queue.pop(now) {
            order.push(key);
            queue.release(&key);
        }
        assert_eq!(order, [(0, 0, 0), (1, 2, 0), (2, 3, 0), (0, 1, 0), (0, 0, 1)]);
    }

    #[test]
    fn what_a_ready_depends_on_goes_first_and_leaves_turns_to_the_others() {
        let (mut queue, now) = (queue(1), Instant::now());
        push(&mut queue, [(0, 0, 0), (1, 1, 0)], now);
        for number in 1..=6 {
            queue.push((0, 0, number), lane((0, 0, number)), Priority::Renewal { ends: now }, now);
        }
        let mut order = Vec::new();
        while let Some((namespace, _, number)) = queue.pop(now) {
            order.push((namespace, number));
            queue.release(&(namespace, namespace, number));
        }
        let turns = [(0, 1), (0, 2), (0, 3), (1, 0), (0, 4), (0, 5), (0, 6), (0, 0)];
        assert_eq!(order, turns, "three, one of the others, and so on");
    }

    /// A Secret that many connections share was changed: all of them are due at once, each with a Ready of another age.
    #[test]
    fn of_what_readies_depend_on_that_goes_first_whose_ready_ends_first() {
        let (mut queue, now) = (queue(1), Instant::now());
        let seconds = |seconds| now + Duration::from_secs(seconds);
        let renew = |queue: &mut Queue<Key>, number: u8, ends: u64, due: u64| {
            let priority = Priority::Renewal { ends: seconds(ends) };
            queue.push((0, 0, number), lane((0, 0, number)), priority, seconds(due));
        };
        for (number, ends) in [(1, 70), (2, 119), (3, 60), (4, 90)] {
            renew(&mut queue, number, ends, 1);
        }
        // It is due for longer than the others, and has more time left.
        renew(&mut queue, 5, 100, 0);
        let run = |queue: &mut Queue<Key>| {
            let key = queue.pop(seconds(1)).expect("it is due");
            queue.release(&key);
            key.2
        };
        assert_eq!([run(&mut queue), run(&mut queue)], [3, 1]);
        // One of those that were renewed is due again, and one has lost its Ready meanwhile.
        renew(&mut queue, 3, 180, 1);
        queue.set_priority(&(0, 0, 4), Priority::Normal);
        assert_eq!([run(&mut queue), run(&mut queue), run(&mut queue), run(&mut queue)], [5, 4, 2, 3]);
        assert_eq!(queue.pop(seconds(1)), None);
    }

    #[test]
    fn another_priority_costs_nobody_a_turn() {
        let (mut queue, now) = (queue(1), Instant::now());
        push(&mut queue, [(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)], now);
        let later = now + Duration::from_secs(1);
        for (number, ends) in [(0, 9), (1, 5)] {
            let ends = now + Duration::from_secs(ends);
            push(&mut queue, [(2, 2, number)], later);
            queue.set_priority(&(2, 2, number), Priority::Renewal { ends });
        }
        let run = |queue: &mut Queue<Key>, at: Instant| {
            let key = queue.pop(at).expect("it is due");
            queue.release(&key);
            (key.0, key.2)
        };
        queue.promote(now);
        for number in [0, 1, 0] {
            queue.set_priority(&(0, 0, number), Priority::Normal);
        }
        assert_eq!([run(&mut queue, now), run(&mut queue, now)], [(0, 0), (1, 0)]);
        assert_eq!([run(&mut queue, later), run(&mut queue, later)], [(2, 1), (2, 0)]);
    }

    #[test]
    fn what_is_removed_is_not_run() {
        let (mut queue, now) = (queue(4), Instant::now());
        push(&mut queue, [(0, 0, 0), (0, 0, 1)], now);
        assert!(queue.pop(now).is_some());
        queue.remove(&(0, 0, 1));
        push(&mut queue, [(0, 0, 2)], now + Duration::from_secs(1));
        queue.remove(&(0, 0, 2));
        queue.release(&(0, 0, 0));
        assert_eq!((queue.pop(now + Duration::from_secs(2)), queue.next_due()), (None, None));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push { key: Key, ends_in: Option<u64>, in_seconds: u64 },
        Change(Key, Option<u64>),
        Pop,
        Release(usize),
        Remove(Key),
        Pass(u64),
    }

    fn keys() -> impl Strategy<Value = Key> {
        // An instance may be named by two namespaces.
        (0..4_u8, 0..3_u8, 0..5_u8)
    }

    fn ops() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (keys(), prop::option::of(0..60_u64), 0..20_u64)
                .prop_map(|(key, ends_in, in_seconds)| Op::Push { key, ends_in, in_seconds }),
            1 => (keys(), prop::option::of(0..60_u64)).prop_map(|(key, ends_in)| Op::Change(key, ends_in)),
            6 => Just(Op::Pop),
            2 => any::<usize>().prop_map(Op::Release),
            1 => keys().prop_map(Op::Remove),
            2 => (0..10_u64).prop_map(Op::Pass),
        ]
    }

    fn renewal(ends: Option<Instant>) -> Priority {
        ends.map_or(Priority::Normal, |ends| Priority::Renewal { ends })
    }

    /// What the queue promises, kept by hand: who wants to run from when on, and who runs.
    struct Model {
        workers: usize,
        per_instance: usize,
        wanted: HashMap<Key, Instant>,
        /// When the Ready of each ends, as it was said the last time.
        ends: HashMap<Key, Option<Instant>>,
        running: Vec<Key>,
    }

    impl Model {
        /// Whether the caps let this object begin.
        fn may_begin(&self, key: Key) -> bool {
            let held = |of: &dyn Fn(&Key) -> bool| self.running.iter().filter(|key| of(key)).count();
            let free = self.workers - self.running.len();
            let free_there = self.per_instance - held(&|other| other.1 == key.1);
            held(&|other| other.0 == key.0) < free
                && held(&|other| (other.0, other.1) == (key.0, key.1)) < free_there
        }

        /// Whether a Ready of the same lane ends sooner, and what it depends on was due, too.
        fn is_before_its_turn(&self, key: Key, now: Instant) -> bool {
            let is_due = |other: &Key| self.wanted.get(other).is_some_and(|due| *due <= now);
            let waits = |other: &&Key| (other.0, other.1) == (key.0, key.1) && is_due(other);
            let ends = |key: &Key| self.ends.get(key).copied().flatten();
            let waiting = self.wanted.keys().filter(|other| !self.running.contains(other)).filter(waits);
            ends(&key).is_some_and(|own| waiting.filter_map(ends).any(|other| other < own))
        }
    }

    proptest! {
        #[test]
        fn caps_hold_nothing_runs_twice_and_nothing_waits_that_may_run(
            workers in 1..12_u16,
            history in prop::collection::vec(ops(), 1..200),
        ) {
            let (mut queue, mut now) = (queue(workers), Instant::now());
            let limits = Limits::of(workers);
            let mut model = Model {
                workers: limits.workers,
                per_instance: limits.per_instance,
                wanted: HashMap::new(),
                ends: HashMap::new(),
                running: Vec::new(),
            };
            for op in history {
                match op {
                    Op::Push { key, ends_in, in_seconds } => {
                        let due = now + Duration::from_secs(in_seconds);
                        let ends = ends_in.map(|ends| now + Duration::from_secs(ends));
                        queue.push(key, lane(key), renewal(ends), due);
                        model.ends.insert(key, ends);
                        let planned = model.wanted.entry(key).or_insert(due);
                        *planned = due.min(*planned);
                    }
                    Op::Change(key, ends_in) => {
                        let ends = ends_in.map(|ends| now + Duration::from_secs(ends));
                        queue.set_priority(&key, renewal(ends));
                        model.ends.insert(key, ends);
                    }
                    Op::Pop => match queue.pop(now) {
                        Some(key) => {
                            prop_assert!(!model.running.contains(&key), "{:?} runs twice", key);
                            prop_assert!(model.may_begin(key), "{:?} breaks a cap", key);
                            prop_assert!(!model.is_before_its_turn(key, now), "{:?} has more time left", key);
                            let due = model.wanted.remove(&key);
                            prop_assert!(due.is_some_and(|due| due <= now), "{:?} was not due", key);
                            model.running.push(key);
                        }
                        None => {
                            let idle = |key: &&Key| !model.running.contains(key) && model.may_begin(**key);
                            let due = model.wanted.iter().filter(|(_, due)| **due <= now).map(|(key, _)| key);
                            let left: Vec<_> = due.filter(idle).collect();
                            prop_assert!(left.is_empty(), "{:?} could run", left);
                        }
                    },
                    Op::Release(index) if !model.running.is_empty() => {
                        let key = model.running.swap_remove(index % model.running.len());
                        let again = queue.release(&key);
                        prop_assert_eq!(again, model.wanted.get(&key).copied());
                        if let Some(due) = again {
                            queue.push(key, lane(key), Priority::Normal, due);
                            model.ends.insert(key, None);
                        }
                    }
                    Op::Release(_) => {}
                    Op::Remove(key) => {
                        queue.remove(&key);
                        if !model.running.contains(&key) {
                            model.wanted.remove(&key);
                        }
                    }
                    Op::Pass(seconds) => now += Duration::from_secs(seconds),
                }
            }
        }

        #[test]
        fn whoever_is_due_has_a_turn_within_a_bounded_number_of_runs(
            workers in 1..8_u16,
            busy in prop::collection::vec((0..3_u8, 0..3_u8, 0..4_u8), 1..30),
            (renewals, joins_others) in any::<(bool, bool)>(),
            ends in prop::collection::vec(any::<usize>(), 1000),
        ) {
            let (mut queue, now) = (queue(workers), Instant::now());
            let priority = if renewals { Priority::Renewal { ends: now } } else { Priority::Normal };
            let mut busy: BTreeSet<Key> = busy.into_iter().collect();
            let first = *busy.first().expect("there is one");
            // How a namespace spends its share over its own instances is its own matter.
            busy.retain(|key| !joins_others || key.0 != first.0 || key.1 == first.1);
            let push_busy = |queue: &mut Queue<Key>, key: Key, due| queue.push(key, lane(key), priority, due);
            for key in &busy {
                push_busy(&mut queue, *key, now);
            }
            let mut running: Vec<Key> = std::iter::from_fn(|| queue.pop(now)).collect();
            // One more joins, at an instance that is always busy, in a namespace that is, too, or in one of its own.
            let newcomer = if joins_others { (first.0, first.1, 99) } else { (99, first.1, 0) };
            push(&mut queue, [newcomer], now);
            for (runs, end) in ends.into_iter().enumerate() {
                // Each run ends some day: every other time it is the oldest that does.
                let place = if runs % 2 == 0 { 0 } else { end % running.len() };
                let key = running.remove(place);
                queue.release(&key);
                // Whoever has run wants to run again, at once.
                let due = now + Duration::from_nanos(u64::try_from(runs).expect("small"));
                push_busy(&mut queue, key, due);
                running.extend(std::iter::from_fn(|| queue.pop(due)));
                prop_assert!(!running.is_empty(), "something is due, and nobody runs");
                if running.contains(&newcomer) {
                    return Ok(());
                }
            }
            prop_assert!(false, "it waits for ever");
        }
    }
}
