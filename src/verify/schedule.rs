//! When to check.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{session::later, stability};

/// Shortest wait after a failure: what fails keeps failing for seconds, and a person who fixes it waits no longer.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait after a failure.
const MAX_RETRY_INTERVAL: Duration = Duration::from_mins(5);

/// Shortest time between two checks that changes of objects or requests ask for, beside those that are planned: whoever may
/// write a Secret or an annotation can do so without end. The first is made at once.
pub const EXTRA_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Longest value of the annotation that asks for a check, in characters. It is copied into the status.
pub const MAX_REQUEST_CHARACTERS: usize = 256;

/// How long before its time a check of what works may begin, so that it begins together with others. A process that sleeps in
/// between finds cold caches each time it wakes, which is most of what a check costs; whoever is checked once in ten seconds, the
/// shortest interval, does not notice.
pub const SLOT: Duration = Duration::from_millis(500);

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
    Triggered,
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
    pub triggered: bool,
    /// When the next check is planned; none when only a change can help.
    pub next_check: Option<Timestamp>,
    /// When the last check was.
    pub last_check: Option<Timestamp>,
    /// When the last check was that a change of an object or a request asked for.
    pub last_extra: Option<Timestamp>,
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

// === impl Cause ===

impl Cause {
    /// The word in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::SpecChanged => "spec-changed",
            Self::Requested => "requested",
            Self::ObjectChanged => "object-changed",
            Self::Triggered => "triggered",
            Self::TimeUp => "time-up",
        }
    }

    /// Whether somebody's change or request asked for the check, which was not planned.
    pub fn is_extra(self) -> bool {
        match self {
            Self::Requested | Self::ObjectChanged => true,
            Self::Started | Self::SpecChanged | Self::Triggered | Self::TimeUp => false,
        }
    }
}

// === impl Inputs ===

impl Inputs<'_> {
    fn is_requested(&self) -> bool {
        self.requested_at.is_some() && self.requested_at != self.handled_request
    }
}

/// Why a check is due now, if it is.
pub fn due(inputs: &Inputs<'_>, now: Timestamp) -> Option<Cause> {
    let Some(checked) = inputs.checked_generation else { return Some(Cause::Started) };
    if checked != inputs.generation {
        return Some(Cause::SpecChanged);
    }
    // A clock that was set back would stretch the wait without end.
    let clock_went_back = inputs.last_check.is_some_and(|last| now < last);
    let time_up = inputs.next_check.filter(|next| *next <= now || clock_went_back).map(|_| Cause::TimeUp);
    let planned = if inputs.triggered { Some(Cause::Triggered) } else { time_up };
    if planned.is_none() && postponed(inputs, now).is_some() {
        None
    } else if inputs.is_requested() {
        Some(Cause::Requested)
    } else if inputs.stale {
        Some(Cause::ObjectChanged)
    } else {
        planned
    }
}

/// Until when a change or a request has to wait, because another one led to a check just before.
pub fn postponed(inputs: &Inputs<'_>, now: Timestamp) -> Option<Timestamp> {
    let last = inputs.last_extra.filter(|_| inputs.stale || inputs.is_requested())?;
    let until = later(last, EXTRA_CHECK_INTERVAL);
    (last..until).contains(&now).then_some(until)
}

/// The value of the annotation, unless it is too long to be answered.
pub fn request(annotation: &str) -> Option<&str> {
    annotation.chars().nth(MAX_REQUEST_CHARACTERS).is_none().then_some(annotation)
}

/// How long to wait after a check. `jitter` is between 0 and 1.
pub fn wait(outcome: Outcome, now: Timestamp, jitter: f64) -> Duration {
    match outcome {
        // Jitter only shortens an interval: no verdict gets older than the user asked for.
        Outcome::Passed { interval, timeout } => {
            stability::rest(interval, timeout).mul_f64(1.0 - JITTER * jitter)
        }
        Outcome::Failed { since, retry_after } => {
            let failing = between(since, now).clamp(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL);
            failing.max(retry_after.unwrap_or_default()).mul_f64(1.0 + JITTER * jitter)
        }
        Outcome::Held { until } => between(now, until).max(MIN_RETRY_INTERVAL).mul_f64(1.0 + 0.01 * jitter),
    }
}

