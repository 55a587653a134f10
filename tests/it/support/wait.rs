//! Waiting for something that no watch tells.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long anything may take that is not itself about time. A busy machine needs some of it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look.
const TICK: Duration = Duration::from_millis(20);

/// Looks until there is something to see; fails with `what` when there is nothing in time.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    timeout(within, seen).await.unwrap_or_else(|_| panic!("not within {within:?}: {what}"))
}
