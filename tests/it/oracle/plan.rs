//! Which changes are made, and when: by a seed, and by nothing that is seen while they are made. Pure.
//!
//! Everything that breaks is mended again, after a time that is often long enough for its bound and sometimes too short.
//! What the contract does not promise a recovery from is not planned: a second refused value before the first right one
//! was surely accepted, a role's administrator who does not ask after an unlock.

use std::{mem, ops::Range, time::Duration};

use fastrand::Rng;

use super::changes::{Change, Kind, Subject};

/// One change, and how long to wait before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub gap: Duration,
    pub change: Change,
}

/// The times between two changes, in milliseconds.
const GAPS: Range<u64> = 300..2_500;

/// How long something stays broken, in seconds: it most often ends before it must show, or it does not.
const SHORT: Range<u64> = 1..8;
const MIDDLE: Range<u64> = 14..24;
const LONG: Range<u64> = 22..32;
/// A login that is refused shows later while a session lives.
const LONGEST: Range<u64> = 44..54;

/// A value that has been right for so long, while a server serves, has surely been accepted.
const PROVEN: Duration = Duration::from_secs(15);

/// The same after an outage, which puts off the next check.
const PROVEN_AFTER_OUTAGE: Duration = Duration::from_secs(40);

/// How often to draw, until there is something that may be done.
const DRAWS: usize = 8;

/// How long nothing happens to the whole instance after an outage.
const REST: Duration = Duration::from_secs(15);

/// A plan while it is being made.
struct Draft<'a> {
    rng: Rng,
    subjects: &'a [Subject],
    now: Duration,
    /// What is broken, what mends it, and when.
    broken: Vec<Broken>,
    /// When the value of each credential will surely have been accepted.
    proven: Vec<Duration>,
    /// When the last thing that was common to all was over.
    rested: Duration,
    steps: Vec<Step>,
    gap: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Broken {
    by: Change,
    mend: Change,
    due: Duration,
}

/// Changes for about so long; what is broken at the end is mended by the last ones.
pub fn plan(seed: u64, subjects: &[Subject], length: Duration) -> Vec<Step> {
    let mut draft = Draft {
        rng: Rng::with_seed(seed),
        subjects,
        now: Duration::ZERO,
        broken: Vec::new(),
        proven: vec![Duration::ZERO; subjects.len()],
        rested: Duration::ZERO,
        steps: Vec::new(),
        gap: Duration::ZERO,
    };
    while draft.now < length {
        draft.wait();
        if !draft.mend_what_is_due() {
            draft.break_something();
        }
    }
    draft.mend_all();
    draft.steps
}

// === impl Draft ===

