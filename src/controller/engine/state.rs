//! What the engine remembers of one object from one reconcile to the next.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use crate::verify::{
    schedule::{self, Inputs, SLOT},
    status::Circumstances,
};

/// When the slots of this process begin.
static PHASE: LazyLock<Duration> = LazyLock::new(|| SLOT.mul_f64(fastrand::f64()));

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

    /// Notes that a check ended now, and when the next is to be: after a while, or, of one that passed, with others whose time comes
    /// just before that.
    pub(super) fn note(&mut self, around: &Circumstances<'_>, wait: Duration, passed: bool) {
        let next = around.now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let next = if passed { schedule::slot(next, *PHASE).max(around.now) } else { next };
        self.checked = Some(LastCheck {
            generation: around.generation,
            request: around.requested_at.map(str::to_owned),
            at: around.now,
            next,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of the next check of an object whose last one ended at `now`.
    fn next(now: Timestamp, wait: Duration, passed: bool) -> Timestamp {
        let around = Circumstances { generation: 1, requested_at: None, now, jitter: 0.0 };
        let mut state = State::new("u".into(), Arc::new(()));
        state.note(&around, wait, passed);
        state.next_check().expect("it was checked")
    }

    #[test]
    fn what_works_is_checked_together_and_never_late_and_what_fails_at_its_own_time() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("small");
        let minute = Duration::from_mins(1);
        let times: Vec<_> = (0..1000).map(|of| next(at(of), minute, true)).collect();
        for (of, time) in (0..1000).zip(&times) {
            let planned = at(of) + minute;
            assert!(*time <= planned && planned < *time + SLOT, "{of}: {time}");
        }
        let mut begins = times;
        begins.dedup();
        assert!((2..=3).contains(&begins.len()), "{begins:?}");
        assert_eq!(next(at(7), minute, false), at(7) + minute);
        assert_eq!(next(at(7), Duration::ZERO, true), at(7), "never in the past");
    }
}
