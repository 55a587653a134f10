//! The only code that builds a `Condition`.
//!
//! Pure: the previous conditions and the new verdicts go in, the next conditions come out.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    api::condition::{ConditionType, Reason, Truth},
    names::text,
};

/// Longest message of a condition, in bytes. Longer ones are cut: a status is read on a terminal.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// What a check says about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition it is about.
    pub condition: ConditionType,
    /// Its status.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// What happened, to which object, and what to do.
    pub message: String,
}

/// The next conditions: exactly one for each verdict, in their order.
///
/// `lastTransitionTime` moves when the status differs from that of the previous condition of the same type, and with
/// nothing else. A condition without a verdict is dropped.
pub fn fold(previous: &[Condition], verdicts: &[Verdict], generation: i64, now: Timestamp) -> Vec<Condition> {
    let next = |verdict: &Verdict| {
        let status = verdict.truth.as_str();
        let since = find(previous, verdict.condition)
            .filter(|c| c.status == status)
            .map(|c| c.last_transition_time.clone());
        Condition {
            type_: verdict.condition.as_str().to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: cut(&text::printable(&verdict.message)).to_owned(),
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or(Time(now)),
        }
    };
    verdicts.iter().map(next).collect()
}

/// Adds a note to the message of a condition, if it is there.
pub fn annotate(conditions: &mut [Condition], condition: ConditionType, note: &str) {
    if let Some(found) = conditions.iter_mut().find(|c| c.type_ == condition.as_str()) {
        found.message = noted(&found.message, note);
    }
}

/// A message with a note behind it. The message is cut rather than the note.
pub fn noted(message: &str, note: &str) -> String {
    let room = MAX_MESSAGE_BYTES.saturating_sub(note.len() + " ".len());
    let message = &message[..message.floor_char_boundary(room)];
    format!("{message} {note}")
}

/// The condition of a type, if it is there.
pub fn find(conditions: &[Condition], condition: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == condition.as_str())
}

/// The reason of a condition, if this version knows it.
pub fn reason(condition: &Condition) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == condition.reason)
}

/// Whether a condition is there and True.
pub fn is_true(conditions: &[Condition], condition: ConditionType) -> bool {
    find(conditions, condition).is_some_and(|c| c.status == Truth::True.as_str())
}

/// Cuts a message to its longest allowed size, on a character boundary.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(truth: Truth, reason: Reason, message: &str) -> Verdict {
        Verdict { condition: ConditionType::Ready, truth, reason, message: message.to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn no_message_moves_the_text_around_it() {
        let message = "the spec cannot be read: unknown field `\u{202e}\u{1b}[2J\u{2028}`";
        let folded = fold(&[], &[verdict(Truth::False, Reason::InvalidSpec, message)], 1, at(0));
        assert_eq!(
            folded[0].message,
            "the spec cannot be read: unknown field `\\u{202e}\\u{1b}[2J\\u{2028}`"
        );
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let first = fold(&[], &[verdict(Truth::False, Reason::Sealed, "a")], 1, at(10));
        assert_eq!(first[0].last_transition_time, Time(at(10)));

        let reason_changed = fold(&first, &[verdict(Truth::False, Reason::Timeout, "b")], 2, at(20));
        assert_eq!(reason_changed[0].last_transition_time, Time(at(10)));
        assert_eq!(
            (
                reason_changed[0].reason.as_str(),
                reason_changed[0].message.as_str(),
                reason_changed[0].observed_generation
            ),
            ("Timeout", "b", Some(2))
        );

        let status_changed =
            fold(&reason_changed, &[verdict(Truth::True, Reason::Connected, "c")], 2, at(30));
        assert_eq!(status_changed[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_note_is_reported_however_long_the_message_is() {
        for length in [0, 10, MAX_MESSAGE_BYTES, 2 * MAX_MESSAGE_BYTES] {
            let mut folded =
                fold(&[], &[verdict(Truth::False, Reason::Sealed, &"é".repeat(length))], 1, at(0));
            annotate(&mut folded, ConditionType::Ready, "Retrying within a minute.");
            annotate(&mut folded, ConditionType::Stalled, "nobody has asked");
            assert!(folded[0].message.ends_with(" Retrying within a minute."), "{}", folded[0].message);
            assert!(folded[0].message.len() <= MAX_MESSAGE_BYTES);
            assert_eq!(folded.len(), 1);
        }
    }

    #[test]
    fn a_condition_without_a_verdict_is_dropped() {
        let stalled = Verdict {
            condition: ConditionType::Stalled,
            truth: Truth::True,
            reason: Reason::InvalidCredentials,
            message: String::new(),
        };
        let before = fold(&[], &[verdict(Truth::False, Reason::InvalidCredentials, ""), stalled], 1, at(1));
        assert_eq!(before.len(), 2);
        let after = fold(&before, &[verdict(Truth::True, Reason::Connected, "")], 1, at(2));
        assert_eq!(after.len(), 1);
        assert!(find(&after, ConditionType::Stalled).is_none());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = format!("{}ü", "x".repeat(MAX_MESSAGE_BYTES - 1));
        let folded = fold(&[], &[verdict(Truth::False, Reason::Sealed, &long)], 1, at(1));
        assert_eq!(folded[0].message.len(), MAX_MESSAGE_BYTES - 1);
    }
}
