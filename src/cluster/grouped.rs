//! Reads of one object that several checks want at the same time, made once for all of them.
//!
//! ```text
//!   first question ─▶ waiting ─── the read is sent ───▶ under way ─▶ everyone in the group has a copy
//!   later questions ────┘   │
//!                           └─ from here on, questions wait for the next read
//! ```
//!
//! Whoever asks gets what a read found that was sent after the question, so that nobody learns less than by a read of its own. The
//! first question after a quiet time is answered at once. Each object has groups of its own: no namespace waits for another.
//!
//! Nothing is kept here. A group belongs to those who wait for it, and its value is wiped when the last of them has it or is gone.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, sleep_until},
};

use super::ClusterError;
use crate::{names::ObjectName, references::Lookup};

/// Shortest time between two reads of one object. It is what a check waits at most, and as long as the check takes in any case.
/// Each read costs a TLS handshake, so that a hundred checks per second of one Secret cost a fifth of that.
const READ_INTERVAL: Duration = Duration::from_millis(50);

/// The namespace and the name of an object.
type Key = (String, ObjectName);

/// The reads of all objects.
#[derive(Debug, Default)]
pub struct Grouped {
    objects: Mutex<HashMap<Key, Reads>>,
}

/// The reads of one object.
#[derive(Debug, Default)]
struct Reads {
    /// When the last one was sent.
    last: Option<Instant>,
    /// Those who wait for the next one.
    waiting: Weak<Group>,
}

/// Those who share one read.
#[derive(Debug)]
struct Group {
    /// When it may be sent.
    begins: Instant,
    outcome: OnceCell<Result<Lookup, Arc<ClusterError>>>,
}

// === impl Grouped ===

