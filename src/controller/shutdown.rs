//! The end of the operator: what it logged in for, it revokes, as far as time allows.
//!
//! ```text
//!   SIGTERM ─▶ runs end, 2.5 s at most ─▶ sessions are revoked ─▶ the Lease is free for another operator
//!   └──────────────────────── --shutdown-timeout, in all ─────┘
//! ```
//!
//! The longest-lived tokens go first, since the others end by themselves soon. Instances are served side by side, so that
//! one that is silent keeps no other waiting: it is asked for little until it has answered, and after a few silences in a row for
//! nothing more. One that answers has many at once, which cost it less each: it writes them down together.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, future, stream};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::context::Context;
use crate::{
    network::faults::TransportFault,
    session::{lending::TokenToRevoke, sessions::NotRevoked},
    verify::observation::Fault,
};

/// How much of the time for the shutdown the end of runs may take, before sessions are revoked.
pub const RUN_END_TIMEOUT: Duration = Duration::from_secs(3);

/// How many tokens of one instance are revoked at once. With 128 OpenBao needs a fifth less CPU for each than with 32, since one
/// write to its disk serves many.
const MAX_REVOCATIONS_PER_INSTANCE: usize = 128;

/// How many as long as it has not answered: it may be silent.
const FIRST_REVOCATIONS: usize = 4;

/// How many tokens are revoked at once over all instances. Each holds a socket.
const MAX_REVOCATIONS: usize = 512;

/// Longest wait for the first answer of an instance. A server that works takes some milliseconds.
const FIRST_REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for the answer of one that has answered: it is busy with what it was asked at the same time.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(5);

/// After how many revocations in a row without an answer an instance is given up.
const MAX_SILENCES: usize = 3;

/// What became of the sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// How many were revoked.
    pub revoked: usize,
    /// How many were not, and end by their TTL.
    pub left: usize,
}

/// How much is asked of one instance at once.
#[derive(Debug)]
struct Gate {
    permits: Semaphore,
    has_answered: AtomicBool,
    silences: AtomicUsize,
}

/// A token, and the Kubernetes namespace of its connection.
type Held = (Arc<str>, TokenToRevoke);

/// Revokes every session of ours, as far as `budget` allows, and logs how many are left.
pub async fn revoke_all(context: &Context, budget: Duration) -> Revoked {
    let deadline = Instant::now() + budget;
    let permits = Semaphore::new(MAX_REVOCATIONS);
    let groups = by_instance(take_all(context));
    let work = groups.into_values().map(|group| revoke(context, group, &permits, deadline));
    let all = future::join_all(work).await.into_iter().fold(Revoked::default(), |all, one| Revoked {
        revoked: all.revoked + one.revoked,
        left: all.left + one.left,
    });
    let Revoked { revoked, left } = all;
    if left > 0 {
        tracing::warn!(
            revoked,
            left,
            "stopped before every session was revoked; the remaining tokens stay valid until their TTL"
        );
    } else if revoked > 0 {
        tracing::info!(revoked, "revoked all sessions");
    }
    all
}

/// Takes the sessions of all connections, whoever holds them.
fn take_all(context: &Context) -> Vec<Held> {
    let mut tokens = Vec::new();
    for connection in context.connections.names(None) {
        let Some((entry, _)) = context.connections.forget(&connection) else { continue };
        let held = entry.memory().session.reset();
        tokens.extend(held.into_iter().map(|token| (Arc::clone(&connection.namespace), token)));
    }
    tokens
}

fn by_instance(tokens: Vec<Held>) -> HashMap<usize, Vec<Held>> {
    let mut groups: HashMap<usize, Vec<Held>> = HashMap::new();
    for token in tokens {
        groups.entry(token.1.route.client.route_id()).or_default().push(token);
    }
    for group in groups.values_mut() {
        group.sort_by_key(|(_, token)| Reverse(lifetime(token.ends)));
    }
    groups
}

/// What a token is worth to whoever steals it. One without an end is worth most.
fn lifetime(ends: Option<Timestamp>) -> Timestamp {
    ends.unwrap_or(Timestamp::MAX)
}

