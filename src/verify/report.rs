//! From a check of a connection to the status that is written.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    judge, memory,
    observation::{Fault, LoginSeen, Observation},
    schedule::{self, Outcome},
    session::later,
    status::{self, Circumstances, Judged, MIN_WAIT_TO_PUBLISH, begin, credentials, plan},
};
use crate::{
    api::{
        condition::{ConditionType, Reason, Truth},
        status::{ResolvedConnection, Server, Session, VaultConnectionStatus},
    },
    conditions::{self, Verdict},
    spec::Desired,
    vault::health::Health,
};

/// The kind of application in `status.connection.app`.
const APP: &str = "hashicorp-vault";

/// The status after a check, and how long to wait for the next.
pub fn checked(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    desired: &Desired,
    observation: &Observation,
) -> (VaultConnectionStatus, Duration) {
    let verdicts = judge::judge(desired, observation, around.now);
    let mut next = begin(previous, around, &verdicts);
    next.connection = Some(connection(desired));
    next.server = server(previous, &next, observation, around.now);
    next.session = observation.login.as_ref().map(session);
    next.credentials = credentials(&observation.versions);
    next.next_login_time = observation.no_login_before.map(Time);
    next.refused_login_times = observation.refused.iter().copied().map(Time).collect();
    next.refused_login_role = observation.refused_role.clone().filter(|_| !observation.refused.is_empty());
    next.last_login_time = observation.last_login.map(Time);
    next.last_check_time = Some(Time(around.now));

    let wait = schedule::wait(outcome(&next, desired, observation, around.now), around.now, around.jitter);
    let wait = observation.token_due.map_or(wait, |due| schedule::no_later(wait, due, around.now));
    plan(&mut next, around.now, wait);
    (next, wait)
}

/// The status of a connection that is not checked because the user says so.
pub fn suspended(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    desired: &Desired,
) -> VaultConnectionStatus {
    let mut next = begin(previous, around, &judge::suspended());
    next.connection = Some(connection(desired));
    next.last_check_time.clone_from(&previous.last_check_time);
    next
}

/// The status of a Ready connection that was not checked in time. It rests on what the last check rested on.
pub fn overdue(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    desired: &Desired,
) -> VaultConnectionStatus {
    let seen = Observation {
        fault: Some(Fault::Overdue),
        refused: memory::still_counting(previous.refused_login_times.iter().map(|time| time.0), around.now),
        refused_role: previous.refused_login_role.clone(),
        last_login: previous.last_login_time.as_ref().map(|time| time.0),
        ..Observation::default()
    };
    let (mut next, _) = checked(previous, around, desired, &seen);
    next.credentials.clone_from(&previous.credentials);
    next
}

/// The status of a connection at which the operator failed by a defect of its own, and which it tries again after `retry`.
pub fn internal_error(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    retry: Duration,
) -> VaultConnectionStatus {
    let connection = previous.connection.clone();
    VaultConnectionStatus { connection, ..status::internal_error(previous, around, retry) }
}

/// Whether a status says something new. That time goes by, so that a refused login no longer counts, is nothing new; that a
/// time is over until which people wait is.
pub fn is_news(previous: &VaultConnectionStatus, next: &VaultConnectionStatus) -> bool {
    let was_published = |time| previous.refused_login_times.contains(time);
    status::differs(previous, next)
        || !next.refused_login_times.iter().all(was_published)
        || is_wait_over(previous, next)
}

/// Whether the time of the next check in the status of a failing connection is over, and the next one is worth a write.
fn is_wait_over(previous: &VaultConnectionStatus, next: &VaultConnectionStatus) -> bool {
    let (Some(published), Some(now), Some(then)) =
        (&previous.next_check_time, &next.last_check_time, &next.next_check_time)
    else {
        return false;
    };
    let fails = !conditions::is_true(&next.conditions, ConditionType::Ready);
    fails && published.0 <= now.0 && later(now.0, MIN_WAIT_TO_PUBLISH) <= then.0
}

// === impl VaultConnectionStatus ===

impl Judged for VaultConnectionStatus {
    const STEPS: &'static [ConditionType] = &ConditionType::STEPS;

