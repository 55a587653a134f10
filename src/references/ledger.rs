//! What the last check of a connection rested on, and what has been seen since.
//!
//! A watch replays what is already known: after a start, after a break, or late. Only a state that differs from the
//! one that was read is news.

use super::{Version, Versions};
use crate::names::ObjectName;

/// The books of one connection.
#[derive(Debug, Default)]
pub struct Ledger {
    rested_on: Versions,
    /// What has been seen in another state than the one that was read; while the objects are to be read, whatever has been seen.
    seen: Vec<(ObjectName, Option<Version>)>,
    settled: bool,
    readings: u64,
    /// Whether the objects were to be read and could not be.
    unread: bool,
}

/// How the objects stand to what was read of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing is known to differ.
    Fresh,
    /// An object differs, and another may be about to: it is too early to read them.
    Settling,
    /// An object differs, or may: it was to be read and could not be.
    Stale,
}

// === impl Ledger ===

impl Ledger {
    /// Notes an event of a watch: the state of an object, or none when it is gone or lost its label.
    pub fn saw(&mut self, object: ObjectName, version: Option<Version>) {
        self.seen.retain(|(other, _)| *other != object);
        if self.unread || self.rested_on.get(&object) != Some(&version) {
            self.seen.push((object, version));
        }
    }

    /// Forgets what was seen. Called before the objects are read, so that what happens meanwhile is kept.
    pub fn begin_reading(&mut self) {
        self.seen.clear();
        self.settled = false;
        self.unread = true;
    }

    /// Notes that the objects had time to settle since the first of them changed, if one did.
    pub fn settle(&mut self) {
        self.settled = self.freshness() != Freshness::Fresh;
    }

    /// Notes what was read.
    pub fn rest_on(&mut self, versions: Versions) {
        self.rested_on = versions;
        self.readings += 1;
        self.unread = false;
        let rested_on = &self.rested_on;
        self.seen.retain(|(object, version)| rested_on.get(object) != Some(version));
        self.seen.shrink_to_fit();
    }

    /// How often the objects were read. A change that is seen after a reading is another one than those before.
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Whether an object has been seen in another state than the one that was read.
    pub fn freshness(&self) -> Freshness {
        let is_as_read = |(object, version): &(ObjectName, _)| self.rested_on.get(object) == Some(version);
        if self.seen.iter().all(is_as_read) {
            if self.unread { Freshness::Stale } else { Freshness::Fresh }
        } else if self.settled {
            Freshness::Stale
        } else {
            Freshness::Settling
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(resource_version: &str) -> Version {
        Version { uid: "u".into(), resource_version: resource_version.to_owned() }
    }

    fn secret() -> ObjectName {
        ObjectName::secret("s")
    }

    fn rested_on(resource_version: &str) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin_reading();
        ledger.rest_on(Versions::from([(secret(), Some(version(resource_version)))]));
        ledger
    }

    #[test]
    fn a_replay_is_no_news_and_a_change_is() {
        let mut ledger = rested_on("1");
        assert_eq!(ledger.freshness(), Freshness::Fresh);
        ledger.saw(secret(), Some(version("1")));
        assert_eq!(ledger.freshness(), Freshness::Fresh);
        ledger.saw(secret(), Some(version("2")));
        assert_eq!(ledger.freshness(), Freshness::Settling);
        ledger.begin_reading();
        ledger.rest_on(Versions::from([(secret(), Some(version("2")))]));
        assert_eq!(ledger.freshness(), Freshness::Fresh);
    }

    #[test]
    fn objects_settle_before_they_are_read() {
        let mut ledger = rested_on("1");
        ledger.settle();
        assert_eq!(ledger.freshness(), Freshness::Fresh);
        ledger.begin_reading();
        ledger.rest_on(Versions::from([(secret(), Some(version("1")))]));
        ledger.saw(secret(), Some(version("2")));
        assert_eq!(ledger.freshness(), Freshness::Settling);
        ledger.settle();
        assert_eq!(ledger.freshness(), Freshness::Stale);
        ledger.saw(secret(), Some(version("1")));
        assert_eq!(ledger.freshness(), Freshness::Fresh, "it was changed back");
    }

    #[test]
    fn a_settle_time_that_ends_without_a_change_does_not_count_for_a_later_one() {
        let mut ledger = rested_on("1");
        ledger.settle();
        ledger.saw(secret(), Some(version("2")));
        assert_eq!(ledger.freshness(), Freshness::Settling);
    }

    #[test]
    fn a_change_during_the_reading_is_kept() {
        let mut ledger = rested_on("1");
        ledger.begin_reading();
        ledger.saw(secret(), Some(version("2")));
        ledger.rest_on(Versions::from([(secret(), Some(version("1")))]));
        assert_eq!(ledger.freshness(), Freshness::Settling);
    }

    #[test]
    fn a_change_that_could_not_be_read_is_not_forgotten() {
        let mut ledger = rested_on("1");
        ledger.saw(secret(), Some(version("2")));
        ledger.settle();
        ledger.begin_reading();
        assert_eq!(ledger.freshness(), Freshness::Stale, "the reading failed");
        ledger.rest_on(Versions::from([(secret(), Some(version("2")))]));
        assert_eq!(ledger.freshness(), Freshness::Fresh);
    }

    #[test]
    fn an_object_that_comes_or_goes_is_news() {
        let mut missing = Ledger::default();
        missing.rest_on(Versions::from([(secret(), None)]));
        missing.saw(secret(), None);
        assert_eq!(missing.freshness(), Freshness::Fresh);
        missing.saw(secret(), Some(version("1")));
        assert_eq!(missing.freshness(), Freshness::Settling);

        let mut there = rested_on("1");
        there.saw(secret(), None);
        assert_eq!(there.freshness(), Freshness::Settling);
    }

    #[test]
    fn a_late_event_costs_one_look_and_not_a_loop() {
        let mut ledger = rested_on("2");
        ledger.saw(secret(), Some(version("1")));
        assert_eq!(ledger.freshness(), Freshness::Settling);
        ledger.begin_reading();
        ledger.rest_on(Versions::from([(secret(), Some(version("2")))]));
        assert_eq!(ledger.freshness(), Freshness::Fresh);
    }
}
