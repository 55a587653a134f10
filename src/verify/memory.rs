//! What the operator remembers of a connection between two checks.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    belief::Belief,
    budget::WINDOW,
    observation::{Fault, LoginSeen},
    session::{self, Basis, Plan, Session},
};
use crate::{
    api::{
        condition::{ConditionType, Reason},
        desired::Target,
        status::{CredentialVersion, VaultConnectionStatus},
    },
    conditions,
    refs::{ObjectKind, ObjectName},
    secrets::{Version, Versions},
    vault::{
        health::Health,
        login::LoginFault,
        token::{TokenInfo, TokenNamespace},
        wrapping::Unwrapped,
    },
};

/// How many settled checks go by between two looks at the server's health, which tell its version and role.
pub(super) const CHECKS_BETWEEN_HEALTH: u32 = 10;

/// What the operator remembers of a connection between two checks.
#[derive(Debug, Default)]
pub struct Memory {
    /// The token that is kept.
    pub session: Option<Session>,
    /// What the checks amount to.
    pub belief: Belief,
    /// What the instance told of itself. None when it must be asked again.
    health: Option<Health>,
    checks_since_health: u32,
    proven: Option<Basis>,
    hold: Option<Hold>,
    refused: Vec<Timestamp>,
    left_alone: Option<(Basis, TokenInfo)>,
    opened: Option<Opened>,
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
        let basis = Basis::new(target, &versions(&status.credentials));
        let is_true = conditions::is_true(&status.conditions, ConditionType::Authenticated);
        let authenticated = conditions::find(&status.conditions, ConditionType::Authenticated);
        let fault = authenticated.and_then(|condition| held_fault(&condition.reason));
        let until = status.next_login_time.as_ref();
        let hold =
            fault.zip(until).map(|(fault, until)| Hold { basis: basis.clone(), fault, until: until.0 });
        let limited = status.session.as_ref().filter(|session| is_true && session.uses_left.is_some());
        Self {
            belief: Belief::restored(status),
            hold,
            refused: status.refused_login_times.iter().map(|time| time.0).collect(),
            left_alone: limited.map(|session| (basis.clone(), info(session))),
            proven: is_true.then_some(basis),
            ..Self::default()
        }
    }

    /// Whether the objects must be read: at first, after a change, and for every login.
    pub fn needs_reading(&self, target: &Target, stale: bool, now: Timestamp) -> bool {
        stale || self.read.is_none() || self.plan(target, None, now) == Plan::LogIn
    }

    /// What to do with the kept session. Versions that are not given have not changed.
    pub fn plan(&self, target: &Target, versions: Option<&Versions>, now: Timestamp) -> Plan {
        let fits = |basis: &Basis| {
            basis.target == *target && versions.is_none_or(|versions| Basis::new(target, versions) == *basis)
        };
        if self.left_alone.as_ref().is_some_and(|(basis, _)| fits(basis)) {
            return Plan::LeaveAlone;
        }
        self.session
            .as_ref()
            .filter(|session| fits(&session.basis))
            .map_or(Plan::LogIn, |session| session.plan(now))
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
        self.health.as_ref()
    }

    /// Whether to ask for the server's health: when it is not known, and from time to time.
    pub fn needs_health(&self) -> bool {
        self.health.is_none() || self.checks_since_health >= CHECKS_BETWEEN_HEALTH
    }

    /// Notes what the instance told of itself. Its clock is worth something only at the moment of the answer.
    pub fn saw_health(&mut self, health: Health) {
        self.health = Some(Health { server_time: None, ..health });
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
        self.proven.as_ref() == Some(basis)
    }

    /// Notes a login that Vault accepted.
    pub fn accepted(&mut self, basis: Basis) {
        self.proven = Some(basis);
        self.hold = None;
        self.refused.clear();
        self.left_alone = None;
    }

    /// Notes a login that Vault refused: the same is not tried again until it no longer counts. Tells when that is.
    pub fn refused(&mut self, basis: Basis, fault: LoginFault, now: Timestamp) -> Timestamp {
        let until = session::later(now, WINDOW);
        self.proven = None;
        self.refused.push(now);
        self.hold = Some(Hold { basis, fault: Fault::Login(fault), until });
        until
    }

    /// When logins of the connection were refused that still count.
    pub fn refused_lately(&self, now: Timestamp) -> Vec<Timestamp> {
        still_counting(self.refused.iter().copied(), now)
    }

    /// Notes why a login with this basis is not to be tried before `until`.
    pub fn hold_back(&mut self, basis: Basis, fault: Fault, until: Timestamp) {
        self.hold = Some(Hold { basis, fault, until });
    }

    /// Whether a login with another basis was refused or held back: somebody has changed the credential since.
    pub fn has_changed(&self, basis: &Basis) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.basis != *basis)
    }

    /// Why a login with this basis is not to be tried now, and until when.
    pub fn hold(&self, basis: &Basis, now: Timestamp) -> Option<(Fault, Timestamp)> {
        let hold = self.hold.as_ref().filter(|hold| hold.basis == *basis && now < hold.until)?;
        Some((hold.fault.clone(), hold.until))
    }

    /// Lets a login be tried again, because a person asks for it.
    pub fn forgive(&mut self) {
        self.hold = None;
    }

    /// Keeps what a wrapping token held, until another one is opened.
    pub fn keep_unwrapped(&mut self, wrapping_token: SecretString, unwrapped: Unwrapped, now: Timestamp) {
        self.opened = Some(Opened { wrapping_token, unwrapped, since: now });
    }

    /// The secret id that this wrapping token held.
    pub fn unwrapped(&self, wrapping_token: &SecretString) -> Option<&SecretString> {
        let same = |opened: &&Opened| opened.wrapping_token.expose_secret() == wrapping_token.expose_secret();
        self.opened.as_ref().filter(same).map(|opened| &opened.unwrapped.secret_id)
    }

    /// The end of the secret id that was unwrapped last, if it is near.
    pub fn secret_id_ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let opened = self.opened.as_ref()?;
        session::ends_soon(opened.since, opened.unwrapped.ttl?, now)
    }

    /// Notes that a token is not to be looked at again.
    pub fn leave_alone(&mut self, basis: Basis, info: TokenInfo) {
        self.left_alone = Some((basis, info));
        self.session = None;
    }

    /// What the status tells of a token that is left alone.
    pub fn left_alone(&self) -> Option<LoginSeen> {
        let (_, info) = self.left_alone.as_ref()?;
        Some(LoginSeen { info: info.clone(), expires_at: None, left_alone: true, ends_soon: None })
    }
}

