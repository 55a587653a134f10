//! The status of one object: what we wrote last, what is to be written, and what somebody else wrote over it.
//!
//! Nobody but the operator has to write a status. What a person, a restore from a backup or another operator writes over
//! ours is replaced by ours, without a check, and at most once in [`CORRECTION_INTERVAL`]: two that correct one another
//! do not keep the API server busy.

use std::{
    hash::{DefaultHasher, Hasher as _},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::{last_write::LastWrite, snapshot::Snapshot};
use crate::{
    api::condition::ConditionType,
    references::Version,
    verify::kept::{Facts, Keep},
};

/// Shortest time between two corrections of the status of one object.
pub const CORRECTION_INTERVAL: Duration = Duration::from_secs(5);

/// How long after a correction another one is not worth a line in the log: of two that correct one another, one line for each object
/// tells enough, and a metric counts them.
const CORRECTION_MEMORY: Duration = Duration::from_mins(10);

/// The status of one object. Held while it is written.
pub struct Published<S: Keep> {
    /// The `metadata.uid` that it is about.
    pub uid: Arc<str>,
    /// The status as the API server has it. What the watch shows of it is the same one.
    written: Arc<S::Kept>,
    /// The status that is true, if the API server does not have it yet.
    pending: Option<Arc<S::Kept>>,
    /// Our last write.
    last_write: LastWrite,
    /// When that was.
    written_at: Option<Instant>,
}

/// Whose status the watch shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<S> {
    /// It says what we wrote.
    Ours,
    /// It says something else: it is older, or somebody else has written it.
    Another,
    /// The replica that looked after the object until now wrote it, so we go on with it. This is the one that we had until now.
    TakenOver(Arc<S>),
    /// Somebody else has written it, and ours is to be written again.
    Overwritten {
        /// Whether that happened a short time ago, too.
        again: bool,
    },
}

// === impl Published ===

impl<S: Keep + Serialize> Published<S> {
    /// The status that an object had when it was first seen. Whatever else it may be then, it is what we go on with.
    pub fn adopt(seen: &Version, status: Arc<S::Kept>, snapshot: &mut Snapshot) -> Self {
        let last_write = LastWrite::adopted(seen);
        snapshot.wrote(&last_write, digest(&S::restored(&status)));
        Self { uid: seen.uid.clone(), written: status, pending: None, last_write, written_at: None }
    }

    /// The status that is true, whether the API server has it yet or not.
    pub fn status(&self) -> Arc<S> {
        Arc::new(S::restored(self.pending.as_ref().unwrap_or(&self.written)))
    }

    /// What the status that is true says of the next check.
    pub fn facts(&self) -> Facts<'_> {
        S::facts(self.pending.as_ref().unwrap_or(&self.written))
    }

    /// Whether the API server does not have the status that is true.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The status as the API server has it.
    pub fn written(&self) -> &Arc<S::Kept> {
        &self.written
    }

    /// Whether the API server has the status that is true, and since when, if we wrote it.
    pub fn written_at(&self) -> Option<Instant> {
        self.written_at
    }

    /// Takes in the status that the watch shows in the state `seen` of the object: if it is not ours, ours is to be written
    /// again, as soon as it may.
    pub fn saw(
        &mut self,
        seen: &Version,
        shown: &Arc<S::Kept>,
        snapshot: &mut Snapshot,
        now: Instant,
    ) -> Shown<S> {
        if self.pending.is_some() {
            return Shown::Another;
        }
        let digest_of = |kept: &S::Kept| digest(&S::restored(kept));
        let is_ours = Arc::ptr_eq(shown, &self.written) || digest_of(shown) == digest_of(&self.written);
        if is_ours || !self.last_write.is_older_than(seen) {
            snapshot.is_as_written();
            return if is_ours { Shown::Ours } else { Shown::Another };
        }
        if snapshot.is_taken_over() {
            self.last_write = LastWrite::adopted(seen);
            snapshot.wrote(&self.last_write, digest_of(shown));
            let before = self.status();
            self.written = Arc::clone(shown);
            return Shown::TakenOver(before);
        }
        let again = snapshot.has_corrected_within(CORRECTION_MEMORY, now);
        if !snapshot.may_correct(now) {
            return Shown::Another;
        }
        self.pending = Some(mem::replace(&mut self.written, Arc::clone(shown)));
        Shown::Overwritten { again }
    }

    /// Makes another status true.
    pub fn replace(&mut self, status: S) {
        self.pending = Some(Arc::new(status.keep()));
    }

    /// What is to be written, and to which state of an object that the watch shows in `seen`.
    pub fn to_write(&self, seen: &Version) -> Option<(Version, S)> {
        self.pending.as_ref().map(|status| (self.last_write.state_to_write(seen), S::restored(status)))
    }

    /// Notes that the pending status was applied, which led to the state `after`. Returns the status that it replaced.
    pub fn wrote(&mut self, seen: &Version, after: Version, snapshot: &mut Snapshot) -> Option<S> {
        let status = self.pending.take()?;
        self.last_write.wrote(seen.clone(), after);
        snapshot.wrote(&self.last_write, digest(&S::restored(&status)));
        self.written_at = Some(Instant::now());
        let before = mem::replace(&mut self.written, status);
        Some(S::restored(&before))
    }

    /// Drops what is pending: the object is gone.
    pub fn gone(&mut self) {
        self.pending = None;
    }
}

