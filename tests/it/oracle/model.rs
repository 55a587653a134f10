//! What is true, as far as somebody can know it who knows everything that happened. Pure: no clock, no servers.
//!
//! ```text
//!   changes, each with the time at which it was done ─▶ replay ─▶ why no login works, cause by cause, since when
//!                                                              ─▶ truth(history, now): what a status must say
//! ```
//!
//! Each cause has a bound of the contract (docs/status.md): how long after it a Ready may stand. A Ready that is older
//! than the bound of any cause, or than two intervals over all causes together, is a lie; so is a connection that is not
//! Ready later than the contract lets it be. Between the two, both are right.

use std::{collections::BTreeMap, time::Duration};

use super::changes::{Change, Done, Kind, Subject};

/// How often connections are checked.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// The longest time of one check.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a login is proved anew although its session lives.
pub const LOGIN_INTERVAL: Duration = Duration::from_secs(20);

/// What a machine with other work adds: to the operator, the API server, OpenBao and the observer together. What the
/// observer itself was late is added to it.
pub const MARGIN: Duration = Duration::from_secs(6);

/// How long a Ready may stand without another check that passed.
const TWO_INTERVALS: Duration = Duration::from_secs(20);

/// A change is read once it has settled.
const SETTLE: Duration = Duration::from_secs(1);

/// Changes and questions lead to at most one more check in so long: the first at once, what follows at its end.
const ONE_MORE: Duration = Duration::from_secs(5);

/// Waits after a failure: as long as it has been failing, within these bounds, and a tenth.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);
const MAX_RETRY_INTERVAL: Duration = Duration::from_mins(5);

/// Why a login of a connection cannot work, or cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// No server serves, or no proxy leads to it.
    Outage,
    Sealed,
    /// The Secret holds a value that was changed to a wrong one.
    Wrong,
    /// The user's token is revoked.
    TokenRevoked,
    /// The login is refused; a session may live.
    LoginRefused,
    Powerless,
    Suspended,
    /// Nobody outside can tell what is right now.
    Unclear,
}

/// What a status must say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It must be Ready, since it should have been by this time.
    Ready(Duration),
    /// It must not be Ready, since this cause should have ended it by this time.
    NotReady(Cause, Duration),
    Either,
}

/// What cannot be known from the changes, and an observer adds to them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Since when the status has not been Ready; none while it is.
    pub failing_since: Option<Duration>,
    /// What the machine could not do in time, as the observer saw by itself.
    pub late: Duration,
}

/// What holds for one connection.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all of them can hold at once"
)]
struct State {
    sealed: bool,
    stopped: bool,
    silenced: bool,
    proxies_stopped: bool,
    operator_killed: bool,
    wrong: bool,
    revoked: bool,
    locked: bool,
    powerless: bool,
    limited: bool,
    unwrapped_is_lost: bool,
    suspended: bool,
    deleted: bool,
}

/// What holds for one connection, and since when.
#[derive(Clone, Debug)]
struct Replay {
    kind: Kind,
    state: State,
    causes: BTreeMap<Cause, Duration>,
    /// Since when there has been a cause that ends a Ready within two intervals.
    bad_since: Option<Duration>,
    /// When the last cause ended.
    good_since: Duration,
    /// When the operator was first given a reason to check at once, after the last cause had ended.
    stirred: Option<Duration>,
    /// When the operator was last given such a reason, whatever there was then.
    last_stirred: Option<Duration>,
    /// Since when a server serves that can be reached.
    serving_since: Option<Duration>,
    operator_since: Duration,
}

// === impl Cause ===

impl Cause {
    /// How long a Ready may stand after it began, by the contract, without what the machine adds. None: for ever.
    fn bound(self, kind: Kind) -> Option<Duration> {
        match self {
            Self::Outage => Some(TWO_INTERVALS),
            Self::Wrong | Self::Suspended => Some(SETTLE + TIMEOUT),
            Self::LoginRefused if kind.keeps_session() => Some(LOGIN_INTERVAL + INTERVAL + TIMEOUT),
            Self::Sealed | Self::TokenRevoked | Self::Powerless | Self::LoginRefused => {
                Some(INTERVAL + TIMEOUT)
            }
            Self::Unclear => None,
        }
    }

