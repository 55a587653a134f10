//! May this login be tried now? The one place that knows the order of the questions.

use k8s_openapi::jiff::Timestamp;

use super::account::{Account, Answer, Confidence, Fingerprint, Limits, Refusal, spent_until};
use crate::{
    names::ConnectionRef,
    verify::{memory::Memory, observation::Fault, session::Basis},
};

/// A login that a connection wants to make.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The connection.
    pub connection: &'a ConnectionRef,
    /// What it would be made from.
    pub basis: &'a Basis,
    /// The credential.
    pub credential: Fingerprint,
    /// When the instance last answered something of the same check.
    pub answered: Option<Timestamp>,
}

/// Refused logins of earlier processes, as far as they may concern a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// When logins of this role were refused, as far as its tag tells.
    pub of_role: Vec<Timestamp>,
    /// When logins were refused that may be of this role.
    pub of_any: Vec<Timestamp>,
}

/// What a decision follows beside the account.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// How many refused logins may count.
    pub limits: Limits,
    /// What earlier processes counted.
    pub restored: &'a Restored,
}

/// Whether a login may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Now.
    Try,
    /// It depends on the answers to the logins that are under way.
    Wait,
    /// Not before `until`.
    Hold {
        /// Why not.
        fault: Fault,
        /// When it may.
        until: Timestamp,
    },
}

/// What a connection remembers of logins with one basis, as far as the next one depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Why the same is not to be tried again, and until when.
    pub hold: Option<(Fault, Timestamp)>,
    /// Whether a person asks for a login, whatever was refused before.
    pub is_requested: bool,
    /// Whether a login with another basis was refused or could not be tried since.
    pub has_changed: bool,
    /// Whether the last login was accepted.
    pub is_proven: bool,
}

// === impl History ===

impl History {
    /// What a memory has of logins with this basis.
    pub fn of(memory: &Memory, basis: &Basis, now: Timestamp) -> Self {
        Self {
            hold: memory.hold(basis, now),
            is_requested: memory.is_requested(),
            has_changed: memory.has_changed(basis),
            is_proven: memory.is_proven(basis),
        }
    }
}

/// Why a connection may not try its credential, whatever its role has left: it was refused, and nobody asks for another
/// try.
pub fn held(history: &History) -> Option<Decision> {
    let (fault, until) = history.hold.clone().filter(|_| !history.is_requested)?;
    Some(Decision::Hold { fault, until })
}

/// Decides on a login, in this order: what the connection itself remembers, the same credential of other connections, what is
/// left of the role's account, what is under way.
///
/// `accounts` are those that the login counts in; each must permit it.
pub fn decide(
    history: &History,
    attempt: &Attempt<'_>,
    accounts: &[&Account],
    rules: &Rules<'_>,
    now: Timestamp,
) -> Decision {
    if let Some(held) = held(history) {
        return held;
    }
    let confidence = confidence(history, attempt, accounts);
    let mut decision = Decision::Try;
    for account in accounts {
        let same = if history.is_requested {
            Decision::Try
        } else {
            same_credential(account, attempt.credential, (confidence, rules.limits), now)
        };
        for step in [same, room(account, attempt, (confidence, history.is_requested), rules, now)] {
            match step {
                Decision::Try => {}
                Decision::Wait => decision = Decision::Wait,
                Decision::Hold { until, .. } => {
                    // A person who asks again for a credential that was refused is told of that refusal.
                    let own = history.hold.clone().map(|(fault, _)| fault);
                    return Decision::Hold { fault: own.unwrap_or(Fault::BudgetSpent), until };
                }
            }
        }
    }
    decision
}

/// What is known of a credential before it is tried.
fn confidence(history: &History, attempt: &Attempt<'_>, accounts: &[&Account]) -> Confidence {
    if history.has_changed {
        Confidence::Changed
    } else if history.is_proven || accounts.iter().any(|it| it.has_accepted(attempt.credential)) {
        Confidence::Proven
    } else {
        Confidence::Unproven
    }
}

