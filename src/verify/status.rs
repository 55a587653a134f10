//! What the statuses of all kinds have in common: how one begins, when its object is checked next, and whether it is news.
//!
//! What a check of one kind adds is in [`report`](super::report) for connections, and in [`gateway`](super::gateway).

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::{judge, session::later};
use crate::{
    api::{
        ObjectStatus,
        condition::{ConditionType, Reason},
        status::CredentialVersion,
    },
    conditions::{self, Verdict},
    references::Versions,
};

/// How long a wait must be for its end to be kept up to date in the status of an object that fails.
pub(super) const MIN_WAIT_TO_PUBLISH: Duration = Duration::from_mins(1);

/// How much the clocks of two nodes on which the operator runs may differ.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_mins(1);

/// What a status depends on beside the check itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The generation of the spec that was checked.
    pub generation: i64,
    /// The value of the annotation that asks for a check.
    pub requested_at: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
    /// A number between 0 and 1 that spreads the checks.
    pub jitter: f64,
}

/// The status of a kind whose checks are a ladder of steps.
pub trait Judged: ObjectStatus + Clone + Default + PartialEq {
    /// The steps of a check, in their order.
    const STEPS: &'static [ConditionType];

    /// Takes over what stays true without a check, and what follows from the verdicts.
    fn carry_over(&mut self, previous: &Self, verdicts: &[Verdict]);

    /// Whether two statuses differ beside what all kinds have, and in more than what differs from check to check.
    fn differs_in_substance(previous: &Self, next: &Self) -> bool;

    /// Whether a status says something new. That time goes by is nothing new.
    fn is_news(previous: &Self, next: &Self) -> bool {
        differs(previous, next)
    }

    /// Whether a status says nothing that anybody waits for: it may be written after the checks of others.
    fn can_wait(_previous: &Self, _next: &Self) -> bool {
        false
    }
}

/// The status that follows from these verdicts. What else a check found is for its kind to add.
pub(super) fn begin<S: Judged>(previous: &S, around: &Circumstances<'_>, verdicts: &[Verdict]) -> S {
    let mut next = S::default();
    let handled = around.requested_at.or(previous.last_handled_reconcile_at());
    let header = next.header_mut();
    *header.observed_generation = Some(around.generation);
    *header.last_handled_reconcile_at = handled.map(str::to_owned);
    *header.conditions = conditions::fold(previous.conditions(), verdicts, around.generation, around.now);
    next.carry_over(previous, verdicts);
    next
}

/// The status of an object that is not checked because its spec is invalid.
pub fn invalid_spec<S: Judged>(previous: &S, around: &Circumstances<'_>, message: &str) -> S {
    begin(previous, around, &judge::unchecked(S::STEPS, Reason::InvalidSpec, message))
}

/// The status of an object at which the operator failed by a defect of its own, and which it tries again after `retry`. It
/// says nothing of the defect: what a panic says may hold anything.
pub fn internal_error<S: Judged>(previous: &S, around: &Circumstances<'_>, retry: Duration) -> S {
    let message = "The check failed because of a bug in the operator, so it is unknown whether this object works. Report the bug, with this object's spec and the operator's log. The operator tries again at status.nextCheckTime, or when the spec changes.";
    let mut next = begin(previous, around, &judge::unchecked(S::STEPS, Reason::InternalError, message));
    plan(&mut next, around.now, retry);
    next
}

/// Says when the next check is: in its own field, and in the condition Reconciling when it is tried again. A time that is
/// less than a minute away would be over before anybody reads it, and each retry would be a write.
pub(super) fn plan(status: &mut impl ObjectStatus, now: Timestamp, wait: Duration) {
    let next = later(now, wait);
    let note = if wait < MIN_WAIT_TO_PUBLISH {
        "Retrying within a minute.".to_owned()
    } else {
        format!("Retrying at {next:.0}.")
    };
    let header = status.header_mut();
    *header.next_check_time = Some(Time(next));
    conditions::annotate(header.conditions, ConditionType::Reconciling, &note);
}

/// Whether two statuses differ in more than that time goes by.
pub(super) fn differs<S: Judged>(previous: &S, next: &S) -> bool {
    let (before, after) = (previous.conditions(), next.conditions());
    let is_as_before =
        before.len() == after.len() && before.iter().zip(after).all(|(one, other)| say_the_same(one, other));
    !is_as_before
        || previous.observed_generation() != next.observed_generation()
        || previous.last_handled_reconcile_at() != next.last_handled_reconcile_at()
        || S::differs_in_substance(previous, next)
}

fn say_the_same(one: &Condition, other: &Condition) -> bool {
    let Condition { type_, status, reason, message, observed_generation, last_transition_time } = one;
    // The conditions before it give the cause, too.
    let is_message_told_before = type_ == ConditionType::Reconciling.as_str();
    *type_ == other.type_
        && *status == other.status
        && *reason == other.reason
        && (is_message_told_before || *message == other.message)
        && *observed_generation == other.observed_generation
        && *last_transition_time == other.last_transition_time
}

/// Whether the times in a status that says nothing new should be written all the same: they are old, or still to come.
pub fn needs_heartbeat(last_check: Option<&Time>, now: Timestamp, heartbeat: Duration) -> bool {
    last_check
        .is_some_and(|last| later(last.0, heartbeat) <= now || later(now, MAX_CLOCK_DIFFERENCE) < last.0)
}

/// The objects that a verdict rests on, as the status shows them.
pub(super) fn credentials(versions: &Versions) -> Vec<CredentialVersion> {
    let found = versions.iter().filter_map(|(object, version)| {
        let version = version.as_ref()?;
        Some(CredentialVersion {
            kind: object.kind.as_str().to_owned(),
            name: object.name.to_string(),
            uid: version.uid.as_ref().to_owned(),
            resource_version: version.resource_version.clone(),
        })
    });
    let mut found: Vec<_> = found.collect();
    // A status is kept for as long as its object, so that it takes no more room than it needs.
    found.shrink_to_fit();
    found
}
