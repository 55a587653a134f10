//! One check: which requests are made, in which order, and what is kept afterwards.
//!
//! ```text
//!   references ─▶ address ─▶ health ─▶ kept session ─▶ self-check ─▶ keep or revoke
//!                                  └─▶ login ─────────┘
//! ```
//!
//! A failure outside the source of the references is an observation, never an error.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{Checked, Checker, Leftover, Subject, instances::Asker};
use crate::{
    names::{ConnectionRef, ObjectName},
    network::{address_policy::Rules, faults::TransportFault, route::Route},
    references::{
        References, Versions,
        fingerprints::Fingerprints,
        gateway::{self, Gateway},
        resolve::{self, Lookups, Resolved},
    },
    session::shutdown,
    spec::{Desired, Target},
    vault::{
        Request,
        answer::Answer,
        client::Client,
        health::{self, Health},
        namespace,
    },
    verify::{
        engine::EngineMemory,
        memory::Memory,
        observation::{Fault, Observation},
        sanitize,
        session::{Plan, Session},
        stability,
    },
};

/// How often a `ConfigMap` without our label, whose changes no watch tells, is read again. Users are promised five
/// minutes; the rest is for the way.
const CONFIG_MAP_POLL: Duration = Duration::from_secs(285);

/// What is kept of a connection between its checks.
#[derive(Default)]
pub struct CheckState {
    /// What is known.
    pub memory: Memory,
    /// When the objects must be read again at the latest, because no watch tells of their changes.
    pub read_again: Option<Timestamp>,
    /// The objects that the gateway of the connection names.
    pub named_by_gateway: Vec<ObjectName>,
    /// The credentials that the connection has used, so that a server that says one back is noticed.
    pub fingerprints: Fingerprints,
    /// What is remembered of the secrets engine.
    pub engine: EngineMemory,
    /// When the last check ended.
    /// The begin and the end of a credential that says so itself.
    pub(super) credential_life: Option<(Option<i64>, i64)>,
    pub(super) looked_at: Option<Instant>,
    pub(super) link: Option<Link>,
}

/// The way to the instance, as the last check found it.
pub(super) struct Link {
    target: Target,
    way: Arc<Route>,
    client: Client,
}

/// Why a check ends early.
pub(super) enum Halt<E> {
    /// What was seen.
    Fault(Fault),
    /// The source of the references failed, so that nothing is known.
    Source(E),
}

/// A check under way.
pub(super) struct Check<'a, R> {
    pub(super) checker: &'a Checker<R>,
    pub(super) subject: &'a Subject<'a>,
    pub(super) state: &'a mut CheckState,
    /// Which addresses may be dialled.
    rules: Arc<Rules>,
    /// When Vault must have answered everything.
    pub(super) deadline: Instant,
    /// What was read of the objects, until a login takes it.
    pub(super) read: Option<(Resolved, Versions)>,
    /// When Vault last answered.
    pub(super) answered: Option<Timestamp>,
    /// What was seen so far.
    pub(super) seen: Observation,
    /// Tokens that are no longer needed.
    pub(super) leftovers: Vec<Leftover>,
    /// Other connections that waited for the instance, or for a login of the role to be accepted.
    pub(super) waited: Vec<ConnectionRef>,
}

/// Makes one check. `Err` says that the source of the references failed.
pub(super) async fn observe<R: References>(
    checker: &Checker<R>,
    subject: &Subject<'_>,
    state: &mut CheckState,
) -> Result<Checked, R::Error> {
    let mut check = Check {
        checker,
        subject,
        state,
        rules: checker.dialer.rules_for(&subject.connection.namespace),
        deadline: deadline(subject),
        read: None,
        answered: None,
        seen: Observation::default(),
        leftovers: Vec::new(),
        waited: Vec::new(),
    };
    match check.steps().await {
        Ok(()) => Ok(check.conclude(None)),
        Err(Halt::Fault(fault)) => Ok(check.conclude(Some(fault))),
        Err(Halt::Source(error)) => Err(error),
    }
}

// === impl CheckState ===

impl CheckState {
    /// Begins anew with what an earlier process knew. The credentials that were used stay known.
    pub fn recall(&mut self, memory: Memory) {
        *self = Self { memory, fingerprints: std::mem::take(&mut self.fingerprints), ..Self::default() };
    }

    /// Every object that a connection to this target names, by its gateway too.
    pub fn named_by(&self, target: &Target) -> Vec<ObjectName> {
        let mut names = target.references();
        names.extend(self.named_by_gateway.iter().filter(|_| target.gateway.is_some()).cloned());
        names.sort();
        names.dedup();
        names
    }

    /// Gives up the kept session without an end, and the way that it came: nothing may be sent there any more.
    fn give_up_way(&mut self) {
        self.memory.session = None;
        self.link = None;
    }

