//! Flap damping, and staleness: whether what a check saw is reported at once, and how long a Ready may rest on what an earlier one saw.
//!
//! ```text
//!   a check passed        the next check              the Ready ends, unless a check has passed since
//!   │◄────── interval ──────►│◄── rechecks ... ─────►│◄ write ►│
//!   │◄──────────────────── two intervals ──────────────────────►│
//! ```
//!
//! A Ready connection that fails in a way that may pass is checked once more before that is reported, but never by a check that
//! would end after the Ready must end.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{judge, observation::Observation, session::later};
use crate::{
    api::{
        condition::{ConditionType, FailureClass},
        status::VaultConnectionStatus,
    },
    conditions,
    spec::Desired,
};

/// How many intervals a Ready may last without another check that passed. Promised to users.
const MAX_READY_INTERVALS: u32 = 2;

/// How much of that time is for the write of what a check saw. An API server that works takes a tenth of it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The least time that a check is worth beginning with: a handshake, and an answer of a server that is not well.
pub const MIN_CHECK_TIME: Duration = Duration::from_secs(1);

/// How late a check may begin after its planned time: what it waits in the queue of a busy operator.
const MAX_QUEUE_DELAY: Duration = Duration::from_secs(1);

/// How long a Ready connection may have transient failures before they are reported.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// How many transient failures in a row are reported.
const FAILURE_THRESHOLD: u32 = 2;

/// How long after the begin of a check with a transient failure the next one begins.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest wait between two checks of one outage that is not yet reported.
const MIN_RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the checks of this connection amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stability {
    /// The end of the last check that passed, if anybody knows it.
    last_success: Option<Timestamp>,
    streak: Option<FailureStreak>,
}

/// One check of a connection, as far as flap damping is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether the status calls this spec Ready, and that was earned with the credential that it names now.
    pub was_ready: bool,
}

/// Transient failures in a row, which are not yet reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FailureStreak {
    since: Timestamp,
    checks: u32,
}

/// How long a connection may rest after a check that passed: the next one can take all of its `timeout`, and still ends
/// before the Ready does.
pub fn rest(interval: Duration, timeout: Duration) -> Duration {
    interval.min((interval * MAX_READY_INTERVALS).saturating_sub(timeout + WRITE_TIMEOUT))
}

/// How long a Ready may last after the check that earned it, if no other one passes.
pub fn longest_ready(interval: Duration) -> Duration {
    (interval * MAX_READY_INTERVALS).saturating_sub(WRITE_TIMEOUT)
}

// === impl Stability ===

impl Stability {
    /// What the status of an earlier process says. It is written after few checks, so that the Ready in it is most often
    /// older than it may be, as far as anybody knows.
    pub fn restored(status: &VaultConnectionStatus) -> Self {
        let ready = conditions::is_true(&status.conditions, ConditionType::Ready);
        let last = status.last_check_time.as_ref().filter(|_| ready);
        Self { last_success: last.map(|time| time.0), streak: None }
    }

    /// Takes in what a check saw. If that is not yet enough to report a failure of a Ready connection: how long to wait
    /// until the next check.
    pub fn damp(&mut self, timing: &Timing, desired: &Desired, seen: &Observation) -> Option<Duration> {
        let Some(fault) = &seen.fault else {
            *self = Self { last_success: Some(timing.ended), streak: None };
            return None;
        };
        match judge::reason_of(fault, desired).failure_class() {
            FailureClass::None | FailureClass::Persistent | FailureClass::Terminal => {
                self.streak = None;
                None
            }
            FailureClass::Transient => {
                let streak = FailureStreak::extended(self.streak, timing.began);
                self.streak = Some(streak);
                // A status whose time is still to come was written before the clock was set back.
                let is_known = self.last_success.is_some_and(|last_success| last_success <= timing.began);
                let left = self.time_left(desired.interval, timing.ended)?;
                streak.grace(timing, fault.retry_after(), left).filter(|_| timing.was_ready && is_known)
            }
        }
    }

