//! One check: which requests are made, in which order, and what is kept afterwards.
//!
//! ```text
//!   references ─▶ address ─▶ health ─▶ kept session ─▶ self-check ─▶ keep or revoke
//!                                  └─▶ login ─────────┘
//! ```
//!
//! A failure outside the source of the references is an observation, never an error.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use super::logins::{Logins, NoTurn};
use crate::{
    api::desired::{Desired, Target},
    gateway::dial::Dialer,
    refs::{ConnectionRef, MountPath, ObjectKind},
    secrets::{
        Lookup, References, Versions,
        ledger::Ledger,
        resolve::{self, CaPem, Credentials, Lookups, Resolved},
    },
    telemetry::metrics::Metrics,
    vault::{
        Request,
        answer::Answer,
        capabilities,
        client::Client,
        health::{self, Health},
        login::{self, LoginFault},
        token::{self, SelfFault},
        transport::TransportFault,
    },
    verify::{
        budget,
        memory::Memory,
        observation::{Fault, Observation},
        session::{Basis, Owner, Plan, Session},
    },
};

/// How often a `ConfigMap` without our label, whose changes no watch tells, is read again. Users are promised five
/// minutes; the rest is for the way.
const CONFIG_MAP_POLL: Duration = Duration::from_secs(285);

/// What all checks share.
pub struct Checker<R> {
    /// Where objects are read.
    pub references: R,
    /// The way to instances.
    pub dialer: Dialer,
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
    /// Now.
    pub now: Timestamp,
}

/// What is kept of a connection between its checks.
#[derive(Default)]
pub struct Kept {
    /// What is known.
    pub memory: Memory,
    /// When the objects must be read again at the latest, because no watch tells of their changes.
    pub read_again: Option<Timestamp>,
    link: Option<Link>,
}

/// The way to the instance, as the last check found it.
struct Link {
    target: Target,
    ca: Option<CaPem>,
    client: Client,
}

/// A token that is no longer needed.
pub struct Leftover {
    client: Client,
    token: SecretString,
}

/// Why a check ends early.
enum Halt<E> {
    Fault(Fault),
    Source(E),
}

/// A check under way.
struct Check<'a, R> {
    checker: &'a Checker<R>,
    subject: &'a Subject<'a>,
    kept: &'a mut Kept,
    deadline: Instant,
    read: Option<(Resolved, Versions)>,
    seen: Observation,
    leftovers: Vec<Leftover>,
}

// === impl Checker ===

impl<R: References> Checker<R> {
    /// Checks a connection. Afterwards, and after the status is written, the leftovers are to be revoked.
    pub async fn check(
        &self,
        subject: &Subject<'_>,
        kept: &mut Kept,
    ) -> Result<(Observation, Vec<Leftover>), R::Error> {
        let deadline = Instant::now() + subject.desired.timeout;
        let mut check = Check {
            checker: self,
            subject,
            kept,
            deadline,
            read: None,
            seen: Observation::default(),
            leftovers: Vec::new(),
        };
        let fault = match check.steps().await {
            Ok(()) => None,
            Err(Halt::Fault(fault)) => Some(fault),
            Err(Halt::Source(error)) => return Err(error),
        };
        Ok(check.conclude(fault))
    }

    /// Ends tokens that are no longer needed, as far as `deadline` allows. A token that stays ends by its own life.
    pub async fn revoke(&self, leftovers: Vec<Leftover>, deadline: Instant) {
        for Leftover { client, token } in leftovers {
            let answer =
                self.ask(&client, token::revoke(), Some(&token), deadline).await.map_err(Fault::from);
            let outcome = answer.and_then(|answer| token::refusal(&answer).map_err(Fault::from));
            if let Err(fault) = outcome {
                tracing::warn!(?fault, "a token of ours could not be revoked; it ends by its TTL");
            }
        }
    }

