//! What the operator remembers of a connection between two checks.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    observation::Fault,
    session::{self, Basis, Owner, Plan, Session},
    stability::Stability,
};
use crate::{
    api::{
        condition::{ConditionType, Reason},
        status::{CredentialVersion, VaultConnectionStatus},
    },
    auth::LoginFault,
    conditions,
    names::{ObjectKind, ObjectName, pool::Pool},
    references::{Version, Versions},
    spec::{Desired, Target},
    vault::{
        health::Health,
        token::{TokenInfo, TokenNamespace},
        wrapping::Unwrapped,
    },
};

/// How long Vault counts a refused login of a role:
/// <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>, `lockout_counter_reset`.
pub const LOCKOUT_WINDOW: Duration = Duration::from_mins(15);

/// How many settled checks go by between two looks at the server's health, which tell its version and role.
pub(super) const CHECKS_BETWEEN_HEALTH: u32 = 10;

/// What instances told of themselves: the same to all their connections.
static HEALTH: Pool<Health> = Pool::new();

/// What the operator remembers of a connection between two checks. There is one for each connection, so what is seldom there
/// has a place of its own, and what is the same is shared.
#[derive(Debug, Default)]
pub struct Memory {
    /// What the checks amount to.
    pub stability: Stability,
    /// What the instance told of itself. None when it must be asked again.
    health: Option<Arc<Health>>,
    checks_since_health: u32,
    /// What Vault accepted last.
    proven: Option<Arc<Basis>>,
    /// When.
    accepted_at: Option<Timestamp>,
    /// What the last check that passed rested on.
    passed: Option<Arc<Basis>>,
    hold: Option<Box<Hold>>,
    /// What was refused last, or could not be tried.
    denied: Option<Box<Basis>>,
    /// Whether a person asks for a login, whatever was refused before.
    requested: bool,
    refused: Vec<Timestamp>,
    /// A tag of the role that they were of.
    role_tag: Option<String>,
    /// A user's token with limited uses, as an earlier process looked it up.
    limited: Option<Box<(Basis, TokenInfo, Option<Timestamp>)>>,
    /// A user's token that had too few uses for a check: there is nothing left to look at.
    spent: Option<Box<Basis>>,
    opened: Option<Box<Opened>>,
    /// The objects that were read last. None when they must be read again.
    read: Option<Versions>,
}

/// A secret id that came in a wrapping token. It is nowhere else.
#[derive(Debug)]
struct Opened {
    wrapping_token: SecretString,
    unwrapped: Unwrapped,
    since: Timestamp,
}

/// A login that is not to be tried again with the same basis before its time.
#[derive(Clone, Debug)]
struct Hold {
    basis: Basis,
    fault: Fault,
    until: Timestamp,
}

// === impl Memory ===

impl Memory {
    /// What can be known of a target from the status that an earlier process wrote about it.
    pub fn restore(target: &Target, status: &VaultConnectionStatus) -> Self {
        let basis = Arc::new(Basis::new(target, &versions(&status.credentials)));
        let is_true = |condition| conditions::is_true(&status.conditions, condition);
        let authenticated = conditions::find(&status.conditions, ConditionType::Authenticated);
        let denied = authenticated.and_then(|condition| denied_fault(&condition.reason));
        let refused = denied.clone().filter(|fault| *fault != Fault::BudgetSpent);
        let until = status.next_login_time.as_ref();
        let hold = refused
            .zip(until)
            .map(|(fault, until)| Hold { basis: (*basis).clone(), fault, until: until.0 })
            .map(Box::new);
        let is_proven = is_true(ConditionType::Authenticated);
        let limited = status.session.as_ref().filter(|session| is_proven && session.uses_left.is_some());
        let end = |session: &crate::api::status::Session| session.expire_time.as_ref().map(|time| time.0);
        Self {
            stability: Stability::restored(status),
            hold,
            denied: denied.map(|_| Box::new((*basis).clone())),
            spent: authenticated
                .filter(|condition| condition.reason == Reason::TokenUsesSpent.as_str())
                .map(|_| Box::new((*basis).clone())),
            refused: status.refused_login_times.iter().map(|time| time.0).collect(),
            role_tag: status.refused_login_role.clone(),
            limited: limited.map(|session| Box::new(((*basis).clone(), info(session), end(session)))),
            accepted_at: status.last_login_time.as_ref().map(|time| time.0),
            passed: is_true(ConditionType::Ready).then(|| Arc::clone(&basis)),
            proven: is_proven.then_some(basis),
            ..Self::default()
        }
    }

