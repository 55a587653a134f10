//! When to look.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::belief;

/// Shortest wait after a failure: what fails keeps failing for seconds, and a person who mends it waits no longer.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Share of a wait that jitter adds after a failure, or takes off an interval.
const JITTER: f64 = 0.1;

/// Why a check is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This process has not checked the connection yet.
    Started,
    /// The spec changed.
    SpecChanged,
    /// A person asked for it.
    Requested,
    /// An object that the connection names changed.
    ObjectChanged,
    /// The instance that it waits for serves again, or the address policy changed.
    Called,
    /// It is time.
    TimeUp,
}

/// What decides whether a check is due.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The generation of the spec.
    pub generation: i64,
    /// The generation that was last checked; none when this process has not checked yet.
    pub checked_generation: Option<i64>,
    /// The value of the annotation that asks for a check.
    pub requested_at: Option<&'a str>,
    /// Its value at the last check.
    pub handled_request: Option<&'a str>,
    /// Whether an object has changed.
    pub stale: bool,
    /// Whether the instance that it waits for serves again, or the address policy changed.
    pub called: bool,
    /// When the next check is planned; none when only a change can help.
    pub next_check: Option<Timestamp>,
    /// When the last check was.
    pub last_check: Option<Timestamp>,
}

/// What a check leads to, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed {
        /// The user's time between checks.
        interval: Duration,
        /// The user's longest time for a check.
        timeout: Duration,
    },
    /// It failed.
    Failed {
        /// Since when the connection has not been Ready.
        since: Timestamp,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// No login may be tried before that time.
    Held {
        /// That time.
        until: Timestamp,
    },
}

/// Why a check is due now, if it is.
pub fn due(inputs: &Inputs<'_>, now: Timestamp) -> Option<Cause> {
    let Some(checked) = inputs.checked_generation else { return Some(Cause::Started) };
    if checked != inputs.generation {
        return Some(Cause::SpecChanged);
    }
    if inputs.requested_at.is_some() && inputs.requested_at != inputs.handled_request {
        return Some(Cause::Requested);
    }
    if inputs.stale {
        return Some(Cause::ObjectChanged);
    }
    if inputs.called {
        return Some(Cause::Called);
    }
    // A clock that was set back would stretch the wait without end.
    let clock_went_back = inputs.last_check.is_some_and(|last| now < last);
    inputs.next_check.filter(|next| *next <= now || clock_went_back).map(|_| Cause::TimeUp)
}

/// How long to wait after a check. `jitter` is between 0 and 1.
pub fn wait(outcome: Outcome, now: Timestamp, jitter: f64) -> Duration {
    match outcome {
        // Jitter only shortens an interval: no verdict gets older than the user asked for.
        Outcome::Passed { interval, timeout } => {
            belief::rest(interval, timeout).mul_f64(1.0 - JITTER * jitter)
        }
        Outcome::Failed { since, retry_after } => {
            let failing = between(since, now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            failing.max(retry_after.unwrap_or_default()).mul_f64(1.0 + JITTER * jitter)
        }
        Outcome::Held { until } => between(now, until).max(SHORTEST_WAIT).mul_f64(1.0 + 0.01 * jitter),
    }
}

/// The time from one moment to a later one; zero when it is not later.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::at;

    const SETTLED: Inputs<'_> = Inputs {
        generation: 3,
        checked_generation: Some(3),
        requested_at: Some("a"),
        handled_request: Some("a"),
        stale: false,
        called: false,
        next_check: None,
        last_check: None,
    };

    #[test]
    fn a_check_is_due_for_one_of_six_causes() {
        let settled = Inputs { next_check: Some(at(100)), last_check: Some(at(40)), ..SETTLED };
        let table: &[(Inputs<'_>, i64, Option<Cause>)] = &[
            (settled, 99, None),
            (settled, 100, Some(Cause::TimeUp)),
            (settled, 39, Some(Cause::TimeUp)),
            (Inputs { next_check: None, ..settled }, 1_000_000, None),
            (Inputs { checked_generation: None, ..settled }, 50, Some(Cause::Started)),
            (Inputs { generation: 4, ..settled }, 50, Some(Cause::SpecChanged)),
            (Inputs { requested_at: Some("b"), ..settled }, 50, Some(Cause::Requested)),
            (Inputs { requested_at: None, ..settled }, 50, None),
            (Inputs { handled_request: None, ..settled }, 50, Some(Cause::Requested)),
            (Inputs { stale: true, ..settled }, 50, Some(Cause::ObjectChanged)),
            (Inputs { called: true, ..settled }, 50, Some(Cause::Called)),
        ];
        for (inputs, now, cause) in table {
            assert_eq!(due(inputs, at(*now)), *cause, "{inputs:?}");
        }
    }

    #[test]
    fn the_wait_after_a_failure_grows_with_the_failure() {
        let failed = |seconds, retry_after: Option<u64>| {
            let retry_after = retry_after.map(Duration::from_secs);
            wait(Outcome::Failed { since: at(0), retry_after }, at(seconds), 0.0).as_secs()
        };
        assert_eq!(failed(0, None), 5);
        assert_eq!(failed(42, None), 42);
        assert_eq!(failed(100_000, None), 300);
        assert_eq!(failed(-10, None), 5, "the clock was set back");
        assert_eq!(failed(0, Some(30)), 30);
        assert_eq!(failed(100, Some(30)), 100);
    }

    #[test]
    fn jitter_shortens_an_interval_and_lengthens_a_wait() {
        let interval = Duration::from_secs(60);
        let passed = Outcome::Passed { interval, timeout: Duration::from_secs(10) };
        assert_eq!(wait(passed, at(0), 0.0), interval);
        assert_eq!(wait(passed, at(0), 1.0), Duration::from_secs(54));
        let failed = Outcome::Failed { since: at(0), retry_after: None };
        assert_eq!(wait(failed, at(100), 1.0), Duration::from_secs(110));
        assert!(wait(Outcome::Held { until: at(900) }, at(0), 0.0) >= Duration::from_secs(900));
    }
}