/// Whatever connection tried it: a credential that was refused and changed since is not tried twice, another not thrice; and until
/// it is known to work, not by two at once.
fn same_credential(
    account: &Account,
    credential: Fingerprint,
    (confidence, limits): (Confidence, Limits),
    now: Timestamp,
) -> Decision {
    let limit = match confidence {
        Confidence::Unproven | Confidence::Proven => limits.unproven,
        Confidence::Changed => 1,
    };
    if let Some(until) = spent_until(&account.refusals_of(credential, now), limit) {
        return Decision::Hold { fault: Fault::BudgetSpent, until };
    }
    match confidence {
        Confidence::Unproven | Confidence::Changed if account.in_flight().contains(&credential) => {
            Decision::Wait
        }
        Confidence::Unproven | Confidence::Changed | Confidence::Proven => Decision::Try,
    }
}

/// Whether the account has room for one more login that may be refused, when those under way may be, too. A login without an
/// answer counts only towards the last limit: most often it was not refused, and an outage must not hold up those that work. One
/// that was denied does not count when a person asks, who has perhaps unlocked the role.
fn room(
    account: &Account,
    attempt: &Attempt<'_>,
    (confidence, is_requested): (Confidence, bool),
    Rules { limits, restored }: &Rules<'_>,
    now: Timestamp,
) -> Decision {
    let counting = || {
        let can_lock = |it: &&Refusal| !(is_requested && matches!(it.answer, Answer::Denied(_)));
        account.counting(now).filter(can_lock)
    };
    let answered = || counting().filter(|it| !matches!(it.answer, Answer::Missing(_)));
    let of_role = || restored.of_role.iter().copied();
    let of_namespace = answered().filter(|it| *it.namespace == *attempt.connection.namespace);
    let own_limit = match confidence {
        Confidence::Unproven | Confidence::Proven => limits.unproven,
        Confidence::Changed => limits.changed,
    };
    let all = sorted(answered().map(|it| it.at).chain(of_role()));
    let own = sorted(of_namespace.map(|it| it.at).chain(of_role()));
    let worst = sorted(counting().map(|it| it.at).chain(of_role()));
    let certain = [(&all, limits.of(confidence)), (&own, own_limit), (&worst, limits.changed)];
    if let Some(until) = certain.iter().filter_map(|(times, limit)| spent_until(times, *limit)).max() {
        return Decision::Hold { fault: Fault::BudgetSpent, until };
    }
    // Those under way may all be lost with the server. One more must be left then, by which the role comes back after the outage.
    let reserve = usize::from(!account.in_flight().is_empty());
    // After a login that got no answer, the instance must have shown that it answers again.
    let lost =
        account.counting(now).filter(|it| matches!(it.answer, Answer::Missing(_))).map(|it| it.at).max();
    let is_silent = lost.is_some_and(|lost| attempt.answered.is_none_or(|answered| answered <= lost));
    let is_full = is_silent
        || certain.iter().any(|(times, limit)| times.len() + account.in_flight().len() >= *limit)
        || worst.len() + restored.of_any.len() + account.in_flight().len() + reserve >= limits.changed;
    if is_full { Decision::Wait } else { Decision::Try }
}