    fn carry_over(&mut self, previous: &Self, verdicts: &[Verdict]) {
        let ready = verdicts.iter().find(|verdict| verdict.condition == ConditionType::Ready);
        self.state = Some(ready.map_or(Reason::NotChecked, |verdict| verdict.reason).state());
        self.warnings = warnings(verdicts);
        self.refused_login_times.clone_from(&previous.refused_login_times);
        self.refused_login_role.clone_from(&previous.refused_login_role);
        self.last_login_time.clone_from(&previous.last_login_time);
    }

    fn differs_in_substance(previous: &Self, next: &Self) -> bool {
        let Self {
            state,
            warnings,
            connection,
            server,
            session,
            credentials,
            next_login_time,
            refused_login_role,
            observed_generation: _,
            last_check_time: _,
            next_check_time: _,
            refused_login_times: _,
            last_login_time: _,
            last_handled_reconcile_at: _,
            conditions: _,
        } = previous;
        *state != next.state
            || *warnings != next.warnings
            || *connection != next.connection
            || server.as_ref().map(substance_of_server) != next.server.as_ref().map(substance_of_server)
            || session.as_ref().map(substance_of_session) != next.session.as_ref().map(substance_of_session)
            || *credentials != next.credentials
            || *next_login_time != next.next_login_time
            || *refused_login_role != next.refused_login_role
    }

    fn is_news(previous: &Self, next: &Self) -> bool {
        is_news(previous, next)
    }

    /// One that was Ready and is, with another login or another state of its credential. What only a later process of ours can know from
    /// the status is written at once.
    fn can_wait(previous: &Self, next: &Self) -> bool {
        let (session, credentials) = (previous.session.clone(), previous.credentials.clone());
        let has_limited_uses = next.session.as_ref().is_some_and(|session| session.uses_left.is_some());
        conditions::is_true(&next.conditions, ConditionType::Ready)
            && !has_limited_uses
            && !is_news(previous, &Self { session, credentials, ..next.clone() })
    }
}

/// What an instance reports, but for what differs from check to check.
fn substance_of_server(server: &Server) -> impl PartialEq + '_ {
    let Server {
        version,
        cluster_name,
        cluster_id,
        role,
        certificate_expire_time,
        clock_skew_seconds: _,
        certificate_days_left: _,
    } = server;
    (version, cluster_name, cluster_id, role, certificate_expire_time)
}

/// What is known of a session, but for its end, which renewals put off.
fn substance_of_session(session: &Session) -> impl PartialEq + '_ {
    let Session {
        token_type,
        policies,
        policies_truncated,
        ttl_seconds,
        renewable,
        uses_left,
        longest_life_seconds,
        period_seconds,
        orphan,
        display_name,
        expire_time: _,
    } = session;
    let lives = (ttl_seconds, renewable, uses_left, longest_life_seconds, period_seconds);
    (token_type, policies, policies_truncated, lives, orphan, display_name)
}

/// The reasons of what works and will not for long.
fn warnings(verdicts: &[Verdict]) -> Vec<String> {
    let warns = |verdict: &&Verdict| match verdict.condition {
        ConditionType::CredentialsExpiring | ConditionType::CertificateExpiring => {
            verdict.truth == Truth::True
        }
        ConditionType::Ready
        | ConditionType::ReferencesResolved
        | ConditionType::Reachable
        | ConditionType::ServerReady
        | ConditionType::Authenticated
        | ConditionType::Authorized
        | ConditionType::Reconciling
        | ConditionType::Stalled => false,
    };
    verdicts.iter().filter(warns).map(|verdict| verdict.reason.as_str().to_owned()).collect()
}

fn outcome(
    next: &VaultConnectionStatus,
    desired: &Desired,
    observation: &Observation,
    now: Timestamp,
) -> Outcome {
    let since = conditions::find(&next.conditions, ConditionType::Ready)
        .map_or(now, |condition| condition.last_transition_time.0);
    match (&observation.fault, observation.no_login_before) {
        (None, _) => Outcome::Passed { interval: desired.interval, timeout: desired.timeout },
        (Some(_), Some(until)) => Outcome::Held { until },
        (Some(fault), None) => Outcome::Failed { since, retry_after: fault.retry_after() },
    }
}

