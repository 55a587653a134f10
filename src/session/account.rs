//! The logins of one role: those that were refused lately, and those under way.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::jiff::Timestamp;

use crate::{names::ConnectionRef, verify::session::later};

pub use crate::verify::memory::LOCKOUT_WINDOW;

/// How many refused logins of a role we cause at most within [`LOCKOUT_WINDOW`]: one less than lock it by default.
const MAX_REFUSED: usize = 4;

/// Tells a credential from others of its role, but not what it is: a hash with a key of this process.
pub type Fingerprint = u64;

/// How many refused logins of a role may count before no other is tried, by what is known of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a credential of which nothing is known; also for what one Kubernetes namespace may spend of the others.
    pub unproven: usize,
    /// For one that Vault accepted the last time.
    pub proven: usize,
    /// For one that a person changed after a refusal.
    pub changed: usize,
}

/// What is known of a credential before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Nothing.
    Unproven,
    /// Vault accepted it the last time.
    Proven,
    /// A person changed it after a refusal.
    Changed,
}

/// The logins of one role.
#[derive(Clone, Debug, Default)]
pub struct Account {
    refused: Vec<Refusal>,
    /// The credentials of the logins that wait for their answer.
    in_flight: Vec<Fingerprint>,
    /// The credential that was accepted last.
    accepted: Option<Fingerprint>,
    /// The connections that may not try now, and may as soon as a login of the role is accepted.
    waiting: HashSet<ConnectionRef>,
}

/// One login that counts against its role.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// The Kubernetes namespace of the connection that tried.
    pub namespace: Arc<str>,
    /// What is known of it.
    pub answer: Answer,
    /// Whether Vault has accepted another login since, and counts it no longer. The credential is as wrong as it was.
    pub is_forgiven: bool,
}

/// What is known of a login that counts against its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Vault refused this credential.
    Refused(Fingerprint),
    /// Vault denied the login with this credential, as it does while the role is locked. That locks no role, so that it stops only
    /// who was not asked by a person.
    Denied(Fingerprint),
    /// An earlier process saw it refused.
    Restored,
    /// None came to a login with this credential, so that Vault may have counted it.
    Missing(Fingerprint),
}

// === impl Limits ===

impl Limits {
    /// Those for a server that locks a role at so many refused logins.
    pub fn below(lockout_threshold: u32) -> Self {
        let threshold = usize::try_from(lockout_threshold).unwrap_or(usize::MAX);
        let changed = threshold.saturating_sub(1).clamp(1, MAX_REFUSED);
        Self { unproven: changed.saturating_sub(2).max(1), proven: changed.saturating_sub(1).max(1), changed }
    }

    /// The one for such a credential.
    pub fn of(self, confidence: Confidence) -> usize {
        match confidence {
            Confidence::Unproven => self.unproven,
            Confidence::Proven => self.proven,
            Confidence::Changed => self.changed,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::below(5)
    }
}

// === impl Answer ===

impl Answer {
    /// Whether it says that this credential may not log in.
    fn refuses(&self, credential: Fingerprint) -> bool {
        match self {
            Self::Refused(other) | Self::Denied(other) => *other == credential,
            Self::Restored | Self::Missing(_) => false,
        }
    }
}

// === impl Account ===

impl Account {
    /// The refused logins that still count, oldest first.
    pub fn counting(&self, now: Timestamp) -> impl Iterator<Item = &Refusal> {
        self.refused.iter().filter(move |refusal| !refusal.is_forgiven && counts(refusal.at, now))
    }

    /// When this credential was refused lately, oldest first. Once it was, a login with it that got no answer counts as well.
    pub fn refusals_of(&self, credential: Fingerprint, now: Timestamp) -> Vec<Timestamp> {
        let counting = || self.refused.iter().filter(move |it| counts(it.at, now));
        let is_refusal = |it: &&Refusal| it.answer.refuses(credential);
        if !counting().any(|it| is_refusal(&it)) {
            return Vec::new();
        }
        let may_be = |it: &&Refusal| is_refusal(it) || it.answer == Answer::Missing(credential);
        counting().filter(may_be).map(|it| it.at).collect()
    }

    /// The credentials of the logins that wait for their answer.
    pub fn in_flight(&self) -> &[Fingerprint] {
        &self.in_flight
    }

    /// Whether this credential was accepted last.
    pub fn has_accepted(&self, credential: Fingerprint) -> bool {
        self.accepted == Some(credential)
    }

    /// Notes that a login is tried.
    pub fn begin(&mut self, credential: Fingerprint) {
        self.in_flight.push(credential);
    }

    /// Notes that a login is no longer under way.
    pub fn end(&mut self, credential: Fingerprint) {
        if let Some(index) = self.in_flight.iter().position(|other| *other == credential) {
            self.in_flight.swap_remove(index);
        }
    }

    /// Notes a login that counts against the role.
    pub fn refuse(&mut self, refusal: Refusal) {
        if self.accepted.is_some_and(|accepted| refusal.answer.refuses(accepted)) {
            self.accepted = None;
        }
        self.refused.retain(|it| counts(it.at, refusal.at));
        self.refused.push(refusal);
        self.refused.sort_by_key(|refusal| refusal.at);
    }

    /// Notes a login that Vault accepted: it then forgets the refused ones, and so do we. Returns who waited for that.
    pub fn accept(&mut self, credential: Fingerprint) -> HashSet<ConnectionRef> {
        self.refused.retain(|it| matches!(it.answer, Answer::Refused(other) if other != credential));
        for refusal in &mut self.refused {
            refusal.is_forgiven = true;
        }
        self.accepted = Some(credential);
        std::mem::take(&mut self.waiting)
    }

    /// Notes a connection that waits for a login of the role to be accepted.
    pub fn wait(&mut self, connection: &ConnectionRef) {
        self.waiting.insert(connection.clone());
    }

    /// Whether nothing would be lost by dropping it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.in_flight.is_empty() && !self.refused.iter().any(|it| counts(it.at, now))
    }
}

/// Whether a login that was refused at that time still counts.
pub fn counts(refused: Timestamp, now: Timestamp) -> bool {
    now < ends(refused)
}

/// When a login that was refused at that time no longer counts.
pub fn ends(refused: Timestamp) -> Timestamp {
    later(refused, LOCKOUT_WINDOW)
}

/// When fewer than `limit` of these refused logins will count; none when that is so now. The times are sorted.
pub fn spent_until(times: &[Timestamp], limit: usize) -> Option<Timestamp> {
    // Once it leaves the window, fewer than `limit` are left.
    times.iter().rev().nth(limit.saturating_sub(1)).map(|time| ends(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_stay_below_the_threshold_of_the_server() {
        let table = [
            (1, (1, 1, 1)),
            (2, (1, 1, 1)),
            (3, (1, 1, 2)),
            (4, (1, 2, 3)),
            (5, (2, 3, 4)),
            (100, (2, 3, 4)),
        ];
        for (threshold, expected) in table {
            let limits = Limits::below(threshold);
            assert_eq!((limits.unproven, limits.proven, limits.changed), expected, "{threshold}");
        }
        assert_eq!(Limits::default(), Limits::below(5));
    }
}
