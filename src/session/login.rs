//! How a login is made: its values, the right to make it, the request, and what became of it.

use secrecy::SecretString;

use super::{
    acquire::Acquisition,
    course::{Answered, CredentialKind, Event},
    decide::{Attempt, History},
    entry::Link,
    ledger::{LoginOutcome, Roles},
    logins::{LoginPermit, NoPermit},
    sessions::{Halt, Stop, Subject},
};
use crate::{
    names::{MountPath, ObjectName, VaultNamespace},
    references::{
        References, TokenAnswer,
        resolve::{Credentials, Problem, ReferenceFault},
    },
    telemetry::metrics::{CountedLogin, budgets::FailingRole},
    vault::{
        client::Client,
        login::{self, NoLogin},
        wrapping,
    },
    verify::{
        observation::Fault,
        session::{Basis, Session},
    },
};

/// A login that is being made.
pub(super) struct PendingLogin<'a> {
    basis: Basis,
    credentials: Credentials,
    /// The roles that it counts for; none if Vault never counts logins of its method.
    roles: Option<Roles>,
    permit: Option<LoginPermit<'a>>,
}

// === impl Acquisition ===

impl<R: References> Acquisition<'_, R> {
    /// What a session is made from, of what was read.
    pub(super) fn credential(&mut self) -> Event {
        let Subject { desired, now, .. } = *self.subject;
        let (resolved, versions) = self.read.take().expect("the objects were just read");
        let method = &desired.target.method;
        let basis = Basis::new(&desired.target, &versions);
        let identity = resolved.route.tls.identity.filter(|_| method.uses_client_certificate());
        let kind = if identity.is_some_and(|identity| identity.is_out_of_time(now.as_second())) {
            CredentialKind::OutOfTime
        } else if method.given_token().and(resolved.credentials.proof()).is_some() {
            CredentialKind::Token
        } else {
            CredentialKind::LogIn
        };
        let credentials = resolved.credentials;
        self.login = Some(PendingLogin { basis: basis.clone(), credentials, roles: None, permit: None });
        Event::Credential { basis, kind }
    }

    /// A session with the user's token. One with limited uses that an earlier process looked up is not looked up again.
    pub(super) fn take_given(&mut self) -> Event {
        let now = self.subject.now;
        let PendingLogin { basis, credentials, .. } = self.login.take().expect("there is a credential");
        let token = credentials.proof().expect("a token is its own proof").clone();
        let limited = self.entry.known().memory.limited(&basis);
        let session = match limited.filter(|(_, end)| end.is_none_or(|end| now < end)) {
            Some(limited) => Session::limited(token, basis, limited, now),
            None => Session::given(token, basis, now),
        };
        self.add(session);
        Event::Taken
    }

    /// Takes in a new session, and holds a lease on it.
    fn add(&mut self, session: Session) {
        let route = self.link().lent();
        let mut known = self.entry.known();
        let shared = known.lending.add(session, route);
        let lease = self.entry.lend(&mut known, &shared, self.deadline);
        drop(known);
        self.lease = lease;
    }

    /// Counts for its role what an earlier process saw refused.
    pub(super) fn recall(&mut self) -> Event {
        let Subject { connection, now, .. } = *self.subject;
        let pending = self.login.as_mut().expect("there is a credential");
        let PendingLogin { basis, credentials, .. } = pending;
        let (method, logins) = (&basis.target.method, self.sessions.logins);
        let health = self.trace.seen.health.as_ref();
        let cluster_id = health.and_then(|health| health.cluster_id.as_deref());
        pending.roles = match (method.mount(), method.lockout_alias(credentials.values())) {
            (Some(mount), Some(alias)) => {
                Some(logins.roles(connection, &basis.target, cluster_id, (mount, &alias)))
            }
            (None, _) | (_, None) => None,
        };
        if let Some(roles) = &pending.roles {
            let memory = &mut self.entry.known().memory;
            memory.has_role(roles.address().tag());
            // After a restart, the status is all that is known of what was refused.
            let is_same = !method.is_wrapped() && memory.hold(basis, now).is_some();
            let credential = credentials.proof().filter(|_| is_same).map(|proof| logins.fingerprint(proof));
            logins.recall(connection, roles, credential);
        }
        Event::Recalled { is_counted: pending.roles.is_some() }
    }

    /// Opens what the login is made with, and waits until it may be made.
    pub(super) async fn permit(&mut self) -> Result<Event, Stop> {
        let Subject { connection, now, .. } = *self.subject;
        let mut pending = self.login.take().expect("there is a credential");
        let client = self.client();
        pending.credentials = self.opened(&client, &pending.basis, &pending.credentials).await?;
        let logins = self.sessions.logins;
        let credential = pending.credentials.proof().map_or(0, |proof| logins.fingerprint(proof));
        let history = History::of(&self.entry.known().memory, &pending.basis, now);
        let answered = self.trace.answered;
        let attempt = Attempt { connection, basis: &pending.basis, credential, answered };
        let permit = logins.permit(&history, &attempt, pending.roles.as_ref(), now, self.deadline).await;
        self.note_budget(pending.roles.as_ref());
        let event = match permit {
            Ok(permit) => {
                pending.permit = Some(permit);
                Event::Permitted
            }
            Err(NoPermit::TimedOut) => Event::Queued,
            Err(NoPermit::Held { fault, until }) => {
                self.sessions.metrics.login(CountedLogin::Held);
                Event::Held { fault, until }
            }
        };
        self.login = Some(pending);
        Ok(event)
    }

    /// Makes the login.
    pub(super) async fn log_in(&mut self) -> Result<Event, Halt<R::Error>> {
        let now = self.subject.now;
        let pending = self.login.take().expect("there is a credential");
        let PendingLogin { basis, credentials, roles, permit } = pending;
        let permit = permit.expect("it was just given");
        let values = self.with_requested(&basis, &credentials).await?;
        let request = basis.target.method.request(&values).expect("a method without a token logs in");
        let client = self.client();
        let answered = match self.ask(&client, login::request(request), None).await {
            Ok(answer) => match login::read(&basis.target.method, &answer) {
                Ok(login) => {
                    self.learn([&login.token]);
                    self.add(Session::issued(login.token, basis, login.info, now));
                    Answered::Accepted
                }
                Err(NoLogin::Refused(fault)) => Answered::Refused(fault),
                Err(fault) => Answered::NotServed(fault.into()),
            },
            Err(Stop::Fault(Fault::Transport(fault))) => Answered::Missing(fault),
            Err(stop) => return Err(stop.into()),
        };
        self.sessions.metrics.login(counted(&answered, roles.is_some()));
        match answered.outcome() {
            // Whoever drops the permit says so.
            LoginOutcome::Unknown => drop(permit),
            outcome => self.trace.waited.extend(permit.conclude(&outcome, now)),
        }
        self.note_budget(roles.as_ref());
        Ok(Event::Answered(answered))
    }

    /// Tells the metrics how many failed logins count against the role, if Vault counts them.
    fn note_budget(&self, roles: Option<&Roles>) {
        let Some(roles) = roles else { return };
        let Subject { desired, now, .. } = *self.subject;
        let address = roles.address();
        let namespace = address.place.namespace.as_ref().map(VaultNamespace::as_str);
        let role = || FailingRole {
            instance_url: desired.target.instance.as_str().to_owned(),
            vault_namespace: namespace.unwrap_or_default().to_owned(),
            mount: address.place.mount.as_str().to_owned(),
            role: address.tag(),
        };
        self.sessions.metrics.budgets().note(role, || self.sessions.logins.failed(roles, now), now);
    }

    /// The values, with the token of a ServiceAccount that is requested for this login alone.
    async fn with_requested(
        &mut self,
        basis: &Basis,
        values: &Credentials,
    ) -> Result<Vec<SecretString>, Halt<R::Error>> {
        let mut values = values.values().to_vec();
        let Some((field, account)) = basis.target.method.service_account() else { return Ok(values) };
        let namespace = &self.subject.connection.namespace;
        let answer =
            self.sessions.references.request_token(namespace, account).await.map_err(Halt::Source)?;
        let problem = match answer {
            TokenAnswer::Issued(token) => {
                self.learn([&token]);
                values.push(token);
                return Ok(values);
            }
            TokenAnswer::Missing => Problem::Missing,
            TokenAnswer::Forbidden => Problem::Forbidden,
            TokenAnswer::AudienceOfApiServer(audience) => Problem::AudienceOfApiServer(audience),
        };
        let source = Some((ObjectName::service_account(&account.name), String::new()));
        Err(ReferenceFault { field: field.to_owned(), source, problem }.into())
    }

    /// The values of a login. A wrapping token is opened once, after a look at where it comes from; what it held is kept.
    async fn opened(
        &mut self,
        client: &Client,
        basis: &Basis,
        credentials: &Credentials,
    ) -> Result<Credentials, Stop> {
        let mut values = credentials.values().to_vec();
        if let (Some(mount), Some(wrapping_token)) =
            (basis.target.method.mount(), values.last_mut().filter(|_| basis.target.method.is_wrapped()))
        {
            *wrapping_token = self.unwrap(client, (mount, basis), wrapping_token).await?;
        }
        Ok(Credentials::new(values))
    }

    async fn unwrap(
        &mut self,
        client: &Client,
        (mount, basis): (&MountPath, &Basis),
        wrapping_token: &SecretString,
    ) -> Result<SecretString, Stop> {
        if let Some(secret_id) = self.entry.known().memory.unwrapped(wrapping_token) {
            return Ok(secret_id.clone());
        }
        let answer = self.ask(client, wrapping::lookup(wrapping_token), None).await?;
        wrapping::read_lookup(&answer, mount, basis.target.namespace.as_ref())?;
        let answer = self.ask(client, wrapping::unwrap(), Some(wrapping_token)).await?;
        let unwrapped = wrapping::read_unwrap(&answer)?;
        self.learn([&unwrapped.secret_id]);
        let secret_id = unwrapped.secret_id.clone();
        let now = self.subject.now;
        self.entry.known().memory.keep_unwrapped(wrapping_token.clone(), unwrapped, now);
        Ok(secret_id)
    }

    fn client(&self) -> Client {
        self.link().client.clone()
    }

    fn link(&self) -> &Link {
        self.link.as_ref().expect("the instance was reached before")
    }
}

fn counted(answered: &Answered, is_counted: bool) -> CountedLogin {
    match answered {
        Answered::Accepted => CountedLogin::Accepted,
        Answered::Refused(fault) if is_counted && fault.is_refusal() => CountedLogin::Refused,
        Answered::Refused(_) | Answered::NotServed(_) => CountedLogin::Uncounted,
        Answered::Missing(_) => CountedLogin::Unanswered,
    }
}