fn connection(desired: &Desired) -> ResolvedConnection {
    let target = &desired.target;
    let method = &target.method;
    ResolvedConnection {
        app: APP.to_owned(),
        method: method.names().name.to_owned(),
        instance_url: target.instance.as_str().to_owned(),
        namespace: target.namespace.as_ref().map(|namespace| namespace.as_str().to_owned()),
        mount: method.mount().map(|mount| mount.as_str().to_owned()),
        role_id: method.shown_role_id().map(str::to_owned),
        gateway: target.gateway.clone(),
    }
}

/// What the instance reports about itself. What the same instance reported before stays, but for its role.
fn server(
    previous: &VaultConnectionStatus,
    next: &VaultConnectionStatus,
    observation: &Observation,
    now: Timestamp,
) -> Option<Server> {
    let url = |status: &VaultConnectionStatus| status.connection.as_ref().map(|c| c.instance_url.clone());
    let before = previous.server.clone().filter(|_| url(previous) == url(next));
    let server = match &observation.health {
        Some(health) => reported(health, before.as_ref(), now),
        None => Server { role: None, clock_skew_seconds: None, ..before? },
    };
    let seen = observation.certificate_end.as_ref().map(|end| end.at);
    let end = seen.or(server.certificate_expire_time.map(|time| time.0));
    Some(Server {
        certificate_expire_time: end.map(Time),
        certificate_days_left: end.map(|end| days_until(end, now)),
        ..server
    })
}

/// Whole days, rounded down.
fn days_until(end: Timestamp, now: Timestamp) -> i64 {
    end.as_second().saturating_sub(now.as_second()).div_euclid(86_400)
}

fn reported(health: &Health, before: Option<&Server>, now: Timestamp) -> Server {
    let skew = health.server_time.map(|time| time.saturating_sub(now.as_second()));
    Server {
        version: health.version.clone(),
        cluster_name: health.cluster_name.clone(),
        cluster_id: health.cluster_id.clone(),
        role: health.role,
        clock_skew_seconds: skew.or_else(|| before.and_then(|server| server.clock_skew_seconds)),
        ..Server::default()
    }
}