impl Grouped {
    /// What a read of an object finds that is sent from now on. `read` makes it, unless another one in the group does. One that
    /// is given up is made anew by the next in the group.
    pub async fn read<F>(&self, key: Key, read: impl FnOnce() -> F) -> Result<Lookup, ClusterError>
    where
        F: Future<Output = Result<Lookup, ClusterError>>,
    {
        let group = self.join(&key);
        let send = || async {
            if group.begins > Instant::now() {
                sleep_until(group.begins).await;
            }
            self.close(key, &group);
            read().await.map_err(Arc::new)
        };
        group.outcome.get_or_init(send).await;
        let outcome = match Arc::try_unwrap(group) {
            Ok(group) => group.outcome.into_inner(),
            Err(group) => group.outcome.get().cloned(),
        };
        let outcome = outcome.expect("it was just set");
        outcome.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(ClusterError::Shared))
    }

    /// Joins those who wait for the next read of an object.
    fn join(&self, key: &Key) -> Arc<Group> {
        let now = Instant::now();
        let mut objects = self.lock();
        if !objects.contains_key(key) {
            objects.retain(|_, reads| !reads.is_quiet(now));
        }
        let reads = objects.entry(key.clone()).or_default();
        if let Some(group) = reads.waiting.upgrade() {
            return group;
        }
        let begins = reads.last.map_or(now, |last| now.max(last + READ_INTERVAL));
        let group = Arc::new(Group { begins, outcome: OnceCell::new() });
        reads.waiting = Arc::downgrade(&group);
        group
    }

    /// From now on nobody joins a group: its read is sent.
    fn close(&self, key: Key, group: &Arc<Group>) {
        let mut objects = self.lock();
        let reads = objects.entry(key).or_default();
        reads.last = Some(Instant::now());
        // If the read of a group is made anew, others wait for another one already.
        if reads.waiting.as_ptr() == Arc::as_ptr(group) {
            reads.waiting = Weak::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Reads>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reads ===

impl Reads {
    /// Whether the next question would be answered at once, and nobody waits.
    fn is_quiet(&self, now: Instant) -> bool {
        self.waiting.strong_count() == 0 && self.last.is_none_or(|last| last + READ_INTERVAL <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::{FutureExt as _, future::join_all};
    use proptest::prelude::*;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::references::{Object, Version};

    /// How long the API server takes.
    const ANSWER: Duration = Duration::from_millis(10);

    /// An API server, which counts what it is asked and shows when that was.
    #[derive(Default)]
    struct Server {
        grouped: Grouped,
        asked: AtomicUsize,
    }

    impl Server {
        async fn read(&self, namespace: &str) -> Result<Lookup, ClusterError> {
            self.grouped.read(key(namespace), || self.answer(ANSWER)).await
        }

        async fn answer(&self, after: Duration) -> Result<Lookup, ClusterError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let read_at = format!("{:?}", Instant::now());
            sleep(after).await;
            let version = Version { uid: "u".into(), resource_version: read_at };
            let data = BTreeMap::from([("key".to_owned(), b"value".to_vec().into())]);
            Ok(Lookup::Found(Object { version, labelled: true, data }))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        /// Whether no group is left.
        fn holds_nothing(&self) -> bool {
            self.grouped.lock().values().all(|reads| reads.waiting.strong_count() == 0)
        }
    }

    fn key(namespace: &str) -> Key {
        (namespace.to_owned(), ObjectName::secret("credentials"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_question_is_answered_at_once_and_those_that_come_meanwhile_share_the_next_read() {
        let (server, begin) = (Server::default(), Instant::now());
        let took = || begin.elapsed();
        let first = async {
            server.read("ns").await.expect("it is read");
            took()
        };
        let others = join_all((0..20).map(|_| async {
            server.read("ns").await.expect("it is read");
            took()
        }));
        let (first, others) = tokio::join!(first, others);
        assert_eq!(first, ANSWER);
        assert_eq!(others, [READ_INTERVAL + ANSWER; 20]);
        assert_eq!(server.asked(), 2);
        advance(READ_INTERVAL).await;
        let again = Instant::now();
        server.read("ns").await.expect("it is read");
        assert_eq!((again.elapsed(), server.asked()), (ANSWER, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_and_reads_of_others_keep_nobody_waiting() {
        let (server, begin) = (Server::default(), Instant::now());
        let mut hangs = Box::pin(server.grouped.read(key("ns"), pending));
        assert!(hangs.as_mut().now_or_never().is_none());
        server.read("another").await.expect("it is read");
        assert_eq!(begin.elapsed(), ANSWER, "another namespace");
        server.read("ns").await.expect("it is read");
        assert_eq!(begin.elapsed(), READ_INTERVAL + ANSWER, "the next read of the same object");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_hands_the_read_over_and_nothing_is_left_when_nobody_waits() {
        let server = Server::default();
        let mut first = Box::pin(server.grouped.read(key("ns"), pending));
        assert!(first.as_mut().now_or_never().is_none(), "its read is under way");
        let (mut second, mut third) = (Box::pin(server.read("ns")), Box::pin(server.read("ns")));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(second);
        let found = third.await.expect("it is read");
        assert!(matches!(found, Lookup::Found(_)), "{found:?}");
        assert_eq!(server.asked(), 1);
        let mut fourth = Box::pin(server.read("ns"));
        assert!(fourth.as_mut().now_or_never().is_none());
        drop((first, fourth));
        assert!(server.holds_nothing());
        advance(READ_INTERVAL).await;
        server.read("another").await.expect("it is read");
        assert_eq!(server.grouped.lock().len(), 1, "nor its name");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_given_up_while_others_wait_for_it_is_made_anew() {
        let server = Server::default();
        server.read("ns").await.expect("it is read");
        let mut first = Box::pin(server.read("ns"));
        let mut second = Box::pin(server.read("ns"));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        advance(READ_INTERVAL).await;
        assert!(first.as_mut().now_or_never().is_none() && server.asked() == 2, "it is under way");
        drop(first);
        second.await.expect("it is read");
        assert_eq!(server.asked(), 3);
        assert!(server.holds_nothing());
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_for_a_read_share_its_failure() {
        let (grouped, asked) = (Grouped::default(), AtomicUsize::new(0));
        let fail = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(ANSWER).await;
            Err::<Lookup, _>(ClusterError::TimedOut)
        };
        let alone = grouped.read(key("ns"), fail).await;
        assert!(matches!(alone, Err(ClusterError::TimedOut)), "{alone:?}");
        for outcome in join_all((0..3).map(|_| grouped.read(key("ns"), fail))).await {
            let text = outcome.expect_err("it fails").to_string();
            assert_eq!(text, ClusterError::TimedOut.to_string());
        }
        assert_eq!(asked.into_inner(), 2);
    }

    proptest! {
        /// Whenever somebody asks, gives up or the server is slow: an answer comes of a read that was sent after the question.
        #[test]
        fn no_answer_is_older_than_its_question(
            readers in prop::collection::vec((0..300_u64, 0..200_u64, 5..400_u64), 1..40),
        ) {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().expect("it needs nothing");
            runtime.block_on(async {
                let (grouped, sent) = (Grouped::default(), Mutex::new(Vec::new()));
                let all = readers.iter().map(|&(asks_after, answer, patience)| {
                    let (grouped, sent) = (&grouped, &sent);
                    async move {
                        sleep(Duration::from_millis(asks_after)).await;
                        let asked = Instant::now();
                        let read = || async {
                            let number = {
                                let mut sent = sent.lock().expect("nobody panics");
                                sent.push(Instant::now());
                                sent.len() - 1
                            };
                            sleep(Duration::from_millis(answer)).await;
                            let version = Version { uid: "".into(), resource_version: number.to_string() };
                            Ok(Lookup::Found(Object { version, labelled: true, data: BTreeMap::new() }))
                        };
                        let outcome =
                            tokio::time::timeout(Duration::from_millis(patience), grouped.read(key("ns"), read));
                        let Ok(found) = outcome.await else { return Ok(()) };
                        let found = found.expect("no read fails");
                        let number = &found.version().expect("it is there").resource_version;
                        let number: usize = number.parse().expect("a number");
                        let began = sent.lock().expect("nobody panics")[number];
                        prop_assert!(asked <= began, "asked at {asked:?}, read at {began:?}");
                        Ok(())
                    }
                });
                join_all(all).await.into_iter().collect::<Result<Vec<()>, TestCaseError>>()?;
                let left = grouped.lock().values().all(|reads| reads.waiting.strong_count() == 0);
                prop_assert!(left, "a group is left");
                Ok(())
            })?;
        }
    }
}
