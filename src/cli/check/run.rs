//! A run of `check`: many connections at once, but one login of a role at a time.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{
    Checkable, Found, eprint_line,
    ledger::{Counted, Held, LoginResult},
    ledger_file::LedgerFile,
    progress::{self, Progress},
};
use crate::{
    api::{connection::VaultConnection, status::VaultConnectionStatus},
    auth::LoginFault,
    check::{CheckState, Checker, Outcome, Subject},
    names::ConnectionRef,
    references::{
        References,
        ledger::Ledger,
        resolve::{self, Lookups},
    },
    session::shutdown,
    spec::Desired,
    verify::{
        observation::{Fault, Observation},
        report as status_report,
        session::Basis,
        status::Circumstances,
    },
};

/// The generation of a new object.
const FIRST_GENERATION: i64 = 1;

/// Longest time that the end of the logins may take.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections are checked at once: those of one unreachable instance do not keep all others waiting.
const AT_ONCE: usize = 16;

/// A run of `check`.
pub(super) struct Run<R> {
    checker: Checker<R>,
    ledger: AsyncMutex<LedgerFile>,
    turns: Turns,
}

/// Whose turn it is to log in, by what Vault counts the login by. Others of the run wait for as long as it takes; only other runs are
/// waited for no longer than a check may take.
#[derive(Default)]
struct Turns {
    by: Mutex<HashMap<u64, Arc<AsyncMutex<()>>>>,
    hasher: RandomState,
}

// === impl Turns ===

impl Turns {
    fn of(&self, counted: &Counted) -> Arc<AsyncMutex<()>> {
        // Two that have the same hash by chance wait for each other, which harms nobody.
        let key = self.hasher.hash_one(counted.alias.expose_secret());
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by.entry(key).or_default())
    }
}

// === impl Run ===

impl<R: References> Run<R> {
    pub(super) fn new(checker: Checker<R>, ledger: LedgerFile) -> Self {
        Self { checker, ledger: AsyncMutex::new(ledger), turns: Turns::default() }
    }

    /// Checks all of them, some at once. What was found is in their order; none if that was interrupted.
    pub(super) async fn all(&self, checkable: Vec<Checkable>) -> Result<Option<Vec<Found>>, R::Error> {
        let progress = Progress::begin(checkable.len());
        let checks = stream::iter(checkable).map(|Checkable { place, connection, desired }| {
            let progress = &progress;
            async move {
                let status = Box::pin(self.status(&connection, &desired)).await?;
                progress.step();
                Ok(status.map(|status| Found { place, connection, status }))
            }
        });
        let found: Result<Vec<_>, _> = checks.buffered(AT_ONCE).try_collect().await;
        progress::clear();
        Ok(found?.into_iter().collect())
    }

    /// The status that the cluster would show, unless the check is interrupted.
    async fn status(
        &self,
        connection: &VaultConnection,
        desired: &Desired,
    ) -> Result<Option<VaultConnectionStatus>, R::Error> {
        let now = Timestamp::now();
        let around = Circumstances { generation: FIRST_GENERATION, requested_at: None, now, jitter: 0.0 };
        let nothing = VaultConnectionStatus::default();
        if connection.spec.suspend {
            return Ok(Some(status_report::suspended(&nothing, &around, desired)));
        }
        let name = super::name_of(connection);
        let observation = Box::pin(self.observe(&name, desired, now)).await?;
        Ok(observation.map(|seen| status_report::checked(&nothing, &around, desired, &seen).0))
    }

    /// Makes the check, if the ledger allows its login; else everything but the login. None if it is interrupted.
    async fn observe(
        &self,
        name: &ConnectionRef,
        desired: &Desired,
        now: Timestamp,
    ) -> Result<Option<Observation>, R::Error> {
        if shutdown::is_stopping() {
            return Ok(None);
        }
        let state = CheckState::default();
        let mut attempt = None;
        let mut turn = None;
        if let Some((counted, basis)) = self.counted(name, desired).await? {
            turn = Some(self.turns.of(&counted).lock_owned().await);
            match LedgerFile::begin(&self.ledger, (name, &desired.target), &counted, desired.timeout).await {
                Ok(begun) => attempt = Some((begun, basis)),
                Err(held) => {
                    let (fault, until) = fault_of(name, held);
                    state.session.known().memory.denied(basis, fault, until);
                }
            }
        }
        let ledger = Mutex::new(Ledger::default());
        let subject = Subject {
            connection: name,
            desired,
            ledger: &ledger,
            stale: false,
            is_ready: false,
            register: &|_| {},
            now,
            deadline: None,
        };
        let observation = match self.checker.check(&subject, &state).await? {
            Outcome::Checked(checked) => Some(checked.observation),
            Outcome::GivenUp => None,
        };
        if let Some((attempt, basis)) = attempt {
            let is_accepted = state.session.known().memory.is_proven(&basis);
            self.ledger.lock().await.settle(attempt, result(observation.as_ref(), is_accepted)).await;
        }
        drop(turn);
        for warning in self.ledger.lock().await.take_warnings() {
            eprint_line("warning", &warning);
        }
        let (sessions, tokens) = (self.checker.sessions(), state.session.reset());
        sessions.revoke(&name.namespace, tokens, Instant::now() + REVOKE_TIMEOUT).await;
        Ok(observation)
    }

    /// What Vault would count the login by; none if there is no login to make that it counts.
    async fn counted(
        &self,
        name: &ConnectionRef,
        desired: &Desired,
    ) -> Result<Option<(Counted, Basis)>, R::Error> {
        let mut objects = Lookups::new();
        for object in desired.target.credentials() {
            let read = self.checker.references.read(&name.namespace, &object).await?;
            objects.insert(object, read);
        }
        let basis = Basis::new(&desired.target, &resolve::versions(&objects));
        let counted = || {
            let credentials = resolve::credentials(&desired.target, &objects).ok()?;
            let alias = desired.target.method.lockout_alias(credentials.values())?;
            Some(Counted { alias, proof: credentials.proof()?.clone() })
        };
        Ok(counted().map(|counted| (counted, basis)))
    }
}

/// Why a login is not made, and until when. Prints that, too.
fn fault_of(name: &ConnectionRef, held: Held) -> (Fault, Timestamp) {
    match held {
        Held::Refused { fault, at, until } => {
            eprint_line(
                "warning",
                &format!(
                    "{name}: did not log in, because Vault rejected the same credential at {at:.0}, and too many rejected logins lock the role for everyone. A changed credential is tried immediately, the same one after {until:.0}, or now with --force"
                ),
            );
            (fault, until)
        }
        Held::Spent { until } => {
            eprint_line(
                "warning",
                &format!(
                    "{name}: did not log in, because Vault recently rejected logins of this role, and too many lock it for everyone. The next login is possible after {until:.0}, or now with --force"
                ),
            );
            (Fault::BudgetSpent, until)
        }
    }
}

/// How the login of a check went. A check that is given up waits for the answer to a login that it has sent.
fn result(observation: Option<&Observation>, is_accepted: bool) -> LoginResult {
    match observation {
        _ if is_accepted => LoginResult::Accepted,
        Some(Observation { fault: Some(Fault::Login(LoginFault::Denied)), .. }) => LoginResult::Denied,
        // Whatever else Vault says of a login that it counts.
        Some(observation) if !observation.refused.is_empty() => LoginResult::InvalidCredentials,
        Some(_) | None => LoginResult::NotMade,
    }
}
