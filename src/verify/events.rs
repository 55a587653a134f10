//! Which changes of a status are worth an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::schedule::MAX_REQUEST_CHARACTERS;
use crate::{
    api::{
        REQUESTED_AT,
        condition::{ConditionType, Truth},
    },
    conditions,
};

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whether it is a warning.
    pub warning: bool,
    /// The reason of the condition.
    pub reason: String,
    /// Its message.
    pub note: String,
}

/// The event for a request whose value is too long. No check answers it.
pub fn request_too_long() -> Transition {
    Transition {
        warning: true,
        reason: "RequestTooLong".to_owned(),
        note: format!(
            "the value of the annotation {REQUESTED_AT} is longer than {MAX_REQUEST_CHARACTERS} characters, so no check answers it: write a short one, such as the time"
        ),
    }
}

/// The event that a change of conditions is worth. What works from the start is no news.
pub fn transition(before: &[Condition], after: &[Condition]) -> Option<Transition> {
    let ready = |all: &[Condition]| conditions::find(all, ConditionType::Ready).cloned();
    let was = ready(before);
    let is = ready(after)?;
    let works = is.status == Truth::True.as_str();
    let same = |was: &Condition| was.status == is.status && (works || was.reason == is.reason);
    match &was {
        None if works => None,
        Some(was) if same(was) => None,
        // What is Unknown by the user's own wish is no warning.
        _ => Some(Transition {
            warning: is.status == Truth::False.as_str(),
            reason: is.reason,
            note: is.message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::condition::Reason,
        conditions::{Verdict, fold},
        verify::testing::at,
    };

    fn status(reason: Option<Reason>) -> Vec<Condition> {
        let verdicts: Vec<_> = reason
            .map(|reason| Verdict {
                condition: ConditionType::Ready,
                truth: reason.truth(),
                reason,
                message: "m".to_owned(),
            })
            .into_iter()
            .collect();
        fold(&[], &verdicts, 1, at(0))
    }

    #[test]
    fn only_transitions_are_told() {
        use Reason::{Connected, Sealed, Suspended, Timeout};
        let table: &[(Option<Reason>, Reason, Option<bool>)] = &[
            (None, Connected, None),
            (None, Sealed, Some(true)),
            (Some(Connected), Connected, None),
            (Some(Connected), Sealed, Some(true)),
            (Some(Sealed), Sealed, None),
            (Some(Sealed), Timeout, Some(true)),
            (Some(Sealed), Connected, Some(false)),
            (Some(Connected), Suspended, Some(false)),
        ];
        for (before, after, warning) in table {
            let told = transition(&status(*before), &status(Some(*after)));
            assert_eq!(told.map(|event| event.warning), *warning, "{before:?} -> {after:?}");
        }
    }
}