    /// Whether it is something else than that nobody serves: it cannot be seen before somebody does.
    fn needs_server(self) -> bool {
        match self {
            Self::Outage | Self::Sealed | Self::Suspended => false,
            Self::Wrong | Self::TokenRevoked | Self::LoginRefused | Self::Powerless | Self::Unclear => true,
        }
    }
}

/// What the status of a connection must say at a time. The history is in the order of time.
pub fn truth(history: &[Done], subject: Subject, seen: Seen, now: Duration) -> Expect {
    replay(history, subject, now).expect(seen, now)
}

fn replay(history: &[Done], subject: Subject, now: Duration) -> Replay {
    let mut replay = Replay::new(subject.kind);
    for done in history.iter().take_while(|done| done.began <= now) {
        if done.change.concerns(subject) {
            replay.apply(*done);
        }
    }
    replay
}

/// Why no login of a connection can work at a time.
pub fn causes(history: &[Done], subject: Subject, now: Duration) -> Vec<Cause> {
    replay(history, subject, now).causes.into_keys().collect()
}

// === impl State ===

impl State {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Sealed => self.sealed = true,
            Change::Unsealed => self.sealed = false,
            Change::Stopped => self.stopped = true,
            // It is unsealed when it is started.
            Change::Started => (self.stopped, self.sealed) = (false, false),
            Change::Silenced => self.silenced = true,
            Change::Woken => self.silenced = false,
            Change::ProxiesStopped => self.proxies_stopped = true,
            Change::ProxiesStarted => self.proxies_stopped = false,
            Change::OperatorKilled => (self.operator_killed, self.unwrapped_is_lost) = (true, true),
            Change::OperatorStarted => self.operator_killed = false,
            Change::WrongCredential(_) => (self.wrong, self.revoked) = (true, false),
            Change::RightCredential(_) | Change::EndingCredential(_) => {
                (self.wrong, self.revoked, self.unwrapped_is_lost) = (false, false, self.operator_killed);
            }
            Change::Revoked(_) => self.revoked = true,
            Change::Locked(_) => self.locked = true,
            Change::Unlocked(_) => self.locked = false,
            Change::PolicyRemoved(_) => self.powerless = true,
            Change::PolicyRestored(_) => self.powerless = false,
            Change::LoginsLimited(_) => self.limited = true,
            Change::LoginsUnlimited(_) => self.limited = false,
            Change::Suspended(_) => self.suspended = true,
            Change::Resumed(_) => self.suspended = false,
            // What was in its wrapping token goes with it.
            Change::Deleted(_) => (self.deleted, self.unwrapped_is_lost) = (true, true),
            Change::Created(_) => (self.deleted, self.suspended) = (false, false),
            Change::SessionRevoked(_) | Change::Asked(_) | Change::SpecTouched(_) => {}
        }
    }

    fn causes(&self, kind: Kind) -> Vec<Cause> {
        let lost = kind == Kind::Wrapped && self.unwrapped_is_lost;
        let refused = self.locked || (self.revoked && !kind.is_token());
        let rows = [
            (Cause::Outage, self.is_out(kind)),
            (Cause::Sealed, self.sealed),
            (Cause::Wrong, self.wrong),
            (Cause::TokenRevoked, self.revoked && kind.is_token()),
            (Cause::LoginRefused, refused),
            (Cause::Powerless, self.powerless),
            (Cause::Suspended, self.suspended),
            (Cause::Unclear, lost || self.limited || self.deleted || self.operator_killed),
        ];
        rows.into_iter().filter(|(_, holds)| *holds).map(|(cause, _)| cause).collect()
    }

    fn is_out(&self, kind: Kind) -> bool {
        self.stopped || self.silenced || (self.proxies_stopped && kind == Kind::Gateway)
    }

    fn serves(&self, kind: Kind) -> bool {
        !self.sealed && !self.is_out(kind)
    }
}

