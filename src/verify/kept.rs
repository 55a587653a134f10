//! A status as it is kept between checks, in less memory than it takes to write one.
//!
//! ```text
//!   status ─ keep ─┬▶ conditions without their times, connection, server, session ... one for all that have the same ─┐
//!                  └▶ times, and what is seldom there                                 its own                         ├─▶ restored
//! ```
//!
//! There is one for each object of the cluster, and it is read a few times a minute.

use std::sync::Arc;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    api::{
        ObjectStatus,
        condition::{ConditionType, Truth},
        gateway::VaultGatewayStatus,
        status::{CredentialVersion, ResolvedConnection, Server, Session, State, VaultConnectionStatus},
    },
    conditions,
    names::pool::Pool,
};

/// A status that can be kept in another form.
pub trait Keep: Sized {
    /// That form.
    type Kept: Send + Sync;

    /// The same status in that form.
    fn keep(self) -> Self::Kept;

    /// The same status as it is written.
    fn restored(kept: &Self::Kept) -> Self;

    /// When the last check was.
    fn last_check(kept: &Self::Kept) -> Option<Timestamp>;

    /// What it says that decides whether a check is due.
    fn facts(kept: &Self::Kept) -> Facts<'_>;
}

/// What a status says that decides whether a check is due, and what one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The generation of the spec that it is about.
    pub observed_generation: Option<i64>,
    /// Whether it calls the object Ready.
    pub is_ready: bool,
    /// The last request for a check that was answered.
    pub handled_request: Option<&'a str>,
}

/// The status of a connection as it is kept.
pub struct KeptStatus {
    observed_generation: Option<i64>,
    state: Option<State>,
    connection: Option<Arc<ResolvedConnection>>,
    server: Option<Arc<Server>>,
    /// Without its end.
    session: Option<Arc<Session>>,
    session_end: Option<Time>,
    credentials: Arc<[CredentialVersion]>,
    last_check_time: Option<Time>,
    next_check_time: Option<Time>,
    last_login_time: Option<Time>,
    conditions: Arc<[Words]>,
    /// The last transition of each condition.
    transitions: Box<[Time]>,
    seldom: Option<Box<Seldom>>,
}

/// A condition without the time of its last transition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Words {
    type_: String,
    status: String,
    reason: String,
    message: String,
    observed_generation: Option<i64>,
}

/// What few connections have in their status.
#[derive(Default, PartialEq)]
struct Seldom {
    warnings: Vec<String>,
    next_login_time: Option<Time>,
    refused_login_times: Vec<Time>,
    refused_login_role: Option<String>,
    last_handled_reconcile_at: Option<String>,
}

static CONDITIONS: Pool<[Words]> = Pool::new();
static CONNECTIONS: Pool<ResolvedConnection> = Pool::new();
static SERVERS: Pool<Server> = Pool::new();
static SESSIONS: Pool<Session> = Pool::new();
static CREDENTIALS: Pool<[CredentialVersion]> = Pool::new();

// === impl Facts ===

impl<'a> Facts<'a> {
    /// Those of a status as it is written.
    pub fn of(status: &'a impl ObjectStatus) -> Self {
        Self {
            observed_generation: status.observed_generation(),
            is_ready: conditions::is_true(status.conditions(), ConditionType::Ready),
            handled_request: status.last_handled_reconcile_at(),
        }
    }
}

// === impl VaultConnectionStatus ===

impl Keep for VaultConnectionStatus {
    type Kept = KeptStatus;

    fn keep(self) -> KeptStatus {
        let Self {
            observed_generation,
            state,
            warnings,
            connection,
            server,
            mut session,
            credentials,
            last_check_time,
            next_check_time,
            next_login_time,
            refused_login_times,
            refused_login_role,
            last_login_time,
            last_handled_reconcile_at,
            conditions,
        } = self;
        let session_end = session.as_mut().and_then(|session| session.expire_time.take());
        let seldom = Seldom {
            warnings,
            next_login_time,
            refused_login_times,
            refused_login_role,
            last_handled_reconcile_at,
        };
        let (words, transitions): (Vec<_>, Vec<_>) = conditions.into_iter().map(Words::of).unzip();
        KeptStatus {
            observed_generation,
            state,
            connection: connection.map(|connection| CONNECTIONS.share(connection)),
            server: server.map(|server| SERVERS.share(server)),
            session: session.map(|session| SESSIONS.share(session)),
            session_end,
            credentials: CREDENTIALS.share(credentials),
            last_check_time,
            next_check_time,
            last_login_time,
            conditions: CONDITIONS.share(words),
            transitions: transitions.into(),
            seldom: (seldom != Seldom::default()).then(|| Box::new(seldom)),
        }
    }