fn session(login: &LoginSeen) -> Session {
    let info = &login.info;
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Session {
        token_type: info.kind.clone(),
        policies: info.policies.clone(),
        policies_truncated: info.policies_cut.then_some(true),
        ttl_seconds: Some(info.ttl.map_or(0, seconds)),
        expire_time: login.expires_at.map(Time),
        renewable: Some(info.renewable),
        uses_left: info.uses_left,
        longest_life_seconds: info.longest_life.map(seconds),
        period_seconds: info.period.map(seconds),
        orphan: info.orphan,
        display_name: info.display_name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{
            condition::Truth,
            status::{ServerRole, State},
        },
        auth::LoginFault,
        names::ObjectName,
        network::faults::TransportFault,
        references::resolve::{Problem, ReferenceFault},
        vault::{answer::ServerFault, token::TokenInfo},
        verify::{
            status::needs_heartbeat,
            testing::{app_role, at, full_status, missing, token, versions},
        },
    };

    fn around(second: i64) -> Circumstances<'static> {
        Circumstances { generation: 1, requested_at: None, now: at(second), jitter: 0.0 }
    }

    fn worked() -> Observation {
        let health = Health {
            role: Some(ServerRole::Active),
            version: Some("2.7.2".to_owned()),
            server_time: Some(3),
            ..Health::default()
        };
        let info = TokenInfo { ttl: Some(Duration::from_secs(30)), ..TokenInfo::default() };
        Observation {
            health: Some(health),
            login: Some(LoginSeen { info, expires_at: None, is_watched: false, ends_soon: None }),
            versions: versions("1"),
            ..Observation::default()
        }
    }

    fn failed(fault: Fault) -> Observation {
        Observation { fault: Some(fault), versions: versions("1"), ..Observation::default() }
    }

    fn after(
        previous: &VaultConnectionStatus,
        second: i64,
        observation: &Observation,
    ) -> VaultConnectionStatus {
        checked(previous, &around(second), &app_role(), observation).0
    }

    #[test]
    fn a_ready_that_is_not_earned_anew_or_whose_check_panics_is_denied_and_remembers_what_counts() {
        let ready = after(&VaultConnectionStatus::default(), 0, &worked());
        let ready = VaultConnectionStatus { refused_login_times: vec![Time(at(0))], ..ready };
        let ready_of = |status: &VaultConnectionStatus| {
            let ready = conditions::find(&status.conditions, ConditionType::Ready).expect("it is there");
            (ready.status.clone(), ready.reason.clone())
        };
        let late = overdue(&ready, &around(120), &app_role());
        assert_eq!(ready_of(&late), ("Unknown".to_owned(), "CheckOverdue".to_owned()));
        assert_eq!(late.credentials, ready.credentials);
        assert_eq!(late.refused_login_times, ready.refused_login_times);

        let panicked = internal_error(&ready, &around(120), Duration::from_secs(10));
        assert_eq!(ready_of(&panicked), ("Unknown".to_owned(), "InternalError".to_owned()));
        assert_eq!(panicked.state, Some(State::Unknown));
        assert_eq!(panicked.next_check_time, Some(Time(at(130))));
        assert_eq!(panicked.refused_login_times, ready.refused_login_times);
        assert!(panicked.session.is_none(), "nothing is claimed that nobody knows");
        assert!(conditions::is_true(&panicked.conditions, ConditionType::Reconciling));
    }

    #[test]
    fn a_working_connection_is_described() {
        let (status, wait) = checked(&VaultConnectionStatus::default(), &around(0), &app_role(), &worked());
        assert_eq!(status.state, Some(State::Connected));
        assert_eq!(wait, Duration::from_secs(60));
        assert_eq!(status.next_check_time, Some(Time(at(60))));
        let connection = status.connection.expect("described");
        assert_eq!((connection.method.as_str(), connection.mount.as_deref()), ("app-role", Some("approle")));
        assert_eq!(connection.role_id.as_deref(), Some("role"), "it is written in the spec");
        assert_eq!(status.server.and_then(|server| server.clock_skew_seconds), Some(3));
        assert_eq!(status.session.and_then(|session| session.ttl_seconds), Some(30));
        assert_eq!(status.credentials.len(), 1);

        let (status, _) = checked(&VaultConnectionStatus::default(), &around(0), &token(), &worked());
        let connection = status.connection.expect("described");
        assert_eq!((connection.method.as_str(), connection.mount), ("token", None));
    }

    #[test]
    fn time_alone_is_no_news_but_is_written_with_the_heartbeat() {
        let first = after(&VaultConnectionStatus::default(), 0, &worked());
        let mut later_health = worked();
        later_health.health.as_mut().expect("healthy").server_time = Some(99);
        let second = after(&first, 60, &later_health);
        assert_ne!(first, second);
        assert!(!is_news(&first, &second));
        assert!(is_news(&first, &after(&first, 60, &failed(ServerFault::Sealed.into()))));

        let heartbeat = Duration::from_secs(1800);
        let last = first.last_check_time.as_ref();
        assert!(!needs_heartbeat(last, at(1799), heartbeat));
        assert!(needs_heartbeat(last, at(1800), heartbeat));
        assert!(!needs_heartbeat(last, at(-60), heartbeat), "the clock of another node");
        assert!(needs_heartbeat(last, at(-61), heartbeat), "nobody has checked it in the future");
        assert!(!needs_heartbeat(None, at(1800), heartbeat), "it has no times");
    }

    /// The paths of all values in a JSON value.
    fn leaves(value: &Value, path: &str) -> Vec<String> {
        let below = |(key, value): (String, &Value)| leaves(value, &format!("{path}/{key}"));
        match value {
            Value::Object(fields) => fields.iter().flat_map(|(key, it)| below((key.clone(), it))).collect(),
            Value::Array(items) => {
                items.iter().enumerate().flat_map(|(index, it)| below((index.to_string(), it))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![path.to_owned()],
        }
    }

    /// The same status with another value at a path.
    fn with_another(status: &Value, path: &str) -> Value {
        let mut other = status.clone();
        let value = other.pointer_mut(path).expect("it is there");
        *value = match value.take() {
            Value::Bool(is_so) => json!(!is_so),
            Value::Number(_) => json!(99),
            Value::String(text) if text.ends_with('Z') => json!("2026-02-03T04:05:06Z"),
            Value::String(text) if text == "Active" => json!("Standby"),
            Value::String(_) if path == "/state" => json!("Sealed"),
            other => json!(format!("{other}x")),
        };
        other
    }

    #[test]
    fn nothing_can_wait_but_another_login_of_one_that_stays_ready() {
        let read = |status: &Value| -> VaultConnectionStatus {
            serde_json::from_value(status.clone()).expect("a status")
        };
        let can_wait = |status: &Value, next: &Value| Judged::can_wait(&read(status), &read(next));
        let limited = full_status();
        let mut ready = limited.clone();
        ready["session"].as_object_mut().expect("it has one").remove("usesLeft");
        let mut failing = ready.clone();
        failing["conditions"][0]["status"] = json!("False");
        let (mut waiting, mut urgent) = (0, 0);
        for path in leaves(&ready, "") {
            let next = with_another(&ready, &path);
            let is_of_login = path.starts_with("/session/") || path.starts_with("/credentials/");
            let is_no_news = !is_news(&read(&ready), &read(&next));
            assert_eq!(can_wait(&ready, &next), is_of_login || is_no_news, "{path}");
            *if is_of_login { &mut waiting } else { &mut urgent } += 1;
            for other in [&limited, &failing] {
                assert!(!can_wait(other, &with_another(other, &path)), "{path}");
            }
        }
        assert!(waiting > 5 && urgent > 20, "{waiting}, {urgent}");
    }

    #[test]
    fn everything_is_news_but_times_that_go_by_and_what_is_measured() {
        let no_news = [
            "/lastCheckTime",
            "/nextCheckTime",
            "/lastLoginTime",
            "/session/expireTime",
            "/server/clockSkewSeconds",
            "/server/certificateDaysLeft",
            "/conditions/3/message",
        ];
        let read = |status: &Value| serde_json::from_value(status.clone()).expect("a status");
        let full = full_status();
        for path in leaves(&full, "") {
            let other = with_another(&full, &path);
            assert_eq!(is_news(&read(&full), &read(&other)), !no_news.contains(&path.as_str()), "{path}");
        }
        let none = VaultConnectionStatus::default();
        for field in full.as_object().expect("it has fields").keys() {
            let mut other = full.clone();
            other.as_object_mut().expect("it has fields").remove(field);
            let is_time = no_news.contains(&format!("/{field}").as_str()) || field == "refusedLoginTimes";
            assert_eq!(is_news(&read(&full), &read(&other)), !is_time, "{field} is gone");
        }
        assert!(is_news(&none, &read(&full)) && !is_news(&none, &none));
    }

    #[test]
    fn what_an_unreachable_instance_once_reported_stays_but_for_its_role() {
        let first = after(&VaultConnectionStatus::default(), 0, &worked());
        let unreachable = after(&first, 60, &failed(TransportFault::TimedOut.into()));
        let server = unreachable.server.expect("it is still the same instance");
        assert_eq!((server.version.as_deref(), server.role), (Some("2.7.2"), None));
        assert_eq!(unreachable.session, None);

        let mut elsewhere = app_role();
        elsewhere.target.instance =
            crate::names::InstanceUrl::parse("https://other.example.com").expect("valid");
        let fault = failed(TransportFault::TimedOut.into());
        let (moved, _) = checked(&first, &around(60), &elsewhere, &fault);
        assert_eq!(moved.server, None, "another instance has reported nothing yet");
    }

    #[test]
    fn a_refused_credential_waits_for_its_time() {
        let refused = Observation {
            no_login_before: Some(at(900)),
            ..failed(Fault::Login(LoginFault::InvalidCredentials))
        };
        let (status, wait) = checked(&VaultConnectionStatus::default(), &around(0), &app_role(), &refused);
        assert_eq!(status.next_login_time, Some(Time(at(900))));
        assert!(wait >= Duration::from_secs(900));
        assert_eq!(after(&status, 901, &worked()).next_login_time, None);
    }

    #[test]
    fn the_time_of_the_next_try_is_not_left_in_the_past() {
        let sealed = failed(ServerFault::Sealed.into());
        let first = after(&VaultConnectionStatus::default(), 0, &sealed);
        let soon = after(&first, 5, &sealed);
        assert!(!is_news(&first, &soon), "the waits are short at first");
        let late = after(&first, 100, &sealed);
        assert!(is_news(&first, &late));
        assert!(!is_news(&late, &after(&late, 150, &sealed)), "it is still to come");
    }

    #[test]
    fn an_answered_request_is_recorded_and_kept() {
        let asked = Circumstances { requested_at: Some("now"), ..around(0) };
        let (status, _) = checked(&VaultConnectionStatus::default(), &asked, &app_role(), &worked());
        assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("now"));
        let removed = after(&status, 60, &worked());
        assert_eq!(removed.last_handled_reconcile_at.as_deref(), Some("now"));
    }

    #[test]
    fn a_suspended_connection_keeps_the_time_of_its_last_check_and_has_no_next() {
        let first = after(&VaultConnectionStatus::default(), 7, &worked());
        let suspended = suspended(&first, &around(60), &app_role());
        assert_eq!(suspended.state, Some(State::Suspended));
        assert_eq!(suspended.last_check_time, Some(Time(at(7))));
        assert_eq!((suspended.next_check_time, suspended.session), (None, None));
    }

    fn any_observation() -> impl Strategy<Value = Observation> {
        let reference = ReferenceFault {
            field: "spec.auth.appRole.secretId".to_owned(),
            source: Some((ObjectName::secret("s"), "k".to_owned())),
            problem: Problem::Missing,
        };
        prop_oneof![
            3 => Just(worked()),
            1 => Just(failed(reference.into())),
            1 => Just(failed(TransportFault::TimedOut.into())),
            1 => Just(failed(ServerFault::Sealed.into())),
            1 => Just(failed(ServerFault::RateLimited { retry_after: Some(Duration::from_secs(7)) }.into())),
            1 => Just(failed(LoginFault::InvalidCredentials.into())),
            1 => Just(failed(missing())),
        ]
    }

    proptest! {
        #[test]
        fn every_history_keeps_the_contract(
            history in prop::collection::vec((any_observation(), 0_i64..400, 0.0..1.0_f64), 1..30)
        ) {
            let mut status = VaultConnectionStatus::default();
            let mut second = 0;
            for (observation, gap, jitter) in history {
                second += gap;
                let circumstances = Circumstances { jitter, ..around(second) };
                let (next, wait) = checked(&status, &circumstances, &app_role(), &observation);
                prop_assert!(wait >= Duration::from_secs(5) && wait <= Duration::from_secs(330));

                let truth = |t| conditions::find(&next.conditions, t).map(|c| c.status.clone());
                let every_step = ConditionType::STEPS.iter().all(|t| truth(*t).as_deref() == Some("True"));
                prop_assert_eq!(truth(ConditionType::Ready).as_deref() == Some("True"), every_step);
                prop_assert_eq!(every_step, observation.fault.is_none());
                let abnormal = [ConditionType::Reconciling, ConditionType::Stalled].map(|t| truth(t).is_some());
                prop_assert_eq!(abnormal.iter().filter(|set| **set).count(), usize::from(!every_step));

                for condition in &next.conditions {
                    prop_assert_eq!(condition.observed_generation, Some(1));
                    prop_assert!(!condition.message.is_empty() && condition.message.len() <= 1024);
                    let before = status.conditions.iter().find(|c| c.type_ == condition.type_);
                    let unchanged = before.is_some_and(|c| c.status == condition.status);
                    let since = if unchanged { before.map(|c| c.last_transition_time.0) } else { Some(at(second)) };
                    prop_assert_eq!(Some(condition.last_transition_time.0), since);
                }
                prop_assert!(next.conditions.iter().all(|c| c.status != Truth::True.as_str() || c.reason != "NotChecked"));

                let (again, _) = checked(&next, &around(second + 1), &app_role(), &observation);
                prop_assert!(!is_news(&next, &again), "the same observation is no news");
                status = next;
            }
        }
    }
}
