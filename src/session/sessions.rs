//! Sessions as a service: whoever needs Vault asks for a lease on a connection's login.
//!
//! ```text
//!   Sessions ── references, dialer, instances, logins, metrics
//!   Subject ── the connection, and why now ─┐
//!   Entry ── what is kept of it ────────────┴─▶ acquire ─▶ Lease {client, token, rules} ─▶ given back ─▶ revoke
//! ```
//!
//! A session that lives is lent to everybody. If there is none, one login is made for all that wait.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    acquire::{Acquisition, Next},
    entry::{Entry, Lease},
    instances::Instances,
    lending::{Route, TokenToRevoke},
    logins::Logins,
    pace::Sign,
    shutdown::{self, Stake},
};
use crate::{
    names::{ConnectionRef, ObjectName},
    network::dial::Dialer,
    references::{References, ledger::Ledger},
    spec::Desired,
    telemetry::metrics::Metrics,
    vault::{Operation, Request, answer::Answer, client::Client, token},
    verify::observation::Fault,
};

/// What sessions are made with.
pub struct Sessions<'a, R> {
    /// Where objects are read.
    pub references: &'a R,
    /// The route to instances.
    pub dialer: &'a Dialer,
    /// Which instances fail.
    pub instances: &'a Instances,
    /// Who may log in.
    pub logins: &'a Logins,
    /// What is counted.
    pub metrics: &'a Metrics,
}

/// Who asks for a session, and why now.
pub struct Subject<'a> {
    /// The connection.
    pub connection: &'a ConnectionRef,
    /// What it asks for.
    pub desired: &'a Desired,
    /// Which objects were read and seen.
    pub ledger: &'a Mutex<Ledger>,
    /// Whether an object may have changed since it was read.
    pub stale: bool,
    /// Whether the status calls this spec Ready.
    pub is_ready: bool,
    /// Remembers which objects the connection names. Called before an object is read.
    pub register: &'a (dyn Fn(Vec<ObjectName>) + Sync),
    /// Now.
    pub now: Timestamp,
    /// When it must have ended, if that may be before the user's time for a check is up.
    pub deadline: Option<Instant>,
}

/// Why something ends early.
#[derive(Debug)]
pub enum Halt<E> {
    /// What was seen.
    Fault(Fault),
    /// The operator stops, or the connection is gone: nothing follows from what was seen.
    GivenUp,
    /// The source of the references failed, so that nothing is known.
    Source(E),
}

/// Why a request has no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What was seen.
    Fault(Fault),
    /// The operator stops, or the connection is gone.
    GivenUp,
}

/// Why a token was not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRevoked {
    /// Nothing may be sent to where it was issued any more: the address policy changed.
    NotAllowed,
    /// Vault could not be reached, or refused.
    Fault(Fault),
    /// The operator stops, or the connection is gone.
    GivenUp,
}

// === impl Sessions ===

impl<R> Clone for Sessions<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Sessions<'_, R> {}

