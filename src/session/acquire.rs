//! How a session is had: the effects of the course, one after the other, and what was seen meanwhile.
//!
//! A failure outside the source of the references is an observation, never an error.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout_at},
};

use super::{
    course::{Course, Effect, Event, Fate},
    entry::{Entry, Lease, Link},
    login::PendingLogin,
    sessions::{Halt, Sessions, Stop, Subject, deadline},
};
use crate::{
    names::ConnectionRef,
    network::address_policy::Rules,
    references::{
        References, Versions,
        gateway::{self, Gateway},
        resolve::{self, Lookups, Resolved},
    },
    vault::{
        Request,
        answer::Answer,
        client::Client,
        token::{self, SelfFault},
    },
    verify::{
        observation::{Fault, Observation},
        session::{Owner, Plan, ends_soon},
        stability,
    },
};

/// How often a `ConfigMap` without our label, whose changes no watch reports, is read again. Users are promised five
/// minutes; the rest is for the request.
const CONFIG_MAP_POLL_INTERVAL: Duration = Duration::from_secs(285);

/// The acquisition of a session by one user, from its begin until the session is given back.
pub struct Acquisition<'a, R> {
    pub(super) sessions: Sessions<'a, R>,
    pub(super) subject: &'a Subject<'a>,
    pub(super) entry: &'a Arc<Entry>,
    /// When Vault must have answered everything.
    pub deadline: Instant,
    /// What was seen so far.
    pub trace: Trace,
    course: Course,
    /// The route by which the instance serves.
    pub(super) link: Option<Link>,
    /// What was read of the objects, until a login takes it.
    pub(super) read: Option<(Resolved, Versions)>,
    /// The login that is being made.
    pub(super) login: Option<PendingLogin<'a>>,
    /// The session that was made or taken just now.
    pub(super) lease: Option<Lease>,
}

/// What was seen on the way.
#[derive(Default)]
pub struct Trace {
    /// What a check says of it.
    pub seen: Observation,
    /// When Vault last answered.
    pub(super) answered: Option<Timestamp>,
    /// Other connections that waited for the instance, or for a login of the role to be accepted.
    pub waited: Vec<ConnectionRef>,
}

/// What comes next.
pub enum Next {
    /// There is a session: use it, and give it back.
    Use(Lease),
    /// There is none, or it was given back.
    End(Option<Fault>),
}

// === impl Acquisition ===

impl<'a, R: References> Acquisition<'a, R> {
    /// Nothing was done yet.
    pub fn new(sessions: Sessions<'a, R>, subject: &'a Subject<'a>, entry: &'a Arc<Entry>) -> Self {
        let (trace, course) = (Trace::default(), Course::default());
        let deadline = deadline(subject);
        Self {
            sessions,
            subject,
            entry,
            deadline,
            trace,
            course,
            link: None,
            read: None,
            login: None,
            lease: None,
        }
    }

    /// Goes on until there is a session, or none. Nobody else begins one meanwhile.
    pub async fn begin(&mut self) -> Result<Next, Halt<R::Error>> {
        let Some(turn) = self.turn().await else { return Ok(Next::End(Some(Fault::LoginQueued))) };
        let is_stale = self.subject.stale || self.has_lost_route();
        self.drive(Event::Begin { is_stale }, turn).await
    }

    async fn go_on(&mut self) -> Result<Next, Halt<R::Error>> {
        let Some(turn) = self.turn().await else { return Ok(Next::End(Some(Fault::LoginQueued))) };
        self.drive(Event::GivenBack, turn).await
    }