// === impl Replay ===

impl Replay {
    /// At the begin, everything is right and known.
    fn new(kind: Kind) -> Self {
        let zero = Duration::ZERO;
        Self {
            kind,
            state: State::default(),
            causes: BTreeMap::new(),
            bad_since: None,
            good_since: zero,
            stirred: Some(zero),
            last_stirred: None,
            serving_since: Some(zero),
            operator_since: zero,
        }
    }

    /// Counts from the end of what was done, which is in favour of the operator.
    fn apply(&mut self, done: Done) {
        let (at, was_good) = (done.ended, self.causes.is_empty());
        let noticed = if done.change.stirs() { self.noticed(at) } else { at };
        self.state.apply(done.change);
        if done.change == Change::OperatorStarted {
            self.operator_since = at;
        }
        self.serving_since = self.state.serves(self.kind).then(|| self.serving_since.unwrap_or(at));
        let causes = self.state.causes(self.kind);
        self.causes.retain(|cause, _| causes.contains(cause));
        for cause in causes {
            self.causes.entry(cause).or_insert(noticed);
        }
        let kind = self.kind;
        let ends_in_time = |cause: &Cause| cause.bound(kind).is_some_and(|bound| bound <= TWO_INTERVALS);
        let bad = self.causes.keys().any(ends_in_time) && !self.causes.contains_key(&Cause::Unclear);
        self.bad_since = bad.then(|| self.bad_since.unwrap_or(at));
        if self.causes.is_empty() && !was_good {
            (self.good_since, self.stirred) = (at, None);
        }
        if self.causes.is_empty() && done.change.stirs() {
            self.stirred.get_or_insert(noticed);
        }
    }

    /// When the operator acts upon a reason to check at once, if it had others shortly before.
    fn noticed(&mut self, at: Duration) -> Duration {
        let before = self.last_stirred.replace(at);
        let soon = before.is_some_and(|before| at.saturating_sub(before) < ONE_MORE * 2);
        at.saturating_add(if soon { ONE_MORE } else { Duration::ZERO })
    }

    fn expect(&self, seen: Seen, now: Duration) -> Expect {
        if self.causes.contains_key(&Cause::Unclear) {
            return Expect::Either;
        }
        let slack = MARGIN + seen.late;
        if let Some((cause, by)) = self.ends(slack).filter(|(_, by)| now > *by) {
            return Expect::NotReady(cause, by);
        }
        let by = self.good_since.saturating_add(self.longest_wait(seen) + TIMEOUT + slack);
        if self.causes.is_empty() && now > by { Expect::Ready(by) } else { Expect::Either }
    }

    /// By when a Ready must have ended, and for which cause.
    fn ends(&self, slack: Duration) -> Option<(Cause, Duration)> {
        let each = self.causes.iter().filter_map(|(cause, since)| {
            let mut from = (*since).max(self.operator_since);
            if cause.needs_server() {
                let serving = self.serving_since?;
                // Whoever waits for a server looks again within the shortest wait, and a tenth.
                let wait = if serving > *since { MIN_RETRY_INTERVAL * 11 / 10 } else { Duration::ZERO };
                from = from.max(serving.saturating_add(wait));
            }
            Some((*cause, from.saturating_add(cause.bound(self.kind)? + slack)))
        });
        let together = self.bad_since.and_then(|since| {
            let cause = self.causes.keys().next()?;
            Some((*cause, since.max(self.operator_since).saturating_add(TWO_INTERVALS + slack)))
        });
        each.chain(together).min_by_key(|(_, by)| *by)
    }