/// Revokes the tokens of one instance, in this order.
async fn revoke(context: &Context, tokens: Vec<Held>, permits: &Semaphore, deadline: Instant) -> Revoked {
    let (revoked, gate) = (AtomicUsize::new(0), Gate::new());
    let count = tokens.len();
    let work =
        stream::iter(tokens).for_each_concurrent(MAX_REVOCATIONS_PER_INSTANCE, |(namespace, token)| {
            let (revoked, gate) = (&revoked, &gate);
            async move {
                let Some(_of_instance) = gate.enter().await else { return };
                let Ok(_of_all) = permits.acquire().await else { return };
                let end = deadline.min(Instant::now() + gate.patience());
                let outcome = context.checker.sessions().revoke_one(&namespace, &token, end).await;
                gate.note(&outcome);
                match outcome {
                    Ok(()) => {
                        revoked.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(NotRevoked::Fault(fault)) => {
                        tracing::debug!(fault = fault.as_str(), "a session was not revoked");
                    }
                    Err(NotRevoked::GivenUp) => tracing::debug!("a session was not revoked in time"),
                    Err(NotRevoked::NotAllowed) => {
                        tracing::debug!("a session was not revoked: the address policy changed");
                    }
                }
            }
        });
    // What is under way then is given up; an answer may come, or not.
    let _ = timeout_at(deadline, work).await;
    let revoked = revoked.into_inner();
    Revoked { revoked, left: count - revoked }
}

// === impl Gate ===

impl Gate {
    /// Nothing was asked yet.
    fn new() -> Self {
        Self {
            permits: Semaphore::new(FIRST_REVOCATIONS),
            has_answered: AtomicBool::new(false),
            silences: AtomicUsize::new(0),
        }
    }

    /// Waits until one more revocation may begin. None: the instance is given up.
    async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.permits.acquire().await.ok();
        permit.filter(|_| self.silences.load(Ordering::Relaxed) < MAX_SILENCES)
    }

    /// How long to wait for an answer.
    fn patience(&self) -> Duration {
        if self.has_answered.load(Ordering::Relaxed) { REVOKE_TIMEOUT } else { FIRST_REVOKE_TIMEOUT }
    }

    /// Takes in what became of one.
    fn note(&self, outcome: &Result<(), NotRevoked>) {
        match outcome {
            Ok(()) => {
                self.silences.store(0, Ordering::Relaxed);
                if !self.has_answered.swap(true, Ordering::Relaxed) {
                    self.permits.add_permits(MAX_REVOCATIONS_PER_INSTANCE - FIRST_REVOCATIONS);
                }
            }
            Err(NotRevoked::Fault(Fault::Transport(TransportFault::TimedOut))) => {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
            Err(NotRevoked::Fault(_) | NotRevoked::GivenUp | NotRevoked::NotAllowed) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::verify::testing::at;

    /// Takes as many permits as there are.
    fn enter_all(gate: &Gate) -> Vec<SemaphorePermit<'_>> {
        std::iter::from_fn(|| gate.enter().now_or_never().flatten()).collect()
    }

    #[test]
    fn an_instance_has_few_revocations_at_once_until_it_has_answered_one() {
        let gate = Gate::new();
        let first = enter_all(&gate);
        assert_eq!((first.len(), gate.patience()), (FIRST_REVOCATIONS, FIRST_REVOKE_TIMEOUT));
        gate.note(&Ok(()));
        gate.note(&Ok(()));
        assert_eq!(gate.patience(), REVOKE_TIMEOUT);
        drop(first);
        assert_eq!(enter_all(&gate).len(), MAX_REVOCATIONS_PER_INSTANCE);
    }

    #[test]
    fn an_instance_that_is_silent_is_given_up_and_one_that_is_slow_is_not() {
        let silence = Err(NotRevoked::Fault(Fault::Transport(TransportFault::TimedOut)));
        let gate = Gate::new();
        for _ in 0..10 {
            for _ in 1..MAX_SILENCES {
                gate.note(&silence);
            }
            gate.note(&Ok(()));
        }
        assert!(!enter_all(&gate).is_empty(), "it answers now and then");
        for _ in 0..MAX_SILENCES {
            gate.note(&silence);
        }
        assert!(enter_all(&gate).is_empty());
    }

    #[test]
    fn the_longest_lived_token_goes_first() {
        let mut ends = [Some(at(30)), None, Some(at(3600)), Some(at(60))];
        ends.sort_by_key(|ends| Reverse(lifetime(*ends)));
        assert_eq!(ends, [None, Some(at(3600)), Some(at(60)), Some(at(30))]);
    }
}
