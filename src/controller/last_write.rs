//! Our own last write of a status, which the watch may not have told of yet.

use crate::references::Version;

/// The state of an object before our last write and after it, if we wrote.
#[derive(Debug, Default)]
pub struct LastWrite(Option<(Version, Version)>);

// === impl LastWrite ===

impl LastWrite {
    /// The state of the object to write to, when the watch shows it in `seen`.
    pub fn state_to_write(&self, seen: &Version) -> Version {
        match &self.0 {
            Some((before, after)) if before == seen => after.clone(),
            _ => seen.clone(),
        }
    }

    /// Notes a write that stands, over an object that the watch showed in `seen`.
    pub fn wrote(&mut self, seen: Version, after: Version) {
        self.0 = Some((seen, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_goes_to_the_state_that_the_last_one_left_until_the_watch_tells_another() {
        let state = |resource_version: &str| Version {
            uid: "u".to_owned(),
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
