//! The steps of one check: what `run` does for a connection that is due, and `check` for a manifest.
//!
//! ```text
//!   Checker ── what all checks share: references, dialer, instances, logins, metrics
//!   Subject ── what is checked, and why now ─┐
//!   CheckState ─ what is kept between checks ┴─▶ steps ─▶ login ─▶ engine ─▶ Checked: an observation, tokens to revoke
//! ```
//!
//! It knows neither a queue nor a status: whoever calls it judges the observation and publishes that.

mod engine;
pub mod instances;
mod login;
mod steps;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

pub use self::steps::CheckState;
use self::{instances::Instances, steps::observe};
use crate::{
    names::{ConnectionRef, ObjectName},
    network::{address_policy::Rules, dial::Dialer, faults::TransportFault},
    references::{References, ledger::Ledger},
    session::{
        logins::Logins,
        pace::Sign,
        shutdown::{self, Stake},
    },
    spec::Desired,
    telemetry::metrics::Metrics,
    vault::{Operation, Request, answer::Answer, client::Client, token},
    verify::observation::{Fault, Observation},
};

/// What all checks share.
pub struct Checker<R> {
    /// Where objects are read.
    pub references: R,
    /// The way to instances.
    pub dialer: Dialer,
    /// Which instances fail.
    pub instances: Instances,
    /// Who may log in.
    pub logins: Logins,
    /// What is counted.
    pub metrics: Metrics,
}

/// What is checked, and why now.
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

/// What a check leads to.
pub struct Checked {
    /// What was seen.
    pub observation: Observation,
    /// Tokens that are no longer needed, to be revoked once the status is written.
    pub leftovers: Vec<Leftover>,
    /// Other connections that waited for the instance, which serves again.
    pub waited: Vec<ConnectionRef>,
}

/// A token that is no longer needed.
pub struct Leftover {
    /// The way to where it was issued.
    pub client: Client,
    /// What the address policy allowed when that way was made.
    pub rules: Arc<Rules>,
    /// The token itself.
    pub token: SecretString,
    /// When it ends by itself; none if it never does.
    pub ends: Option<Timestamp>,
}

/// Why a token was not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRevoked {
    /// Nothing may be sent to where it was issued any more: the address policy changed.
    NotAllowed,
    /// Vault could not be reached, or refused.
    Fault(Fault),
}

// === impl Checker ===

impl<R: References> Checker<R> {
    /// Checks a connection. `Err` says that the source of the references failed.
    pub async fn check(&self, subject: &Subject<'_>, state: &mut CheckState) -> Result<Checked, R::Error> {
        observe(self, subject, state).await
    }

    /// Ends tokens of a namespace that are no longer needed, as far as `deadline` allows. A token that stays ends by its
    /// own life.
    pub async fn revoke(&self, namespace: &str, leftovers: Vec<Leftover>, deadline: Instant) {
        for leftover in leftovers {
            match self.revoke_one(namespace, leftover, deadline).await {
                Ok(()) => {}
                Err(NotRevoked::NotAllowed) => tracing::warn!(
                    "a token of ours is not revoked, since the address policy changed; it ends by its TTL"
                ),
                Err(NotRevoked::Fault(fault)) => tracing::warn!(
                    fault = fault.as_str(),
                    "a token of ours could not be revoked; it ends by its TTL"
                ),
            }
        }
    }

    /// Ends one token of a namespace.
    pub async fn revoke_one(
        &self,
        namespace: &str,
        Leftover { client, rules, token, ends: _ }: Leftover,
        deadline: Instant,
    ) -> Result<(), NotRevoked> {
        // Where it was issued may have become a place that nothing may be sent to.
        if self.dialer.rules_for(namespace) != rules {
            return Err(NotRevoked::NotAllowed);
        }
        let answer = self.ask(&client, token::revoke(), Some(&token), deadline).await.map_err(Fault::from);
        let outcome =
            answer.and_then(|answer| token::refusal(&answer, Operation::RevokeSelf).map_err(Fault::from));
        outcome.map_err(NotRevoked::Fault)
    }

    /// Sends a request, and counts it.
    pub(super) async fn ask(
        &self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, TransportFault> {
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
        // The run stops: this is as good as no answer, the check is not judged, and of the server it says nothing.
        let Some(outcome) = answered else { return Err(TransportFault::TimedOut) };
        if operation == Operation::Login {
            self.logins.saw(client.instance(), sign(outcome.as_ref().ok(), started.elapsed()));
        }
        self.metrics.vault_asked(
            operation,
            outcome.as_ref().ok().map(|answer| answer.status),
            started.elapsed(),
        );
        outcome
    }
}

/// What the answer to a login shows of the server.
fn sign(answer: Option<&Answer>, took: Duration) -> Sign {
    match answer {
        Some(answer) if answer.status != 429 && answer.status < 500 => Sign::Answered(took),
        Some(_) | None => Sign::Overloaded,
    }
}