    async fn ask(
        &self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, TransportFault> {
        let (operation, started) = (request.operation, Instant::now());
        let outcome = client.send(request, token, deadline).await;
        self.metrics.vault_asked(
            operation,
            outcome.as_ref().ok().map(|answer| answer.status),
            started.elapsed(),
        );
        outcome
    }
}

// === impl Kept ===

impl Kept {
    /// Begins with what an earlier process knew.
    pub fn restored(memory: Memory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Gives up the kept session. What is returned is to be revoked.
    pub fn abandon(&mut self) -> Vec<Leftover> {
        let session = self.memory.session.take().filter(Session::is_ours_to_revoke);
        let link = self.link.take();
        session
            .zip(link)
            .map(|(session, link)| Leftover { client: link.client, token: session.token })
            .into_iter()
            .collect()
    }
}

// === impl Check ===

impl<R: References> Check<'_, R> {
    async fn steps(&mut self) -> Result<(), Halt<R::Error>> {
        let Subject { desired, stale, now, .. } = *self.subject;
        if self.kept.link.is_none() || self.kept.memory.needs_reading(&desired.target, stale, now) {
            self.read_references().await?;
        }
        let client = self.dial()?;
        let versions = self.read.as_ref().map(|(_, versions)| versions);
        let plan = self.kept.memory.plan(&desired.target, versions, now);
        self.ask_health(&client, plan).await?;
        match plan {
            Plan::LeaveAlone => {
                self.seen.login = self.kept.memory.left_alone();
                Ok(())
            }
            Plan::Reuse | Plan::Renew => self.use_kept_session(&client, plan).await,
            Plan::LogIn => self.begin_session(&client).await,
        }
    }

    /// Reads every object that the connection names, and takes from them what it needs.
    async fn read_references(&mut self) -> Result<(), Halt<R::Error>> {
        let Subject { connection, desired, ledger, now, .. } = *self.subject;
        let lock = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
        lock().begin_reading();
        let mut objects = Lookups::new();
        for name in desired.target.references() {
            let lookup =
                self.checker.references.read(&connection.namespace, &name).await.map_err(Halt::Source)?;
            objects.insert(name, lookup);
        }
        let versions = resolve::versions(&objects);
        lock().rest_on(versions.clone());
        self.seen.versions = versions.clone();
        self.kept.memory.has_read();
        self.kept.read_again = is_unwatched(&objects).then(|| now + CONFIG_MAP_POLL);
        // The time that Kubernetes took is not Vault's.
        self.deadline = Instant::now() + desired.timeout;
        let resolved = resolve::resolve(&desired.target, &objects)?;
        self.read = Some((resolved, versions));
        Ok(())
    }

    /// Makes sure that the address may be dialled, and finds the client for it.
    fn dial(&mut self) -> Result<Client, Fault> {
        let target = &self.subject.desired.target;
        self.checker.dialer.permit(&target.instance)?;
        let read = self.read.as_ref().map(|(resolved, _)| &resolved.ca);
        if let Some(link) = &self.kept.link
            && link.target == *target
            && read.is_none_or(|ca| *ca == link.ca)
        {
            return Ok(link.client.clone());
        }
        let ca = read.cloned().flatten();
        let http = self.checker.dialer.client(&target.instance, ca.as_ref()).map_err(|_| {
            let source = &target.ca.as_ref().expect("only a CA that was given can be invalid").source;
            resolve::invalid_certificate(source)
        })?;
        let client = Client::new(http, target.instance.clone(), target.namespace.clone());
        self.drop_session_of_another_target();
        self.kept.link = Some(Link { target: target.clone(), ca, client: client.clone() });
        Ok(client)
    }

    /// A session of another address or namespace cannot serve until the new one works: it is ended over its own way.
    fn drop_session_of_another_target(&mut self) {
        let target = &self.subject.desired.target;
        if self.kept.link.as_ref().is_some_and(|link| link.target != *target) {
            self.leftovers.extend(self.kept.abandon());
        }
    }