    /// The longest time from when all is right until a check begins.
    fn longest_wait(&self, seen: Seen) -> Duration {
        let failing = seen.failing_since.map(|since| self.good_since.saturating_sub(since));
        let by_itself = failing.unwrap_or_default().clamp(MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL) * 11 / 10;
        let stirred = self.stirred.map(|at| at.saturating_sub(self.good_since).saturating_add(SETTLE));
        stirred.map_or(by_itself, |stirred| stirred.min(by_itself))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Change::{
            Asked, Created, Deleted, Locked, OperatorKilled, OperatorStarted, PolicyRemoved, ProxiesStopped,
            Revoked, RightCredential, Sealed, SessionRevoked, Started, Stopped, Suspended, Unlocked,
            Unsealed, WrongCredential,
        },
        *,
    };

    /// Changes with the seconds in which they are made.
    type Changes = &'static [(u64, Change)];

    const OUTAGE: Changes = &[(100, Sealed), (120, Unsealed)];

    /// What is expected of a connection of a kind, number 1, at a second.
    fn at(kind: Kind, changes: &[(u64, Change)], second: u64) -> Expect {
        failing(kind, changes, None, second)
    }

    fn failing(kind: Kind, changes: &[(u64, Change)], since: Option<u64>, second: u64) -> Expect {
        let done = |(second, change): &(u64, Change)| {
            let at = Duration::from_secs(*second);
            Done { change: *change, began: at, ended: at }
        };
        let history: Vec<_> = changes.iter().map(done).collect();
        let seen = Seen { failing_since: since.map(Duration::from_secs), late: Duration::ZERO };
        truth(&history, Subject { number: 1, kind, credential: 1 }, seen, Duration::from_secs(second))
    }

    /// The first second in which an expectation holds.
    fn first(kind: Kind, changes: &[(u64, Change)], wanted: impl Fn(&Expect) -> bool) -> Option<u64> {
        (0..1000).find(|second| wanted(&at(kind, changes, *second)))
    }

    #[test]
    fn a_ready_ends_by_the_bound_of_its_cause() {
        let margin = MARGIN.as_secs();
        let rows: &[(&str, Kind, Changes, Option<u64>)] = &[
            ("nothing happens", Kind::LongRole, &[], None),
            ("it is another's", Kind::LongRole, &[(100, WrongCredential(2))], None),
            ("sealed", Kind::LongRole, &[(100, Sealed)], Some(115)),
            ("stopped", Kind::LongRole, &[(100, Stopped)], Some(120)),
            ("a wrong value", Kind::LongRole, &[(100, WrongCredential(1))], Some(106)),
            (
                "asked does not matter",
                Kind::LongRole,
                &[(100, WrongCredential(1)), (103, Asked(1))],
                Some(106),
            ),
            ("asked just before", Kind::LongRole, &[(98, Asked(1)), (100, WrongCredential(1))], Some(111)),
            ("a token is revoked", Kind::Fixed, &[(100, Revoked(1))], Some(115)),
            ("a kept session", Kind::LongRole, &[(100, Revoked(1))], Some(135)),
            ("no kept session", Kind::ShortRole, &[(100, Locked(1))], Some(115)),
            ("the policy goes", Kind::Requiring, &[(100, PolicyRemoved(1))], Some(115)),
            ("suspended", Kind::Periodic, &[(100, Suspended(1))], Some(106)),
            ("its session ends, it logs in", Kind::LongRole, &[(100, SessionRevoked(1))], None),
            ("proxies of others", Kind::LongRole, &[(100, ProxiesStopped)], None),
            ("its proxies", Kind::Gateway, &[(100, ProxiesStopped)], Some(120)),
            ("wrong while sealed", Kind::LongRole, &[(100, Sealed), (101, WrongCredential(1))], Some(115)),
            (
                "wrong while stopped, and a server again",
                Kind::LongRole,
                &[(100, Stopped), (101, WrongCredential(1)), (102, Started)],
                Some(113),
            ),
            (
                "one cause after the other",
                Kind::LongRole,
                &[(100, Stopped), (110, Sealed), (110, WrongCredential(1)), (112, Started)],
                Some(120),
            ),
            ("nobody is there to write it", Kind::LongRole, &[(100, Sealed), (101, OperatorKilled)], None),
            (
                "until somebody is",
                Kind::LongRole,
                &[(100, Sealed), (101, OperatorKilled), (200, OperatorStarted)],
                Some(215),
            ),
            ("it is gone", Kind::LongRole, &[(100, Sealed), (101, Deleted(1))], None),
        ];
        for (name, kind, changes, second) in rows {
            let found = first(*kind, changes, |expect| matches!(expect, Expect::NotReady(..)));
            assert_eq!(found, second.map(|second| second + margin + 1), "{name}");
        }
    }

