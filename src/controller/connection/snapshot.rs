//! What can be told of a connection at any time, also while a check of it is under way.

use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};

use super::Guarded;
use crate::{api::condition::ConditionType, conditions, spec::Desired, verify::stability};

/// How much later than the last moment for a check an old Ready ends, by a timer: a check that has taken all its time
/// says why it failed.
const AFTER_LAST_CHECK: Duration = Duration::from_millis(250);

/// How long the Ready of an earlier spec may stand when the present one cannot be checked at all.
const LONGEST_WITHOUT_SPEC: Duration = Duration::from_secs(10);

/// What can be told of a connection at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    uid: String,
    generation: i64,
    ready: bool,
    expires: Option<Instant>,
    /// Whether the status is kept, so that the one in the object is not needed.
    keeps_status: bool,
}

// === impl Snapshot ===

impl Snapshot {
    /// Takes in the state of the object. The age of a Ready that an earlier process wrote is not known: it counts from
    /// the first sight of it.
    pub fn saw(&mut self, object: &Guarded, now: Instant) {
        let meta = object.meta();
        let (uid, generation) = (object.uid().unwrap_or_default(), meta.generation.unwrap_or_default());
        if self.uid == uid && self.generation == generation {
            return;
        }
        let spec = object.0.as_ref().ok().map(|connection| &connection.spec);
        let desired =
            spec.and_then(|spec| Desired::parse(spec).ok()).filter(|_| spec.is_some_and(|it| !it.suspend));
        let longest =
            desired.map_or(LONGEST_WITHOUT_SPEC, |desired| stability::longest_ready(desired.interval));
        let latest = now + longest + AFTER_LAST_CHECK;
        if self.uid == uid {
            // The present spec may ask for more checks than the one that the Ready is about.
            self.expires = self.expires.map(|expires| expires.min(latest));
        } else {
            let status = object.0.as_ref().ok().and_then(|connection| connection.status.as_ref());
            self.ready =
                status.is_some_and(|status| conditions::is_true(&status.conditions, ConditionType::Ready));
            self.expires = self.ready.then_some(latest);
            self.keeps_status = false;
        }
        (self.uid, self.generation) = (uid, generation);
    }

    /// Notes a check that passed at this moment.
    pub fn earned(&mut self, interval: Duration, at: Instant) {
        self.expires = Some(at + stability::longest_ready(interval) + AFTER_LAST_CHECK);
    }

    /// Notes that the status of the object with this `metadata.uid` is kept.
    pub fn keeps_status(&mut self, uid: &str) {
        self.keeps_status |= self.uid == uid;
    }

    /// Whether the status of that object is kept.
    pub fn has_status(&self, uid: &str) -> bool {
        self.keeps_status && self.uid == uid
    }

    /// Notes whether the status calls the connection Ready.
    pub fn is_told(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Whether the status calls the connection Ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// When the Ready must end, if there is one and it is not earned anew.
    pub fn expires(&self) -> Option<Instant> {
        self.expires.filter(|_| self.ready)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::{Value, json};

    use super::*;

    fn object(uid: &str, generation: i64, interval: &str, ready: bool) -> Value {
        let conditions = json!([{
            "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "Connected", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
            "metadata": {"name": "a", "namespace": "ns", "uid": uid, "generation": generation},
            "spec": {
                "instanceUrl": "https://vault.example.com",
                "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}},
                "check": {"interval": interval},
            },
            "status": {"observedGeneration": 1, "conditions": conditions},
        })
    }

    fn guarded(value: Value) -> Guarded {
        serde_json::from_value::<DeserializeGuard<_>>(value).expect("it has metadata")
    }

    fn seconds(snapshot: &Snapshot, start: Instant) -> Option<u64> {
        snapshot.expires().map(|expires| expires.duration_since(start).as_secs())
    }

    #[test]
    fn a_ready_ends_before_the_last_check_that_passed_is_two_intervals_old() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        snapshot.saw(&guarded(object("u", 1, "30s", false)), start);
        assert_eq!(seconds(&snapshot, start), None);
        snapshot.earned(Duration::from_secs(30), start);
        assert_eq!(seconds(&snapshot, start), None, "nobody has said so yet");
        snapshot.is_told(true);
        assert_eq!(seconds(&snapshot, start), Some(59), "a second is for the write");
        snapshot.earned(Duration::from_secs(30), start + Duration::from_secs(30));
        assert_eq!(seconds(&snapshot, start), Some(89));
        snapshot.saw(&guarded(object("u", 1, "30s", true)), start + Duration::from_secs(40));
        assert_eq!(seconds(&snapshot, start), Some(89), "the echo of a write says nothing new");
        snapshot.is_told(false);
        assert_eq!(seconds(&snapshot, start), None);
    }

    #[test]
    fn a_status_is_kept_for_the_object_that_it_is_about() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        snapshot.saw(&guarded(object("u", 1, "30s", true)), start);
        assert!(!snapshot.has_status("u"));
        snapshot.keeps_status("former");
        assert!(!snapshot.has_status("u"));
        snapshot.keeps_status("u");
        snapshot.saw(&guarded(object("u", 2, "30s", true)), start);
        assert!(snapshot.has_status("u"));
        snapshot.saw(&guarded(object("another", 1, "30s", true)), start);
        assert!(!snapshot.has_status("another") && !snapshot.has_status("u"));
    }

    #[test]
    fn a_ready_of_an_earlier_process_counts_from_its_first_sight() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        snapshot.saw(&guarded(object("u", 1, "30s", true)), start);
        assert!(snapshot.is_ready());
        assert_eq!(seconds(&snapshot, start), Some(59));
        snapshot.saw(&guarded(object("another", 1, "30s", false)), start);
        assert!(!snapshot.is_ready(), "another object of this name");
    }

    #[test]
    fn a_ready_of_an_earlier_spec_ends_by_the_rules_of_the_present_one() {
        let start = Instant::now();
        let changed = |change: fn(&mut Value)| {
            let mut snapshot = Snapshot::default();
            snapshot.saw(&guarded(object("u", 1, "10m", true)), start);
            let mut value = object("u", 2, "10m", true);
            change(&mut value);
            snapshot.saw(&guarded(value), start);
            seconds(&snapshot, start)
        };
        assert_eq!(changed(|_| ()), Some(1199));
        assert_eq!(changed(|value| value["spec"]["check"]["interval"] = json!("10s")), Some(19));
        assert_eq!(changed(|value| value["spec"]["instanceUrl"] = json!("not a URL")), Some(10));
        assert_eq!(changed(|value| value["spec"] = json!("cannot be read")), Some(10));
        assert_eq!(changed(|value| value["spec"]["suspend"] = json!(true)), Some(10));
    }
}