    /// How much time a check that begins now has, so that a Ready does not last longer than it may. None when there is
    /// nothing to keep: nobody knows of a check that passed, or it is too late for a check.
    pub fn time_left(&self, interval: Duration, now: Timestamp) -> Option<Duration> {
        let left = self.end(interval, now)?.duration_since(now);
        Duration::try_from(left).ok().filter(|left| *left >= MIN_CHECK_TIME)
    }

    /// Whether a Ready that this process has seen earned can no longer be earned anew before its end.
    pub fn is_overdue(&self, interval: Duration, now: Timestamp) -> bool {
        self.end(interval, now).is_some() && self.time_left(interval, now).is_none()
    }

    /// When a Ready must be denied. From a clock that was set back nobody knows its age.
    fn end(&self, interval: Duration, now: Timestamp) -> Option<Timestamp> {
        let last_success = self.last_success.filter(|last_success| *last_success <= now)?;
        Some(later(last_success, longest_ready(interval)))
    }

    /// Forgets the failures, because nobody checks any more.
    pub fn reset(&mut self) {
        self.streak = None;
    }
}

// === impl FailureStreak ===

impl FailureStreak {
    /// Adds one more transient failure.
    fn extended(streak: Option<Self>, began: Timestamp) -> Self {
        streak.map_or(Self { since: began, checks: 1 }, |streak| Self { checks: streak.checks + 1, ..streak })
    }

    /// How long to wait until the next check, if there is to be one before anything is reported: not after enough of
    /// them, not when the server asks to wait longer than the grace, since nobody would check meanwhile, and not without
    /// the time for it.
    fn grace(self, timing: &Timing, retry_after: Option<Duration>, left: Duration) -> Option<Duration> {
        let asked = retry_after.unwrap_or_default();
        let is_uncertain =
            self.checks < FAILURE_THRESHOLD || between(self.since, timing.ended) < GRACE_PERIOD;
        let latest = left.saturating_sub(MIN_CHECK_TIME + MAX_QUEUE_DELAY);
        let earliest = MIN_RECHECK_INTERVAL.max(asked);
        let wait =
            RECHECK_INTERVAL.saturating_sub(between(timing.began, timing.ended)).min(latest).max(earliest);
        Some(wait).filter(|wait| is_uncertain && asked <= GRACE_PERIOD && *wait <= latest)
    }
}

