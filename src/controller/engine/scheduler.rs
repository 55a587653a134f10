//! Runs what is due: each reconcile is a task of its own, and whatever comes of it leads back to the queue.
//!
//! One task owns the queue and the objects, and does nothing that takes time. What must not wait for a worker has none:
//! the end of an old Ready, the report of a panic, and what is done for an object that is gone.

use std::{collections::HashMap, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Reconciler, Requeue,
    backoff::after_panic,
    cleanups::Cleanups,
    expiries::Expiries,
    feed::Change,
    objects::Shard,
    queue::{Limits, Queue},
};
use crate::{
    cluster::ClusterError,
    controller::shards::ownership::Ownership,
    session::shutdown::Run,
    telemetry::{
        logs::chain,
        metrics::{Load, Metrics},
    },
};

/// How soon to try again when the API server failed us.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How soon to end an old Ready again, when the object changed just before that was written.
const EXPIRE_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long runs that hold a token may go on when the operator stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(2500);

/// Runs the reconciles of one kind.
pub struct Scheduler<K: Reconciler> {
    pub(super) kind: Arc<K>,
    pub(super) metrics: Metrics,
    stopping: CancellationToken,
    pub(super) queue: Queue<K::Key>,
    workers: usize,
    pub(super) objects: HashMap<K::Key, Entry<K::Object>>,
    pub(super) running: HashMap<K::Key, Running>,
    pub(super) panicked: HashMap<K::Key, Panicked>,
    pub(super) expiries: Expiries<K::Key>,
    pub(super) cleanups: Cleanups<K::Key>,
    tasks: JoinSet<Ended<K::Key>>,
    pub(super) shard: Shard<K::Key>,
}

/// An object, as the watch has it.
pub(super) struct Entry<O> {
    pub(super) object: Arc<O>,
    /// Whether this replica looks after it.
    pub(super) is_own: bool,
}

pub(super) struct Running {
    pub(super) run: Arc<Run>,
    task: AbortHandle,
}

/// An object whose last run panicked.
pub(super) struct Panicked {
    times: u32,
    until: Instant,
    revision: (String, i64),
}

/// A task that has ended.
struct Ended<K> {
    key: K,
    work: Work,
    outcome: Outcome,
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Reconcile,
    Expire,
    CleanUp,
    ReportPanic,
    Forget,
    HandOver,
}

pub(super) enum Outcome {
    Done(Requeue),
    Failed(ClusterError),
    Panicked,
}

// === impl Scheduler ===

impl<K: Reconciler> Scheduler<K> {
    /// Nothing is known yet.
    pub fn new(
        kind: Arc<K>,
        limits: Limits,
        metrics: Metrics,
        stopping: CancellationToken,
        ownership: Ownership,
    ) -> Self {
        Self {
            kind,
            metrics,
            stopping,
            queue: Queue::new(limits),
            workers: limits.workers,
            objects: HashMap::new(),
            running: HashMap::new(),
            panicked: HashMap::new(),
            expiries: Expiries::new(),
            cleanups: Cleanups::new(),
            tasks: JoinSet::new(),
            shard: Shard::new(ownership),
        }
    }