impl Draft<'_> {
    fn wait(&mut self) {
        let gap = Duration::from_millis(self.rng.u64(GAPS));
        self.now += gap;
        self.gap += gap;
    }

    fn push(&mut self, change: Change) {
        self.steps.push(Step { gap: mem::take(&mut self.gap), change });
        if let Change::RightCredential(number) | Change::Unlocked(number) = change {
            self.proven[number] = self.now + PROVEN;
        }
        if change.about().is_none() {
            self.rested = self.now;
            for proven in self.proven.iter_mut().filter(|proven| **proven > self.now) {
                *proven = self.now + PROVEN_AFTER_OUTAGE;
            }
        }
    }

    /// What happens to the whole instance is mended first, since without it nothing else can be.
    fn mend_what_is_due(&mut self) -> bool {
        let (now, serving) = (self.now, self.is_quiet());
        let due = self
            .broken
            .iter()
            .position(|broken| broken.due <= now && (serving || broken.by.about().is_none()));
        let Some(index) = due else { return false };
        let broken = self.broken.swap_remove(index);
        self.mend(broken);
        true
    }

    fn mend(&mut self, broken: Broken) {
        self.push(broken.mend);
        // Who unlocks a role asks, since nothing tells the operator of it.
        if let Change::Unlocked(number) = broken.mend {
            for subject in self.subjects.iter().filter(|subject| subject.credential == number) {
                self.push(Change::Asked(subject.number));
            }
        }
        // What was in a wrapping token is lost with the operator that opened it, or with the connection: whoever delivers
        // them brings another.
        let is_lost = |subject: &&Subject| match broken.mend {
            Change::OperatorStarted => subject.kind == Kind::Wrapped,
            mend => subject.kind == Kind::Wrapped && mend == Change::Created(subject.number),
        };
        for subject in self.subjects.iter().filter(is_lost) {
            self.push(Change::RightCredential(subject.number));
        }
    }

    fn mend_all(&mut self) {
        self.broken.sort_by_key(|broken| (broken.by.about().is_some(), broken.due));
        for broken in mem::take(&mut self.broken) {
            self.wait();
            self.mend(broken);
        }
    }

    /// Whether nothing is broken that is common to all.
    fn is_quiet(&self) -> bool {
        self.broken.iter().all(|broken| broken.by.about().is_some())
    }

    fn break_something(&mut self) {
        // One in six is about all of them, and one in four is somebody who asks about what is broken.
        let drawn = match self.rng.u8(0..12) {
            0..2 => self.draw_common(),
            2..5 => self.draw_question(),
            _ => None,
        };
        let drawn = drawn.or_else(|| (0..DRAWS).find_map(|_| self.draw_own()));
        let Some((by, mend)) = drawn else { return };
        self.push(by);
        let Some(mend) = mend else { return };
        let range = self.lasts(by);
        let seconds = self.rng.u64(range);
        let seconds = if by == Change::OperatorKilled { seconds.min(4) } else { seconds };
        self.broken.push(Broken { by, mend, due: self.now + Duration::from_secs(seconds) });
    }

    /// How long it may last. What is common to all keeps everything else from being seen, so it is short more often.
    fn lasts(&mut self, by: Change) -> Range<u64> {
        let draw = self.rng.u8(0..10);
        let kept = by.about().is_some_and(|number| self.subjects[number].kind.keeps_session());
        match by {
            _ if by.about().is_none() && draw < 8 => SHORT,
            _ if draw < 3 => SHORT,
            Change::Revoked(_) | Change::Locked(_) if kept => LONGEST,
            Change::WrongCredential(_) => MIDDLE,
            _ => LONG,
        }
    }

    fn draw_common(&mut self) -> Option<(Change, Option<Change>)> {
        if !self.is_quiet() || self.now < self.rested + REST {
            return None;
        }
        let changes = [
            Change::Sealed,
            Change::Stopped,
            Change::Silenced,
            Change::ProxiesStopped,
            Change::OperatorKilled,
        ];
        let change = changes[self.rng.usize(0..changes.len())];
        Some((change, mend_of(change)))
    }

    /// Whoever is told that something is broken asks again, and nothing is better for it.
    fn draw_question(&mut self) -> Option<(Change, Option<Change>)> {
        let broken: Vec<_> = self.broken.iter().filter_map(|it| it.by.about()).collect();
        let number = *broken.get(self.rng.usize(0..broken.len().max(1)))?;
        let asked = if self.rng.bool() { Change::Asked(number) } else { Change::SpecTouched(number) };
        Some((asked, None))
    }

    fn draw_own(&mut self) -> Option<(Change, Option<Change>)> {
        let subject = self.subjects[self.rng.usize(0..self.subjects.len())];
        let (number, credential) = (subject.number, subject.credential);
        let is_broken =
            |it: &Broken| it.by.about().is_some_and(|broken| broken == number || broken == credential);
        if self.broken.iter().any(is_broken) {
            return None;
        }
        let changes = self.changes_of(subject);
        let change = *changes.get(self.rng.usize(0..changes.len().max(1)))?;
        Some((change, mend_of(change)))
    }

    /// What may be done to a connection now.
    fn changes_of(&self, subject: Subject) -> Vec<Change> {
        let (number, credential, kind) = (subject.number, subject.credential, subject.kind);
        let mut changes = Vec::new();
        let proven = self.now >= self.proven[credential];
        if self.is_quiet() {
            changes.extend([Change::Asked(number), Change::SpecTouched(number), Change::Suspended(number)]);
            changes.extend([Change::Deleted(number), Change::RightCredential(credential)]);
            if kind.keeps_session() {
                changes.push(Change::SessionRevoked(credential));
            }
            if kind == Kind::Requiring {
                changes.push(Change::PolicyRemoved(number));
            }
            if kind.is_token() {
                changes.push(Change::Revoked(credential));
            }
            if kind == Kind::Limited {
                changes.extend([Change::EndingCredential(credential); 4]);
            }
            if proven && !kind.is_token() {
                changes.extend([Change::Revoked(credential), Change::Locked(credential)]);
                changes.push(Change::LoginsLimited(credential));
            }
        }
        if proven {
            // It is the heart of the matter, so it is drawn more often.
            changes.extend([Change::WrongCredential(credential); 4]);
        }
        changes
    }
}

/// What mends a change; none when it breaks nothing.
fn mend_of(change: Change) -> Option<Change> {
    match change {
        Change::WrongCredential(number) | Change::Revoked(number) | Change::EndingCredential(number) => {
            Some(Change::RightCredential(number))
        }
        Change::Locked(number) => Some(Change::Unlocked(number)),
        Change::PolicyRemoved(number) => Some(Change::PolicyRestored(number)),
        Change::LoginsLimited(number) => Some(Change::LoginsUnlimited(number)),
        Change::Suspended(number) => Some(Change::Resumed(number)),
        Change::Deleted(number) => Some(Change::Created(number)),
        Change::Sealed => Some(Change::Unsealed),
        Change::Stopped => Some(Change::Started),
        Change::Silenced => Some(Change::Woken),
        Change::OperatorKilled => Some(Change::OperatorStarted),
        Change::ProxiesStopped => Some(Change::ProxiesStarted),
        Change::Unsealed
        | Change::Started
        | Change::Woken
        | Change::OperatorStarted
        | Change::ProxiesStarted
        | Change::RightCredential(_)
        | Change::Unlocked(_)
        | Change::PolicyRestored(_)
        | Change::SessionRevoked(_)
        | Change::LoginsUnlimited(_)
        | Change::Resumed(_)
        | Change::Created(_)
        | Change::Asked(_)
        | Change::SpecTouched(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    fn subjects() -> Vec<Subject> {
        super::super::subjects()
    }

    #[test]
    fn a_seed_gives_the_same_changes_again_and_another_seed_others() {
        let made = |seed| plan(seed, &subjects(), LENGTH);
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn what_is_broken_is_mended_and_every_kind_of_change_is_made() {
        let mut seen = BTreeSet::new();
        for seed in 0..20 {
            let mut broken = Vec::new();
            for Step { change, .. } in plan(seed, &subjects(), LENGTH) {
                seen.insert(format!("{change:?}").split('(').next().expect("a word").to_owned());
                if let Some(at) = broken.iter().position(|mend| *mend == change) {
                    broken.swap_remove(at);
                }
                broken.extend(mend_of(change));
            }
            assert_eq!(broken, [], "seed {seed}");
        }
        assert_eq!(seen.len(), 27, "{seen:?}");
    }
}
