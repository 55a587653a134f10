//! The first lists of connections: what they show of refused logins is restored before any of them is checked.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::controller::engine::Listing;

/// A watched namespace, or all of them.
type Scope = Option<String>;

/// The first lists that are still to come.
pub struct FirstLists {
    pending: Mutex<Pending>,
    news: Notify,
}

struct Pending {
    /// What a list there reports of earlier processes is news.
    unread: HashSet<Scope>,
    /// Nobody has answered for these yet, well or badly.
    unanswered: HashSet<Scope>,
}

// === impl FirstLists ===

impl FirstLists {
    /// Those of these namespaces are to come.
    pub fn of(scopes: &[Scope]) -> Self {
        let all: HashSet<_> = scopes.iter().cloned().collect();
        let pending = Mutex::new(Pending { unread: all.clone(), unanswered: all });
        Self { pending, news: Notify::new() }
    }

    /// Resolves when every namespace was listed, or must not be.
    pub async fn ended(&self) {
        loop {
            let news = self.news.notified();
            if self.pending().unanswered.is_empty() {
                return;
            }
            news.await;
        }
    }

    /// Whether what a status of this namespace reports of earlier processes is news.
    pub fn is_pending(&self, namespace: &str) -> bool {
        let unread = &self.pending().unread;
        !unread.is_empty() && (unread.contains(&None) || unread.contains(&Some(namespace.to_owned())))
    }

    /// Notes what became of a list. Returns whether it is the first answer there.
    pub fn end(&self, namespace: Option<&str>, listing: Listing) -> bool {
        let scope = namespace.map(str::to_owned);
        let mut pending = self.pending();
        match listing {
            Listing::Complete => pending.unread.remove(&scope),
            // What it will tell one day is news then; nobody waits for it.
            Listing::Forbidden => false,
        };
        let is_first = pending.unanswered.remove(&scope);
        if is_first {
            self.news.notify_waiters();
        }
        is_first
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