fn sorted(times: impl Iterator<Item = Timestamp>) -> Vec<Timestamp> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::LoginFault,
        verify::testing::{app_role, at, versions},
    };

    const RIGHT: Fingerprint = 1;

    fn connection() -> ConnectionRef {
        ConnectionRef { namespace: "mine".into(), name: "a".into() }
    }

    fn basis(resource_version: &str) -> Basis {
        Basis { target: app_role().target, versions: versions(resource_version) }
    }

    /// An account with refusals of these namespaces and credentials, a second after each other.
    fn refused(by: &[(&str, Fingerprint)]) -> Account {
        let mut account = Account::default();
        for (second, (namespace, credential)) in by.iter().enumerate() {
            account.refuse(Refusal {
                at: at(i64::try_from(second).expect("small")),
                namespace: (*namespace).into(),
                answer: Answer::Refused(*credential),
                is_forgiven: false,
            });
        }
        account
    }

    fn decided(memory: &Memory, account: &Account, restored: &Restored) -> Decision {
        let (connection, basis) = (connection(), basis("1"));
        let attempt =
            Attempt { connection: &connection, basis: &basis, credential: RIGHT, answered: Some(at(50)) };
        decide(
            &History::of(memory, &basis, at(100)),
            &attempt,
            &[account],
            &Rules { limits: Limits::default(), restored },
            at(100),
        )
    }

    fn hold(until: i64) -> Decision {
        Decision::Hold { fault: Fault::BudgetSpent, until: at(until) }
    }

    fn proven() -> Memory {
        let mut memory = Memory::default();
        memory.accepted(basis("1"), at(0));
        memory
    }

    fn changed() -> Memory {
        let mut memory = Memory::default();
        memory.denied(basis("0"), LoginFault::InvalidCredentials.into(), at(900));
        memory
    }

    #[test]
    fn what_is_left_depends_on_what_is_known_of_the_credential_and_on_who_spent_it() {
        type Row = (&'static str, fn() -> Memory, &'static [(&'static str, Fingerprint)], Decision);
        let table: &[Row] = &[
            ("nothing was refused", Memory::default, &[], Decision::Try),
            ("one is not enough", Memory::default, &[("mine", 2)], Decision::Try),
            (
                "two are, for one of which nothing is known",
                Memory::default,
                &[("mine", 2), ("mine", 3)],
                hold(900),
            ),
            (
                "and for a proven one, if its namespace spent them",
                proven,
                &[("mine", 2), ("mine", 3)],
                hold(900),
            ),
            ("a stranger's do not stop it", proven, &[("theirs", 2), ("theirs", 3)], Decision::Try),
            ("but three of anybody do", proven, &[("theirs", 2), ("theirs", 3), ("mine", 4)], hold(900)),
            ("a changed one may go on", changed, &[("mine", 2), ("mine", 3), ("mine", 4)], Decision::Try),
            (
                "but never spends the fifth",
                changed,
                &[("mine", 2), ("mine", 3), ("mine", 4), ("mine", 5)],
                hold(900),
            ),
        ];
        for (name, memory, refusals, expected) in table {
            let found = decided(&memory(), &refused(refusals), &Restored::default());
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn a_credential_that_other_connections_were_refused_with_is_not_tried_again_and_again() {
        let once = refused(&[("mine", RIGHT)]);
        assert_eq!(
            decided(&Memory::default(), &once, &Restored::default()),
            Decision::Try,
            "its role may have changed"
        );
        let twice = refused(&[("theirs", RIGHT), ("other", RIGHT)]);
        for memory in [Memory::default(), proven()] {
            assert_eq!(decided(&memory, &twice, &Restored::default()), hold(900), "whatever it had proved");
        }
        assert_eq!(
            decided(&changed(), &once, &Restored::default()),
            hold(900),
            "changed to one that was refused"
        );
        let mut asked = changed();
        asked.request();
        assert_eq!(decided(&asked, &once, &Restored::default()), Decision::Try);
    }

    #[test]
    fn logins_that_were_denied_stop_those_alone_who_do_not_ask() {
        let denied = |answer: Answer| {
            let mut account = Account::default();
            for second in 0..4 {
                let (at, namespace) = (at(second), "mine".into());
                account.refuse(Refusal { at, namespace, answer: answer.clone(), is_forgiven: false });
            }
            account
        };
        let mut asked = Memory::default();
        asked.request();
        for credential in [RIGHT, 2] {
            let account = denied(Answer::Denied(credential));
            let decision = decided(&Memory::default(), &account, &Restored::default());
            assert!(matches!(decision, Decision::Hold { .. }), "{decision:?}");
            assert_eq!(decided(&asked, &account, &Restored::default()), Decision::Try);
        }
    }

    #[test]
    fn logins_that_are_all_lost_leave_one_by_which_the_role_comes_back() {
        let mut account = Account::default();
        account.accept(RIGHT);
        let mut lost = 0;
        while decided(&proven(), &account, &Restored::default()) == Decision::Try {
            account.begin(RIGHT);
            lost += 1;
        }
        assert!(lost > 1, "they need not wait for each other");
        for _ in 0..lost {
            account.end(RIGHT);
            let answer = Answer::Missing(RIGHT);
            account.refuse(Refusal { at: at(1), namespace: "mine".into(), answer, is_forgiven: false });
        }
        assert_eq!(decided(&proven(), &account, &Restored::default()), Decision::Try);
    }

    #[test]
    fn after_a_login_without_an_answer_the_instance_must_answer_something_first() {
        let mut account = Account::default();
        account.refuse(Refusal {
            at: at(50),
            namespace: "mine".into(),
            answer: Answer::Missing(RIGHT),
            is_forgiven: false,
        });
        let (connection, basis) = (connection(), basis("1"));
        let rules = Rules { limits: Limits::default(), restored: &Restored::default() };
        for (answered, expected) in
            [(None, Decision::Wait), (Some(at(50)), Decision::Wait), (Some(at(51)), Decision::Try)]
        {
            let attempt = Attempt { connection: &connection, basis: &basis, credential: RIGHT, answered };
            assert_eq!(
                decide(&History::of(&proven(), &basis, at(100)), &attempt, &[&account], &rules, at(100)),
                expected,
                "{answered:?}"
            );
        }
    }

    #[test]
    fn a_login_without_an_answer_counts_once_its_credential_was_refused() {
        let mut account = Account::default();
        let refusal = |answer| Refusal { at: at(1), namespace: "mine".into(), answer, is_forgiven: false };
        account.refuse(refusal(Answer::Missing(RIGHT)));
        account.refuse(refusal(Answer::Missing(RIGHT)));
        assert_eq!(decided(&Memory::default(), &account, &Restored::default()), Decision::Try);
        account.refuse(refusal(Answer::Refused(RIGHT)));
        assert!(matches!(decided(&proven(), &account, &Restored::default()), Decision::Hold { .. }));
    }

    #[test]
    fn who_asks_for_a_refused_credential_when_nothing_is_left_keeps_its_reason() {
        let mut stalled = Memory::default();
        stalled.refused(basis("1"), LoginFault::InvalidCredentials, at(50));
        stalled.request();
        let spent = refused(&[("mine", 2), ("mine", 3), ("mine", 4), ("mine", RIGHT)]);
        let kept = Decision::Hold { fault: LoginFault::InvalidCredentials.into(), until: at(902) };
        assert_eq!(decided(&stalled, &spent, &Restored::default()), kept);
    }

    #[test]
    fn logins_in_flight_may_all_be_refused() {
        let mut account = refused(&[]);
        account.begin(RIGHT);
        assert_eq!(
            decided(&Memory::default(), &account, &Restored::default()),
            Decision::Wait,
            "its answer is to come"
        );
        assert_eq!(decided(&proven(), &account, &Restored::default()), Decision::Try);
        account.begin(2);
        assert_eq!(decided(&proven(), &account, &Restored::default()), Decision::Wait);
        account.end(2);
        assert_eq!(decided(&proven(), &account, &Restored::default()), Decision::Try);
        let mut one_refused = refused(&[("mine", 2)]);
        one_refused.begin(3);
        assert_eq!(
            decided(&proven(), &one_refused, &Restored::default()),
            Decision::Wait,
            "after a refusal, one by one"
        );
    }

    #[test]
    fn what_earlier_processes_counted_counts_for_the_role_that_it_was_of() {
        let of_role = Restored { of_role: vec![at(0), at(1)], ..Restored::default() };
        assert_eq!(decided(&Memory::default(), &refused(&[]), &of_role), hold(900));
        assert_eq!(decided(&changed(), &refused(&[]), &of_role), Decision::Try);
        let of_any = |count: i64| Restored { of_any: (0..count).map(at).collect(), ..Restored::default() };
        assert_eq!(
            decided(&Memory::default(), &refused(&[]), &of_any(3)),
            Decision::Try,
            "it could not lock the role"
        );
        assert_eq!(decided(&Memory::default(), &refused(&[]), &of_any(4)), Decision::Wait, "it could");
    }

    #[test]
    fn each_account_must_permit_it() {
        let (connection, basis) = (connection(), basis("1"));
        let attempt =
            Attempt { connection: &connection, basis: &basis, credential: RIGHT, answered: Some(at(50)) };
        let restored = Restored::default();
        let rules = Rules { limits: Limits::default(), restored: &restored };
        let (free, spent) = (refused(&[]), refused(&[("mine", 2), ("mine", 3)]));
        assert_eq!(decide(&History::default(), &attempt, &[&free, &spent], &rules, at(100)), hold(900));
        assert_eq!(decide(&History::default(), &attempt, &[&free, &spent], &rules, at(900)), Decision::Try);
    }
}
