//! One check: what is asked with a session, and what follows from the answers.
//!
//! ```text
//!   session::acquire ─▶ self-check ─▶ engine ─▶ give back ─▶ what was seen
//!         ▲                                        │
//!         └──────── Vault has ended the session ───┘
//! ```
//!
//! A failure outside the source of the references is an observation, never an error.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Checked, Checker, Outcome, Subject};
use crate::{
    references::References,
    session::{
        acquire::{Acquisition, Next},
        entry::{Entry, Lease},
        sessions::{Halt, Stop},
    },
    spec::Desired,
    vault::{
        capabilities,
        token::{self, SelfFault},
    },
    verify::{
        engine::EngineMemory,
        memory::Memory,
        observation::Fault,
        sanitize,
        session::{Owner, Plan},
    },
};

/// What is kept of a connection between its checks.
#[derive(Default)]
pub struct CheckState {
    /// What is kept to have a login.
    pub session: Arc<Entry>,
    /// What is remembered of the secrets engine.
    pub(super) engine: Mutex<EngineMemory>,
}

/// A check under way.
pub(super) struct Check<'a, R> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) entry: &'a Arc<Entry>,
    engine: &'a Mutex<EngineMemory>,
    pub(super) run: Acquisition<'a, R>,
}

/// Makes one check. `Err` says that the source of the references failed.
pub(super) async fn observe<R: References>(
    checker: &Checker<R>,
    subject: &Subject<'_>,
    state: &CheckState,
) -> Result<Outcome, R::Error> {
    let CheckState { session: entry, engine } = state;
    let run = Acquisition::new(checker.sessions(), subject, entry);
    let mut check = Check { subject, entry, engine, run };
    match check.steps().await {
        Ok(fault) => Ok(Outcome::Checked(check.conclude(fault))),
        Err(Halt::Fault(fault)) => Ok(Outcome::Checked(check.conclude(Some(fault)))),
        Err(Halt::GivenUp) => Ok(Outcome::GivenUp),
        Err(Halt::Source(error)) => Err(error),
    }
}

// === impl CheckState ===

impl CheckState {
    /// What is kept to have a login; of the secrets engine, nothing is known yet.
    pub fn new(session: Arc<Entry>) -> Self {
        Self { session, ..Self::default() }
    }

    /// Begins anew with what an earlier process knew. The credentials that were used stay known.
    pub fn recall(&self, memory: Memory) {
        self.session.recall(memory);
        *lock(&self.engine) = EngineMemory::default();
    }
}

// === impl Check ===

impl<R: References> Check<'_, R> {
    /// What is remembered of the secrets engine. Held for a moment only.
    pub(super) fn engine(&self) -> MutexGuard<'_, EngineMemory> {
        lock(self.engine)
    }

    async fn steps(&mut self) -> Result<Option<Fault>, Halt<R::Error>> {
        let mut next = self.run.begin().await?;
        loop {
            let lease = match next {
                Next::End(fault) => return Ok(fault),
                Next::Use(lease) => lease,
            };
            let outcome = match self.examine(&lease).await {
                Ok(()) => Ok(()),
                Err(Stop::Fault(fault)) => Err(fault),
                Err(Stop::GivenUp) => return Err(Halt::GivenUp),
            };
            next = self.run.give_back(lease, outcome).await?;
        }
    }

    /// Makes sure that a token can be used. One with few uses is only watched, once it has been looked up.
    async fn examine(&mut self, lease: &Lease) -> Result<(), Stop> {
        let plan = lease.session().plan(self.subject.now);
        if plan != Plan::Watch {
            return self.self_check(lease).await;
        }
        let answer = self.run.ask(&lease.client, token::watch(), Some(&lease.token)).await?;
        Ok(token::read_watch(&answer)?)
    }

    /// The self-check: the smallest request that a usable login can make. With requirements it is the question for
    /// them, unless nothing is known of the token yet.
    async fn self_check(&mut self, lease: &Lease) -> Result<(), Stop> {
        let Desired { require, target, .. } = self.subject.desired;
        let (now, wanted) = (self.subject.now, target.namespace.as_ref());
        let is_known = {
            let session = lease.session();
            !session.is_unknown() && (wanted.is_none() || session.reports_namespace())
        };
        if require.is_empty() || !is_known {
            let answer = self.run.ask(&lease.client, token::lookup(), Some(&lease.token)).await?;
            lease.session().looked_up(token::read_lookup(&answer)?, now);
        }
        // The look-up has spent a use, and the question for capabilities would spend another.
        let spends = i64::from(!require.is_empty());
        {
            let mut session = lease.session();
            if session.owner == Owner::User && !session.can_spare(spends) {
                return Err(SelfFault::UsedUp.into());
            }
            session.fits_namespace(wanted, !require.is_empty())?;
            if require.is_empty() {
                return Ok(());
            }
            session.used();
        }
        let answer = self.run.ask(&lease.client, capabilities::request(require), Some(&lease.token)).await?;
        let missing = capabilities::read_missing(&answer, require)
            .map_err(|fault| lease.session().explain(fault, wanted))?;
        self.check_engine(lease, missing.is_empty()).await?;
        if missing.is_empty() { Ok(()) } else { Err(Fault::Missing(missing).into()) }
    }

    fn conclude(self, fault: Option<Fault>) -> Checked {
        let now = self.subject.now;
        let no_login_before = self.run.no_login_before();
        let (mut seen, waited) = (self.run.trace.seen, self.run.trace.waited);
        let mut known = self.entry.known();
        if seen.versions.is_empty() {
            seen.versions = known.memory.versions();
        }
        known.memory.conclude(&self.subject.desired.target, fault.as_ref());
        if fault.is_some() {
            lock(self.engine).forget();
        }
        known.checked_at = Some(Instant::now());
        if matches!(fault, Some(Fault::Transport(_) | Fault::Server(_))) {
            seen.health = None;
        }
        // A login that the check could not use says nothing about now. One that lacks a capability, or its engine, was used.
        if !matches!(fault, None | Some(Fault::Missing(_) | Fault::Engine(_))) {
            seen.login = None;
        }
        seen.fault = fault;
        seen.no_login_before = no_login_before;
        seen.refused = known.memory.refused_lately(now);
        seen.refused_role = known.memory.role_tag().cloned();
        seen.last_login = known.memory.accepted_at();
        seen.token_due = known.token_due(now);
        sanitize::observation(&mut seen, &known.fingerprints);
        Checked { observation: seen, waited }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