    /// The right to begin a session, unless others have it until the deadline.
    async fn turn(&self) -> Option<MutexGuard<'a, ()>> {
        let entry = self.entry;
        timeout_at(self.deadline, entry.begin.lock()).await.ok()
    }

    async fn drive(&mut self, mut event: Event, _turn: MutexGuard<'_, ()>) -> Result<Next, Halt<R::Error>> {
        loop {
            let next = match self.step(event) {
                Effect::Read => self.read_references().await,
                Effect::Reach => self.reach().await.map_err(Halt::from),
                Effect::Use(plan) => return self.use_kept(plan).await,
                Effect::Credential => Ok(self.credential()),
                Effect::Take => Ok(self.take_given()),
                Effect::Recall => Ok(self.recall()),
                Effect::Permit => self.permit().await.map_err(Halt::from),
                Effect::LogIn => self.log_in().await,
                Effect::Share | Effect::Prove => return self.leased().map(Next::Use),
                Effect::GiveBack(_) => Ok(Event::GivenBack),
                Effect::End(fault) => return Ok(Next::End(fault)),
            };
            event = match next {
                Ok(event) => event,
                Err(Halt::Fault(fault)) => Event::Failed(fault),
                Err(halt) => return Err(halt),
            };
        }
    }

    /// Takes a step. A session that it says to use is lent at the same moment, before anybody can give it back.
    fn step(&mut self, event: Event) -> Effect {
        let Subject { desired, now, .. } = *self.subject;
        let course = &mut self.course;
        let mut known = self.entry.known();
        let effect = known.step(desired, now, |memory, around| course.step(memory, around, event));
        let session = match effect {
            Effect::Use(_) => known.lending.cached().cloned(),
            Effect::Share => known.lending.new_one(now).cloned(),
            Effect::Read
            | Effect::Reach
            | Effect::Credential
            | Effect::Take
            | Effect::Recall
            | Effect::Permit
            | Effect::LogIn
            | Effect::Prove
            | Effect::GiveBack(_)
            | Effect::End(_) => return effect,
        };
        let lease = session.and_then(|session| self.entry.lend(&mut known, &session, self.deadline));
        drop(known);
        self.lease = lease;
        effect
    }

    /// The session that was lent. There is none if the connection was released meanwhile.
    fn leased(&mut self) -> Result<Lease, Halt<R::Error>> {
        self.lease.take().ok_or(Halt::GivenUp)
    }

    /// Gives a session back with what its use showed. A session that Vault has ended is replaced by another one.
    pub async fn give_back(
        &mut self,
        lease: Lease,
        outcome: Result<(), Fault>,
    ) -> Result<Next, Halt<R::Error>> {
        let (owner, basis) = {
            let session = lease.session();
            (session.owner, session.basis.clone())
        };
        let is_late = owner == Owner::User && lease.session().plan(self.subject.now) == Plan::Renew;
        let lacks = matches!(outcome, Err(Fault::Missing(_)));
        let effect = self.step(Event::Examined { owner, basis, outcome });
        let Effect::GiveBack(fate) = effect else { return Err(Halt::GivenUp) };
        if is_late && matches!(fate, Fate::Adopted | Fate::Left) {
            // The operator began late in its life.
            self.renew(&lease).await?;
        }
        self.settle(lease, fate, lacks);
        self.go_on().await
    }

    /// Keeps a session for the next check, if it will live until then, and notes what the status says of it.
    fn settle(&mut self, lease: Lease, fate: Fate, lacks: bool) {
        let Subject { desired, now, .. } = *self.subject;
        let mut known = self.entry.known();
        match fate {
            Fate::Ended => known.lending.forget(lease.shared()),
            Fate::Left => known.lending.retire(lease.shared()),
            Fate::Kept | Fate::Adopted => {
                let session = lease.session();
                let lives = session.outlives(now + desired.interval, desired.timeout);
                // The policies of a role take effect at its next login, so a login that lacks some is no use.
                let is_cached = session.owner == Owner::User || (lives && !lacks);
                let mut seen = session.seen(is_cached, now);
                drop(session);
                if desired.target.method.is_wrapped() {
                    seen.ends_soon = known.memory.secret_id_ends_soon(now);
                }
                if let Some(life) = known.credential_life {
                    seen.ends_soon = jwt_ends_soon(life, now);
                }
                self.trace.seen.login = Some(seen);
                if fate == Fate::Adopted {
                    known.lending.adopt(lease.shared(), is_cached);
                } else if !is_cached {
                    known.lending.retire(lease.shared());
                }
            }
        }
        drop(known);
        drop(lease);
    }

    async fn use_kept(&mut self, plan: Plan) -> Result<Next, Halt<R::Error>> {
        let lease = self.leased()?;
        if plan == Plan::Renew {
            self.renew(&lease).await?;
        }
        Ok(Next::Use(lease))
    }

    async fn renew(&mut self, lease: &Lease) -> Result<(), Stop> {
        let now = self.subject.now;
        match self.ask(&lease.client, token::renew(), Some(&lease.token)).await {
            Ok(answer) => match token::read_renew(&answer) {
                Ok(life) => lease.session().renewed(life, now),
                // What a server cannot do now is tried at the next check; what Vault refuses, it refuses for good.
                Err(SelfFault::Server(_)) => {}
                Err(_) => lease.session().not_renewed(),
            },
            Err(Stop::Fault(_)) => {}
            Err(Stop::GivenUp) => return Err(Stop::GivenUp),
        }
        Ok(())
    }

    /// Reads every object that the connection names, and takes from them what it needs.
    async fn read_references(&mut self) -> Result<Event, Halt<R::Error>> {
        let Subject { desired, ledger, now, .. } = *self.subject;
        let lock = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
        lock().begin_reading();
        let objects = self.read_objects().await?;
        let versions = resolve::versions(&objects);
        lock().rest_on(versions.clone());
        self.trace.seen.versions = versions.clone();
        let poll = resolve::is_unwatched(&objects).then(|| now + CONFIG_MAP_POLL_INTERVAL);
        self.entry.known().read_again = poll;
        // The time that Kubernetes took is not Vault's.
        self.deadline = deadline(self.subject);
        let is_too_late = |deadline| deadline < Instant::now() + stability::MIN_CHECK_TIME;
        if self.subject.deadline.is_some_and(is_too_late) {
            return Err(Fault::Overdue.into());
        }
        let resolved = resolve::resolve(&desired.target, &objects)?;
        self.trace.seen.suspicion.clone_from(&resolved.suspicion);
        self.entry.known().credential_life = resolved.life;
        self.learn(resolved.credentials.secrets(&desired.target.method));
        self.learn(resolved.route.gateway.iter().flat_map(Gateway::passwords));
        self.read = Some((resolved, versions.clone()));
        Ok(Event::HasRead(versions))
    }

    /// Reads what the connection names, and then what its gateway names.
    async fn read_objects(&mut self) -> Result<Lookups, Halt<R::Error>> {
        let Subject { connection, desired, register, .. } = *self.subject;
        let (references, namespace) = (self.sessions.references, &*connection.namespace);
        let mut objects = Lookups::new();
        for name in desired.target.references() {
            let lookup = references.read(namespace, &name).await.map_err(Halt::Source)?;
            objects.insert(name, lookup);
        }
        let gateway = desired.target.gateway.as_ref();
        let spec = gateway.and_then(|name| gateway::read_spec(name, &objects).ok());
        let by_gateway = spec.map(|spec| spec.references()).unwrap_or_default();
        let named = {
            let mut known = self.entry.known();
            known.named_by_gateway.clone_from(&by_gateway);
            known.named_by(&desired.target)
        };
        register(named);
        for name in &by_gateway {
            if !objects.contains_key(name) {
                let lookup = references.read(namespace, name).await.map_err(Halt::Source)?;
                objects.insert(name.clone(), lookup);
            }
        }
        Ok(objects)
    }

    /// Sends a request of this acquisition, and notes what its answer shows.
    pub async fn ask(
        &mut self,
        client: &Client,
        request: Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, Stop> {
        self.trace.seen.asked.asks(request.operation);
        let answer = self.sessions.ask(client, request, token, self.deadline).await?;
        self.trace.answered = Some(Timestamp::now());
        self.trace.seen.asked.answers();
        self.trace.seen.certificate_end.clone_from(&answer.certificate_end);
        Ok(answer)
    }

    /// Remembers credentials, so that a server that says them back is noticed.
    pub(super) fn learn<'c>(&mut self, credentials: impl IntoIterator<Item = &'c SecretString>) {
        let mut known = self.entry.known();
        credentials.into_iter().for_each(|it| known.fingerprints.learn(it));
    }

    /// Before this time no login is tried.
    pub fn no_login_before(&self) -> Option<Timestamp> {
        self.course.no_login_before
    }

    /// Whether nothing may be sent any more by the route that was last found.
    fn has_lost_route(&self) -> bool {
        let rules: Arc<Rules> = self.sessions.dialer.rules_for(&self.subject.connection.namespace);
        self.entry.known().link.as_ref().is_none_or(|link| link.route.rules != rules)
    }
}

/// The end of a JWT of the user, once a week or a third of its life is left.
fn jwt_ends_soon((begin, end): (Option<i64>, i64), now: Timestamp) -> Option<Timestamp> {
    let (begin, end) = (begin.unwrap_or(now.as_second()).min(end), end);
    let life = Duration::from_secs(u64::try_from(end.saturating_sub(begin)).ok()?);
    ends_soon(Timestamp::from_second(begin).ok()?, life, now)
}
