//! From a check to the status that is written.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    judge,
    observation::{LoginSeen, Observation},
    schedule::{self, Outcome},
    session::later,
};
use crate::{
    api::{
        auth::RoleId,
        condition::{ConditionType, Reason},
        desired::{Desired, Method},
        status::{CredentialVersion, ResolvedConnection, Server, Session, VaultConnectionStatus},
    },
    conditions::{self, Verdict},
    secrets::Versions,
    vault::health::Health,
};

/// The kind of application in `status.connection.app`.
const APP: &str = "hashicorp-vault";

/// What a status depends on beside the check itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The generation of the spec that was checked.
    pub generation: i64,
    /// The value of the annotation that asks for a check.
    pub requested_at: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
    /// A number between 0 and 1 that spreads the checks.
    pub jitter: f64,
}

/// The status after a check, and how long to wait for the next.
pub fn checked(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    desired: &Desired,
    observation: &Observation,
) -> (VaultConnectionStatus, Duration) {
    let verdicts = judge::judge(desired, observation);
    let mut next = begin(previous, around, &verdicts);
    next.connection = Some(connection(desired));
    next.server = server(previous, &next, observation, around.now);
    next.session = observation.login.as_ref().map(session);
    next.credentials = credentials(&observation.versions);
    next.next_login_time = observation.no_login_before.map(Time);
    next.last_check_time = Some(Time(around.now));

    let wait = schedule::wait(outcome(&next, desired, observation, around.now), around.now, around.jitter);
    next.next_check_time = Some(Time(later(around.now, wait)));
    (next, wait)
}

/// The status of a connection that is not checked because its spec makes no sense.
pub fn invalid_spec(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    message: &str,
) -> VaultConnectionStatus {
    begin(previous, around, &judge::invalid_spec(message))
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

/// Whether a status says something new. That time goes by is nothing new.
pub fn is_news(previous: &VaultConnectionStatus, next: &VaultConnectionStatus) -> bool {
    timeless(previous) != timeless(next)
}

/// Whether the times in a status that says nothing new should be written all the same.
pub fn needs_heartbeat(previous: &VaultConnectionStatus, now: Timestamp, heartbeat: Duration) -> bool {
    previous.last_check_time.as_ref().is_none_or(|last| later(last.0, heartbeat) <= now)
}

fn timeless(status: &VaultConnectionStatus) -> VaultConnectionStatus {
    let mut status = status.clone();
    status.last_check_time = None;
    status.next_check_time = None;
    if let Some(server) = &mut status.server {
        server.clock_skew_seconds = None;
    }
    status
}

fn begin(
    previous: &VaultConnectionStatus,
    around: &Circumstances<'_>,
    verdicts: &[Verdict],
) -> VaultConnectionStatus {
    let reason = verdicts
        .iter()
        .find(|verdict| verdict.condition == ConditionType::Ready)
        .map_or(Reason::NotChecked, |verdict| verdict.reason);
    let handled = around.requested_at.map(str::to_owned);
    VaultConnectionStatus {
        observed_generation: Some(around.generation),
        state: Some(reason.state()),
        last_handled_reconcile_at: handled.or_else(|| previous.last_handled_reconcile_at.clone()),
        conditions: conditions::fold(&previous.conditions, verdicts, around.generation, around.now),
        ..VaultConnectionStatus::default()
    }
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
        (None, _) => Outcome::Passed { interval: desired.interval },
        (Some(_), Some(until)) => Outcome::Held { until },
        (Some(fault), None) => Outcome::Failed { since, retry_after: fault.retry_after() },
    }
}

fn connection(desired: &Desired) -> ResolvedConnection {
    let target = &desired.target;
    let (method, mount, role_id) = match &target.method {
        Method::AppRole { mount, role_id, .. } => {
            let role_id = match role_id {
                RoleId::Value(value) => Some(value.clone()),
                RoleId::SecretRef(_) => None,
            };
            ("app-role", Some(mount.as_str().to_owned()), role_id)
        }
        Method::Token(_) => ("token", None, None),
    };
    ResolvedConnection {
        app: APP.to_owned(),
        method: method.to_owned(),
        instance_url: target.instance.as_str().to_owned(),
        namespace: target.namespace.as_ref().map(|namespace| namespace.as_str().to_owned()),
        mount,
        role_id,
    }
}

/// What the instance tells of itself. What it told of the same instance before stays, but for its role.
fn server(
    previous: &VaultConnectionStatus,
    next: &VaultConnectionStatus,
    observation: &Observation,
    now: Timestamp,
) -> Option<Server> {
    let url = |status: &VaultConnectionStatus| status.connection.as_ref().map(|c| c.instance_url.clone());
    let before = previous.server.clone().filter(|_| url(previous) == url(next));
    match &observation.health {
        Some(health) => Some(told(health, before.as_ref(), now)),
        None => before.map(|server| Server { role: None, clock_skew_seconds: None, ..server }),
    }
}

fn told(health: &Health, before: Option<&Server>, now: Timestamp) -> Server {
    let skew = health.server_time.map(|time| time - now.as_second());
    Server {
        version: health.version.clone(),
        cluster_name: health.cluster_name.clone(),
        cluster_id: health.cluster_id.clone(),
        role: Some(health.role),
        clock_skew_seconds: skew.or_else(|| before.and_then(|server| server.clock_skew_seconds)),
    }
}

fn session(login: &LoginSeen) -> Session {
    let info = &login.info;
    Session {
        token_type: info.kind.clone(),
        policies: info.policies.clone(),
        ttl_seconds: Some(info.ttl.map_or(0, |ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))),
        expire_time: login.expires_at.map(Time),
        renewable: Some(info.renewable),
        uses_left: info.uses_left,
        display_name: info.display_name.clone(),
    }
}

fn credentials(versions: &Versions) -> Vec<CredentialVersion> {
    let found = versions.iter().filter_map(|(object, version)| {
        let version = version.as_ref()?;
        Some(CredentialVersion {
            kind: object.kind.as_str().to_owned(),
            name: object.name.clone(),
            uid: version.uid.clone(),
            resource_version: version.resource_version.clone(),
        })
    });
    found.collect()
}