impl<R: References> Sessions<'_, R> {
    /// A session of a connection, at the latest when its time is up. `Err` says why there is none.
    pub async fn acquire(&self, subject: &Subject<'_>, entry: &Arc<Entry>) -> Result<Lease, Halt<R::Error>> {
        if let Some(lease) = self.living(subject, entry) {
            return Ok(lease);
        }
        let mut acquisition = Acquisition::new(*self, subject, entry);
        match acquisition.begin().await? {
            Next::Use(lease) => Ok(lease),
            Next::End(fault) => Err(fault.map_or(Halt::GivenUp, Halt::Fault)),
        }
    }

    /// A session that serves this connection as it is now, without a look at anything.
    fn living(&self, subject: &Subject<'_>, entry: &Arc<Entry>) -> Option<Lease> {
        let rules = self.dialer.rules_for(&subject.connection.namespace);
        let mut known = entry.known();
        let session = known.living(subject.desired, &rules, subject.now).filter(|_| !subject.stale)?;
        entry.lend(&mut known, &session, deadline(subject))
    }

    /// Whether a connection has a token that nobody holds any more, of an instance that is not known to fail. That may be another one than
    /// it has now.
    pub fn can_revoke_due(&self, entry: &Entry) -> bool {
        let serves = |route: &Route| !self.instances.is_failing(route.client.route());
        entry.known().lending.due_routes(Instant::now()).any(serves)
    }

    /// Ends the tokens of a connection that nobody holds any more, as far as `deadline` allows. What the instance cannot do now is due
    /// again; one that is known to fail is not asked.
    pub async fn revoke_due(&self, connection: &ConnectionRef, entry: &Entry, deadline: Instant) {
        if !self.can_revoke_due(entry) {
            return;
        }
        for token in entry.take_due() {
            let Err(reason) = self.revoke_one(&connection.namespace, &token, deadline).await else {
                continue;
            };
            let has_ended = token.has_ended(Timestamp::now());
            if !has_ended && reason.is_transient() && entry.take_back(token) {
                tracing::debug!("failed to revoke a token; trying again after the next check");
            } else {
                log_not_revoked(&reason, has_ended);
            }
        }
    }

    /// Ends tokens of a namespace, as far as `deadline` allows. A token that stays ends by its own life.
    pub async fn revoke(&self, namespace: &str, tokens: Vec<TokenToRevoke>, deadline: Instant) {
        for token in tokens {
            if let Err(reason) = self.revoke_one(namespace, &token, deadline).await {
                log_not_revoked(&reason, token.has_ended(Timestamp::now()));
            }
        }
    }

    /// Ends one token of a namespace.
    pub async fn revoke_one(
        &self,
        namespace: &str,
        TokenToRevoke { route, token, ends: _ }: &TokenToRevoke,
        deadline: Instant,
    ) -> Result<(), NotRevoked> {
        // Where it was issued may have become a place that nothing may be sent to.
        if self.dialer.rules_for(namespace) != route.rules {
            return Err(NotRevoked::NotAllowed);
        }
        let answer = self.ask(&route.client, token::revoke(), Some(token), deadline).await?;
        token::refusal(&answer, Operation::RevokeSelf).map_err(|fault| NotRevoked::Fault(fault.into()))
    }

    /// Sends a request, and counts it.
    pub async fn ask(
        &self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let (operation, started) = (request.operation, Instant::now());
        let stake = match operation {
            Operation::Login | Operation::Unwrap => Stake::BringsToken,
            Operation::RevokeSelf => Stake::EndsToken,
            Operation::LookupSelf
            | Operation::WatchToken
            | Operation::CapabilitiesSelf
            | Operation::MountLookup
            | Operation::RenewSelf => Stake::UsesToken,
            Operation::Health | Operation::Probe | Operation::WrappingLookup => Stake::Nothing,
        };
        let answered = shutdown::answer(stake, client.send(request, token, deadline)).await;
        let Some(outcome) = answered else { return Err(Stop::GivenUp) };
        if operation == Operation::Login {
            self.logins.saw(client.instance(), sign(outcome.as_ref().ok(), started.elapsed()));
        }
        self.metrics.vault_asked(
            operation,
            outcome.as_ref().ok().map(|answer| answer.status),
            started.elapsed(),
        );
        Ok(outcome?)
    }
}

/// Logs that a token was not revoked. One that has ended by itself meanwhile is no matter of concern.
fn log_not_revoked(reason: &NotRevoked, has_ended: bool) {
    let fault = match reason {
        _ if has_ended => return tracing::debug!("a token ended by itself before it was revoked"),
        NotRevoked::NotAllowed => {
            return tracing::warn!(
                "did not revoke a token, because the address policy no longer allows its address; it stays valid until its TTL"
            );
        }
        NotRevoked::Fault(fault) => fault.as_str(),
        NotRevoked::GivenUp => "GivenUp",
    };
    tracing::warn!(fault, "failed to revoke a token; it stays valid until its TTL");
}

/// When Vault must have answered everything, if it is asked from now on.
pub(super) fn deadline(subject: &Subject<'_>) -> Instant {
    let full = Instant::now() + subject.desired.timeout;
    subject.deadline.map_or(full, |deadline| full.min(deadline))
}

/// What the answer to a login shows of the server.
fn sign(answer: Option<&Answer>, took: Duration) -> Sign {
    match answer {
        Some(answer) if answer.status != 429 && answer.status < 500 => Sign::Answered(took),
        Some(_) | None => Sign::Overloaded,
    }
}

// === impl NotRevoked ===

impl NotRevoked {
    /// Whether the same may work later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Fault(fault) => matches!(fault, Fault::Transport(_) | Fault::Server(_)),
            Self::NotAllowed | Self::GivenUp => false,
        }
    }
}

impl From<Stop> for NotRevoked {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Fault(fault) => Self::Fault(fault),
            Stop::GivenUp => Self::GivenUp,
        }
    }
}

// === impl Halt ===

impl<E, F: Into<Stop>> From<F> for Halt<E> {
    fn from(stop: F) -> Self {
        match stop.into() {
            Stop::Fault(fault) => Self::Fault(fault),
            Stop::GivenUp => Self::GivenUp,
        }
    }
}

// === impl Stop ===

impl<F: Into<Fault>> From<F> for Stop {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}
