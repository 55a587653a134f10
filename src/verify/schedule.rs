//! When to look, and when to believe what was seen.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// Shortest wait after a failure: what fails keeps failing for seconds, and a person who mends it waits no longer.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// How long a Ready connection may fail in a passing way before that is believed.
const GRACE: Duration = Duration::from_secs(10);

/// How many checks in a row must fail in a passing way before that is believed.
const GRACE_CHECKS: u32 = 2;

/// Shortest wait between two checks of one outage that is not yet believed.
const SHORTEST_RECHECK: Duration = Duration::from_secs(1);

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

/// First signs of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    since: Timestamp,
    checks: u32,
}

/// What a check leads to, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed {
        /// The user's time between checks.
        interval: Duration,
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
        Outcome::Passed { interval } => interval.mul_f64(1.0 - JITTER * jitter),
        Outcome::Failed { since, retry_after } => {
            let failing = between(since, now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            failing.max(retry_after.unwrap_or_default()).mul_f64(1.0 + JITTER * jitter)
        }
        Outcome::Held { until } => between(now, until).max(SHORTEST_WAIT).mul_f64(1.0 + 0.01 * jitter),
    }
}

// === impl Doubt ===

impl Doubt {
    /// Adds one more check that failed in a passing way.
    pub fn deepen(doubt: Option<Self>, began: Timestamp) -> Self {
        doubt.map_or(Self { since: began, checks: 1 }, |doubt| Self { checks: doubt.checks + 1, ..doubt })
    }

    /// How long to wait until the next look, if this is not yet enough to call a Ready connection anything else. A
    /// server that asks to wait longer than the grace gets none: nobody would look meanwhile.
    pub fn grace(self, began: Timestamp, now: Timestamp, retry_after: Option<Duration>) -> Option<Duration> {
        let asked = retry_after.unwrap_or_default();
        let doubtful = self.checks < GRACE_CHECKS || between(self.since, now) < GRACE;
        let wait = SHORTEST_WAIT.saturating_sub(between(began, now)).max(SHORTEST_RECHECK).max(asked);
        Some(wait).filter(|_| doubtful && asked <= GRACE)
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
        assert_eq!(wait(Outcome::Passed { interval }, at(0), 0.0), interval);
        assert_eq!(wait(Outcome::Passed { interval }, at(0), 1.0), Duration::from_secs(54));
        let failed = Outcome::Failed { since: at(0), retry_after: None };
        assert_eq!(wait(failed, at(100), 1.0), Duration::from_secs(110));
        assert!(wait(Outcome::Held { until: at(900) }, at(0), 0.0) >= Duration::from_secs(900));
    }

    #[test]
    fn an_outage_is_believed_after_two_checks_and_ten_seconds() {
        let first = Doubt::deepen(None, at(0));
        assert!(first.grace(at(0), at(10), None).is_some(), "one check is not enough, however long it took");
        let second = Doubt::deepen(Some(first), at(5));
        assert!(second.grace(at(5), at(9), None).is_some());
        assert_eq!(second.grace(at(5), at(10), None), None);
    }

    #[test]
    fn a_slow_failure_is_looked_at_again_sooner() {
        let doubt = Doubt::deepen(None, at(0));
        let wait = |now, asked: Option<u64>| doubt.grace(at(0), at(now), asked.map(Duration::from_secs));
        assert_eq!(wait(0, None), Some(Duration::from_secs(5)));
        assert_eq!(wait(3, None), Some(Duration::from_secs(2)));
        assert_eq!(wait(10, None), Some(Duration::from_secs(1)));
        assert_eq!(wait(0, Some(8)), Some(Duration::from_secs(8)));
        assert_eq!(wait(0, Some(11)), None, "Ready would be older than anybody looked");
    }
}
