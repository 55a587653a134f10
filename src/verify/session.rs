//! A token that is kept between checks: when to use it, renew it, replace it, and whether it is ours to end.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;

use super::observation::LoginSeen;
use crate::{
    names::VaultNamespace,
    references::Versions,
    spec::Target,
    vault::{
        namespace,
        token::{SelfFault, TokenInfo, TokenNamespace},
    },
};

/// How long before its end a user is warned of it: a week, to put a new token into its Secret.
const WARNING: Duration = Duration::from_hours(7 * 24);

/// A token that lives shorter cannot be kept alive: its renewals would be closer than the shortest wait between checks.
const MIN_RENEWABLE_LIFE: Duration = Duration::from_secs(10);

/// What a login was made from. What was learned with one basis says nothing about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Where and how it was made.
    pub target: Target,
    /// The state of the objects that hold what was logged in with. Those of the way are not among them: a token is as
    /// good as it was when a CA certificate or a gateway changes.
    pub versions: Versions,
}

/// Who issued a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// We logged in for it, and end it when it is no longer needed.
    Operator,
    /// A user gave it to us. It is renewed, and never ended.
    User,
}

/// A token, with what is known of it.
pub struct Session {
    /// The token itself.
    pub token: SecretString,
    /// Who issued it.
    pub owner: Owner,
    /// What it was made from.
    pub basis: Basis,
    /// What Vault told of the token. None until it is looked up for the first time.
    info: Option<TokenInfo>,
    since: Timestamp,
    /// Whether Vault will not put off its end any more.
    is_final: bool,
}

/// What to do with a kept session at the begin of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// There is none that could be used: log in.
    LogIn,
    /// Use it.
    Reuse,
    /// Extend its life, then use it.
    Renew,
    /// Make sure that it is alive, but spend none of its few uses on that.
    Watch,
}

// === impl Basis ===

impl Basis {
    /// What a login to a target is made from, if this is the state of everything that the target names.
    pub fn new(target: &Target, versions: &Versions) -> Self {
        let names = target.credentials();
        Self { target: target.clone(), versions: versions.only(|name| names.contains(name)) }
    }

    /// Whether it is what [`new`](Self::new) makes of these.
    pub fn is_of(&self, target: &Target, versions: &Versions) -> bool {
        // What was made from these objects alone was made from all of them.
        self.target == *target && (self.versions == *versions || *self == Self::new(target, versions))
    }
}

// === impl Session ===

impl Session {
    /// A session that we logged in for just now.
    pub fn issued(token: SecretString, basis: Basis, info: TokenInfo, now: Timestamp) -> Self {
        Self { token, owner: Owner::Operator, basis, info: Some(info), since: now, is_final: false }
    }

    /// A session with a user's token, of which nothing is known yet.
    pub fn given(token: SecretString, basis: Basis, now: Timestamp) -> Self {
        Self { token, owner: Owner::User, basis, info: None, since: now, is_final: false }
    }

    /// Whether the token must be looked up before anything can be said of it.
    pub fn is_unknown(&self) -> bool {
        self.info.is_none()
    }

