//! The end of the operator: what it logged in for, it revokes, as far as time allows.
//!
//! ```text
//!   SIGTERM ─▶ runs end, 2.5 s at most ─▶ sessions are revoked ─▶ the Lease is free for another operator
//!   └──────────────────────── --shutdown-timeout, in all ─────┘
//! ```
//!
//! The longest-lived tokens go first, since the others end by themselves soon. Instances are served side by side, so that
//! one that is silent keeps no other waiting; after a few silences in a row nothing more is asked of it.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt, future, stream};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::Semaphore,
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

/// How many tokens of one instance are revoked at once: enough to keep it busy, few enough to leave it room for others.
const MAX_REVOCATIONS_PER_INSTANCE: usize = 32;

/// How many tokens are revoked at once over all instances. Each holds a socket.
const MAX_REVOCATIONS: usize = 256;

/// Longest wait for one answer. A server that works takes some milliseconds.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

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

/// A token, and the Kubernetes namespace of its connection.
type Held = (String, TokenToRevoke);

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
        tokens.extend(held.into_iter().map(|token| (connection.namespace.clone(), token)));
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
    let (revoked, silences) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = tokens.len();
    let work =
        stream::iter(tokens).for_each_concurrent(MAX_REVOCATIONS_PER_INSTANCE, |(namespace, token)| {
            let (revoked, silences) = (&revoked, &silences);
            async move {
                if silences.load(Ordering::Relaxed) >= MAX_SILENCES {
                    return;
                }
                let Ok(_permit) = permits.acquire().await else { return };
                let end = deadline.min(Instant::now() + REVOKE_TIMEOUT);
                match context.checker.sessions().revoke_one(&namespace, token, end).await {
                    Ok(()) => {
                        revoked.fetch_add(1, Ordering::Relaxed);
                        silences.store(0, Ordering::Relaxed);
                    }
                    Err(NotRevoked::Fault(Fault::Transport(TransportFault::TimedOut))) => {
                        silences.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::at;

    #[test]
    fn the_longest_lived_token_goes_first() {
        let mut ends = [Some(at(30)), None, Some(at(3600)), Some(at(60))];
        ends.sort_by_key(|ends| Reverse(lifetime(*ends)));
        assert_eq!(ends, [None, Some(at(3600)), Some(at(60)), Some(at(30))]);
    }
}
