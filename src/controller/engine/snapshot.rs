//! What is known of an object at any time, also while a check of it is under way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{last_write::LastWrite, published::CORRECTION_INTERVAL};
use crate::{references::Version, verify::stability};

/// How much later than the last moment for a check an old Ready ends, by a timer: a check that has taken all its time
/// says why it failed.
const AFTER_LAST_CHECK: Duration = Duration::from_millis(250);

/// How long the Ready of an earlier spec may stand when the present one cannot be checked at all.
const MAX_READY_WITHOUT_SPEC: Duration = Duration::from_secs(10);

/// What is known of an object at any time.
#[derive(Debug, Default)]
pub struct Snapshot {
    uid: Arc<str>,
    generation: i64,
    ready: bool,
    expires: Option<Instant>,
    /// Our last write, and the digest of its status.
    written: Option<(LastWrite, u64)>,
    /// When our status is to be written again over that of somebody else, which may be there.
    correct_at: Option<Instant>,
    /// When that was done last.
    corrected: Option<Instant>,
    /// Another replica looked after the object until now, and we have reported nothing of it yet. What that replica wrote last, the
    /// watch may show only now.
    is_taken_over: bool,
}

/// A state of an object, as the watch shows it.
pub struct Shown<'a> {
    /// The object, in this state.
    pub version: &'a Version,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether its status calls it Ready.
    pub ready: bool,
    /// The digest of its status, if that can be read.
    pub digest: &'a dyn Fn() -> Option<u64>,
    /// The interval of its checks; none if nothing can be checked.
    pub interval: &'a dyn Fn() -> Option<Duration>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Takes in the state of the object. The age of a Ready that an earlier process wrote is not known: it counts from
    /// the first sight of it.
    pub fn saw(&mut self, shown: &Shown<'_>, now: Instant) {
        let Version { uid, .. } = shown.version;
        if self.uid == *uid && !self.is_taken_over {
            self.compare(shown, now);
            if self.generation == shown.generation {
                return;
            }
        }
        let longest = (shown.interval)().map_or(MAX_READY_WITHOUT_SPEC, stability::longest_ready);
        let latest = now + longest + AFTER_LAST_CHECK;
        if self.uid == *uid {
            // The present spec may ask for more checks than the one that the Ready is about.
            self.expires = self.expires.map(|expires| expires.min(latest));
            if self.is_taken_over {
                self.ready = shown.ready;
                self.expires = self.expires.or(Some(latest)).filter(|_| shown.ready);
            }
        } else {
            self.ready = shown.ready;
            self.expires = self.ready.then_some(latest);
            (self.written, self.correct_at) = (None, None);
        }
        self.uid.clone_from(uid);
        self.generation = shown.generation;
    }

    /// Checks whether somebody else may have written the status. Our own write that nobody has noted yet may seem so, too.
    fn compare(&mut self, shown: &Shown<'_>, now: Instant) {
        let Some((last_write, digest)) = &self.written else { return };
        if !last_write.is_older_than(shown.version) {
            return;
        }
        self.correct_at = (shown.digest)().filter(|shown| shown != digest).map(|_| self.next_correction(now));
    }

    /// Notes that another replica looked after the object until now.
    pub fn taken_over(&mut self) {
        self.is_taken_over = true;
    }

    /// Whether what the watch shows may be the last write of the replica that looked after it.
    pub(super) fn is_taken_over(&self) -> bool {
        self.is_taken_over
    }

    /// Notes that we know what is true of the object.
    pub(super) fn reported(&mut self) {
        self.is_taken_over = false;
    }

    /// Notes what we wrote.
    pub(super) fn wrote(&mut self, last_write: &LastWrite, digest: u64) {
        self.written = Some((last_write.clone(), digest));
        self.correct_at = None;
    }

    /// Notes that nobody else has written the status.
    pub(super) fn is_as_written(&mut self) {
        self.correct_at = None;
    }

    /// Whether our status may be written again over that of somebody else now; then it is. Else a timer asks again.
    pub(super) fn may_correct(&mut self, now: Instant) -> bool {
        let next = self.next_correction(now);
        if next > now {
            self.correct_at = Some(next);
            return false;
        }
        (self.corrected, self.correct_at) = (Some(now), Some(now + CORRECTION_INTERVAL));
        true
    }

    /// Whether our status was written again over that of somebody else within this time.
    pub(super) fn has_corrected_within(&self, time: Duration, now: Instant) -> bool {
        self.corrected.is_some_and(|corrected| now < corrected + time)
    }

    fn next_correction(&self, now: Instant) -> Instant {
        self.corrected.map_or(now, |corrected| now.max(corrected + CORRECTION_INTERVAL))
    }

    /// Notes a check that passed at this moment.
    pub fn earned(&mut self, interval: Duration, at: Instant) {
        self.expires = Some(at + stability::longest_ready(interval) + AFTER_LAST_CHECK);
    }

    /// Notes whether the status calls the object Ready.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Whether the status calls the object Ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// When the Ready must end, if there is one and it is not earned anew.
    pub fn expires(&self) -> Option<Instant> {
        self.expires.filter(|_| self.ready)
    }

    /// When something must be done about the status that needs no check: the end of a Ready, or a correction.
    pub fn wake(&self) -> Option<Instant> {
        self.expires().into_iter().chain(self.correct_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn show(
        snapshot: &mut Snapshot,
        (uid, generation): (&str, i64),
        interval: Option<Duration>,
        now: Instant,
    ) {
        let version = Version { uid: uid.into(), resource_version: "1".to_owned() };
        let (digest, interval) = (|| None, || interval);
        let shown = Shown {
            version: &version,
            generation,
            ready: uid == "ready",
            digest: &digest,
            interval: &interval,
        };
        snapshot.saw(&shown, now);
    }

    fn seconds(snapshot: &Snapshot, start: Instant) -> Option<u64> {
        snapshot.expires().map(|expires| expires.duration_since(start).as_secs())
    }

    #[test]
    fn a_ready_ends_before_the_last_check_that_passed_is_two_intervals_old() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        show(&mut snapshot, ("u", 1), Some(INTERVAL), start);
        assert_eq!(seconds(&snapshot, start), None);
        snapshot.earned(INTERVAL, start);
        assert_eq!(seconds(&snapshot, start), None, "nobody has said so yet");
        snapshot.set_ready(true);
        assert_eq!(seconds(&snapshot, start), Some(59), "a second is for the write");
        snapshot.earned(INTERVAL, start + INTERVAL);
        assert_eq!(seconds(&snapshot, start), Some(89));
        show(&mut snapshot, ("u", 1), Some(INTERVAL), start + Duration::from_secs(40));
        assert_eq!(seconds(&snapshot, start), Some(89), "the echo of a write says nothing new");
        snapshot.set_ready(false);
        assert_eq!(seconds(&snapshot, start), None);
    }

    #[test]
    fn a_ready_of_an_earlier_process_counts_from_its_first_sight() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        show(&mut snapshot, ("ready", 1), Some(INTERVAL), start);
        assert!(snapshot.is_ready());
        assert_eq!(seconds(&snapshot, start), Some(59));
        show(&mut snapshot, ("another", 1), Some(INTERVAL), start);
        assert!(!snapshot.is_ready(), "another object of this name");
    }

    #[test]
    fn what_another_replica_wrote_last_counts_until_we_report_something() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        let later = start + Duration::from_secs(20);
        let show = |snapshot: &mut Snapshot, ready: bool, now: Instant| {
            let version = Version { uid: "u".into(), resource_version: "1".to_owned() };
            let (digest, interval) = (|| None, || Some(INTERVAL));
            let shown =
                Shown { version: &version, generation: 1, ready, digest: &digest, interval: &interval };
            snapshot.saw(&shown, now);
        };
        snapshot.taken_over();
        show(&mut snapshot, true, start);
        assert_eq!(seconds(&snapshot, start), Some(59));
        show(&mut snapshot, true, later);
        assert_eq!(seconds(&snapshot, start), Some(59), "nobody has checked it since");
        show(&mut snapshot, false, later);
        assert_eq!((snapshot.is_ready(), seconds(&snapshot, start)), (false, None));
        show(&mut snapshot, true, later);
        assert_eq!((snapshot.is_ready(), seconds(&snapshot, start)), (true, Some(79)));
        snapshot.reported();
        show(&mut snapshot, false, later);
        assert!(snapshot.is_ready(), "from now on, only what we write counts");
    }

    #[test]
    fn a_ready_of_an_earlier_spec_ends_by_the_rules_of_the_present_one() {
        let start = Instant::now();
        let changed = |interval: Option<u64>| {
            let mut snapshot = Snapshot::default();
            show(&mut snapshot, ("ready", 1), Some(Duration::from_secs(600)), start);
            show(&mut snapshot, ("ready", 2), interval.map(Duration::from_secs), start);
            seconds(&snapshot, start)
        };
        assert_eq!(changed(Some(600)), Some(1199));
        assert_eq!(changed(Some(10)), Some(19));
        assert_eq!(changed(None), Some(10), "nothing can be checked");
    }

    #[test]
    fn a_status_that_is_not_ours_wakes_at_once_and_then_rarely() {
        let (mut snapshot, start) = (Snapshot::default(), Instant::now());
        let state = |number: u64| Version { uid: "u".into(), resource_version: number.to_string() };
        let show = |snapshot: &mut Snapshot, number: u64, digest: Option<u64>| {
            let (digest, interval) = (|| digest, || None);
            let version = state(number);
            snapshot.saw(
                &Shown {
                    version: &version,
                    generation: 1,
                    ready: false,
                    digest: &digest,
                    interval: &interval,
                },
                start,
            );
            snapshot.wake().map(|wake| wake.duration_since(start))
        };
        assert_eq!(show(&mut snapshot, 1, Some(7)), None, "first sight");
        snapshot.wrote(&LastWrite::adopted(&state(5)), 7);
        assert_eq!(show(&mut snapshot, 4, Some(1)), None, "the watch lags behind");
        assert_eq!(show(&mut snapshot, 6, Some(7)), None, "ours");
        assert_eq!(show(&mut snapshot, 7, None), None, "one that cannot be read");
        assert_eq!(show(&mut snapshot, 8, Some(1)), Some(Duration::ZERO));
        assert!(snapshot.may_correct(start));
        snapshot.wrote(&LastWrite::adopted(&state(9)), 7);
        assert_eq!(snapshot.wake(), None);
        assert_eq!(show(&mut snapshot, 10, Some(1)), Some(CORRECTION_INTERVAL));
        assert!(!snapshot.may_correct(start));
        assert_eq!(show(&mut snapshot, 11, Some(7)), None, "somebody has put it right");
    }
}
