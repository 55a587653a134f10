//! What the last check of a connection rested on, and what has been seen since.
//!
//! A watch replays what is already known: after a start, after a break, or late. Only a state that differs from the
//! one that was read is news.

use std::collections::BTreeMap;

use super::{Version, Versions};
use crate::refs::ObjectName;

/// The books of one connection.
#[derive(Debug, Default)]
pub struct Ledger {
    rested_on: Versions,
    seen: BTreeMap<ObjectName, Option<Version>>,
}

// === impl Ledger ===

impl Ledger {
    /// Notes an event of a watch: the state of an object, or none when it is gone or lost its label.
    pub fn saw(&mut self, object: ObjectName, version: Option<Version>) {
        self.seen.insert(object, version);
    }

    /// Forgets what was seen. Called before the objects are read, so that what happens meanwhile is kept.
    pub fn begin_reading(&mut self) {
        self.seen.clear();
    }

    /// Notes what was read.
    pub fn rest_on(&mut self, versions: Versions) {
        self.rested_on = versions;
    }

    /// Whether an object has been seen in another state than the one that was read.
    pub fn is_stale(&self) -> bool {
        self.seen.iter().any(|(object, version)| self.rested_on.get(object) != Some(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(resource_version: &str) -> Version {
        Version { uid: "u".to_owned(), resource_version: resource_version.to_owned() }
    }

    fn secret() -> ObjectName {
        ObjectName::secret("s")
    }

    fn rested_on(resource_version: &str) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin_reading();
        ledger.rest_on(BTreeMap::from([(secret(), Some(version(resource_version)))]));
        ledger
    }

    #[test]
    fn a_replay_is_no_news_and_a_change_is() {
        let mut ledger = rested_on("1");
        assert!(!ledger.is_stale());
        ledger.saw(secret(), Some(version("1")));
        assert!(!ledger.is_stale());
        ledger.saw(secret(), Some(version("2")));
        assert!(ledger.is_stale());
        ledger.begin_reading();
        ledger.rest_on(BTreeMap::from([(secret(), Some(version("2")))]));
        assert!(!ledger.is_stale());
    }

    #[test]
    fn a_change_during_the_reading_is_kept() {
        let mut ledger = rested_on("1");
        ledger.begin_reading();
        ledger.saw(secret(), Some(version("2")));
        ledger.rest_on(BTreeMap::from([(secret(), Some(version("1")))]));
        assert!(ledger.is_stale());
    }

    #[test]
    fn an_object_that_comes_or_goes_is_news() {
        let mut missing = Ledger::default();
        missing.rest_on(BTreeMap::from([(secret(), None)]));
        missing.saw(secret(), None);
        assert!(!missing.is_stale());
        missing.saw(secret(), Some(version("1")));
        assert!(missing.is_stale());

        let mut there = rested_on("1");
        there.saw(secret(), None);
        assert!(there.is_stale());
    }

    #[test]
    fn a_late_event_costs_one_look_and_not_a_loop() {
        let mut ledger = rested_on("2");
        ledger.saw(secret(), Some(version("1")));
        assert!(ledger.is_stale());
        ledger.begin_reading();
        ledger.rest_on(BTreeMap::from([(secret(), Some(version("2")))]));
        assert!(!ledger.is_stale());
    }
}
