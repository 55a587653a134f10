//! What is done to an instance and to the connections of it. Pure.

use std::time::Duration;

/// The life of a token that is given only to end.
pub const ENDS_AFTER: Duration = Duration::from_secs(12);

/// How a connection logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// By a role whose tokens end before the next check: each check is a login.
    ShortRole,
    /// By the documented role: its tokens live 30 s, and are renewed up to two minutes.
    Documented,
    /// By a role whose session is kept.
    LongRole,
    /// The same, by a Secret that others name, too.
    SharedRole,
    /// The same, with a policy that `spec.require` asks for.
    Requiring,
    /// The same, through a gateway.
    Gateway,
    /// By a secret id in a wrapping token.
    Wrapped,
    /// By a periodic token.
    Periodic,
    /// By a token with an end.
    Fixed,
    /// By a token that can be used only a few times.
    Limited,
}

/// What was done. Those of one connection name it by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Sealed,
    Unsealed,
    Stopped,
    Started,
    /// SIGSTOP, SIGCONT: it takes connections and is silent.
    Silenced,
    Woken,
    /// kill -9 of the operator, and another one that is ready.
    OperatorKilled,
    OperatorStarted,
    /// The proxies of the gateway go, and come back.
    ProxiesStopped,
    ProxiesStarted,
    /// A Secret with a value that no Vault accepts, or with one that it does.
    WrongCredential(usize),
    RightCredential(usize),
    /// A token that ends after [`ENDS_AFTER`], which is a change of its own: it is revoked then.
    EndingCredential(usize),
    /// What the Secret holds is revoked, or destroyed: sessions live on.
    Revoked(usize),
    /// Somebody's bad logins lock the role; its administrator unlocks it, and asks for a check.
    Locked(usize),
    Unlocked(usize),
    /// The policy goes that `spec.require` needs, and comes back.
    PolicyRemoved(usize),
    PolicyRestored(usize),
    /// The operator's own session ends.
    SessionRevoked(usize),
    /// A quota on logins: some pass, others do not.
    LoginsLimited(usize),
    LoginsUnlimited(usize),
    Suspended(usize),
    Resumed(usize),
    Deleted(usize),
    Created(usize),
    /// These change nothing: a check that is asked for, another interval of the same length.
    Asked(usize),
    SpecTouched(usize),
}

/// A change, and when it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub change: Change,
    /// Since the begin of the run. Between the two nobody knows whether it holds already.
    pub began: Duration,
    pub ended: Duration,
}

/// A connection, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub number: usize,
    pub kind: Kind,
    /// The first of those that name the same Secret: what happens to its credential happens to this one.
    pub credential: usize,
}

// === impl Kind ===

impl Kind {
    pub fn is_token(self) -> bool {
        match self {
            Self::Periodic | Self::Fixed | Self::Limited => true,
            Self::ShortRole
            | Self::Documented
            | Self::LongRole
            | Self::SharedRole
            | Self::Requiring
            | Self::Gateway
            | Self::Wrapped => false,
        }
    }

    /// Whether a session outlives a check, so that a login that is refused does not show by itself.
    pub fn keeps_session(self) -> bool {
        match self {
            Self::Documented | Self::LongRole | Self::SharedRole | Self::Requiring | Self::Gateway => true,
            Self::ShortRole | Self::Wrapped | Self::Periodic | Self::Fixed | Self::Limited => false,
        }
    }
}

// === impl Change ===

impl Change {
    /// The connection, or the first of those that share a Secret, that it is about; none when it is about all.
    pub fn about(self) -> Option<usize> {
        match self {
            Self::Sealed
            | Self::Unsealed
            | Self::Stopped
            | Self::Started
            | Self::Silenced
            | Self::Woken
            | Self::OperatorKilled
            | Self::OperatorStarted
            | Self::ProxiesStopped
            | Self::ProxiesStarted => None,
            Self::WrongCredential(number)
            | Self::RightCredential(number)
            | Self::EndingCredential(number)
            | Self::Revoked(number)
            | Self::Locked(number)
            | Self::Unlocked(number)
            | Self::PolicyRemoved(number)
            | Self::PolicyRestored(number)
            | Self::SessionRevoked(number)
            | Self::LoginsLimited(number)
            | Self::LoginsUnlimited(number)
            | Self::Suspended(number)
            | Self::Resumed(number)
            | Self::Deleted(number)
            | Self::Created(number)
            | Self::Asked(number)
            | Self::SpecTouched(number) => Some(number),
        }
    }

    /// Whether it happens to what a Secret holds, and so to all that name it.
    fn is_of_credential(self) -> bool {
        matches!(
            self,
            Self::WrongCredential(_)
                | Self::RightCredential(_)
                | Self::EndingCredential(_)
                | Self::Revoked(_)
                | Self::Locked(_)
                | Self::Unlocked(_)
                | Self::SessionRevoked(_)
                | Self::LoginsLimited(_)
                | Self::LoginsUnlimited(_)
        )
    }

    pub fn concerns(self, subject: Subject) -> bool {
        let mine = if self.is_of_credential() { subject.credential } else { subject.number };
        self.about().is_none_or(|number| number == mine)
    }

    /// Whether the operator checks at once because of it.
    pub fn stirs(self) -> bool {
        matches!(
            self,
            Self::OperatorStarted
                | Self::WrongCredential(_)
                | Self::RightCredential(_)
                | Self::EndingCredential(_)
                | Self::Suspended(_)
                | Self::Resumed(_)
                | Self::Created(_)
                | Self::Asked(_)
                | Self::SpecTouched(_)
        )
    }
}