    /// Whether the objects must be read: at first, after a change, and for every login.
    pub fn needs_reading(
        &self,
        cached: Option<&Session>,
        desired: &Desired,
        stale: bool,
        now: Timestamp,
    ) -> bool {
        stale || self.read.is_none() || self.plan(cached, desired, now) == Plan::LogIn
    }

    /// What to do with the kept session. It serves only the credential that was last read.
    pub fn plan(&self, cached: Option<&Session>, desired: &Desired, now: Timestamp) -> Plan {
        let Some(session) = cached.filter(|it| self.is_current(&desired.target, &it.basis)) else {
            return Plan::LogIn;
        };
        let is_proof_due = session.owner == Owner::Operator
            && (self.requested || self.proof_end(desired.login_interval).is_none_or(|end| end <= now));
        if is_proof_due { Plan::LogIn } else { session.plan(now) }
    }

    /// Whether the kept session may serve although its login was to be proved anew: nobody asks for that, and it was proved
    /// not long ago.
    pub fn may_put_off_proof(&self, cached: Option<&Session>, desired: &Desired, now: Timestamp) -> bool {
        let serves = |session: &Session| {
            self.is_current(&desired.target, &session.basis)
                && matches!(session.plan(now), Plan::Reuse | Plan::Renew)
        };
        let end = self.proof_end(desired.login_interval * 2);
        !self.requested && cached.is_some_and(serves) && end.is_some_and(|end| now < end)
    }

    /// When a login that was accepted is that long ago.
    fn proof_end(&self, interval: Duration) -> Option<Timestamp> {
        self.accepted_at.map(|at| session::later(at, interval))
    }

    /// Whether something was made from the credential that was last read.
    pub fn is_current(&self, target: &Target, basis: &Basis) -> bool {
        self.read.as_ref().is_some_and(|read| basis.is_of(target, read))
    }

    /// Notes a check that passed with the credential that was last read.
    pub fn has_passed(&mut self, target: &Target) {
        if self.has_passed_with_current(target) {
            return;
        }
        let proven = self.proven.as_ref().filter(|proven| self.is_current(target, proven)).map(Arc::clone);
        let current = || self.read.as_ref().map(|read| Arc::new(Basis::new(target, read)));
        self.passed = proven.or_else(current);
    }

    /// Whether the last check that passed rested on the credential that was last read. If not, nothing of it may stand.
    pub fn has_passed_with_current(&self, target: &Target) -> bool {
        self.passed.as_ref().is_some_and(|basis| self.is_current(target, basis))
    }

    /// Notes that the objects are about to be read. Until they were, and could all be used, nothing rests on them.
    pub fn begin_reading(&mut self) {
        self.read = None;
    }

    /// Notes that the objects were read, and can be used.
    pub fn has_read(&mut self, versions: Versions) {
        self.read = Some(versions);
    }

    /// The objects that were read last, if they could all be used.
    pub fn versions(&self) -> Versions {
        self.read.clone().unwrap_or_default()
    }

    /// What is known of the instance.
    pub fn health(&self) -> Option<&Health> {
        self.health.as_deref()
    }

    /// Whether to ask for the server's health: when it is not known, and from time to time.
    pub fn needs_health(&self) -> bool {
        self.health.is_none() || self.checks_since_health >= CHECKS_BETWEEN_HEALTH
    }

    /// Notes what the instance told of itself. Its clock is worth something only at the moment of the answer.
    pub fn saw_health(&mut self, health: Health) {
        self.health = Some(HEALTH.share(Health { server_time: None, ..health }));
        self.checks_since_health = 0;
    }

    /// Notes a check that did not ask for it.
    pub fn skipped_health(&mut self) {
        self.checks_since_health += 1;
    }

    /// Notes a check that failed: whatever the instance told before may have changed.
    pub fn forget_health(&mut self) {
        self.health = None;
    }

    /// Whether the last login with this basis was accepted.
    pub fn is_proven(&self, basis: &Basis) -> bool {
        self.proven.as_deref() == Some(basis)
    }

