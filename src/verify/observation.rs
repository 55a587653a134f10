//! What one check saw.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::{
        condition::ConditionType,
        connection::{KvVersion, Verb},
    },
    auth::LoginFault,
    network::{chain::CertificateEnd, faults::TransportFault},
    references::{
        Versions,
        resolve::{ReferenceFault, Suspicion},
    },
    vault::{
        Operation,
        answer::ServerFault,
        health::Health,
        login::NoLogin,
        token::{SelfFault, TokenInfo},
        wrapping::WrapFault,
    },
};

/// What one check saw: how far it came, and why no further.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Why it ended early; none when every step passed.
    pub fault: Option<Fault>,
    /// What was asked of the instance.
    pub asked: Asked,
    /// What the instance last told of itself, by a check that had no fault since.
    pub health: Option<Health>,
    /// The login that was used; none when there was none.
    pub login: Option<LoginSeen>,
    /// The objects that it rests on.
    pub versions: Versions,
    /// Before this time no login is tried.
    pub no_login_before: Option<Timestamp>,
    /// Which certificate that the instance is trusted by ends first.
    pub certificate_end: Option<CertificateEnd>,
    /// When logins of the connection were refused that still count.
    pub refused: Vec<Timestamp>,
    /// What would explain that the credential is refused.
    pub suspicion: Option<Suspicion>,
    /// A tag of the role that they were of.
    pub refused_role: Option<String>,
    /// When Vault last accepted a login.
    pub last_login: Option<Timestamp>,
    /// When the user's token must be seen to, if nothing else leads to a check before.
    pub token_due: Option<Timestamp>,
}

/// How far a check came with its requests, so that a message can name the one that failed, and a step that passed stays passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The last request that was sent. None when none was: the fault was known without one.
    pub last: Option<Operation>,
    /// The highest step that the answers before it proved in this check.
    pub proven: Option<ConditionType>,
    answered: bool,
}

/// The login that a check used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSeen {
    /// What Vault says of its token.
    pub info: TokenInfo,
    /// When the token ends, if it is kept until then.
    pub expires_at: Option<Timestamp>,
    /// Whether its uses are limited, so that it is only watched: none of them is spent on checks.
    pub is_watched: bool,
    /// The end of a user's credential, if it is near and nothing but a new one helps.
    pub ends_soon: Option<Timestamp>,
}

/// Why a check ended early. Each is certain to have been seen; none is an error of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The check could not begin, or come to the instance, before the Ready of the last one had to end.
    Overdue,
    /// An object that the connection names cannot be used.
    Reference(ReferenceFault),
    /// No answer came.
    Transport(TransportFault),
    /// The server cannot serve us.
    Server(ServerFault),
    /// The login failed.
    Login(LoginFault),
    /// The wrapping token gives no secret id.
    Wrapping(WrapFault),
    /// A login is there, but its token cannot be used on itself.
    Own(SelfFault),
    /// Too many logins of the role were refused lately.
    BudgetSpent,
    /// Other logins at the instance were before this one until time was up.
    LoginQueued,
    /// The login lacks these verbs on these paths.
    Missing(BTreeMap<String, Vec<Verb>>),
    /// The login works, and the secrets engine that it is for is not as required.
    Engine(EngineFault),
}

/// What a fault is, beside its reason and its message. A new fault says it once.
struct Facts {
    word: &'static str,
    retry_after: Option<Duration>,
    is_of_the_request: bool,
    refuses_credential: bool,
}