/// Those of these refused logins that still count.
pub fn still_counting(refused: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Vec<Timestamp> {
    refused.into_iter().filter(|time| now < session::later(*time, WINDOW)).collect()
}

/// The fault behind a reason in the status, if it is one after which no login is tried for a while.
fn held_fault(reason: &str) -> Option<Fault> {
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
        let version = Version { uid: c.uid.clone(), resource_version: c.resource_version.clone() };
        (ObjectName { kind, name: c.name.clone() }, Some(version))
    };
    credentials.iter().map(entry).collect::<BTreeMap<_, _>>()
}

fn info(session: &crate::api::status::Session) -> TokenInfo {
    let duration = |seconds: Option<i64>| {
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)
    };
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
        created: None,
        namespace: TokenNamespace::NotTold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secrets::Versions,
        verify::{
            observation::Observation,
            report::{Circumstances, checked},
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
        let target = app_role().target;
        let mut memory = Memory { session: Some(session("1")), ..Memory::default() };
        assert!(memory.needs_reading(&target, false, at(1)), "at first nothing is known of the objects");
        memory.has_read(of_version("1"));
        assert!(!memory.needs_reading(&target, false, at(1)));
        assert!(memory.needs_reading(&target, true, at(1)));
        assert!(memory.needs_reading(&token().target, false, at(1)));
        assert_eq!(memory.plan(&target, None, at(1)), Plan::Reuse);
        assert_eq!(memory.plan(&target, Some(&of_version("1")), at(1)), Plan::Reuse);
        assert_eq!(memory.plan(&target, Some(&of_version("2")), at(1)), Plan::LogIn);
        assert_eq!(memory.plan(&target, Some(&Versions::new()), at(1)), Plan::LogIn);
        let mut with_gateway = of_version("1");
        with_gateway.insert(ObjectName::gateway("private"), None);
        let plan = memory.plan(&target, Some(&with_gateway), at(1));
        assert_eq!(plan, Plan::Reuse, "what the way rests on is not what the session was made from");
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
        memory.accepted(basis("1"));
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
        memory.forgive();
        assert_eq!(memory.hold(&basis("1"), at(1)), None);
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
        assert_eq!(memory.hold(&basis("1"), at(899)), Some((Fault::BudgetSpent, at(900))));

        let worked = Observation { versions: of_version("1"), ..Observation::default() };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &app_role(), &worked);
        assert!(Memory::restore(&app_role().target, &status).is_proven(&basis("1")));
    }

    #[test]
    fn a_token_with_limited_uses_is_left_alone_even_after_a_restart() {
        let token = token();
        let basis = Basis { target: token.target.clone(), versions: of_version("1") };
        let info = TokenInfo { uses_left: Some(3), ..TokenInfo::default() };
        let mut memory = Memory::default();
        memory.leave_alone(basis.clone(), info.clone());
        assert_eq!(memory.plan(&token.target, Some(&basis.versions), at(1)), Plan::LeaveAlone);
        assert_eq!(memory.plan(&token.target, Some(&of_version("2")), at(1)), Plan::LogIn);

        let around = Circumstances { generation: 1, requested_at: None, now: at(0), jitter: 0.0 };
        let seen = Observation {
            login: memory.left_alone(),
            versions: basis.versions.clone(),
            ..Observation::default()
        };
        let (status, _) = checked(&VaultConnectionStatus::default(), &around, &token, &seen);
        let restored = Memory::restore(&token.target, &status);
        assert_eq!(restored.plan(&token.target, Some(&basis.versions), at(1)), Plan::LeaveAlone);
        assert!(restored.needs_reading(&token.target, false, at(1)), "the Secret may have changed meanwhile");
    }
}
