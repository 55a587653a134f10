//! Name lookups under a bound, shared fairly between the namespaces that ask.
//!
//! The resolver of the system cannot be cancelled: a lookup that a check gave up holds its thread until the name servers
//! have been silent for long enough. So a lookup needs a permit of its namespace and one of the operator, and holds both
//! until the resolver has answered, whether anybody still waits for that or not. Whoever waits for a permit waits in
//! order, and no longer than its check.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Names;

/// Most lookups at once. Each holds a thread, which costs some tens of KiB while it waits.
const MAX_LOOKUPS: usize = 64;

/// Most lookups at once for the connections of one namespace: sixteen namespaces whose names never answer must come
/// together before another one has to wait.
const MAX_LOOKUPS_PER_NAMESPACE: usize = 4;

/// Finds the addresses of names.
pub(super) struct Lookups {
    names: Arc<dyn Names>,
    all: Arc<Semaphore>,
    /// The permits of each namespace that waits or looks up; it ends with the last of them.
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

// === impl Lookups ===

impl Lookups {
    pub(super) fn new(names: Arc<dyn Names>) -> Self {
        Self { names, all: Arc::new(Semaphore::new(MAX_LOOKUPS)), namespaces: Mutex::default() }
    }

    /// The addresses of a name, with this port, asked for by a connection of `namespace`.
    pub(super) async fn addresses(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        let permits = self.permits(namespace).await;
        let (names, name) = (Arc::clone(&self.names), name.to_owned());
        let lookup = tokio::spawn(async move {
            let found = names.addresses(&name, port).await;
            drop(permits);
            found
        });
        lookup.await.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    /// A permit of the namespace, and then one of the operator: so nobody queues there with more than its share.
    async fn permits(&self, namespace: &str) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.of_namespace(namespace).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((own, all))
    }

    fn of_namespace(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        namespaces.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(MAX_LOOKUPS_PER_NAMESPACE));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&permits));
        permits
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures::{FutureExt, future::join_all};
    use tokio::time::timeout;

    use super::*;
    use crate::network::connect::Addresses;

    /// A resolver that never answers for some names.
    #[derive(Default)]
    struct HalfDead {
        asked: AtomicUsize,
    }

    impl Names for HalfDead {
        fn addresses<'a>(&'a self, name: &'a str, port: u16) -> Addresses<'a> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("dead") {
                return pending().boxed();
            }
            async move { Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]) }.boxed()
        }
    }

    const CHECK: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn names_that_never_answer_hold_only_the_share_of_their_namespace() {
        let names = Arc::new(HalfDead::default());
        let lookups = Lookups::new(Arc::clone(&names) as Arc<dyn Names>);
        let hang = |namespace: String, index: usize| {
            let lookups = &lookups;
            async move {
                let name = format!("dead-{index}.example");
                timeout(CHECK, lookups.addresses(&namespace, &name, 1)).await.is_err()
            }
        };
        let of_one = join_all((0..200).map(|index| hang("hostile".to_owned(), index))).await;
        assert!(of_one.iter().all(|ended| *ended), "a lookup ends with its check");
        assert_eq!(names.asked.load(Ordering::SeqCst), MAX_LOOKUPS_PER_NAMESPACE);
        let good = timeout(CHECK, lookups.addresses("good", "vault.example", 1)).await;
        assert_eq!(good.expect("in time").expect("found").len(), 1);

        let many = (0..400).map(|index| hang(format!("hostile-{}", index % 40), index));
        join_all(many).await;
        assert_eq!(names.asked.load(Ordering::SeqCst), MAX_LOOKUPS + 1, "the good one is one more");
    }

    #[tokio::test]
    async fn a_namespace_that_asks_no_more_is_forgotten() {
        let lookups = Lookups::new(Arc::new(HalfDead::default()));
        for index in 0..100 {
            lookups.addresses(&format!("ns-{index}"), "vault.example", 1).await.expect("found");
        }
        assert!(lookups.namespaces.lock().expect("no panic").len() <= 2);
    }
}
