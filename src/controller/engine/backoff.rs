//! How long an object is left alone after a panic.

use std::time::Duration;

/// How long an object is left alone after a panic. Each further one in a row doubles it.
const PANIC_INTERVAL: Duration = Duration::from_secs(10);

/// Longest time that it is left alone.
const MAX_PANIC_INTERVAL: Duration = Duration::from_mins(5);

/// The wait after so many panics in a row.
pub(super) fn after_panic(times: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
    PANIC_INTERVAL.saturating_mul(doubled).min(MAX_PANIC_INTERVAL)
}