    async fn ask_health(&mut self, client: &Client, plan: Plan) -> Result<(), Fault> {
        if !self.kept.memory.needs_health() && plan != Plan::LeaveAlone {
            self.kept.memory.skipped_health();
            self.seen.health = self.kept.memory.health().cloned();
            return Ok(());
        }
        let answer = self.ask(client, health::request(), None).await?;
        let health: Health = health::read(&answer)?;
        self.seen.health = Some(health.clone());
        self.kept.memory.saw_health(health);
        Ok(())
    }

    async fn use_kept_session(&mut self, client: &Client, plan: Plan) -> Result<(), Halt<R::Error>> {
        let mut session = self.kept.memory.session.take().expect("a plan to use a session follows from one");
        if plan == Plan::Renew {
            self.renew(client, &mut session).await;
        }
        let outcome = self.self_check(client, &mut session).await;
        if let Err(Fault::Own(SelfFault::Rejected)) = outcome {
            return self.replace_ended_session(client, &session).await;
        }
        self.keep_or_leave(client, session);
        outcome.map_err(Halt::Fault)
    }

    /// Vault ended the session before its time: by a restart without storage, by a person, by a quota.
    async fn replace_ended_session(
        &mut self,
        client: &Client,
        ended: &Session,
    ) -> Result<(), Halt<R::Error>> {
        if self.read.is_none() {
            self.read_references().await?;
        }
        let unchanged = self.read.as_ref().is_some_and(|(_, versions)| *versions == ended.basis.versions);
        if ended.owner == Owner::User && unchanged {
            return Err(Fault::Own(SelfFault::Rejected).into());
        }
        self.begin_session(client).await
    }

    async fn renew(&mut self, client: &Client, session: &mut Session) {
        let now = self.subject.now;
        match self
            .ask(client, token::renew(), Some(&session.token))
            .await
            .map(|answer| token::read_renew(&answer))
        {
            Ok(Ok(life)) => session.renewed(life, now),
            // What a server cannot do now is tried at the next check; what Vault refuses, it refuses for good.
            Ok(Err(SelfFault::Server(_))) | Err(_) => {}
            Ok(Err(_)) => session.not_renewed(),
        }
    }

    /// Logs in, or takes the user's token, and makes sure that it can be used. The old session stays until then.
    async fn begin_session(&mut self, client: &Client) -> Result<(), Halt<R::Error>> {
        if self.read.is_none() {
            self.read_references().await?;
        }
        let (resolved, versions) = self.read.take().expect("the references were just read");
        let desired = self.subject.desired;
        let basis = Basis { target: desired.target.clone(), versions };
        let session = match resolved.credentials {
            Credentials::AppRole { mount, role_id, secret_id } => {
                self.log_in(client, basis, &mount, &role_id, &secret_id).await?
            }
            Credentials::Token(token) => Session::given(token, basis, self.subject.now),
        };
        self.adopt(client, session).await.map_err(Halt::Fault)
    }

    async fn log_in(
        &mut self,
        client: &Client,
        basis: Basis,
        mount: &MountPath,
        role_id: &SecretString,
        secret_id: &SecretString,
    ) -> Result<Session, Fault> {
        let now = self.subject.now;
        if let Some((fault, until)) = self.kept.memory.known_refusal(&basis, now) {
            self.seen.no_login_before = Some(until);
            return Err(fault.into());
        }
        let target = &basis.target;
        let role = self.checker.logins.role(&target.instance, target.namespace.as_ref(), mount, role_id);
        let proven = self.kept.memory.is_proven(&basis);
        let turn = match self.checker.logins.turn(&role, proven, now, self.deadline).await {
            Ok(turn) => turn,
            Err(NoTurn::TimedOut) => return Err(TransportFault::TimedOut.into()),
            Err(NoTurn::Spent(until)) => {
                self.seen.no_login_before = Some(until);
                return Err(Fault::BudgetSpent);
            }
        };
        let answer = self.ask(client, login::request(mount, role_id, secret_id), None).await?;
        match login::read(&answer) {
            Ok(login) => {
                turn.accepted().await;
                self.kept.memory.accepted(basis.clone());
                Ok(Session::issued(login.token, basis, login.info, now))
            }
            Err(fault) => {
                if matches!(fault, LoginFault::InvalidCredentials | LoginFault::Denied) {
                    turn.refused(now).await;
                    let until = now + budget::WINDOW;
                    self.kept.memory.refused(basis, fault.clone(), until);
                    self.seen.no_login_before = Some(until);
                }
                Err(fault.into())
            }
        }
    }

