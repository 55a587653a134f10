//! How things stand with one connection, from one look at it to the next.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::observe::Kept;
use crate::{
    api::{condition::ConditionType, desired::Target, status::VaultConnectionStatus},
    conditions,
    controller::last_write::LastWrite,
    verify::{memory::Memory, schedule::Inputs},
};

/// How things stand with one connection.
pub struct Standing {
    /// The `metadata.uid` that it is about. Another one is another connection, whatever its name.
    pub uid: String,
    /// The status as the API server has it.
    pub written: VaultConnectionStatus,
    /// A newer status that could not be written yet.
    pub unwritten: Option<VaultConnectionStatus>,
    /// Our last write.
    pub last_write: LastWrite,
    /// What is kept between checks.
    pub kept: Kept,
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

// === impl Standing ===

impl Standing {
    /// Begins with the status that the API server has.
    pub fn new(uid: String, written: VaultConnectionStatus) -> Self {
        Self {
            uid,
            written,
            unwritten: None,
            last_write: LastWrite::default(),
            kept: Kept::default(),
            checked: None,
            last_extra: None,
            too_long_reported: false,
        }
    }

    /// Recalls what an earlier process learned, if its status is about this generation. Called before the first check.
    pub fn recall(&mut self, target: &Target, generation: i64) {
        if self.written.observed_generation == Some(generation) {
            let known = std::mem::take(&mut self.kept.known);
            self.kept = Kept { known, ..Kept::restored(Memory::restore(target, &self.written)) };
        }
    }

    /// The status that is true, whether the API server has it yet or not.
    pub fn status(&self) -> &VaultConnectionStatus {
        self.unwritten.as_ref().unwrap_or(&self.written)
    }

    /// Whether the status calls this generation of the spec Ready.
    pub fn is_ready(&self, generation: i64) -> bool {
        let status = self.status();
        status.observed_generation == Some(generation)
            && conditions::is_true(&status.conditions, ConditionType::Ready)
    }

    /// How much time a check that begins now has, if a Ready could get too old by it.
    pub fn time_left(&self, generation: i64, interval: Duration, now: Timestamp) -> Option<Duration> {
        self.kept.memory.belief.time_left(interval, now).filter(|_| self.is_ready(generation))
    }

    /// What decides whether a check is due.
    pub fn due_inputs<'a>(
        &'a self,
        generation: i64,
        requested_at: Option<&'a str>,
        stale: bool,
        called: bool,
    ) -> Inputs<'a> {
        // A request that an earlier process answered is recorded in the status.
        let answered = self.written.last_handled_reconcile_at.as_deref();
        Inputs {
            generation,
            checked_generation: self.checked.as_ref().map(|checked| checked.generation),
            requested_at,
            handled_request: self.checked.as_ref().map_or(answered, |checked| checked.request.as_deref()),
            stale,
            called,
            next_check: self.checked.as_ref().map(|checked| checked.next),
            last_check: self.checked.as_ref().map(|checked| checked.at),
            last_extra: self.last_extra,
        }
    }

    /// When something is due again without any change.
    pub fn next(&self) -> Option<Timestamp> {
        let check = self.checked.as_ref().map(|checked| checked.next);
        let read = self.kept.read_again.filter(|_| check.is_some());
        check.into_iter().chain(read).min()
    }
}
