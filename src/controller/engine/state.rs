//! What the engine remembers of one object from one reconcile to the next.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::verify::{schedule::Inputs, status::Circumstances};

/// What is remembered of one object. Held while a check is under way.
#[derive(Debug)]
pub struct State<M> {
    /// The `metadata.uid` that it is about. Another one is another object, whatever its name.
    pub(super) uid: Arc<str>,
    /// What the kind remembers. The entry of the object has it, too, for others.
    pub memory: Arc<M>,
    /// The last check of this process.
    pub(super) checked: Option<LastCheck>,
    /// When the last check was that a change of an object or a request asked for.
    pub(super) last_extra: Option<Timestamp>,
    /// Whether an event says that the request is too long, since the last one that was answered.
    pub(super) too_long_reported: bool,
}

/// When and for what an object was last checked.
#[derive(Debug)]
pub(super) struct LastCheck {
    /// The generation of the spec.
    generation: i64,
    /// The value of the annotation that asks for a check.
    request: Option<String>,
    /// When.
    at: Timestamp,
    /// When to check again.
    pub(super) next: Timestamp,
}

// === impl State ===

impl<M> State<M> {
    /// Nothing was checked yet.
    pub(super) fn new(uid: Arc<str>, memory: Arc<M>) -> Self {
        Self { uid, memory, checked: None, last_extra: None, too_long_reported: false }
    }

    /// Notes that a check ended now, and when the next is to be.
    pub(super) fn note(&mut self, around: &Circumstances<'_>, wait: Duration) {
        self.checked = Some(LastCheck {
            generation: around.generation,
            request: around.requested_at.map(str::to_owned),
            at: around.now,
            next: around.now.checked_add(wait).unwrap_or(Timestamp::MAX),
        });
    }

    /// When the next check is to be, if one was made.
    pub(super) fn next_check(&self) -> Option<Timestamp> {
        self.checked.as_ref().map(|checked| checked.next)
    }

    /// What decides whether a check is due. `answered` is the request that the status says was answered: an earlier
    /// process may have done that.
    pub(super) fn due_inputs<'a>(
        &'a self,
        around: &Circumstances<'a>,
        answered: Option<&'a str>,
        stale: bool,
        triggered: bool,
    ) -> Inputs<'a> {
        let checked = self.checked.as_ref();
        Inputs {
            generation: around.generation,
            checked_generation: checked.map(|checked| checked.generation),
            requested_at: around.requested_at,
            handled_request: checked.map_or(answered, |checked| checked.request.as_deref()),
            stale,
            triggered,
            next_check: checked.map(|checked| checked.next),
            last_check: checked.map(|checked| checked.at),
            last_extra: self.last_extra,
        }
    }
}