/// The time from one moment to a later one; zero when it is not later.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::faults::TransportFault,
        vault::answer::ServerFault,
        verify::{
            observation::Fault,
            testing::{app_role, at},
        },
    };

    /// The begin and the end of a check, in seconds.
    type Span = (i64, i64);

    fn every(interval: u64) -> Desired {
        Desired { interval: Duration::from_secs(interval), ..app_role() }
    }

    fn seconds(wait: Option<Duration>) -> Option<u64> {
        wait.map(|wait| wait.as_secs())
    }

    /// A connection whose check passed at 0.
    fn ready_since_0() -> Stability {
        Stability { last_success: Some(at(0)), streak: None }
    }

    /// A check with a transient failure, while the connection was Ready.
    fn fails(stability: &mut Stability, desired: &Desired, (began, ended): Span) -> Option<u64> {
        fails_by(stability, desired, (began, ended), TransportFault::TimedOut.into())
    }

    fn fails_by(
        stability: &mut Stability,
        desired: &Desired,
        (began, ended): Span,
        fault: Fault,
    ) -> Option<u64> {
        let seen = Observation { fault: Some(fault), ..Observation::default() };
        let timing = Timing { began: at(began), ended: at(ended), was_ready: true };
        seconds(stability.damp(&timing, desired, &seen))
    }

    #[test]
    fn an_outage_is_reported_after_two_checks_and_ten_seconds() {
        let mut stability = ready_since_0();
        assert!(
            fails(&mut stability, &every(60), (60, 70)).is_some(),
            "one is not enough, however long it took"
        );
        let mut stability = ready_since_0();
        assert!(fails(&mut stability, &every(60), (60, 60)).is_some());
        assert!(fails(&mut stability, &every(60), (65, 69)).is_some());
        assert_eq!(fails(&mut stability, &every(60), (70, 70)), None);
    }

    #[test]
    fn a_slow_failure_is_checked_again_sooner() {
        let wait = |ended, asked: Option<u64>| {
            let fault = ServerFault::RateLimited { retry_after: asked.map(Duration::from_secs) };
            fails_by(&mut ready_since_0(), &every(60), (60, ended), fault.into())
        };
        assert_eq!(wait(60, None), Some(5));
        assert_eq!(wait(63, None), Some(2));
        assert_eq!(wait(70, None), Some(1));
        assert_eq!(wait(60, Some(8)), Some(8));
        assert_eq!(wait(60, Some(11)), None, "Ready would be older than any check");
    }

    #[test]
    fn no_grace_lets_a_ready_grow_older_than_two_intervals() {
        // With an interval of 10 s, what passed at 0 must be denied at 20, and a second is for the write.
        let table: &[(&str, &[Span], Option<u64>)] = &[
            ("a check that takes all its time leaves none for another", &[(9, 19)], None),
            ("one that ends sooner does", &[(9, 16)], Some(1)),
            ("the timing after it comes sooner than else, to end in time", &[(9, 9), (14, 14)], Some(3)),
            ("after that nothing is left, although it is 8 s", &[(9, 9), (14, 14), (17, 17)], None),
            ("a timing that began too late", &[(18, 19)], None),
        ];
        for (name, checks, expected) in table {
            let mut stability = ready_since_0();
            let waits: Vec<_> =
                checks.iter().map(|timing| fails(&mut stability, &every(10), *timing)).collect();
            assert_eq!(waits.last(), Some(expected), "{name}: {waits:?}");
        }
        let asked = ServerFault::RateLimited { retry_after: Some(Duration::from_secs(10)) };
        assert_eq!(
            fails_by(&mut ready_since_0(), &every(10), (9, 9), asked.into()),
            None,
            "it asks for more"
        );
    }

    #[test]
    fn a_check_may_take_no_longer_than_the_ready_may_last() {
        let ten = Duration::from_secs(10);
        assert_eq!(seconds(ready_since_0().time_left(ten, at(9))), Some(10));
        assert_eq!(seconds(ready_since_0().time_left(ten, at(18))), Some(1));
        assert_eq!(seconds(ready_since_0().time_left(ten, at(19))), None);
        assert_eq!(seconds(Stability::default().time_left(ten, at(9))), None, "there is nothing to keep");
        assert!(!ready_since_0().is_overdue(ten, at(18)) && ready_since_0().is_overdue(ten, at(19)));
        assert!(!Stability::default().is_overdue(ten, at(1_000_000)));
        assert_eq!(ready_since_0().time_left(ten, at(-1)), None, "the clock was set back");
        assert!(!ready_since_0().is_overdue(ten, at(-1)));
    }

    #[test]
    fn the_check_after_the_rest_has_all_its_time() {
        let rest = |interval, timeout| rest(Duration::from_secs(interval), Duration::from_secs(timeout));
        assert_eq!(rest(60, 10).as_secs(), 60);
        assert_eq!(rest(11, 10).as_secs(), 11);
        assert_eq!(rest(10, 10).as_secs(), 9);
    }

    #[test]
    fn what_is_certain_is_reported_at_once_and_ends_the_streak() {
        let mut stability = ready_since_0();
        assert!(fails(&mut stability, &every(60), (60, 60)).is_some());
        assert_eq!(fails_by(&mut stability, &every(60), (65, 65), ServerFault::Sealed.into()), None);
        assert_eq!(stability, ready_since_0());
    }

    #[test]
    fn a_ready_of_unknown_age_gets_no_grace() {
        let seen = Observation::default();
        let around = super::super::status::Circumstances {
            generation: 1,
            requested_at: None,
            now: at(100),
            jitter: 0.0,
        };
        let (status, _) =
            super::super::report::checked(&VaultConnectionStatus::default(), &around, &app_role(), &seen);
        let restored = Stability::restored(&status);
        assert_eq!(fails(&mut restored.clone(), &every(60), (160, 160)), Some(5), "the status says its age");
        assert_eq!(fails(&mut restored.clone(), &every(60), (1000, 1000)), None, "it does no longer");
        assert_eq!(fails(&mut restored.clone(), &every(60), (99, 101)), None, "the clock was set back");
        assert_eq!(fails(&mut Stability::default(), &every(60), (160, 160)), None);
    }
}