    #[test]
    fn a_connection_recovers_within_the_wait_that_its_failure_earned() {
        let margin = MARGIN.as_secs();
        let rows: &[(&str, Changes, Option<u64>, u64)] = &[
            ("a short failure", OUTAGE, None, 130),
            ("failing for 15 s", OUTAGE, Some(105), 141),
            ("asked after it", &[(100, Sealed), (120, Unsealed), (122, Asked(1))], Some(105), 128),
            ("asked before it", &[(100, Sealed), (118, Asked(1)), (120, Unsealed)], Some(105), 141),
            ("a right value", &[(100, WrongCredential(1)), (150, RightCredential(1))], Some(102), 156),
            ("unlocked and asked", &[(100, Locked(1)), (150, Unlocked(1)), (151, Asked(1))], Some(120), 157),
            ("made anew", &[(100, Deleted(1)), (110, Created(1))], None, 116),
            ("another operator", &[(100, OperatorKilled), (110, OperatorStarted)], None, 116),
        ];
        for (name, changes, since, second) in rows {
            let must = |second| matches!(failing(Kind::LongRole, changes, *since, second), Expect::Ready(_));
            assert!(!must(second + margin) && must(second + margin + 1), "{name}");
        }
        assert!(matches!(at(Kind::Limited, &[], 100), Expect::Ready(_)));
        assert_eq!(at(Kind::Wrapped, &[(100, OperatorKilled), (110, OperatorStarted)], 500), Expect::Either);
        assert_eq!(at(Kind::Wrapped, &[(100, Deleted(1)), (110, Created(1))], 500), Expect::Either);
    }

    #[test]
    fn what_is_being_done_is_expected_of_nobody() {
        let mut history =
            vec![Done { change: Sealed, began: Duration::from_secs(100), ended: Duration::MAX }];
        let subject = Subject { number: 1, kind: Kind::LongRole, credential: 1 };
        let now = Duration::from_secs(500);
        assert_eq!(truth(&history, subject, Seen::default(), now), Expect::Either);
        history[0].ended = history[0].began;
        assert!(matches!(truth(&history, subject, Seen::default(), now), Expect::NotReady(Cause::Sealed, _)));
        history.push(Done { change: Unsealed, began: Duration::from_secs(200), ended: Duration::MAX });
        assert_eq!(truth(&history, subject, Seen::default(), now), Expect::Either);
    }

    #[test]
    fn what_happens_to_a_shared_secret_happens_to_all_that_name_it() {
        let at = Duration::from_secs(100);
        let history = [Done { change: WrongCredential(1), began: at, ended: at }];
        let subject = Subject { number: 3, kind: Kind::SharedRole, credential: 1 };
        let late = Seen { late: Duration::from_secs(30), ..Seen::default() };
        let after = |seconds: u64| Duration::from_secs(100 + seconds) + MARGIN;
        assert!(matches!(
            truth(&history, subject, Seen::default(), after(7)),
            Expect::NotReady(Cause::Wrong, _)
        ));
        assert_eq!(truth(&history, subject, late, after(30)), Expect::Either, "the machine was late");
        assert!(matches!(truth(&history, subject, late, after(37)), Expect::NotReady(Cause::Wrong, _)));
    }
}