    /// Whether Vault told which namespace the token belongs to.
    pub fn reports_namespace(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.namespace != TokenNamespace::NotReported)
    }

    /// Whether the token is of use in the Vault namespace that the connection names.
    pub fn fits_namespace(
        &self,
        wanted: Option<&VaultNamespace>,
        asks_capabilities: bool,
    ) -> Result<(), SelfFault> {
        let from_login = self.owner == Owner::Operator;
        let usage = namespace::Use { wanted, from_login, asks_capabilities };
        self.info.as_ref().map_or(Ok(()), |info| namespace::fits(info, usage))
    }

    /// What a refusal of the token means, by what is known of it.
    pub fn explain(&self, fault: SelfFault, wanted: Option<&VaultNamespace>) -> SelfFault {
        match fault {
            SelfFault::Rejected if self.is_limited() => SelfFault::UsedUp,
            fault => namespace::explain(fault, self.info.as_ref(), wanted),
        }
    }

    /// Whether the token may be used only a few times, so that none of them is spent on keeping it.
    pub fn is_limited(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.uses_left.is_some())
    }

    /// A session with a user's token with limited uses, as an earlier process looked it up: what Vault said of it, and its
    /// end.
    pub fn limited(
        token: SecretString,
        basis: Basis,
        (info, end): (TokenInfo, Option<Timestamp>),
        now: Timestamp,
    ) -> Self {
        let left = end.map(|end| Duration::try_from(end.duration_since(now)).unwrap_or_default());
        let info = TokenInfo { ttl: left, ..info };
        Self { token, owner: Owner::User, basis, info: Some(info), since: now, is_final: false }
    }

    /// What to do with it now: use it until a third of its whole life is left, then renew or replace it. That third is the
    /// time to succeed in it.
    pub fn plan(&self, now: Timestamp) -> Plan {
        let is_over = self.end().is_some_and(|end| now >= end);
        let is_late = self.renewal_time().is_some_and(|time| now >= time);
        match self.owner {
            Owner::Operator | Owner::User if is_over => Plan::LogIn,
            Owner::User if self.is_limited() => Plan::Watch,
            Owner::User if is_late && self.is_renewable() => Plan::Renew,
            Owner::Operator if is_late && self.is_renewable() && !self.is_final => Plan::Renew,
            Owner::Operator if is_late => Plan::LogIn,
            Owner::Operator | Owner::User => Plan::Reuse,
        }
    }

    /// Whether it is worth keeping until a later check: it must still be alive then, with time to renew or use it.
    pub fn outlives(&self, next_check: Timestamp, timeout: Duration) -> bool {
        let needed = if self.is_renewable() && !self.is_final { self.end() } else { self.renewal_time() };
        !self.is_limited() && needed.is_none_or(|needed| later(next_check, timeout) < needed)
    }

    /// When a user's token must be seen to, if nothing else leads to a check before: to renew it, or because it ends.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.end().filter(|_| self.owner == Owner::User)?;
        if self.is_limited() || !self.is_renewable() {
            return Some(end);
        }
        let renewal = self.renewal_time().filter(|time| now < *time);
        // A renewal that did not come off is tried again while there is time.
        let retry = || later(now, Duration::try_from(end.duration_since(now)).unwrap_or_default() / 3);
        Some(renewal.unwrap_or_else(retry))
    }

    /// Notes a renewal. One that gives much less than before has met the token's longest life: it is the last.
    pub fn renewed(&mut self, life: Duration, now: Timestamp) {
        let before = self.ttl();
        self.since = now;
        self.is_final = before.is_some_and(|before| life < before * 2 / 3);
        if let Some(info) = &mut self.info {
            info.ttl = Some(life).filter(|life| !life.is_zero());
        }
    }

    /// Notes that Vault does not renew it.
    pub fn not_renewed(&mut self) {
        self.is_final = true;
        if let Some(info) = &mut self.info {
            info.renewable = false;
        }
    }

    /// Notes a use of the token that tells nothing of it.
    pub fn used(&mut self) {
        if let Some(uses) = self.info.as_mut().and_then(|info| info.uses_left.as_mut()) {
            *uses -= 1;
        }
    }

    /// Whether so many uses are left, and one more.
    pub fn can_spare(&self, uses: i64) -> bool {
        self.info.as_ref().and_then(|info| info.uses_left).is_none_or(|left| left > uses)
    }

    /// Whether none of a limited number of uses is left.
    pub fn is_used_up(&self) -> bool {
        !self.can_spare(0)
    }

    /// Notes what a look at the token told. Its life counts from the first look; later ones see it counted down.
    pub fn looked_up(&mut self, seen: TokenInfo, now: Timestamp) {
        match &mut self.info {
            Some(info) => *info = TokenInfo { ttl: info.ttl, renewable: info.renewable, ..seen },
            None => {
                self.since = now;
                self.info = Some(seen);
            }
        }
    }

    /// Whether there is something to end: our own token, of a kind that Vault revokes, with a use left for it.
    ///
    /// Batch tokens cannot be revoked: <https://developer.hashicorp.com/vault/docs/concepts/tokens#batch-tokens>.
    pub fn is_ours_to_revoke(&self) -> bool {
        let revocable = |info: &TokenInfo| {
            info.kind.as_deref() != Some("batch") && info.uses_left.is_none_or(|uses| uses > 0)
        };
        self.owner == Owner::Operator && self.info.as_ref().is_none_or(revocable)
    }

    /// What the status tells of it. The end of a token is told only if it is kept until then.
    pub fn seen(&self, is_cached: bool, now: Timestamp) -> LoginSeen {
        LoginSeen {
            info: self.info.clone().unwrap_or_default(),
            expires_at: self.end().filter(|_| is_cached),
            is_watched: self.owner == Owner::User && self.is_limited(),
            ends_soon: self.ends_soon(now),
        }
    }

    /// The end of a user's token that nobody but the user can put off, once a week or a third of its life is left.
    fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        let info = self.info.as_ref().filter(|_| self.owner == Owner::User)?;
        let whole = self.whole_life()?;
        if self.is_final || self.is_limited() || whole < MIN_RENEWABLE_LIFE {
            let end = self.end()?;
            return (later(now, WARNING.min(whole / 3)) >= end).then_some(end);
        }
        // Renewals put off the end of a periodic token up to its explicit longest life, if it has one.
        let (created, life) = (info.created?, info.longest_life?);
        let is_bounded = info.period.is_none() || info.renewable;
        ends_soon(Timestamp::from_second(created).ok()?, life, now).filter(|_| is_bounded)
    }

    /// When it ends, unless it is renewed; none when it does not end.
    pub fn end(&self) -> Option<Timestamp> {
        self.ttl().map(|ttl| self.after(ttl))
    }

    /// When a third of its whole life is left.
    fn renewal_time(&self) -> Option<Timestamp> {
        let third = self.whole_life()? / 3;
        Some(self.end()?.checked_sub(third).unwrap_or(self.since))
    }

    /// What a renewal gives, as far as is known: what was left when it was first looked up tells little of that.
    fn whole_life(&self) -> Option<Duration> {
        let info = self.info.as_ref()?;
        let issued = info.period.or(info.issued_life).unwrap_or_default();
        info.ttl.map(|ttl| if self.is_final { ttl } else { ttl.max(issued) })
    }

    /// The token's life at the begin of the session or at its last renewal; none when it does not end.
    fn ttl(&self) -> Option<Duration> {
        self.info.as_ref().and_then(|info| info.ttl)
    }

    fn is_renewable(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.renewable)
    }

    fn after(&self, life: Duration) -> Timestamp {
        later(self.since, life)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("owner", &self.owner)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// The end of a life that began at `start`, once a week or a third of it is left.
pub fn ends_soon(start: Timestamp, life: Duration, now: Timestamp) -> Option<Timestamp> {
    let end = later(start, life);
    (later(now, WARNING.min(life / 3)) >= end).then_some(end)
}

/// A later time. Beyond the end of the calendar, the end of the calendar.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::Method,
        names::ObjectName,
        references::Version,
        spec::{TargetFields, TlsSettings},
        verify::testing::{app_role, at, versions},
    };

    fn session(owner: Owner, ttl: u64, renewable: bool) -> Session {
        let info = TokenInfo {
            kind: Some("service".to_owned()),
            ttl: Some(Duration::from_secs(ttl)).filter(|ttl| !ttl.is_zero()),
            renewable,
            ..TokenInfo::default()
        };
        let basis = Basis { target: app_role().target, versions: versions("1") };
        Session { token: "canary".into(), owner, basis, info: Some(info), since: at(0), is_final: false }
    }

    fn with(mut session: Session, change: impl FnOnce(&mut TokenInfo)) -> Session {
        session.info.as_mut().map(change).expect("it is known");
        session
    }

    #[test]
    fn a_session_is_of_the_credential_that_it_was_made_from_whatever_the_way_rests_on() {
        let auth = serde_json::from_value(serde_json::json!({"cert": {"role": "web"}})).expect("a method");
        let certificate = TargetFields {
            method: Method::parse(&auth).expect("valid"),
            tls: TlsSettings { client_certificate: Some("client".to_owned()), ..TlsSettings::default() },
            ..TargetFields::clone(&app_role().target)
        };
        for (target, secret) in [(app_role().target, "vault"), (certificate.into(), "client")] {
            let state = |credential: &str, ca: &str| {
                let version = |resource_version: &str| {
                    Some(Version { uid: "u".into(), resource_version: resource_version.to_owned() })
                };
                let ca = (ObjectName::config_map("ca"), version(ca));
                Versions::from([(ObjectName::secret(secret), version(credential)), ca])
            };
            let basis = Basis::new(&target, &state("1", "1"));
            assert!(basis.is_of(&target, &state("1", "2")), "{secret}");
            assert!(!basis.is_of(&target, &state("2", "1")), "{secret}");
        }
    }

    #[test]
    fn the_life_of_a_given_token_counts_from_the_first_look() {
        let basis = Basis { target: app_role().target, versions: versions("1") };
        let mut session = Session::given("t".into(), basis, at(0));
        assert!(session.is_unknown());
        let look = |ttl| TokenInfo { ttl: Some(Duration::from_secs(ttl)), ..TokenInfo::default() };
        session.looked_up(look(900), at(100));
        session.looked_up(look(400), at(600));
        assert_eq!(session.seen(true, at(600)).expires_at, Some(at(1000)));
        assert_eq!(session.seen(false, at(600)).expires_at, None);
    }

    #[test]
    fn a_session_is_used_until_two_thirds_of_its_life() {
        use Owner::{Operator, User};
        let table: &[(Owner, bool, i64, Plan)] = &[
            (Operator, true, 599, Plan::Reuse),
            (Operator, true, 600, Plan::Renew),
            (Operator, true, 899, Plan::Renew),
            (Operator, true, 900, Plan::LogIn),
            (Operator, false, 599, Plan::Reuse),
            (Operator, false, 600, Plan::LogIn),
            (User, true, 600, Plan::Renew),
            (User, false, 600, Plan::Reuse),
            (User, false, 900, Plan::LogIn),
        ];
        for (owner, renewable, second, plan) in table {
            let found = session(*owner, 900, *renewable).plan(at(*second));
            assert_eq!(found, *plan, "{owner:?} {renewable} {second}");
        }
        assert_eq!(session(User, 0, false).plan(at(1_000_000)), Plan::Reuse, "it never ends");
    }

    #[test]
    fn only_a_session_that_lives_until_the_next_check_is_kept() {
        let timeout = Duration::from_secs(10);
        let documented_role = session(Owner::Operator, 30, true);
        assert!(!documented_role.outlives(at(60), timeout));
        assert!(session(Owner::Operator, 3600, true).outlives(at(60), timeout));
        assert!(session(Owner::Operator, 90, true).outlives(at(60), timeout), "it can be renewed then");
        assert!(!session(Owner::Operator, 90, false).outlives(at(60), timeout), "it would be replaced then");
        assert!(session(Owner::User, 0, false).outlives(at(60), timeout));
        let limited = with(session(Owner::Operator, 3600, true), |info| info.uses_left = Some(5));
        assert!(!limited.outlives(at(60), timeout));
    }

    #[test]
    fn a_renewal_that_gives_much_less_is_the_last() {
        let mut session = session(Owner::Operator, 900, true);
        session.renewed(Duration::from_secs(900), at(600));
        assert_eq!((session.plan(at(1199)), session.plan(at(1200))), (Plan::Reuse, Plan::Renew));
        session.renewed(Duration::from_secs(300), at(1200));
        assert_eq!((session.plan(at(1399)), session.plan(at(1400))), (Plan::Reuse, Plan::LogIn));
    }

    #[test]
    fn only_our_own_revocable_tokens_are_ended() {
        assert!(session(Owner::Operator, 30, true).is_ours_to_revoke());
        assert!(!session(Owner::User, 30, true).is_ours_to_revoke());
        let batch = with(session(Owner::Operator, 30, false), |info| info.kind = Some("batch".to_owned()));
        assert!(!batch.is_ours_to_revoke());
        let last_use = with(session(Owner::Operator, 30, false), |info| info.uses_left = Some(1));
        assert!(last_use.is_ours_to_revoke(), "its last use is for that");
        let used_up = with(session(Owner::Operator, 30, false), |info| info.uses_left = Some(-1));
        assert!(!used_up.is_ours_to_revoke(), "Vault has revoked it");
    }

    #[test]
    fn the_end_of_a_users_token_is_reported_before_it_comes() {
        let day = 24 * 60 * 60;
        let given = |days: u64, change: &dyn Fn(&mut TokenInfo)| {
            with(session(Owner::User, days * day, false), |info| {
                info.created = Some(0);
                info.longest_life = Some(Duration::from_secs(days * day));
                change(info);
            })
        };
        let soon =
            |session: &Session, days: i64| session.seen(true, at(days * 24 * 60 * 60)).ends_soon.is_some();
        let month = given(30, &|_| {});
        assert_eq!((soon(&month, 22), soon(&month, 23)), (false, true));
        let three_days = given(3, &|_| {});
        assert_eq!((soon(&three_days, 1), soon(&three_days, 2)), (false, true));
        assert!(
            !soon(&given(30, &|info| info.period = Some(Duration::from_secs(60))), 29),
            "it is renewed for ever"
        );
        assert!(!soon(&given(30, &|info| info.longest_life = None), 29), "renewals put it off");
        let ours = Session { owner: Owner::Operator, ..month };
        assert!(!soon(&ours, 29), "we log in again");
    }

    /// A user's token that was looked up at 0, when so much of its life was left.
    fn looked_up(whole: u64, left: u64, change: impl FnOnce(&mut TokenInfo)) -> Session {
        with(session(Owner::User, left, true), |info| {
            info.issued_life = Some(Duration::from_secs(whole));
            change(info);
        })
    }

    #[test]
    fn a_token_is_renewed_when_a_third_of_its_whole_life_is_left_also_after_a_restart() {
        let period = |seconds| move |info: &mut TokenInfo| info.period = Some(Duration::from_secs(seconds));
        let table: &[(&str, Session, i64, Plan, Option<i64>)] = &[
            ("a new periodic token", looked_up(90, 90, period(90)), 0, Plan::Reuse, Some(60)),
            ("its time has come", looked_up(90, 90, period(90)), 60, Plan::Renew, Some(70)),
            ("the operator began late in its life", looked_up(90, 21, period(90)), 0, Plan::Renew, Some(7)),
            ("a long one", looked_up(86_400, 86_400, period(86_400)), 0, Plan::Reuse, Some(57_600)),
            (
                "without a period, by the life that it was issued with",
                looked_up(900, 201, |_| {}),
                0,
                Plan::Renew,
                Some(67),
            ),
            (
                "one that cannot be renewed just ends",
                looked_up(900, 200, |info| info.renewable = false),
                0,
                Plan::Reuse,
                Some(200),
            ),
            ("one without an end", looked_up(900, 0, |_| {}), 0, Plan::Reuse, None),
        ];
        for (name, session, now, plan, due) in table {
            let due = due.map(at);
            assert_eq!((session.plan(at(*now)), session.due(at(*now))), (*plan, due), "{name}");
        }
        assert_eq!(session(Owner::Operator, 90, true).due(at(0)), None, "ours is replaced by a login");
    }

    #[test]
    fn the_end_of_a_token_that_cannot_be_kept_alive_is_reported_before_it_comes() {
        let soon = |session: &Session, second| session.seen(true, at(second)).ends_soon;
        let period = looked_up(900, 900, |info| info.period = Some(Duration::from_secs(900)));
        assert_eq!(soon(&period, 899), None, "it is renewed");
        let mut refused = period;
        refused.not_renewed();
        assert_eq!((soon(&refused, 599), soon(&refused, 600)), (None, Some(at(900))));

        let mut last = looked_up(900, 900, |_| {});
        last.renewed(Duration::from_secs(300), at(600));
        assert_eq!((soon(&last, 799), soon(&last, 800)), (None, Some(at(900))), "the last renewal gave less");
        assert_eq!(last.plan(at(850)), Plan::Renew, "nothing is lost by trying");

        let short = looked_up(6, 6, |info| info.period = Some(Duration::from_secs(6)));
        assert_eq!(soon(&short, 4), Some(at(6)), "no check could come in time");
        let capped = looked_up(90, 90, |info| {
            (info.period, info.created) = (Some(Duration::from_secs(90)), Some(0));
            info.longest_life = Some(Duration::from_secs(900));
        });
        assert_eq!(
            (soon(&capped, 500), soon(&capped, 600)),
            (None, Some(at(900))),
            "an explicit longest life"
        );
    }

    #[test]
    fn a_users_token_with_limited_uses_is_watched_until_its_known_end() {
        let limited = looked_up(900, 900, |info| info.uses_left = Some(3));
        assert_eq!((limited.plan(at(700)), limited.plan(at(900))), (Plan::Watch, Plan::LogIn));
        assert_eq!(limited.due(at(700)), Some(at(900)));
        assert!(limited.can_spare(2) && !limited.can_spare(3) && !limited.is_used_up());
        let seen = limited.seen(true, at(0));
        let basis = Basis { target: app_role().target, versions: versions("1") };
        let restored = Session::limited("t".into(), basis, (seen.info, seen.expires_at), at(600));
        assert_eq!((restored.plan(at(899)), restored.plan(at(900))), (Plan::Watch, Plan::LogIn));
        let used_up = looked_up(900, 900, |info| info.uses_left = Some(-1));
        assert!(used_up.is_used_up());
    }

    #[test]
    fn a_session_does_not_print_its_token() {
        assert!(!format!("{:?}", session(Owner::User, 30, true)).contains("canary"));
    }
}