/// A text in a fault that comes from outside.
pub enum ForeignText<'a> {
    /// A name in a certificate.
    Certificate(&'a mut String),
    /// The host that a server names.
    Host(&'a mut Option<String>),
    /// The Vault namespace of a token.
    Namespace(&'a mut String),
}

/// Why a secrets engine cannot be used as required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineFault {
    /// None is mounted there.
    NotFound,
    /// None is mounted there: the path lies inside of the one that is mounted at this beginning of it.
    Inside(String),
    /// It is no KV engine.
    NotKv,
    /// It is a KV engine of this other version.
    Version(KvVersion),
}

// === impl Asked ===

impl Asked {
    /// Notes that a request is sent. The answer to the one before was good, since the check went on.
    pub fn asks(&mut self, operation: Operation) {
        let step = self.last.filter(|_| self.answered).map(|last| match last {
            Operation::Health
            | Operation::Probe
            | Operation::Login
            | Operation::WrappingLookup
            | Operation::Unwrap => ConditionType::ServerReady,
            Operation::LookupSelf
            | Operation::WatchToken
            | Operation::CapabilitiesSelf
            | Operation::MountLookup => ConditionType::Authenticated,
            // A check goes on without a renewal, too.
            Operation::RenewSelf | Operation::RevokeSelf => ConditionType::Reachable,
        });
        self.proven = self.proven.max(step);
        *self = Self { last: Some(operation), answered: false, ..*self };
    }

    /// Notes that an answer came, whatever it says.
    pub fn answers(&mut self) {
        self.answered = true;
    }

    /// Notes that the last answer was not good, and the check goes on all the same: something is there.
    pub fn is_refused(&mut self) {
        self.proven = self.proven.max(self.last.filter(|_| self.answered).map(|_| ConditionType::Reachable));
        self.answered = false;
    }
}

// === impl Fault ===

impl Fault {
    /// The word in a log: what it says in detail is for the status.
    pub fn as_str(&self) -> &'static str {
        self.facts().word
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.facts().retry_after
    }

    /// Whether it is about the request that it ended, so that it does not contradict an answer to another one.
    pub fn is_of_the_request(&self) -> bool {
        self.facts().is_of_the_request
    }

    /// Whether it says that the credential is wrong.
    pub fn refuses_credential(&self) -> bool {
        self.facts().refuses_credential
    }

    fn facts(&self) -> Facts {
        let of =
            |word| Facts { word, retry_after: None, is_of_the_request: false, refuses_credential: false };
        match self {
            Self::Overdue => of("overdue"),
            Self::Reference(_) => of("reference"),
            Self::Transport(_) => Facts { is_of_the_request: true, ..of("no-answer") },
            Self::Server(fault) => Facts {
                retry_after: fault.retry_after(),
                is_of_the_request: !fault.is_of_the_node(),
                ..of("server")
            },
            Self::Login(fault) => Facts {
                refuses_credential: matches!(fault, LoginFault::InvalidCredentials | LoginFault::NotAccepted),
                ..of("login")
            },
            Self::Wrapping(fault) => {
                Facts { refuses_credential: *fault == WrapFault::Spent, ..of("wrapping") }
            }
            Self::Own(fault) => Facts { refuses_credential: *fault == SelfFault::Rejected, ..of("token") },
            Self::BudgetSpent => of("budget-spent"),
            Self::LoginQueued => of("login-queued"),
            Self::Missing(_) => of("capabilities"),
            Self::Engine(_) => of("engine"),
        }
    }

    /// The texts in it that come from outside.
    pub fn texts_mut(&mut self) -> Vec<ForeignText<'_>> {
        match self {
            Self::Transport(fault) => fault.texts_mut().into_iter().map(ForeignText::Certificate).collect(),
            Self::Server(fault) => fault.host_mut().map(ForeignText::Host).into_iter().collect(),
            Self::Own(SelfFault::NamespaceMismatch { of: Some(of) }) => vec![ForeignText::Namespace(of)],
            Self::Overdue
            | Self::Reference(_)
            | Self::Login(_)
            | Self::Wrapping(_)
            | Self::Own(_)
            | Self::BudgetSpent
            | Self::LoginQueued
            | Self::Missing(_)
            | Self::Engine(_) => Vec::new(),
        }
    }
}

impl From<ReferenceFault> for Fault {
    fn from(fault: ReferenceFault) -> Self {
        Self::Reference(fault)
    }
}

impl From<TransportFault> for Fault {
    fn from(fault: TransportFault) -> Self {
        Self::Transport(fault)
    }
}

impl From<ServerFault> for Fault {
    fn from(fault: ServerFault) -> Self {
        Self::Server(fault)
    }
}

impl From<LoginFault> for Fault {
    fn from(fault: LoginFault) -> Self {
        Self::Login(fault)
    }
}

impl From<NoLogin> for Fault {
    fn from(fault: NoLogin) -> Self {
        match fault {
            NoLogin::Server(fault) => Self::Server(fault),
            NoLogin::Refused(fault) => Self::Login(fault),
        }
    }
}

impl From<SelfFault> for Fault {
    fn from(fault: SelfFault) -> Self {
        match fault {
            SelfFault::Server(fault) => Self::Server(fault),
            fault => Self::Own(fault),
        }
    }
}

impl From<WrapFault> for Fault {
    fn from(fault: WrapFault) -> Self {
        match fault {
            WrapFault::Server(fault) => Self::Server(fault),
            fault => Self::Wrapping(fault),
        }
    }
}