    /// Works until the operator stops, and then until the runs under way have ended or are given up.
    pub async fn run(
        mut self,
        changes: impl Stream<Item = Change<K::Object>>,
        triggers: impl Stream<Item = K::Key>,
    ) {
        let stopping = self.stopping.clone();
        let (mut changes, mut triggers) = (pin!(changes), pin!(triggers));
        loop {
            self.start_due();
            self.report_load();
            let wake = self.next_wake();
            tokio::select! {
                () = stopping.cancelled() => break,
                Some(change) = changes.next() => self.change(change),
                Some(key) = triggers.next() => self.push(&key, Instant::now()),
                Some(Ok(ended)) = self.tasks.join_next() => self.end(ended),
                () = self.shard.changed() => self.regrant(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        self.stop().await;
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(key) = self.queue.pop(now.into_std()) {
            let Some(entry) = self.own(&key) else {
                self.queue.release(&key);
                continue;
            };
            let run = Run::new(&self.stopping);
            let reconcile = Arc::clone(&self.kind).reconcile(Arc::clone(&entry.object));
            let reconcile = Arc::clone(&run).scope(reconcile);
            let watched = Arc::clone(&run);
            let task = self.spawn(key.clone(), Work::Reconcile, async move {
                tokio::select! {
                    outcome = reconcile => outcome,
                    () = watched.cancelled() => Ok(Requeue::OnChange),
                }
            });
            self.running.insert(key, Running { run, task });
        }
        while let Some(key) = self.expiries.pop(now) {
            // It may have been earned anew since.
            match self.kind.expires(&key).map(Instant::from_std) {
                Some(later) if later > now => self.expiries.set(key, Some(later)),
                Some(_) => {
                    self.start(&key, Work::Expire, K::expire);
                }
                None => {}
            }
        }
        self.start_cleanups(now);
    }

    fn report_load(&self) {
        let (depth, oldest) = self.queue.backlog();
        let (busy, namespaces) = (self.queue.running(), self.shard.namespaces());
        let load = Load { depth, oldest, busy, workers: self.workers, namespaces };
        self.metrics.load(K::NAME, load);
    }

    /// Starts what needs no worker and is about an object that is there. Tells whether it is.
    pub(super) fn start<F>(
        &mut self,
        key: &K::Key,
        work: Work,
        start: impl FnOnce(Arc<K>, Arc<K::Object>) -> F,
    ) -> bool
    where
        F: Future<Output = Result<(), ClusterError>> + Send + 'static,
    {
        let Some(entry) = self.own(key) else { return false };
        let started = start(Arc::clone(&self.kind), Arc::clone(&entry.object));
        self.spawn(key.clone(), work, async move { started.await.map(|()| Requeue::OnChange) });
        true
    }

    pub(super) fn forget(&mut self, key: &K::Key) {
        let forget = Arc::clone(&self.kind).forget(key.clone());
        self.spawn(key.clone(), Work::Forget, async move {
            forget.await;
            Ok(Requeue::OnChange)
        });
    }

    pub(super) fn spawn<F>(&mut self, key: K::Key, work: Work, run: F) -> AbortHandle
    where
        F: Future<Output = Result<Requeue, ClusterError>> + Send + 'static,
    {
        self.shard.begin(&key);
        self.tasks.spawn(async move {
            let outcome = match AssertUnwindSafe(run).catch_unwind().await {
                Ok(Ok(requeue)) => Outcome::Done(requeue),
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Panicked,
            };
            Ended { key, work, outcome }
        })
    }

    fn next_wake(&self) -> Option<Instant> {
        let due = self.queue.next_due().map(Instant::from_std);
        due.into_iter().chain(self.expiries.next()).min()
    }

    /// Asks for a run of an object that is there. One whose last run panicked is left alone for a while.
    pub(super) fn push(&mut self, key: &K::Key, due: Instant) {
        let Some(entry) = self.own(key) else { return };
        let lane = K::lane(&entry.object);
        let barred = self.panicked.get(key).filter(|it| it.revision == K::revision(&entry.object));
        let due = barred.map_or(due, |panicked| due.max(panicked.until));
        let priority = self.kind.priority(key);
        self.queue.push(key.clone(), lane, priority, due.into_std());
    }

    fn end(&mut self, Ended { key, work, outcome }: Ended<K::Key>) {
        self.shard.end(&key);
        match work {
            Work::Reconcile => self.end_reconcile(&key, &outcome),
            Work::Expire => {
                self.note_failure(&key, &outcome);
                let again = Instant::now()
                    + match outcome {
                        Outcome::Done(_) => EXPIRE_RETRY_INTERVAL,
                        Outcome::Failed(_) | Outcome::Panicked => RETRY_INTERVAL,
                    };
                let expires = self.kind.expires(&key).filter(|_| self.own(&key).is_some());
                // Whoever has lost its Ready leaves the turn to those that can still keep theirs.
                self.queue.set_priority(&key, self.kind.priority(&key));
                self.expiries.set(key, expires.map(|expires| Instant::from_std(expires).max(again)));
            }
            Work::CleanUp => self.end_cleanup(&key, &outcome),
            Work::ReportPanic | Work::Forget | Work::HandOver => self.note_failure(&key, &outcome),
        }
        self.hand_over();
    }

    fn end_reconcile(&mut self, key: &K::Key, outcome: &Outcome) {
        self.running.remove(key);
        let again = self.queue.release(key);
        self.note_failure(key, outcome);
        match self.objects.get(key) {
            None => return self.forget(key),
            Some(entry) if !entry.is_own => return,
            Some(_) => self.plan_cleanup(key),
        }
        match outcome {
            Outcome::Done(requeue) => {
                self.panicked.remove(key);
                if let Requeue::After(wait) = requeue {
                    self.push(key, later(*wait));
                }
            }
            Outcome::Failed(_) => self.push(key, later(RETRY_INTERVAL)),
            Outcome::Panicked => self.panic(key),
        }
        if let Some(due) = again {
            self.push(key, Instant::from_std(due));
        }
        self.expiries.set(key.clone(), self.kind.expires(key).map(Instant::from_std));
    }

    /// Logs and counts what went wrong, if something did.
    pub(super) fn note_failure(&self, key: &K::Key, outcome: &Outcome) {
        let kind = K::NAME;
        match outcome {
            Outcome::Done(_) => {}
            Outcome::Failed(error) => {
                self.metrics.cluster_failed();
                tracing::warn!(error = chain(error), kind, object = %key, "a request to the Kubernetes API failed; retrying");
            }
            Outcome::Panicked => {
                self.metrics.panicked();
                tracing::error!(kind, object = %key, "bug in the operator, triggered by this object; please report it");
            }
        }
    }

    /// Leaves an object alone for a while, and says so in its status.
    pub(super) fn panic(&mut self, key: &K::Key) {
        let Some(entry) = self.own(key) else { return };
        let revision = K::revision(&entry.object);
        let before = self.panicked.get(key).filter(|before| before.revision == revision);
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        let wait = after_panic(times);
        self.panicked.insert(key.clone(), Panicked { times, until: later(wait), revision });
        self.push(key, later(wait));
        self.start(key, Work::ReportPanic, |kind, object| kind.report_panic(object, wait));
    }

    /// Ends what is under way. A run that holds no token is abandoned where it waits; the others end by themselves, soon.
    async fn stop(mut self) {
        for Running { run, task } in self.running.values() {
            if !run.holds_token() {
                task.abort();
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
        if !self.tasks.is_empty() {
            let kind = K::NAME;
            tracing::warn!(
                kind,
                runs = self.tasks.len(),
                "some reconciles did not finish in time and were aborted"
            );
            self.tasks.abort_all();
        }
    }
}

/// The moment after a wait. One without an end is a long one.
pub(super) fn later(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(24 * 365);
    Instant::now() + wait.min(FAR)
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use tokio::{
        sync::{
            Notify,
            mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        },
        task::JoinHandle,
        time::{advance, sleep},
    };

    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::{
        controller::{
            engine::{
                Listing,
                queue::{Lane, Priority},
            },
            shards::{
                member::Member,
                ownership::{self, Grantor},
                view::{Claim, Slot, View},
            },
        },
        names::ConnectionRef,
        session::shutdown::{self, Stake},
        telemetry::metrics::exposition::Format,
    };

    /// An object: its name, and the generation of its spec.
    type Thing = (&'static str, i64);

    /// A kind whose objects do what their names say.
    struct Fake {
        done: UnboundedSender<(&'static str, &'static str)>,
        expires: Mutex<HashMap<String, std::time::Instant>>,
        go_on: Notify,
        held: Mutex<Vec<Arc<Thing>>>,
        left: Mutex<Vec<&'static str>>,
    }

    struct Scene {
        fake: Arc<Fake>,
        metrics: Metrics,
        changes: UnboundedSender<Change<Thing>>,
        triggers: UnboundedSender<ConnectionRef>,
        done: UnboundedReceiver<(&'static str, &'static str)>,
        stopping: CancellationToken,
        running: JoinHandle<()>,
    }

    fn key(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "ns".into(), name: name.into() }
    }

    impl Fake {
        fn note(&self, what: &'static str, name: &'static str) {
            // The test may have seen enough.
            let _ = self.done.send((what, name));
        }

        fn left(&self) -> MutexGuard<'_, Vec<&'static str>> {
            self.left.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// The generation of a thing that is being deleted.
    const ENDING: i64 = 99;

    impl Reconciler for Fake {
        type Key = ConnectionRef;
        type Object = Thing;
        const NAME: &'static str = "Fake";

        fn key((name, _): &Thing) -> ConnectionRef {
            key(name)
        }

        fn lane(_: &Thing) -> Lane {
            Lane { namespace: "ns".into(), instance: None }
        }

        fn revision((_, generation): &Thing) -> (String, i64) {
            ("u".to_owned(), *generation)
        }

        fn last_check((name, _): &Thing) -> Option<Timestamp> {
            let second = name.strip_prefix("checked at ")?;
            Some(Timestamp::from_second(second.parse().ok()?).expect("small"))
        }

        fn is_ending((_, generation): &Thing) -> bool {
            *generation == ENDING
        }

        fn seen(&self, _: &ConnectionRef, (name, _): &mut Thing, _: Option<&Thing>) {
            assert!(*name != "panics when seen", "a test");
        }

        fn seen_elsewhere(&self, _: &ConnectionRef, (name, _): &Thing) {
            self.note("elsewhere", name);
        }

        fn gained(&self, _: &ConnectionRef, object: &mut Arc<Thing>) {
            let shared = Arc::get_mut(object).is_none();
            self.note(if shared { "gained, held by somebody" } else { "gained" }, object.0);
        }

        fn listed(&self, _: Option<&str>, _: Listing) {}

        fn priority(&self, key: &ConnectionRef) -> Priority {
            let ends = self.expires(key).filter(|_| key.name.starts_with("renewed"));
            ends.map_or(Priority::Normal, |ends| Priority::Renewal { ends })
        }

        fn expires(&self, key: &ConnectionRef) -> Option<std::time::Instant> {
            self.expires.lock().unwrap_or_else(PoisonError::into_inner).get(&*key.name).copied()
        }

        async fn reconcile(self: Arc<Self>, object: Arc<Thing>) -> Result<Requeue, ClusterError> {
            let (name, _) = *object;
            self.note("reconcile", name);
            match name {
                "panics" | "panics when seen" => panic!("canary"),
                "hangs" => pending().await,
                "hangs with a token" => {
                    shutdown::answer(Stake::EndsToken, pending::<()>()).await;
                }
                "ends its token" => {
                    shutdown::answer(Stake::EndsToken, self.go_on.notified()).await;
                    self.note("end", name);
                }
                "goes on" => {
                    self.go_on.notified().await;
                    self.note("end", name);
                }
                "fails" => return Err(ClusterError::TimedOut),
                "leaves something" | "leaves what takes long" => self.left().push(name),
                "again" => return Ok(Requeue::After(Duration::from_secs(60))),
                "is held" => self.held.lock().unwrap_or_else(PoisonError::into_inner).push(object),
                _ => {}
            }
            Ok(Requeue::OnChange)
        }

        async fn expire(self: Arc<Self>, object: Arc<Thing>) -> Result<(), ClusterError> {
            self.note("expire", object.0);
            self.expires.lock().unwrap_or_else(PoisonError::into_inner).remove(object.0);
            Ok(())
        }

        fn has_cleanup(&self, key: &ConnectionRef) -> bool {
            self.left().contains(&&*key.name)
        }

        async fn clean_up(self: Arc<Self>, object: Arc<Thing>) -> Result<(), ClusterError> {
            let (name, _) = *object;
            self.left().retain(|left| *left != name);
            self.note("clean up", name);
            if name == "leaves what takes long" {
                self.go_on.notified().await;
                self.note("cleaned up", name);
            }
            Ok(())
        }

        async fn report_panic(self: Arc<Self>, object: Arc<Thing>, _: Duration) -> Result<(), ClusterError> {
            self.note("report panic", object.0);
            Ok(())
        }

        async fn forget(self: Arc<Self>, key: ConnectionRef) {
            let name = match &*key.name {
                "goes on" => "goes on",
                _ => "another",
            };
            self.note("forget", name);
        }

        async fn hand_over(self: Arc<Self>, keys: Vec<ConnectionRef>) {
            for _ in keys {
                self.note("hand over", "an object");
            }
        }
    }

    /// A replica, and another one that has the namespace of all objects while it is there.
    struct Sharing {
        grantor: Grantor,
        member: Member,
        other: Slot,
    }

    impl Sharing {
        /// Nothing is granted yet.
        fn new() -> (Self, Scene) {
            let other = View::of([0, 1]).owner("ns").expect("somebody owns it");
            let (grantor, [ownership]) = ownership::shared();
            (Self { grantor, member: Member::new(1 - other), other }, Scene::owning(8, ownership))
        }

        /// It is alone.
        async fn begin(&mut self) {
            self.list(false);
            self.member.adopt(self.grantor.adopted(0).await);
            let view = self.member.publish();
            self.member.published(view);
            self.list(false);
        }

        /// The Leases are listed.
        fn list(&mut self, is_other_there: bool) {
            let others = is_other_there.then_some((self.other, Claim::Of(View::EMPTY)));
            self.member.listed(&others.into_iter().collect(), self.member.publications());
            self.grantor.grant(self.member.grant());
        }
    }

    impl Scene {
        fn new(workers: u16) -> Self {
            Self::owning(workers, Ownership::all())
        }

        fn owning(workers: u16, ownership: Ownership) -> Self {
            let (sender, done) = unbounded_channel();
            let (changes, feed) = unbounded_channel();
            let (triggers, receiver) = unbounded_channel();
            let fake = Arc::new(Fake {
                done: sender,
                expires: Mutex::default(),
                go_on: Notify::new(),
                held: Mutex::default(),
                left: Mutex::default(),
            });
            let (metrics, stopping) = (Metrics::new(true), CancellationToken::new());
            let limits = Limits::of(workers);
            let scheduler =
                Scheduler::new(Arc::clone(&fake), limits, metrics.clone(), stopping.clone(), ownership);
            let stream = |receiver| {
                futures::stream::unfold(receiver, |mut receiver: UnboundedReceiver<_>| async {
                    receiver.recv().await.map(|item| (item, receiver))
                })
            };
            let triggered = futures::stream::unfold(receiver, |mut receiver: UnboundedReceiver<_>| async {
                receiver.recv().await.map(|item| (item, receiver))
            });
            let running = tokio::spawn(scheduler.run(stream(feed), triggered));
            Self { fake, metrics, changes, triggers, done, stopping, running }
        }

        fn list(&self, names: &[&'static str]) {
            let objects = names.iter().map(|name| (*name, 1)).collect();
            self.changes.send(Change::Listed { namespace: None, objects }).expect("it listens");
        }

        /// What was done next. Time passes only while nothing else can happen.
        async fn next(&mut self) -> (&'static str, &'static str) {
            self.done.recv().await.expect("the fake lives")
        }

        /// Everything that is done before any time passes.
        async fn at_once(&mut self) -> Vec<(&'static str, &'static str)> {
            sleep(Duration::from_millis(1)).await;
            let mut all: Vec<_> = std::iter::from_fn(|| self.done.try_recv().ok()).collect();
            all.sort_unstable();
            all
        }

        fn expire(&self, name: &str, after: Duration) {
            let at = (Instant::now() + after).into_std();
            self.fake.expires.lock().expect("nobody panicked").insert(name.to_owned(), at);
        }

        fn panics(&self) -> bool {
            self.metrics.text(Format::Classic).contains("vault_connection_operator_panics_total 0")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_handed_over_when_nothing_is_under_way_for_it_and_comes_back_when_the_other_replica_goes()
     {
        const NAME: &str = "ends its token";
        let (mut sharing, mut scene) = Sharing::new();
        scene.list(&[NAME]);
        assert_eq!(scene.at_once().await, [("elsewhere", NAME)], "nothing is granted yet");
        sharing.begin().await;
        assert_eq!(scene.at_once().await, [("gained", NAME), ("reconcile", NAME)]);
        let before = sharing.grantor.adopted(0).await;

        sharing.list(true);
        assert_eq!(scene.at_once().await, []);
        scene.expire(NAME, Duration::ZERO);
        scene.changes.send(Change::Applied((NAME, 2))).expect("it listens");
        scene.triggers.send(key(NAME)).expect("it listens");
        assert_eq!(scene.at_once().await, [("elsewhere", NAME)], "nothing is begun");
        assert_eq!(sharing.grantor.adopted(before).now_or_never(), None, "it still revokes its token");
        scene.fake.go_on.notify_one();
        assert_eq!(scene.at_once().await, [("end", NAME), ("hand over", "an object")]);
        assert_eq!(sharing.grantor.adopted(before).await, sharing.member.grant().number);

        scene.fake.expires.lock().expect("nobody panicked").clear();
        sharing.list(false);
        assert_eq!(scene.at_once().await, [("gained", NAME), ("reconcile", NAME)]);
        scene.changes.send(Change::Deleted((NAME, 2))).expect("it listens");
        scene.fake.go_on.notify_one();
        assert_eq!(scene.at_once().await, [("end", NAME), ("forget", "another")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_somebody_still_holds_is_taken_in_when_it_comes_back() {
        let (mut sharing, mut scene) = Sharing::new();
        scene.list(&["is held"]);
        sharing.begin().await;
        assert_eq!(
            scene.at_once().await,
            [("elsewhere", "is held"), ("gained", "is held"), ("reconcile", "is held")]
        );
        sharing.list(true);
        assert_eq!(scene.at_once().await, [("hand over", "an object")]);
        sharing.list(false);
        let back = [("gained, held by somebody", "is held"), ("reconcile", "is held")];
        assert_eq!(scene.at_once().await, back);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_reported_and_counted_and_tried_again_and_the_others_go_on() {
        let mut scene = Scene::new(8);
        scene.list(&["panics", "fine"]);
        let begin = Instant::now();
        let first = [("reconcile", "fine"), ("reconcile", "panics"), ("report panic", "panics")];
        assert_eq!(scene.at_once().await, first);
        assert!(!scene.panics());

        // The write of its status comes back by the watch, and leads to nothing.
        scene.changes.send(Change::Applied(("panics", 1))).expect("it listens");
        scene.triggers.send(key("fine")).expect("it listens");
        assert_eq!(scene.at_once().await, [("reconcile", "fine")]);
        assert_eq!(scene.next().await, ("reconcile", "panics"));
        assert_eq!(begin.elapsed().as_secs(), 10);
        assert_eq!(scene.next().await, ("report panic", "panics"));
        assert_eq!(scene.next().await, ("reconcile", "panics"));
        assert_eq!(begin.elapsed().as_secs(), 30, "twice as long");
        assert_eq!(scene.next().await, ("report panic", "panics"));

        scene.changes.send(Change::Applied(("panics", 2))).expect("it listens");
        let again = [("reconcile", "panics"), ("report panic", "panics")];
        assert_eq!(scene.at_once().await, again, "another spec is tried at once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_makes_the_engine_itself_panic_does_not_end_it() {
        let mut scene = Scene::new(8);
        scene.list(&["panics when seen", "fine"]);
        let expected = [("reconcile", "fine"), ("report panic", "panics when seen")];
        assert_eq!(scene.at_once().await, expected);
        assert!(!scene.panics());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_ready_ends_in_time_although_every_worker_is_held() {
        let mut scene = Scene::new(1);
        scene.expire("victim", Duration::from_secs(20));
        scene.expire("hangs", Duration::from_secs(30));
        scene.list(&["hangs", "victim"]);
        let begin = Instant::now();
        assert_eq!(scene.next().await, ("reconcile", "hangs"));
        assert_eq!(scene.next().await, ("expire", "victim"));
        assert_eq!(begin.elapsed().as_secs(), 20);
        assert_eq!(scene.next().await, ("expire", "hangs"), "its own run hangs");
        assert_eq!(begin.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_that_was_earned_anew_does_not_end() {
        let mut scene = Scene::new(1);
        scene.expire("fine", Duration::from_secs(20));
        scene.list(&["fine"]);
        assert_eq!(scene.next().await, ("reconcile", "fine"));
        let begin = Instant::now();
        scene.expire("fine", Duration::from_secs(50));
        assert_eq!(scene.next().await, ("expire", "fine"));
        assert_eq!(begin.elapsed().as_secs(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_run_wakes_who_waits_and_no_time_passes() {
        let mut scene = Scene::new(1);
        scene.list(&["goes on", "waits"]);
        assert_eq!(scene.next().await, ("reconcile", "goes on"));
        let begin = Instant::now();
        scene.fake.go_on.notify_one();
        assert_eq!(scene.next().await, ("end", "goes on"));
        assert_eq!(scene.next().await, ("reconcile", "waits"));
        assert!(begin.elapsed().is_zero());
    }

    /// More of them are due than can be renewed in time.
    #[tokio::test(start_paused = true)]
    async fn who_has_lost_its_ready_leaves_the_turn_to_those_that_can_still_keep_theirs() {
        let mut scene = Scene::new(1);
        scene.list(&["goes on"]);
        assert_eq!(scene.next().await, ("reconcile", "goes on"));
        for (name, seconds) in [("renewed too late", 2), ("renewed in time", 30), ("renewed later", 40)] {
            scene.expire(name, Duration::from_secs(seconds));
        }
        for name in ["renewed later", "renewed in time", "renewed too late"] {
            scene.changes.send(Change::Applied((name, 1))).expect("it listens");
        }
        assert_eq!(scene.next().await, ("expire", "renewed too late"));
        scene.fake.go_on.notify_one();
        assert_eq!(scene.next().await, ("end", "goes on"));
        for name in ["renewed in time", "renewed later", "renewed too late"] {
            assert_eq!(scene.next().await, ("reconcile", name));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_run_leaves_is_cleaned_up_without_a_worker() {
        let mut scene = Scene::new(1);
        scene.list(&["leaves what takes long"]);
        assert_eq!(scene.next().await, ("reconcile", "leaves what takes long"));
        assert_eq!(scene.next().await, ("clean up", "leaves what takes long"));
        scene.triggers.send(key("leaves what takes long")).expect("it listens");
        assert_eq!(scene.at_once().await, [("reconcile", "leaves what takes long")], "its worker is free");
        scene.fake.go_on.notify_one();
        let again = [("clean up", "leaves what takes long"), ("cleaned up", "leaves what takes long")];
        assert_eq!(scene.at_once().await, again, "what the second run has left comes after that");
        scene.fake.go_on.notify_one();
        assert_eq!(scene.at_once().await, [("cleaned up", "leaves what takes long")], "once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_leave_is_cleaned_up_after_those_that_wait() {
        let mut scene = Scene::new(1);
        scene.list(&["leaves something", "goes on", "again"]);
        assert_eq!(scene.at_once().await, [("reconcile", "goes on"), ("reconcile", "leaves something")]);
        scene.fake.go_on.notify_one();
        assert_eq!(scene.next().await, ("end", "goes on"));
        assert_eq!(scene.next().await, ("reconcile", "again"));
        assert_eq!(scene.next().await, ("clean up", "leaves something"));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_no_cleanup_is_begun_and_those_under_way_have_some_time() {
        let mut scene = Scene::new(8);
        scene.list(&["leaves what takes long", "hangs with a token"]);
        let started = [
            ("clean up", "leaves what takes long"),
            ("reconcile", "hangs with a token"),
            ("reconcile", "leaves what takes long"),
        ];
        assert_eq!(scene.at_once().await, started);
        scene.fake.left().push("hangs with a token");
        let begin = Instant::now();
        scene.stopping.cancel();
        assert_eq!(scene.at_once().await, []);
        scene.fake.go_on.notify_one();
        scene.running.await.expect("it ends");
        assert_eq!(begin.elapsed(), STOP_TIMEOUT);
        assert_eq!(scene.done.try_recv().ok(), Some(("cleaned up", "leaves what takes long")));
        assert!(scene.done.try_recv().is_err(), "the stop of the operator finds what is left");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_goes_takes_what_it_has_left_with_it() {
        let mut scene = Scene::new(8);
        scene.list(&["leaves something"]);
        let done = [("clean up", "leaves something"), ("reconcile", "leaves something")];
        assert_eq!(scene.at_once().await, done);
        scene.triggers.send(key("leaves something")).expect("it listens");
        scene.changes.send(Change::Deleted(("leaves something", 1))).expect("it listens");
        let done = scene.at_once().await;
        assert!(done.contains(&("forget", "another")) && !done.contains(&("clean up", "leaves something")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_outcome_asks_for_is_done_when_its_time_has_come() {
        let mut scene = Scene::new(4);
        scene.list(&["again", "fails"]);
        let begin = Instant::now();
        assert_eq!(scene.at_once().await, [("reconcile", "again"), ("reconcile", "fails")]);
        assert_eq!(scene.next().await, ("reconcile", "fails"));
        assert_eq!(begin.elapsed().as_secs(), RETRY_INTERVAL.as_secs());
        scene.changes.send(Change::Deleted(("fails", 1))).expect("it listens");
        assert_eq!(scene.next().await, ("forget", "another"));
        assert_eq!(scene.next().await, ("reconcile", "again"));
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten_after_its_run() {
        let mut scene = Scene::new(4);
        scene.list(&["goes on", "fine"]);
        assert_eq!(scene.at_once().await, [("reconcile", "fine"), ("reconcile", "goes on")]);
        scene.fake.go_on.notify_one();
        scene.list(&[]);
        let done = [("end", "goes on"), ("forget", "another"), ("forget", "goes on")];
        assert_eq!(scene.at_once().await, done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_holds_no_token_ends_with_its_object() {
        let mut scene = Scene::new(1);
        scene.list(&["hangs"]);
        assert_eq!(scene.next().await, ("reconcile", "hangs"));
        scene.changes.send(Change::Deleted(("hangs", 1))).expect("it listens");
        assert_eq!(scene.at_once().await, [("forget", "another")]);
        scene.list(&["fine"]);
        assert_eq!(scene.at_once().await, [("reconcile", "fine")], "its worker is free");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_deleted_loses_its_run_once() {
        let mut scene = Scene::new(4);
        scene.list(&["hangs"]);
        assert_eq!(scene.at_once().await, [("reconcile", "hangs")]);
        let change =
            |scene: &Scene| scene.changes.send(Change::Applied(("hangs", ENDING))).expect("it listens");
        change(&scene);
        assert_eq!(scene.at_once().await, [("reconcile", "hangs")], "what is to be done for its end");
        change(&scene);
        assert_eq!(scene.at_once().await, [], "that goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_who_only_waits_is_cancelled_and_who_holds_a_token_has_some_time() {
        for (name, longest) in [("hangs", Duration::ZERO), ("hangs with a token", STOP_TIMEOUT)] {
            let mut scene = Scene::new(1);
            scene.list(&[name, "waits"]);
            assert_eq!(scene.next().await, ("reconcile", name));
            // It has got to where it hangs.
            advance(Duration::from_secs(1)).await;
            let begin = Instant::now();
            scene.stopping.cancel();
            scene.running.await.expect("it ends");
            assert_eq!(begin.elapsed(), longest, "{name}");
            assert!(scene.done.try_recv().is_err(), "nothing new is begun");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_list_holds_is_done_in_the_order_of_the_last_checks() {
        let mut scene = Scene::new(1);
        let forged = "checked at 99999999999";
        scene.list(&["checked at 30", "checked at 200", forged, "checked at 1", "new", "checked at 4"]);
        for name in [forged, "new", "checked at 1", "checked at 4", "checked at 30", "checked at 200"] {
            assert_eq!(scene.next().await, ("reconcile", name));
        }
    }
}