    fn restored(kept: &KeptStatus) -> Self {
        let seldom = kept.seldom.as_deref();
        let session = kept.session.as_deref().cloned();
        let conditions = kept.conditions.iter().zip(&kept.transitions);
        Self {
            observed_generation: kept.observed_generation,
            state: kept.state,
            warnings: seldom.map(|it| it.warnings.clone()).unwrap_or_default(),
            connection: kept.connection.as_deref().cloned(),
            server: kept.server.as_deref().cloned(),
            session: session.map(|it| Session { expire_time: kept.session_end.clone(), ..it }),
            credentials: kept.credentials.to_vec(),
            last_check_time: kept.last_check_time.clone(),
            next_check_time: kept.next_check_time.clone(),
            next_login_time: seldom.and_then(|it| it.next_login_time.clone()),
            refused_login_times: seldom.map(|it| it.refused_login_times.clone()).unwrap_or_default(),
            refused_login_role: seldom.and_then(|it| it.refused_login_role.clone()),
            last_login_time: kept.last_login_time.clone(),
            last_handled_reconcile_at: seldom.and_then(|it| it.last_handled_reconcile_at.clone()),
            conditions: conditions.map(|(words, since)| words.since(since)).collect(),
        }
    }

    fn last_check(kept: &KeptStatus) -> Option<Timestamp> {
        kept.last_check_time.as_ref().map(|time| time.0)
    }

    fn facts(kept: &KeptStatus) -> Facts<'_> {
        let ready = kept.conditions.iter().find(|words| words.type_ == ConditionType::Ready.as_str());
        Facts {
            observed_generation: kept.observed_generation,
            is_ready: ready.is_some_and(|ready| ready.status == Truth::True.as_str()),
            handled_request: kept.seldom.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref()),
        }
    }
}

// === impl VaultGatewayStatus ===

/// There are few gateways, so that theirs is kept as it is.
impl Keep for VaultGatewayStatus {
    type Kept = Self;

    fn keep(self) -> Self {
        self
    }

    fn restored(kept: &Self) -> Self {
        kept.clone()
    }

    fn last_check(kept: &Self) -> Option<Timestamp> {
        kept.last_check_time.as_ref().map(|time| time.0)
    }

    fn facts(kept: &Self) -> Facts<'_> {
        Facts::of(kept)
    }
}

// === impl Words ===

impl Words {
    /// What a condition says, and since when.
    fn of(condition: Condition) -> (Self, Time) {
        let Condition { type_, status, reason, message, observed_generation, last_transition_time } =
            condition;
        (Self { type_, status, reason, message, observed_generation }, last_transition_time)
    }

    fn since(&self, time: &Time) -> Condition {
        let Self { type_, status, reason, message, observed_generation } = self.clone();
        Condition { type_, status, reason, message, observed_generation, last_transition_time: time.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::verify::testing::full_status;

    fn read(status: &Value) -> VaultConnectionStatus {
        serde_json::from_value(status.clone()).expect("it can be read")
    }

    fn fields(status: &Value) -> &Map<String, Value> {
        status.as_object().expect("it has fields")
    }

    #[test]
    fn what_two_have_in_common_is_kept_once() {
        let mut other = full_status();
        other["session"]["expireTime"] = json!("2026-01-01T02:00:00Z");
        other["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:59Z");
        let (one, other) = (read(&full_status()).keep(), read(&other).keep());
        assert!(Arc::ptr_eq(&one.conditions, &other.conditions));
        assert!(one.session.zip(other.session).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other)));
        assert!(one.server.zip(other.server).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other)));
        assert!(Arc::ptr_eq(&one.credentials, &other.credentials));
    }

    proptest! {
        #[test]
        fn a_status_that_is_kept_says_the_same_when_it_is_restored(
            is_there in prop::collection::vec(any::<bool>(), fields(&full_status()).len()),
            text in ".{0,20}",
            truth in prop::sample::select(vec!["True", "False", "Unknown"]),
            second in 0_i64..1_000_000,
            conditions in 0_usize..=4,
        ) {
            let mut status = full_status();
            status["conditions"].as_array_mut().expect("it is a list").truncate(conditions);
            status["connection"]["namespace"] = json!(text);
            let mut is_there = is_there.into_iter();
            status.as_object_mut().expect("it has fields").retain(|_, _| is_there.next().unwrap_or_default());
            let mut status = read(&status);
            if let Some(ready) = status.conditions.first_mut() {
                ready.message = text;
                ready.status = truth.to_owned();
                ready.last_transition_time = Time(Timestamp::from_second(second).expect("in range"));
            }
            let kept = status.clone().keep();
            prop_assert_eq!(
                VaultConnectionStatus::last_check(&kept),
                status.last_check_time.as_ref().map(|time| time.0)
            );
            prop_assert_eq!(VaultConnectionStatus::facts(&kept), Facts::of(&status));
            prop_assert_eq!(VaultConnectionStatus::restored(&kept), status);
        }
    }
}