/// The begin of the slot that a time falls into. Slots begin `phase` after the whole and half seconds: another one for each
/// process, so that the operators of many clusters do not ask one instance all at once.
pub fn slot(time: Timestamp, phase: Duration) -> Timestamp {
    let (slot, phase) = (SLOT.as_nanos().cast_signed(), phase.as_nanos().cast_signed());
    let begin = (time.as_nanosecond() - phase).div_euclid(slot) * slot + phase;
    Timestamp::from_nanosecond(begin).unwrap_or(time)
}

/// A wait that ends at `due` at the latest, if that is not too soon.
pub fn no_later(wait: Duration, due: Timestamp, now: Timestamp) -> Duration {
    wait.min(between(now, due).max(MIN_RETRY_INTERVAL))
}

/// The time from one moment to a later one; zero when it is not later.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verify::testing::at;

    /// Name, inputs, now, the cause of a check, and until when it is postponed.
    type Row<'a> = (&'a str, Inputs<'a>, i64, Option<Cause>, Option<Timestamp>);

    const SETTLED: Inputs<'_> = Inputs {
        generation: 3,
        checked_generation: Some(3),
        requested_at: Some("a"),
        handled_request: Some("a"),
        stale: false,
        triggered: false,
        next_check: None,
        last_check: None,
        last_extra: None,
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
            (Inputs { triggered: true, ..settled }, 50, Some(Cause::Triggered)),
        ];
        for (inputs, now, cause) in table {
            assert_eq!(due(inputs, at(*now)), *cause, "{inputs:?}");
        }
    }

    #[test]
    fn changes_and_requests_without_end_lead_to_one_check_in_five_seconds() {
        let settled = Inputs {
            next_check: Some(at(100)),
            last_check: Some(at(40)),
            last_extra: Some(at(40)),
            ..SETTLED
        };
        let stale = Inputs { stale: true, ..settled };
        let asked = Inputs { requested_at: Some("b"), ..settled };
        let table: &[Row<'_>] = &[
            ("nothing waits", settled, 41, None, None),
            ("a second change", stale, 41, None, Some(at(45))),
            ("its time", stale, 45, Some(Cause::ObjectChanged), None),
            ("a second request", asked, 44, None, Some(at(45))),
            ("its time", asked, 45, Some(Cause::Requested), None),
            ("the first change", Inputs { last_extra: None, ..stale }, 41, Some(Cause::ObjectChanged), None),
            (
                "a planned check",
                Inputs { next_check: Some(at(41)), ..asked },
                41,
                Some(Cause::Requested),
                Some(at(45)),
            ),
            ("a trigger", Inputs { triggered: true, ..settled }, 41, Some(Cause::Triggered), None),
            ("another spec", Inputs { generation: 4, ..stale }, 41, Some(Cause::SpecChanged), Some(at(45))),
            ("a clock that went back", stale, 39, Some(Cause::ObjectChanged), None),
        ];
        for (name, inputs, now, cause, until) in table {
            assert_eq!((due(inputs, at(*now)), postponed(inputs, at(*now))), (*cause, *until), "{name}");
        }
    }

    #[test]
    fn a_request_that_is_too_long_is_none() {
        let longest = "ü".repeat(MAX_REQUEST_CHARACTERS);
        assert_eq!(request(&longest), Some(longest.as_str()));
        assert_eq!(request(&format!("{longest}x")), None);
        assert_eq!(request(""), Some(""));
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

    proptest! {
        #[test]
        fn a_time_belongs_to_one_slot(
            nanosecond in -1_000_000_000_000_000_000_i128..4_000_000_000_000_000_000, phase in 0_u64..500_000_000
        ) {
            let (time, phase) = (Timestamp::from_nanosecond(nanosecond).expect("in range"), Duration::from_nanos(phase));
            let begin = slot(time, phase);
            prop_assert!(begin <= time && time < begin + SLOT);
            prop_assert_eq!(slot(begin, phase), begin);
            prop_assert_eq!(slot(begin + SLOT, phase), begin + SLOT);
        }
    }
}
