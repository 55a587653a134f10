//! Which changes of a status are worth an event.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::schedule::MAX_REQUEST_CHARACTERS;
use crate::{
    api::{
        REQUESTED_AT,
        condition::{ConditionType, Reason, Truth},
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
    /// What Ready was before, if it was there.
    pub before: Option<Before>,
}

/// What Ready was before a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its reason.
    pub reason: String,
    /// Since its status changed.
    pub lasted: Duration,
}

/// A warning that is no change of Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request for a check is too long to be answered.
    RequestTooLong,
    /// A gateway was deleted while connections named it.
    DeletedInUse,
}

/// Whether Ready can have this reason, so that it can be that of an event.
pub fn is_of_ready(reason: Reason) -> bool {
    match reason.condition() {
        ConditionType::Ready => reason != Reason::NotChecked,
        ConditionType::ReferencesResolved
        | ConditionType::Reachable
        | ConditionType::ServerReady
        | ConditionType::Authenticated
        | ConditionType::Authorized => reason.truth() != Truth::True,
        ConditionType::Reconciling
        | ConditionType::Stalled
        | ConditionType::CredentialsExpiring
        | ConditionType::CertificateExpiring => false,
    }
}

/// Whether Ready of a connection can have this reason of Ready.
pub fn is_of_connections(reason: Reason) -> bool {
    ![Reason::EndpointsHealthy, Reason::EndpointsDegraded].contains(&reason)
}

/// The event for a request whose value is too long. No check answers it.
pub fn request_too_long() -> Transition {
    Notice::RequestTooLong.event(format!(
        "The value of the annotation {REQUESTED_AT} is longer than {MAX_REQUEST_CHARACTERS} characters, so it is ignored. Write a shorter one, such as the time."
    ))
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
        _ => {
            let before = was.map(|was| {
                // Ready can have another reason without a new time: then that is the time of the status.
                let lasted = is.last_transition_time.0.duration_since(was.last_transition_time.0);
                Before { reason: was.reason, lasted: Duration::try_from(lasted).unwrap_or_default() }
            });
            let note = match before.as_ref().filter(|before| works && !before.lasted.is_zero()) {
                Some(Before { reason, lasted }) => {
                    let note = format!("It was not Ready for {} ({reason}).", shown(*lasted));
                    conditions::noted(&is.message, &note)
                }
                None => is.message,
            };
            Some(Transition { warning: is.status == Truth::False.as_str(), reason: is.reason, note, before })
        }
    }
}

// === impl Notice ===

impl Notice {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RequestTooLong, Self::DeletedInUse];

    /// The reason of the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestTooLong => "RequestTooLong",
            Self::DeletedInUse => "DeletedInUse",
        }
    }

    /// When it is published, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::RequestTooLong => {
                "The value of the annotation `appconnections.dev/requestedAt` is too long, so no check answers it."
            }
            Self::DeletedInUse => "The gateway was deleted while connections named it.",
        }
    }

    /// The kinds of objects that it is about, for people.
    pub fn kinds(self) -> &'static str {
        match self {
            Self::RequestTooLong => "both",
            Self::DeletedInUse => "VaultGateway",
        }
    }

    /// The event.
    pub fn event(self, note: String) -> Transition {
        Transition { warning: true, reason: self.as_str().to_owned(), note, before: None }
    }
}

/// A duration as kubectl shows ages: its two largest units.
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units =
        [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let largest = units[first..].iter().take(2).filter(|(count, unit)| *count > 0 || *unit == units[first].1);
    largest.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
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
    fn an_event_says_for_how_long_it_was_down() {
        let ready = |reason: Reason, second| {
            let verdict = Verdict {
                condition: ConditionType::Ready,
                truth: reason.truth(),
                reason,
                message: "m".to_owned(),
            };
            fold(&[], &[verdict], 1, at(second))
        };
        let note = |before: &[Condition], after: &[Condition]| {
            transition(before, after).map(|event| event.note).unwrap_or_default()
        };
        let (down, up) = (ready(Reason::Sealed, 100), ready(Reason::Connected, 100 + 252));
        assert_eq!(note(&down, &up), "m It was not Ready for 4m12s (Sealed).");
        assert_eq!(note(&up, &ready(Reason::Sealed, 999)), "m");
        assert_eq!(note(&[], &ready(Reason::Sealed, 999)), "m");
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_server_takes_and_says_for_how_long_all_the_same() {
        let verdict = |reason: Reason, message: &str| Verdict {
            condition: ConditionType::Ready,
            truth: reason.truth(),
            reason,
            message: message.to_owned(),
        };
        let down = fold(&[], &[verdict(Reason::GatewayUnreachable, "m")], 1, at(0));
        let up = fold(&down, &[verdict(Reason::EndpointsDegraded, &"m".repeat(2000))], 1, at(9));
        let note = transition(&down, &up).expect("it is one").note;
        assert_eq!(note.len(), conditions::MAX_MESSAGE_BYTES);
        assert!(note.ends_with("m It was not Ready for 9s (GatewayUnreachable)."), "{note}");
    }

    #[test]
    fn a_duration_is_shown_by_its_two_largest_units() {
        let table = [
            (0, "0s"),
            (9, "9s"),
            (60, "1m"),
            (252, "4m12s"),
            (3600, "1h"),
            (3660, "1h1m"),
            (90_061, "1d1h"),
        ];
        for (seconds, expected) in table {
            assert_eq!(shown(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn only_transitions_are_reported() {
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
            let event = transition(&status(*before), &status(Some(*after)));
            assert_eq!(event.map(|event| event.warning), *warning, "{before:?} -> {after:?}");
        }
    }
}