    /// Makes sure that a new token can be used, and lets it take the place of the old one.
    async fn adopt(&mut self, client: &Client, mut session: Session) -> Result<(), Fault> {
        let outcome = self.self_check(client, &mut session).await;
        if !matches!(outcome, Ok(()) | Err(Fault::Missing(_))) {
            self.leave(client, session);
            return outcome;
        }
        if session.owner == Owner::User {
            self.kept.memory.accepted(session.basis.clone());
        }
        if let Some(old) = self.kept.memory.session.take() {
            self.leave(client, old);
        }
        self.keep_or_leave(client, session);
        outcome
    }

    /// The self-check: the smallest request that a usable login can make. With requirements it is the question for
    /// them, unless nothing is known of the token yet.
    async fn self_check(&self, client: &Client, session: &mut Session) -> Result<(), Fault> {
        let Subject { desired: Desired { require, .. }, now, .. } = *self.subject;
        if require.is_empty() || session.is_unknown() {
            let answer = self.ask(client, token::lookup(), Some(&session.token)).await?;
            session.looked_up(token::read_lookup(&answer)?, now);
        }
        if require.is_empty() {
            return Ok(());
        }
        let answer = self.ask(client, capabilities::request(require), Some(&session.token)).await?;
        let missing = capabilities::read_missing(&answer, require)?;
        if missing.is_empty() { Ok(()) } else { Err(Fault::Missing(missing)) }
    }

    /// Keeps a session for the next check, if it will live until then, and notes what the status tells of it.
    fn keep_or_leave(&mut self, client: &Client, session: Session) {
        let Subject { desired, now, .. } = *self.subject;
        let keep = session.owner == Owner::User || session.outlives(now + desired.interval, desired.timeout);
        let seen = session.seen(keep);
        self.seen.login = Some(seen.clone());
        if session.owner == Owner::User && session.is_limited() {
            self.kept.memory.leave_alone(session.basis, seen.info);
        } else if keep {
            self.kept.memory.session = Some(session);
        } else {
            self.leave(client, session);
        }
    }

    fn leave(&mut self, client: &Client, session: Session) {
        if session.is_ours_to_revoke() {
            self.leftovers.push(Leftover { client: client.clone(), token: session.token });
        }
    }

    async fn ask(
        &self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, TransportFault> {
        self.checker.ask(client, request, token, self.deadline).await
    }

    fn conclude(mut self, fault: Option<Fault>) -> (Observation, Vec<Leftover>) {
        if self.seen.versions.is_empty() {
            self.seen.versions = self.kept.memory.versions();
        }
        if fault.is_some() {
            self.kept.memory.forget_health();
        }
        if matches!(fault, Some(Fault::Transport(_) | Fault::Server(_))) {
            self.seen.health = None;
        }
        // A login that the check could not use says nothing about now. One that lacks a capability was used.
        if !matches!(fault, None | Some(Fault::Missing(_))) {
            self.seen.login = None;
        }
        self.seen.fault = fault;
        (self.seen, self.leftovers)
    }
}

/// Whether an object was read whose changes no watch tells.
fn is_unwatched(objects: &Lookups) -> bool {
    objects.iter().any(|(name, lookup)| {
        name.kind == ObjectKind::ConfigMap && !matches!(lookup, Lookup::Found(object) if object.labelled)
    })
}

// === impl Halt ===

impl<E, F: Into<Fault>> From<F> for Halt<E> {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}
