//! The part of a check that concerns logins and tokens: use what is kept, or log in, and decide what to keep.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;

use super::{
    Subject,
    steps::{Check, Halt},
};
use crate::{
    auth::LoginFault,
    names::{MountPath, ObjectName},
    network::faults::TransportFault,
    references::{
        References, TokenAnswer,
        resolve::{Credentials, Problem, ReferenceFault},
    },
    session::{
        decide::{self, Attempt, Decision},
        ledger::Roles,
        logins::NoPermit,
    },
    spec::Desired,
    telemetry::metrics::CountedLogin,
    vault::{
        capabilities,
        client::Client,
        login::{self, NoLogin},
        token::{self, SelfFault},
        wrapping,
    },
    verify::{
        memory::LOCKOUT_WINDOW,
        observation::Fault,
        session::{Basis, Owner, Plan, Session, ends_soon},
    },
};

impl<R: References> Check<'_, R> {
    /// Uses the kept session. One that Vault has ended is replaced in the same check.
    pub(super) async fn use_kept_session(
        &mut self,
        client: &Client,
        plan: Plan,
    ) -> Result<(), Halt<R::Error>> {
        let mut session = self.state.memory.session.take().expect("a plan to use a session follows from one");
        if plan == Plan::Renew {
            self.renew(client, &mut session).await;
        }
        let outcome = self.examine(client, &mut session).await;
        if let Err(Fault::Own(SelfFault::Rejected)) = outcome {
            return self.replace_ended_session(client, &session).await;
        }
        self.keep_or_leave(session, &outcome);
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
        let target = &self.subject.desired.target;
        let unchanged =
            self.read.as_ref().is_some_and(|(_, versions)| Basis::new(target, versions) == ended.basis);
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
    pub(super) async fn begin_session(&mut self, client: &Client) -> Result<(), Halt<R::Error>> {
        if self.read.is_none() {
            self.read_references().await?;
        }
        let (resolved, versions) = self.read.take().expect("the references were just read");
        let desired = self.subject.desired;
        let basis = Basis::new(&desired.target, &versions);
        let credentials = resolved.credentials;
        let identity = resolved.way.tls.identity.filter(|_| desired.target.method.uses_client_certificate());
        if identity.is_some_and(|identity| identity.is_out_of_time(self.subject.now.as_second())) {
            // Vault would call it a failure of its own.
            return Err(Fault::Login(LoginFault::CertificateExpired).into());
        }
        let given = desired.target.method.given_token().and(credentials.proof());
        let session = match given {
            None => self.log_in(client, basis, &credentials).await?,
            Some(_) if self.state.memory.is_spent(&basis) => {
                return Err(Fault::Own(SelfFault::UsedUp).into());
            }
            Some(token) => self.given(token.clone(), basis),
        };
        self.adopt(client, session).await.map_err(Halt::Fault)
    }

    /// A session with the user's token. One with limited uses that an earlier process looked up is not looked up again.
    fn given(&self, token: SecretString, basis: Basis) -> Session {
        let now = self.subject.now;
        let limited = self.state.memory.limited(&basis).filter(|(_, end)| end.is_none_or(|end| now < end));
        match limited {
            Some(limited) => Session::limited(token, basis, limited, now),
            None => Session::given(token, basis, now),
        }
    }

    async fn log_in(
        &mut self,
        client: &Client,
        basis: Basis,
        credentials: &Credentials,
    ) -> Result<Session, Halt<R::Error>> {
        let Subject { connection, now, .. } = *self.subject;
        let method = &basis.target.method;
        let cluster_id = self.seen.health.as_ref().and_then(|health| health.cluster_id.as_deref());
        let logins = &self.checker.logins;
        let roles = match (method.mount(), method.lockout_alias(credentials.values())) {
            (Some(mount), Some(alias)) => {
                Some(logins.roles(connection, &basis.target, cluster_id, (mount, &alias)))
            }
            (None, _) | (_, None) => None,
        };
        if let Some(roles) = &roles {
            self.state.memory.has_role(roles.address().tag());
            // After a restart, the status is all that is known of what was refused.
            let is_same = !method.is_wrapped() && self.state.memory.hold(&basis, now).is_some();
            let credential = credentials.proof().filter(|_| is_same).map(|proof| logins.fingerprint(proof));
            logins.recall(connection, roles, credential);
        }
        if let Some(Decision::Hold { fault, until }) = decide::held(&self.state.memory, &basis, now) {
            self.seen.no_login_before = Some(until);
            return Err(fault.into());
        }
        let values = self.opened(client, &basis, credentials).await?;
        self.try_login(client, (&basis, roles.as_ref()), &values).await
    }

    /// Makes the login, as soon as it may be tried.
    async fn try_login(
        &mut self,
        client: &Client,
        (basis, roles): (&Basis, Option<&Roles>),
        values: &Credentials,
    ) -> Result<Session, Halt<R::Error>> {
        let checker = self.checker;
        let Subject { connection, now, .. } = *self.subject;
        let credential = values.proof().map_or(0, |proof| checker.logins.fingerprint(proof));
        let attempt = Attempt { connection, basis, credential, answered: self.answered };
        let memory = &mut self.state.memory;
        let permit = match checker.logins.permit(memory, &attempt, roles, now, self.deadline).await {
            Ok(permit) => permit,
            Err(NoPermit::TimedOut) => return Err(Fault::LoginQueued.into()),
            Err(NoPermit::Held { fault, until }) => {
                checker.metrics.login(CountedLogin::Held);
                memory.not_tried(basis.clone());
                self.seen.no_login_before = Some(until);
                return Err(fault.into());
            }
        };
        let values = self.with_requested(basis, values).await?;
        let request = basis.target.method.request(&values).expect("a method without a token logs in");
        let answer = match self.ask(client, login::request(request), None).await {
            Ok(answer) => answer,
            Err(fault) => {
                checker.metrics.login(CountedLogin::Unanswered);
                if permit.counts() && may_have_arrived(&fault) {
                    self.state.memory.may_have_been_refused(now);
                } else {
                    permit.not_counted(now);
                }
                return Err(fault.into());
            }
        };
        match login::read(&basis.target.method, &answer) {
            Ok(login) => {
                checker.metrics.login(CountedLogin::Accepted);
                self.waited.extend(permit.accepted(now));
                self.learn([&login.token]);
                self.state.memory.accepted(basis.clone(), now);
                Ok(Session::issued(login.token, basis.clone(), login.info, now))
            }
            Err(NoLogin::Refused(fault)) if permit.counts() && fault.is_refusal() => {
                checker.metrics.login(CountedLogin::Refused);
                permit.refused(&fault, now);
                self.seen.no_login_before =
                    Some(self.state.memory.refused(basis.clone(), fault.clone(), now));
                Err(fault.into())
            }
            Err(fault) => {
                checker.metrics.login(CountedLogin::Uncounted);
                permit.not_counted(now);
                Err(fault.into())
            }
        }
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
        let answer = self.checker.references.request_token(namespace, account).await.map_err(Halt::Source)?;
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
    ) -> Result<Credentials, Fault> {
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
    ) -> Result<SecretString, Fault> {
        if let Some(secret_id) = self.state.memory.unwrapped(wrapping_token) {
            return Ok(secret_id.clone());
        }
        let answer = self.ask(client, wrapping::lookup(wrapping_token), None).await?;
        wrapping::read_lookup(&answer, mount, basis.target.namespace.as_ref())?;
        let answer = self.ask(client, wrapping::unwrap(), Some(wrapping_token)).await?;
        let unwrapped = wrapping::read_unwrap(&answer)?;
        self.learn([&unwrapped.secret_id]);
        let secret_id = unwrapped.secret_id.clone();
        self.state.memory.keep_unwrapped(wrapping_token.clone(), unwrapped, self.subject.now);
        Ok(secret_id)
    }

    /// Makes sure that a new token can be used, and lets it take the place of the old one.
    async fn adopt(&mut self, client: &Client, mut session: Session) -> Result<(), Fault> {
        let outcome = self.examine(client, &mut session).await;
        if session.owner == Owner::User && session.plan(self.subject.now) == Plan::Renew {
            // The operator began late in its life.
            self.renew(client, &mut session).await;
        }
        if let Err(Fault::Own(fault)) = &outcome {
            self.hold_unusable(&session, fault);
        }
        if !matches!(outcome, Ok(()) | Err(Fault::Missing(_) | Fault::Engine(_))) {
            self.leave(session);
            return outcome;
        }
        if session.owner == Owner::User {
            self.state.memory.accepted(session.basis.clone(), self.subject.now);
        }
        if let Some(old) = self.state.memory.session.take() {
            self.leave(old);
        }
        self.keep_or_leave(session, &outcome);
        outcome
    }

    /// A token of ours that may not even look itself up cannot be revoked by itself either, so that each further login
    /// would leave one more behind.
    fn hold_unusable(&mut self, session: &Session, fault: &SelfFault) {
        if session.owner == Owner::User && *fault == SelfFault::UsedUp {
            self.state.memory.has_spent(session.basis.clone());
        }
        if session.owner == Owner::Operator
            && matches!(fault, SelfFault::Rejected | SelfFault::NotPermitted { .. })
        {
            let until = self.subject.now + LOCKOUT_WINDOW;
            self.state.memory.denied(session.basis.clone(), fault.clone().into(), until);
            self.seen.no_login_before = Some(until);
        }
    }

    /// Makes sure that a token can be used. One with few uses is only watched, once it has been looked up.
    async fn examine(&mut self, client: &Client, session: &mut Session) -> Result<(), Fault> {
        if session.plan(self.subject.now) != Plan::Watch {
            return self.self_check(client, session).await;
        }
        let answer = self.ask(client, token::watch(), Some(&session.token)).await?;
        Ok(token::read_watch(&answer)?)
    }

    /// The self-check: the smallest request that a usable login can make. With requirements it is the question for
    /// them, unless nothing is known of the token yet.
    async fn self_check(&mut self, client: &Client, session: &mut Session) -> Result<(), Fault> {
        let Subject { desired: Desired { require, target, .. }, now, .. } = *self.subject;
        let wanted = target.namespace.as_ref();
        if require.is_empty() || session.is_unknown() || (wanted.is_some() && !session.tells_namespace()) {
            let answer = self.ask(client, token::lookup(), Some(&session.token)).await?;
            session.looked_up(token::read_lookup(&answer)?, now);
        }
        // The look-up has spent a use, and the question for capabilities would spend another.
        let spends = i64::from(!require.is_empty());
        if session.owner == Owner::User && !session.can_spare(spends) {
            return Err(SelfFault::UsedUp.into());
        }
        session.fits_namespace(wanted, !require.is_empty())?;
        if require.is_empty() {
            return Ok(());
        }
        session.used();
        let answer = self.ask(client, capabilities::request(require), Some(&session.token)).await?;
        let missing =
            capabilities::read_missing(&answer, require).map_err(|fault| session.explain(fault, wanted))?;
        self.check_engine(client, session, missing.is_empty()).await?;
        if missing.is_empty() { Ok(()) } else { Err(Fault::Missing(missing)) }
    }

    /// Keeps a session for the next check, if it will live until then, and notes what the status tells of it.
    fn keep_or_leave(&mut self, session: Session, outcome: &Result<(), Fault>) {
        let Subject { desired, now, .. } = *self.subject;
        let lives = session.outlives(now + desired.interval, desired.timeout);
        // The policies of a role take effect at its next login, so a login that lacks some is no use.
        let lacks = matches!(outcome, Err(Fault::Missing(_)));
        let keep = session.owner == Owner::User || (lives && !lacks);
        let mut seen = session.seen(keep, now);
        if desired.target.method.is_wrapped() {
            seen.ends_soon = self.state.memory.secret_id_ends_soon(now);
        }
        if let Some(life) = self.state.credential_life {
            seen.ends_soon = jwt_ends_soon(life, now);
        }
        self.seen.login = Some(seen);
        if keep {
            self.state.memory.session = Some(session);
        } else {
            self.leave(session);
        }
    }

    fn leave(&mut self, session: Session) {
        let link = self.state.link.as_ref().filter(|_| session.is_ours_to_revoke());
        self.leftovers.extend(link.map(|link| link.leftover(session)));
    }
}

/// The end of a JWT of the user, once a week or a third of its life is left.
fn jwt_ends_soon((begin, end): (Option<i64>, i64), now: Timestamp) -> Option<Timestamp> {
    let (begin, end) = (begin.unwrap_or(now.as_second()).min(end), end);
    let life = Duration::from_secs(u64::try_from(end.saturating_sub(begin)).ok()?);
    ends_soon(Timestamp::from_second(begin).ok()?, life, now)
}

/// Whether Vault may have seen a request that got no answer.
fn may_have_arrived(fault: &TransportFault) -> bool {
    matches!(fault, TransportFault::TimedOut | TransportFault::Failed)
}
