//! What is kept of one connection from one check to the next.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::status::VaultConnectionStatus,
    check::CheckState,
    spec::Target,
    verify::{memory::Memory, schedule::Inputs},
};

/// What is kept of one connection from one check to the next. Held while a check is under way.
pub struct ConnectionState {
    /// The `metadata.uid` that it is about. Another one is another connection, whatever its name.
    pub uid: String,
    /// What is kept between checks.
    pub check: CheckState,
    /// The last check of this process.
    pub checked: Option<LastCheck>,
    /// When the last check was that a change of an object or a request asked for.
    pub last_extra: Option<Timestamp>,
    /// Whether an event says that the request is too long, since the last one that was answered.
    pub too_long_reported: bool,
}

/// When and for what a connection was last checked.
#[derive(Clone, Debug)]
pub struct LastCheck {
    /// The generation of the spec.
    pub generation: i64,
    /// The value of the annotation that asks for a check.
    pub request: Option<String>,
    /// When.
    pub at: Timestamp,
    /// When to check again.
    pub next: Timestamp,
}

// === impl ConnectionState ===

impl ConnectionState {
    /// Nothing was checked yet.
    pub fn new(uid: String) -> Self {
        Self { uid, check: CheckState::default(), checked: None, last_extra: None, too_long_reported: false }
    }

    /// Recalls what an earlier process learned, if its status is about this generation. Called before the first check.
    pub fn recall(&mut self, target: &Target, written: &VaultConnectionStatus, generation: i64) {
        if written.observed_generation == Some(generation) {
            self.check.recall(Memory::restore(target, written));
        }
    }

    /// How much time a check that begins now has, if a Ready could get too old by it.
    pub fn time_left(&self, interval: Duration, now: Timestamp) -> Option<Duration> {
        self.check.memory.stability.time_left(interval, now)
    }

    /// What decides whether a check is due. `answered` is the request that the status says was answered: an earlier
    /// process may have done that.
    pub fn due_inputs<'a>(
        &'a self,
        generation: i64,
        (requested_at, answered): (Option<&'a str>, Option<&'a str>),
        stale: bool,
        triggered: bool,
    ) -> Inputs<'a> {
        Inputs {
            generation,
            checked_generation: self.checked.as_ref().map(|checked| checked.generation),
            requested_at,
            handled_request: self.checked.as_ref().map_or(answered, |checked| checked.request.as_deref()),
            stale,
            triggered,
            next_check: self.checked.as_ref().map(|checked| checked.next),
            last_check: self.checked.as_ref().map(|checked| checked.at),
            last_extra: self.last_extra,
        }
    }

    /// When something is due again without any change.
    pub fn next(&self) -> Option<Timestamp> {
        let check = self.checked.as_ref().map(|checked| checked.next);
        let read = self.check.read_again.filter(|_| check.is_some());
        check.into_iter().chain(read).min()
    }
}