    /// When Vault last accepted a login.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.accepted_at
    }

    /// Notes a login that Vault accepted.
    pub fn accepted(&mut self, basis: Basis, now: Timestamp) {
        self.proven = Some(Arc::new(basis));
        self.accepted_at = Some(now);
        self.hold = None;
        self.denied = None;
        self.refused.clear();
        self.limited = None;
    }

    /// Notes a login that Vault refused: the same is not tried again until it no longer counts. Tells when that is.
    pub fn refused(&mut self, basis: Basis, fault: LoginFault, now: Timestamp) -> Timestamp {
        let until = session::later(now, LOCKOUT_WINDOW);
        if fault.counts_for_the_lockout() {
            self.refused.push(now);
        }
        self.denied(basis, Fault::Login(fault), until);
        until
    }

    /// Notes which role the connection logs in with.
    pub fn has_role(&mut self, tag: String) {
        self.role_tag = Some(tag);
    }

    /// A tag of the role that the connection logs in with, if it is known.
    pub fn role_tag(&self) -> Option<&String> {
        self.role_tag.as_ref()
    }

    /// Notes a login that got no answer, although Vault may have refused and counted it.
    pub fn may_have_been_refused(&mut self, now: Timestamp) {
        self.refused.push(now);
    }

    /// When logins of the connection were refused that still count.
    pub fn refused_lately(&self, now: Timestamp) -> Vec<Timestamp> {
        still_counting(self.refused.iter().copied(), now)
    }

    /// Notes why a login with this basis is not to be tried before `until`.
    pub fn denied(&mut self, basis: Basis, fault: Fault, until: Timestamp) {
        self.proven = None;
        self.denied = Some(Box::new(basis.clone()));
        self.hold = Some(Box::new(Hold { basis, fault, until }));
    }

    /// Notes that a login with this basis could not be tried, because of others of its role.
    pub fn not_tried(&mut self, basis: Basis) {
        self.denied = Some(Box::new(basis));
    }

    /// Whether a login with another basis was refused or could not be tried: somebody has changed the credential since.
    pub fn has_changed(&self, basis: &Basis) -> bool {
        self.denied.as_deref().is_some_and(|denied| denied != basis)
    }

    /// Why a login with this basis is not to be tried now, and until when.
    pub fn hold(&self, basis: &Basis, now: Timestamp) -> Option<(Fault, Timestamp)> {
        let hold = self.hold.as_ref().filter(|hold| hold.basis == *basis && now < hold.until)?;
        Some((hold.fault.clone(), hold.until))
    }

    /// Notes how a check ended that rests on the credential that was last read.
    pub fn conclude(&mut self, target: &Target, fault: Option<&Fault>) {
        self.answer_request();
        match fault {
            Some(_) => self.forget_health(),
            None => self.has_passed(target),
        }
    }

    /// Lets a login be tried again, because a person asks for it.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// Whether a person asks for a login.
    pub fn is_requested(&self) -> bool {
        self.requested
    }

    /// Notes that what a person asked for was done, as far as it could be.
    pub fn answer_request(&mut self) {
        self.requested = false;
    }

    /// Keeps what a wrapping token held, until another one is opened.
    pub fn keep_unwrapped(&mut self, wrapping_token: SecretString, unwrapped: Unwrapped, now: Timestamp) {
        self.opened = Some(Box::new(Opened { wrapping_token, unwrapped, since: now }));
    }

    /// The secret id that this wrapping token held.
    pub fn unwrapped(&self, wrapping_token: &SecretString) -> Option<&SecretString> {
        let opened = self.opened.as_deref()?;
        let is_same = opened.wrapping_token.expose_secret() == wrapping_token.expose_secret();
        is_same.then_some(&opened.unwrapped.secret_id)
    }

    /// The end of the secret id that was unwrapped last, if it is near.
    pub fn secret_id_ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let opened = self.opened.as_ref()?;
        session::ends_soon(opened.since, opened.unwrapped.ttl?, now)
    }

    /// Notes that a user's token had too few uses for a check.
    pub fn has_spent(&mut self, basis: Basis) {
        self.spent = Some(Box::new(basis));
    }

    /// Whether this is known of a user's token, and nobody asks to look again.
    pub fn is_spent(&self, basis: &Basis) -> bool {
        !self.requested && self.spent.as_deref() == Some(basis)
    }

    /// What an earlier process saw of a user's token with limited uses, so that no use is spent on seeing it again: what Vault
    /// said of it, and its end.
    pub fn limited(&self, basis: &Basis) -> Option<(TokenInfo, Option<Timestamp>)> {
        let (_, info, end) = self.limited.as_deref().filter(|(limited, _, _)| limited == basis)?;
        Some((info.clone(), *end))
    }
}