    /// Gives up the kept session, and what was known of the instance. What is returned is to be revoked.
    pub fn abandon(&mut self) -> Vec<Leftover> {
        self.memory.forget_health();
        self.memory.stability.reset();
        let session = self.memory.session.take().filter(Session::is_ours_to_revoke);
        let link = self.link.take();
        session.zip(link).map(|(session, link)| link.leftover(session)).into_iter().collect()
    }
}

// === impl Link ===

impl Link {
    /// A token that was issued over this way.
    pub(super) fn leftover(&self, session: Session) -> Leftover {
        let (client, rules) = (self.client.clone(), Arc::clone(&self.way.rules));
        Leftover { client, rules, ends: session.end(), token: session.token }
    }
}

// === impl Check ===

impl<R: References> Check<'_, R> {
    async fn steps(&mut self) -> Result<(), Halt<R::Error>> {
        let Subject { desired, stale, now, .. } = *self.subject;
        // Over a way that was made under other rules, nothing is sent any more.
        let way_holds = self.state.link.as_ref().is_some_and(|link| link.way.rules == self.rules);
        if !way_holds || self.state.memory.needs_reading(desired, stale, now) {
            self.read_references().await?;
        }
        let client = self.dial()?;
        let plan = self.state.memory.plan(desired, now);
        self.ask_health(&client).await?;
        if let Some(health) = &self.seen.health {
            namespace::supported(desired.target.namespace.as_ref(), health)?;
        }
        match plan {
            Plan::Watch | Plan::Reuse | Plan::Renew => self.use_kept_session(&client, plan).await,
            Plan::LogIn => match self.begin_session(&client).await {
                Err(Halt::Fault(Fault::BudgetSpent | Fault::LoginQueued))
                    if self.state.memory.may_put_off_proof(desired, now) =>
                {
                    // Others keep the login from being proved anew, and nothing speaks against it.
                    self.seen.no_login_before = None;
                    self.use_kept_session(&client, Plan::Reuse).await
                }
                outcome => outcome,
            },
        }
    }

    /// Reads every object that the connection names, and takes from them what it needs.
    pub(super) async fn read_references(&mut self) -> Result<(), Halt<R::Error>> {
        let Subject { desired, ledger, now, .. } = *self.subject;
        let lock = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
        lock().begin_reading();
        self.state.memory.begin_reading();
        let objects = self.read_objects().await?;
        let versions = resolve::versions(&objects);
        lock().rest_on(versions.clone());
        self.seen.versions = versions.clone();
        self.state.read_again = resolve::is_unwatched(&objects).then(|| now + CONFIG_MAP_POLL);
        // The time that Kubernetes took is not Vault's.
        self.deadline = deadline(self.subject);
        if self.subject.deadline.is_some_and(|deadline| deadline < Instant::now() + stability::SHORTEST_LOOK)
        {
            return Err(Fault::Overdue.into());
        }
        let resolved = resolve::resolve(&desired.target, &objects)?;
        self.state.memory.has_read(versions.clone());
        self.seen.suspicion.clone_from(&resolved.suspicion);
        self.state.credential_life = resolved.life;
        self.learn(resolved.credentials.secrets(&desired.target.method));
        self.learn(resolved.way.gateway.iter().flat_map(Gateway::passwords));
        self.read = Some((resolved, versions));
        Ok(())
    }

    /// Reads what the connection names, and then what its gateway names.
    async fn read_objects(&mut self) -> Result<Lookups, Halt<R::Error>> {
        let Subject { connection, desired, register, .. } = *self.subject;
        let (references, namespace) = (&self.checker.references, connection.namespace.as_str());
        let mut objects = Lookups::new();
        for name in desired.target.references() {
            let lookup = references.read(namespace, &name).await.map_err(Halt::Source)?;
            objects.insert(name, lookup);
        }
        let gateway = desired.target.gateway.as_ref();
        let spec = gateway.and_then(|name| gateway::read_spec(name, &objects).ok());
        self.state.named_by_gateway = spec.map(|spec| spec.references()).unwrap_or_default();
        register(self.state.named_by(&desired.target));
        for name in &self.state.named_by_gateway {
            if !objects.contains_key(name) {
                let lookup = references.read(namespace, name).await.map_err(Halt::Source)?;
                objects.insert(name.clone(), lookup);
            }
        }
        Ok(objects)
    }

    /// Makes sure that the address may be dialled, and finds the client for it.
    fn dial(&mut self) -> Result<Client, Fault> {
        self.drop_session_of_another_target();
        let Subject { connection, desired: Desired { target, .. }, .. } = *self.subject;
        let dialer = &self.checker.dialer;
        if let Err(fault) = dialer.permit(&self.rules, &target.instance) {
            self.state.give_up_way();
            return Err(fault.into());
        }
        let Some((Resolved { way: material, .. }, _)) = &self.read else {
            let link = self.state.link.as_ref().expect("the objects are read before the first dial");
            return Ok(link.client.clone());
        };
        let way = Route::new(&target.instance, &connection.namespace, material, &self.rules);
        if let Some(link) = self.state.link.as_ref().filter(|link| link.target == *target && *link.way == way)
        {
            return Ok(link.client.clone());
        }
        let (way, http) = dialer.client(way, material);
        let client = Client::new(http, &way, target.namespace.clone(), &connection.namespace);
        self.state.link = Some(Link { target: target.clone(), way, client: client.clone() });
        Ok(client)
    }

    /// A session of another address or namespace cannot serve until the new one works: it is ended over its own way.
    fn drop_session_of_another_target(&mut self) {
        let target = &self.subject.desired.target;
        if self.state.link.as_ref().is_some_and(|link| link.target != *target) {
            self.leftovers.extend(self.state.abandon());
        }
    }

    async fn ask_health(&mut self, client: &Client) -> Result<(), Fault> {
        let Some(way) = self.state.link.as_ref().map(|link| Arc::clone(&link.way)) else { return Ok(()) };
        let (instances, connection) = (&self.checker.instances, self.subject.connection);
        let from = Asker {
            connection,
            timeout: self.subject.desired.timeout,
            ready_since: self.state.looked_at.filter(|_| self.subject.is_ready),
            has_session: self.state.memory.session.is_some(),
        };
        // What another connection sees of a failing instance saves this one from waiting for no answer, too.
        if !self.state.memory.needs_health() && !instances.is_failing(&way) {
            self.state.memory.skipped_health();
            self.seen.health = self.state.memory.health().cloned();
            return Ok(());
        }
        if let Some(fault) = instances.known_fault(&way, &from) {
            return Err(fault);
        }
        let asked = Instant::now();
        match self.look_at_health(client).await {
            Ok(health) => {
                self.waited.extend(instances.serves(&way, connection));
                self.seen.health = Some(health.clone());
                self.state.memory.saw_health(health);
                Ok(())
            }
            Err(fault) => {
                // A run that stops has not waited for the answer, so that others can take nothing from it.
                if !shutdown::is_stopping() {
                    instances.failed(&way, &from, &fault, asked);
                }
                Err(fault)
            }
        }
    }

    async fn look_at_health(&mut self, client: &Client) -> Result<Health, Fault> {
        let answer = self.ask(client, health::request(), None).await?;
        match health::read(&answer) {
            // Where a firewall keeps the health from us, Vault is known by how it refuses. Nothing secret is sent until then.
            Err(_) if health::is_kept_from_us(&answer) => {
                self.seen.asked.is_refused();
                let answer = self.ask(client, health::probe(), None).await?;
                Ok(health::read_probe(&answer)?)
            }
            read => Ok(read?),
        }
    }

    pub(super) async fn ask(
        &mut self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, TransportFault> {
        self.seen.asked.asks(request.operation);
        let answer = self.checker.ask(client, request, token, self.deadline).await?;
        self.answered = Some(Timestamp::now());
        self.seen.asked.answers();
        self.seen.certificate_end.clone_from(&answer.certificate_end);
        Ok(answer)
    }

    /// Remembers credentials, so that a server that says them back is noticed.
    pub(super) fn learn<'c>(&mut self, credentials: impl IntoIterator<Item = &'c SecretString>) {
        credentials.into_iter().for_each(|it| self.state.fingerprints.learn(it));
    }

    fn conclude(mut self, fault: Option<Fault>) -> Checked {
        if self.seen.versions.is_empty() {
            self.seen.versions = self.state.memory.versions();
        }
        self.state.memory.answer_request();
        match &fault {
            Some(_) => {
                self.state.memory.forget_health();
                self.state.engine.forget();
            }
            None => self.state.memory.has_passed(&self.subject.desired.target),
        }
        self.state.looked_at = Some(Instant::now());
        if matches!(fault, Some(Fault::Transport(_) | Fault::Server(_))) {
            self.seen.health = None;
        }
        // A login that the check could not use says nothing about now. One that lacks a capability, or its engine, was used.
        if !matches!(fault, None | Some(Fault::Missing(_) | Fault::Engine(_))) {
            self.seen.login = None;
        }
        self.seen.fault = fault;
        let (memory, now) = (&self.state.memory, self.subject.now);
        self.seen.refused = memory.refused_lately(now);
        self.seen.refused_role = memory.role_tag().cloned();
        self.seen.last_login = memory.accepted_at();
        self.seen.token_due = memory.session.as_ref().and_then(|session| session.due(now));
        sanitize::observation(&mut self.seen, &self.state.fingerprints);
        Checked { observation: self.seen, leftovers: self.leftovers, waited: self.waited }
    }
}

/// When Vault must have answered everything, if it is asked from now on.
fn deadline(subject: &Subject<'_>) -> Instant {
    let full = Instant::now() + subject.desired.timeout;
    subject.deadline.map_or(full, |deadline| full.min(deadline))
}

// === impl Halt ===

impl<E, F: Into<Fault>> From<F> for Halt<E> {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}
