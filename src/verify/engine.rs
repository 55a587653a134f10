//! Whether the secrets engine that a connection is for is as required, and when to look at it.
//!
//! It changes as seldom as the version of the server, so it is looked at as seldom: at first, after anything that may make
//! a difference, and every so many checks.

use super::{
    memory::CHECKS_BETWEEN_HEALTH,
    observation::{EngineFault, Fault},
};
use crate::{
    api::connection::Verb,
    references::Versions,
    spec::{Desired, DesiredEngine, Target},
    vault::mounts::{Engine, Lookup, Place},
};

/// What is remembered of the last look at the engine.
#[derive(Debug, Default)]
pub struct EngineMemory {
    /// For what it was as required.
    good: Option<(Target, DesiredEngine, Versions)>,
    checks_since: u32,
}

// === impl EngineMemory ===

impl EngineMemory {
    /// Whether to look at the engine in this check.
    pub fn is_due(&self, desired: &Desired, engine: &DesiredEngine, versions: &Versions) -> bool {
        let is_known = self.good.as_ref().is_some_and(|(target, good, seen)| {
            *target == desired.target && good == engine && seen == versions
        });
        !is_known || self.checks_since >= CHECKS_BETWEEN_HEALTH
    }

    /// Notes that the engine was seen to be as required.
    pub fn saw_good(&mut self, desired: &Desired, engine: &DesiredEngine, versions: &Versions) {
        self.good = Some((desired.target.clone(), engine.clone(), versions.clone()));
        self.checks_since = 0;
    }

    /// Notes a check that did not look.
    pub fn skipped(&mut self) {
        self.checks_since += 1;
    }

    /// Notes a check that failed.
    pub fn forget(&mut self) {
        self.good = None;
    }
}

/// Whether `sys/mounts` must be asked, too.
pub fn needs_list(one: &Lookup) -> bool {
    match one {
        Lookup::Fingerprints(_) => false,
        Lookup::Hidden | Lookup::Unreadable => true,
    }
}

/// What the two answers amount to; the second is there if it was needed. `is_granted` tells whether the login has every
/// capability that is required.
pub fn judge(
    engine: &DesiredEngine,
    one: &Lookup,
    all: Option<&Lookup>,
    is_granted: bool,
) -> Result<(), Fault> {
    let place = match (one, all) {
        (Lookup::Fingerprints(place), _)
        | (Lookup::Hidden | Lookup::Unreadable, Some(Lookup::Fingerprints(place))) => place,
        // The capabilities that are missing are what is told.
        (Lookup::Hidden | Lookup::Unreadable, Some(Lookup::Hidden | Lookup::Unreadable) | None)
            if !is_granted =>
        {
            return Ok(());
        }
        // Vault hides only what a token may not use, and this one may.
        (Lookup::Hidden, Some(Lookup::Hidden | Lookup::Unreadable) | None) => &Place::Nothing,
        (Lookup::Unreadable, Some(Lookup::Hidden | Lookup::Unreadable) | None) => {
            return Err(Fault::Missing([("sys/mounts".to_owned(), vec![Verb::Read])].into()));
        }
    };
    let fault = match place {
        Place::Mount(Engine::Kv(version)) if *version == engine.version => return Ok(()),
        Place::Mount(Engine::Kv(version)) => EngineFault::Version(*version),
        Place::Mount(Engine::Other) => EngineFault::NotKv,
        Place::Inside(mount) => EngineFault::Inside(mount.clone()),
        Place::Nothing => EngineFault::NotFound,
    };
    Err(Fault::Engine(fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::connection::KvVersion,
        names::MountPath,
        verify::testing::{app_role, token, versions},
    };

    /// Name, first answer, second answer, whether the capabilities are granted, and what it amounts to.
    type Row<'a> = (&'a str, &'a Lookup, Option<Lookup>, bool, Result<(), Fault>);

    fn engine() -> DesiredEngine {
        DesiredEngine { mount: MountPath::parse("kv").expect("valid"), version: KvVersion::V2 }
    }

    fn kv(version: KvVersion) -> Lookup {
        Lookup::Fingerprints(Place::Mount(Engine::Kv(version)))
    }

    #[test]
    fn the_engine_is_looked_at_first_after_a_change_or_failure_and_every_so_often() {
        let (desired, seen) = (app_role(), versions("1"));
        let mut memory = EngineMemory::default();
        assert!(memory.is_due(&desired, &engine(), &seen));
        memory.saw_good(&desired, &engine(), &seen);
        for _ in 0..CHECKS_BETWEEN_HEALTH {
            assert!(!memory.is_due(&desired, &engine(), &seen));
            memory.skipped();
        }
        assert!(memory.is_due(&desired, &engine(), &seen));
        memory.saw_good(&desired, &engine(), &seen);
        assert!(memory.is_due(&desired, &engine(), &versions("2")), "another credential");
        assert!(memory.is_due(&token(), &engine(), &seen), "another target");
        let other = DesiredEngine { version: KvVersion::V1, ..engine() };
        assert!(memory.is_due(&desired, &other, &seen), "another requirement");
        memory.forget();
        assert!(memory.is_due(&desired, &engine(), &seen), "a failure");
    }

    #[test]
    fn an_engine_that_cannot_be_seen_is_never_taken_for_good() {
        let (good, v1) = (kv(KvVersion::V2), kv(KvVersion::V1));
        let known = Lookup::Fingerprints;
        let engine_fault = |fault| Err(Fault::Engine(fault));
        let unreadable = || Err(Fault::Missing([("sys/mounts".to_owned(), vec![Verb::Read])].into()));
        let inside = || "kv".to_owned();
        let (hidden, opaque) = (Lookup::Hidden, Lookup::Unreadable);
        let (other, within) = (known(Place::Mount(Engine::Other)), known(Place::Inside(inside())));
        let nothing = known(Place::Nothing);
        let table: [Row<'_>; 15] = [
            ("as required", &good, None, true, Ok(())),
            ("as required, without the capabilities", &good, None, false, Ok(())),
            ("another version", &v1, None, true, engine_fault(EngineFault::Version(KvVersion::V1))),
            ("hidden, and listed", &hidden, Some(good.clone()), true, Ok(())),
            (
                "hidden, and not listed",
                &hidden,
                Some(nothing.clone()),
                true,
                engine_fault(EngineFault::NotFound),
            ),
            (
                "the same, without the capabilities",
                &hidden,
                Some(nothing.clone()),
                false,
                engine_fault(EngineFault::NotFound),
            ),
            (
                "hidden, with a list that nobody may read",
                &hidden,
                Some(opaque.clone()),
                true,
                engine_fault(EngineFault::NotFound),
            ),
            ("the same, without the capabilities", &hidden, Some(opaque.clone()), false, Ok(())),
            ("behind a firewall, and listed", &opaque, Some(good.clone()), true, Ok(())),
            (
                "behind a firewall, and not listed",
                &opaque,
                Some(nothing),
                true,
                engine_fault(EngineFault::NotFound),
            ),
            ("neither", &opaque, Some(opaque.clone()), true, unreadable()),
            ("neither, without the capabilities", &opaque, Some(opaque.clone()), false, Ok(())),
            ("neither, with one question", &opaque, None, true, unreadable()),
            ("no KV", &other, None, true, engine_fault(EngineFault::NotKv)),
            ("inside", &within, None, true, engine_fault(EngineFault::Inside(inside()))),
        ];
        for (name, one, all, is_granted, expected) in table {
            assert_eq!(judge(&engine(), one, all.as_ref(), is_granted), expected, "{name}");
        }
    }
}