/// Those of these refused logins that still count.
pub fn still_counting(refused: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Vec<Timestamp> {
    refused.into_iter().filter(|time| now < session::later(*time, LOCKOUT_WINDOW)).collect()
}

/// The fault behind a reason in the status, if it is one after which no login is tried for a while.
fn denied_fault(reason: &str) -> Option<Fault> {
    let known = [
        (Reason::InvalidCredentials, Fault::Login(LoginFault::InvalidCredentials)),
        (Reason::LoginDenied, Fault::Login(LoginFault::Denied)),
        (Reason::LoginBudgetSpent, Fault::BudgetSpent),
    ];
    known.into_iter().find_map(|(known, fault)| (known.as_str() == reason).then_some(fault))
}

fn versions(credentials: &[CredentialVersion]) -> Versions {
    let entry = |c: &CredentialVersion| {
        let kind =
            ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == c.kind).unwrap_or(ObjectKind::Secret);
        let version = Version { uid: c.uid.as_str().into(), resource_version: c.resource_version.clone() };
        (ObjectName::new(kind, &c.name), Some(version))
    };
    credentials.iter().map(entry).collect()
}

fn info(session: &crate::api::status::Session) -> TokenInfo {
    let positive = |seconds: i64| u64::try_from(seconds).ok().filter(|it| *it > 0).map(Duration::from_secs);
    let duration = |seconds: Option<i64>| seconds.and_then(positive);
    TokenInfo {
        kind: session.token_type.clone(),
        policies: session.policies.clone(),
        ttl: duration(session.ttl_seconds),
        renewable: session.renewable.unwrap_or_default(),
        uses_left: session.uses_left,
        display_name: session.display_name.clone(),
        longest_life: duration(session.longest_life_seconds),
        period: duration(session.period_seconds),
        orphan: session.orphan,
        policies_cut: session.policies_truncated.unwrap_or_default(),
        namespace: TokenNamespace::NotReported,
        ..TokenInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        references::Versions,
        verify::{
            observation::{LoginSeen, Observation},
            report::checked,
            status::Circumstances,
            testing::{app_role, at, token, versions as of_version},
        },
    };

    fn basis(resource_version: &str) -> Basis {
        Basis { target: app_role().target, versions: of_version(resource_version) }
    }

    fn session(resource_version: &str) -> Session {
        Session::issued("t".into(), basis(resource_version), TokenInfo::default(), at(0))
    }

    #[test]
    fn a_session_serves_the_target_and_the_objects_that_it_was_made_from() {
        let desired = app_role();
        let cached = session("1");
        let mut memory = Memory { accepted_at: Some(at(0)), ..Memory::default() };
        assert!(
            memory.needs_reading(Some(&cached), &desired, false, at(1)),
            "at first nothing is known of the objects"
        );
        memory.has_read(of_version("1"));
        assert!(!memory.needs_reading(Some(&cached), &desired, false, at(1)));
        assert!(memory.needs_reading(Some(&cached), &desired, true, at(1)));
        assert!(memory.needs_reading(Some(&cached), &token(), false, at(1)));
        assert_eq!(memory.plan(Some(&cached), &desired, at(1)), Plan::Reuse);
        let mut plan_with = |versions: Versions| {
            memory.has_read(versions);
            memory.plan(Some(&cached), &desired, at(1))
        };
        let gateway = (ObjectName::gateway("private"), None);
        let read = of_version("1");
        let with_gateway =
            read.iter().map(|(name, version)| (name.clone(), version.clone())).chain([gateway]).collect();
        assert_eq!(
            plan_with(with_gateway),
            Plan::Reuse,
            "what the route rests on is not what the session was made from"
        );
        assert_eq!(plan_with(Versions::new()), Plan::LogIn);
        assert_eq!(plan_with(of_version("2")), Plan::LogIn);
        assert_eq!(
            memory.plan(Some(&cached), &desired, at(1)),
            Plan::LogIn,
            "until the credential that was read has worked"
        );
    }

    #[test]
    fn health_is_asked_at_first_after_a_fault_and_every_so_often() {
        let health = Health { role: Some(crate::api::status::ServerRole::Active), ..Health::default() };
        let mut memory = Memory::default();
        assert!(memory.needs_health());
        memory.saw_health(health.clone());
        for _ in 0..CHECKS_BETWEEN_HEALTH {
            assert!(!memory.needs_health());
            memory.skipped_health();
        }
        assert!(memory.needs_health());
        memory.saw_health(health);
        memory.forget_health();
        assert!(memory.needs_health());
    }

    #[test]
    fn a_refusal_holds_for_the_same_credential_until_its_time() {
        let mut memory = Memory::default();
        memory.accepted(basis("1"), at(0));
        assert!(memory.is_proven(&basis("1")));
        assert_eq!(memory.refused(basis("1"), LoginFault::InvalidCredentials, at(0)), at(900));
        assert_eq!((memory.refused_lately(at(899)), memory.refused_lately(at(900))), (vec![at(0)], vec![]));
        assert!(!memory.is_proven(&basis("1")));
        assert_eq!(
            memory.hold(&basis("1"), at(899)),
            Some((Fault::Login(LoginFault::InvalidCredentials), at(900)))
        );
        assert_eq!(memory.hold(&basis("1"), at(900)), None);
        assert_eq!(memory.hold(&basis("2"), at(1)), None);
        assert!(memory.has_changed(&basis("2")) && !memory.has_changed(&basis("1")));
    }

    #[test]
    fn a_login_is_proved_anew_after_its_interval_and_when_a_person_asks() {
        let desired = app_role();
        let cached = session("1");
        let mut memory = Memory::default();
        memory.has_read(of_version("1"));
        memory.accepted(basis("1"), at(0));
        let hour = 3600;
        assert_eq!(memory.plan(Some(&cached), &desired, at(hour - 1)), Plan::Reuse);
        assert_eq!(memory.plan(Some(&cached), &desired, at(hour)), Plan::LogIn);
        assert!(
            memory.may_put_off_proof(Some(&cached), &desired, at(hour))
                && !memory.may_put_off_proof(Some(&cached), &desired, at(2 * hour))
        );
        memory.request();
        assert_eq!(memory.plan(Some(&cached), &desired, at(1)), Plan::LogIn);
        assert!(!memory.may_put_off_proof(Some(&cached), &desired, at(1)), "somebody waits for the answer");
        memory.answer_request();
        assert_eq!(memory.plan(Some(&cached), &desired, at(1)), Plan::Reuse);
    }

    #[test]
    fn what_passed_says_nothing_of_a_credential_that_was_read_since() {
        let target = app_role().target;
        let mut memory = Memory::default();
        memory.has_read(of_version("1"));
        memory.has_passed(&target);
        assert!(memory.has_passed_with_current(&target));
        memory.has_read(of_version("2"));
        assert!(!memory.has_passed_with_current(&target));
    }

    #[test]
    fn what_a_wrapping_token_held_is_kept_for_that_token() {
        let mut memory = Memory::default();
        let unwrapped = Unwrapped { secret_id: "canary".into(), ttl: Some(Duration::from_secs(900)) };
        memory.keep_unwrapped("wrapping".into(), unwrapped, at(0));
        assert!(memory.unwrapped(&"wrapping".into()).is_some());
        assert!(memory.unwrapped(&"another".into()).is_none());
        assert_eq!(memory.secret_id_ends_soon(at(599)), None);
        assert_eq!(memory.secret_id_ends_soon(at(600)), Some(at(900)));
        assert!(!format!("{memory:?}").contains("canary"));
    }

    #[test]
    fn a_restart_forgets_neither_what_was_refused_nor_what_worked() {
        let around = Circumstances { generation: 1, requested_at: None, now: at(0), jitter: 0.0 };
        let refused = Observation {
            fault: Some(Fault::Login(LoginFault::InvalidCredentials)),
            versions: of_version("1"),
            no_login_before: Some(at(900)),
            ..Observation::default()
        };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &app_role(), &refused);
        let memory = Memory::restore(&app_role().target, &status);
        assert_eq!(
            memory.hold(&basis("1"), at(899)),
            Some((Fault::Login(LoginFault::InvalidCredentials), at(900)))
        );

        let spent = Observation { fault: Some(Fault::BudgetSpent), ..refused };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &app_role(), &spent);
        let memory = Memory::restore(&app_role().target, &status);
        assert_eq!(memory.hold(&basis("1"), at(899)), None, "that depends on its role alone");
        assert!(memory.has_changed(&basis("2")) && !memory.has_changed(&basis("1")));

        let worked = Observation { versions: of_version("1"), ..Observation::default() };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &app_role(), &worked);
        assert!(Memory::restore(&app_role().target, &status).is_proven(&basis("1")));
    }

    #[test]
    fn a_token_with_limited_uses_is_not_looked_up_again_after_a_restart() {
        let token = token();
        let basis = Basis { target: token.target.clone(), versions: of_version("1") };
        let info = TokenInfo { uses_left: Some(3), ..TokenInfo::default() };
        let seen =
            LoginSeen { info: info.clone(), expires_at: Some(at(500)), is_watched: true, ends_soon: None };
        let around = Circumstances { generation: 1, requested_at: None, now: at(0), jitter: 0.0 };
        let seen =
            Observation { login: Some(seen), versions: basis.versions.clone(), ..Observation::default() };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &token, &seen);
        let restored = Memory::restore(&token.target, &status);
        assert_eq!(restored.limited(&basis), Some((info, Some(at(500)))));
        let changed = Basis { versions: of_version("2"), ..basis };
        assert_eq!(restored.limited(&changed), None);
    }
}