/// Tells whether two statuses say the same. What they say in conditions of types that are not ours is not ours.
pub fn digest(status: &impl Serialize) -> u64 {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(Value::Array(conditions)) = value.get_mut("conditions") {
        conditions.retain(|condition| condition["type"].as_str().is_some_and(ConditionType::is_ours));
        // A list of our own and one that was merged with another's may differ in their order.
        conditions.sort_by(|one, other| one["type"].as_str().cmp(&other["type"].as_str()));
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(value.to_string().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn state(resource_version: &str) -> Version {
        Version { uid: "u".into(), resource_version: resource_version.to_owned() }
    }

    impl Keep for Value {
        type Kept = Self;

        fn keep(self) -> Self {
            self
        }

        fn restored(kept: &Self) -> Self {
            kept.clone()
        }

        fn last_check(_: &Self) -> Option<Timestamp> {
            None
        }

        fn facts(_: &Self) -> Facts<'_> {
            Facts { observed_generation: None, is_ready: false, handled_request: None }
        }
    }

    fn status(ready: &str) -> Arc<Value> {
        Arc::new(json!({"conditions": [{"type": "Ready", "status": ready}]}))
    }

    #[test]
    fn what_somebody_else_wrote_over_ours_is_to_be_replaced_by_ours() {
        let (mut snapshot, now) = (Snapshot::default(), Instant::now());
        let mut published = Published::<Value>::adopt(&state("10"), status("False"), &mut snapshot);
        let mut saw = |version: &str, ready: &str| {
            published.saw(&state(version), &status(ready), &mut snapshot, now);
            let written = published.to_write(&state(version));
            published.wrote(&state(version), state("20"), &mut snapshot);
            written.map(|(version, status)| (version.resource_version, Arc::new(status)))
        };
        assert_eq!(saw("10", "False"), None);
        assert_eq!(saw("9", "True"), None, "the watch lags behind");
        assert_eq!(saw("11", "False"), None, "another part of the object has changed");
        assert_eq!(saw("12", "True"), Some(("12".to_owned(), status("False"))));
        assert_eq!(saw("12", "True"), None, "the watch does not know of the correction yet");
        assert_eq!(saw("20", "False"), None);
        assert_eq!(published.status(), status("False"));
    }

    #[test]
    fn what_another_replica_wrote_last_is_not_replaced_by_what_it_wrote_before() {
        let (mut snapshot, now) = (Snapshot::default(), Instant::now());
        snapshot.taken_over();
        let mut published = Published::<Value>::adopt(&state("10"), status("True"), &mut snapshot);
        let late = published.saw(&state("12"), &status("False"), &mut snapshot, now);
        assert_eq!(late, Shown::TakenOver(status("True")));
        assert_eq!((published.to_write(&state("12")), published.status()), (None, status("False")));
        snapshot.reported();
        let other = published.saw(&state("13"), &status("True"), &mut snapshot, now);
        assert_eq!(other, Shown::Overwritten { again: false });
        let (_, correction) = published.to_write(&state("13")).expect("somebody else has written");
        assert_eq!(correction, *status("False"));
    }

    #[test]
    fn two_that_correct_one_another_do_so_rarely() {
        let (mut snapshot, begin) = (Snapshot::default(), Instant::now());
        let mut published = Published::<Value>::adopt(&state("1"), status("False"), &mut snapshot);
        let (mut corrections, mut first) = (0, 0);
        for step in 0..600_u64 {
            let now = begin + Duration::from_millis(step * 100);
            let (seen, after) = (state(&(step * 2 + 2).to_string()), state(&(step * 2 + 3).to_string()));
            let shown = published.saw(&seen, &status("True"), &mut snapshot, now);
            first += usize::from(shown == Shown::Overwritten { again: false });
            corrections += usize::from(published.wrote(&seen, after, &mut snapshot).is_some());
        }
        assert_eq!(corrections, 12, "in a minute");
        assert_eq!(first, 1, "of which the log has one");
        assert!(snapshot.wake().is_some(), "the next one needs no event");
    }

    #[test]
    fn conditions_of_others_are_not_compared() {
        let ours = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Authorized"}]});
        let table = [
            (json!({"conditions": [{"type": "Authorized"}, {"type": "Ready", "status": "True"}]}), true),
            (
                json!({"conditions": [{"type": "Theirs"}, {"type": "Ready", "status": "True"}, {"type": "Authorized"}]}),
                true,
            ),
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), false),
            (
                json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Authorized"}, {"type": "Stalled"}]}),
                false,
            ),
            (json!({"state": "Connected", "conditions": ours["conditions"]}), false),
        ];
        for (other, same) in table {
            assert_eq!(digest(&ours) == digest(&other), same, "{other}");
        }
    }
}
