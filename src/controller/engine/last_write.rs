//! Our own last write of a status, which the watch may not have shown yet.

use std::sync::Arc;

use crate::references::Version;

/// The state of an object before our last write and after it, if we wrote. A clone is the same pair.
#[derive(Clone, Debug, Default)]
pub struct LastWrite(Option<Arc<(Version, Version)>>);

// === impl LastWrite ===

impl LastWrite {
    /// Nothing was written yet to the state in which an object was first seen.
    pub fn adopted(seen: &Version) -> Self {
        Self(Some(Arc::new((seen.clone(), seen.clone()))))
    }

    /// Whether the watch shows a state that is later than our last write: somebody has changed something since. Resource
    /// versions of one kind can be compared (KEP-5504); of those that are no numbers, any that we do not know is later.
    pub fn is_older_than(&self, seen: &Version) -> bool {
        let Some((before, after)) = self.0.as_deref() else { return false };
        let number = |version: &Version| version.resource_version.parse::<u64>().ok();
        match (number(after), number(seen)) {
            (Some(after), Some(seen)) => after < seen,
            (None, _) | (_, None) => seen != before && seen != after,
        }
    }

    /// The state of the object to write to, when the watch shows it in `seen`.
    pub fn state_to_write(&self, seen: &Version) -> Version {
        match self.0.as_deref() {
            Some((before, after)) if before == seen => after.clone(),
            _ => seen.clone(),
        }
    }

    /// Notes a write that was applied over an object that the watch showed in `seen`.
    pub fn wrote(&mut self, seen: Version, mut after: Version) {
        if after.uid == seen.uid {
            after.uid = Arc::clone(&seen.uid);
        }
        self.0 = Some(Arc::new((seen, after)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_later_than_our_last_write_is_somebody_elses() {
        let state = |resource_version: &str| Version {
            uid: "u".into(),
            resource_version: resource_version.to_owned(),
        };
        let mut last = LastWrite::default();
        last.wrote(state("8"), state("12"));
        let table = [("8", false), ("9", false), ("12", false), ("13", true), ("100", true), ("x", true)];
        for (seen, later) in table {
            assert_eq!(last.is_older_than(&state(seen)), later, "{seen}");
        }
        last.wrote(state("a"), state("b"));
        for (seen, later) in [("a", false), ("b", false), ("c", true)] {
            assert_eq!(last.is_older_than(&state(seen)), later, "{seen}");
        }
        assert!(!LastWrite::default().is_older_than(&state("1")));
    }

    #[test]
    fn a_write_goes_to_the_state_that_the_last_one_left_until_the_watch_shows_another() {
        let state = |resource_version: &str| Version {
            uid: "u".into(),
            resource_version: resource_version.to_owned(),
        };
        let mut last = LastWrite::default();
        assert_eq!(last.state_to_write(&state("1")), state("1"));
        last.wrote(state("1"), state("2"));
        assert_eq!(last.state_to_write(&state("1")), state("2"), "the watch lags behind");
        assert_eq!(last.state_to_write(&state("2")), state("2"));
        assert_eq!(last.state_to_write(&state("3")), state("3"), "somebody else has written");
    }
}
