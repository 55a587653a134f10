//! What is told of single connections and gateways, within a bound on the size of a scrape.
//!
//! ```text
//!   a status or a check ─▶ one row ─▶ scrape: copy the rows, then choose how much of each fits, then write
//! ```
//!
//! The table is locked for as long as it takes to copy it. Of many objects, the less important series are left out: a
//! Ready connection needs few, and whether each object is Ready is told as long as anything is.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    num::NonZeroI64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::catalogue::{
    CONNECTION_CERTIFICATE, CONNECTION_CHECKED, CONNECTION_CREDENTIAL, CONNECTION_NEXT, CONNECTION_READY,
    CONNECTION_STATE, CONNECTION_TOKEN, CONNECTION_TRANSITION, Description, GATEWAY_CHECKED,
    GATEWAY_CONNECTIONS, GATEWAY_READY, GATEWAY_TRANSITION, OMITTED,
};
use crate::{
    api::{
        condition::ConditionType,
        gateway::VaultGatewayStatus,
        status::{State, VaultConnectionStatus},
    },
    conditions,
    names::{ConnectionRef, GatewayName},
};

/// How much the series of connections may take: a scrape stays below 2 MiB with everything else in it.
const MAX_CONNECTION_BYTES: usize = 1_800_000;

/// How much the series of gateways may take. There are few of them: many connections share one.
const MAX_GATEWAY_BYTES: usize = 150_000;

/// What is about to end is told even where other times are left out: alerts ask for less than this.
const SOON_SECONDS: i64 = 30 * 24 * 3600;

/// The rows of all objects. A clone is the same table.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    tables: Option<Arc<Mutex<Tables>>>,
}

#[derive(Debug, Default)]
struct Tables {
    connections: BTreeMap<Arc<str>, Facts>,
    gateways: BTreeMap<Arc<str>, Facts>,
}

/// What is told of one object. It is kept as small as it can be: there is one for each object of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    ready: bool,
    state: Option<State>,
    users: Option<u32>,
    transition: Seconds,
    checked: Seconds,
    next: Seconds,
    token: Seconds,
    credential: Seconds,
    certificate: Seconds,
}

/// A time in seconds since 1970, if there is one. That second itself is none.
type Seconds = Option<NonZeroI64>;

/// One metric of an object.
struct Series {
    metric: &'static Description,
    value: fn(&Facts) -> Option<i64>,
    /// Of how many objects it is told.
    rank: Rank,
}

/// How important a series is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// Told as long as anything is.
    Ready,
    /// Told of every object before details are.
    State,
    /// Told like a state when the time is near, else like a detail.
    Expiry,
    /// Told where there is room.
    Detail,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Everything.
    Full,
    /// Everything of what is not Ready, and no details of what is.
    FailuresInDetail,
    /// No details.
    Brief,
    /// Whether it is Ready.
    ReadyOnly,
}

const CONNECTION_SERIES: [Series; 8] = [
    Series { metric: &CONNECTION_READY, value: |facts| Some(facts.ready.into()), rank: Rank::Ready },
    Series { metric: &CONNECTION_STATE, value: |facts| facts.state.map(|_| 1), rank: Rank::State },
    Series {
        metric: &CONNECTION_TRANSITION,
        value: |facts| facts.transition.map(NonZeroI64::get),
        rank: Rank::Detail,
    },
    Series {
        metric: &CONNECTION_CHECKED,
        value: |facts| facts.checked.map(NonZeroI64::get),
        rank: Rank::Detail,
    },
    Series { metric: &CONNECTION_NEXT, value: |facts| facts.next.map(NonZeroI64::get), rank: Rank::Detail },
    Series { metric: &CONNECTION_TOKEN, value: |facts| facts.token.map(NonZeroI64::get), rank: Rank::Detail },
    Series {
        metric: &CONNECTION_CREDENTIAL,
        value: |facts| facts.credential.map(NonZeroI64::get),
        rank: Rank::Expiry,
    },
    Series {
        metric: &CONNECTION_CERTIFICATE,
        value: |facts| facts.certificate.map(NonZeroI64::get),
        rank: Rank::Expiry,
    },
];

const GATEWAY_SERIES: [Series; 4] = [
    Series { metric: &GATEWAY_READY, value: |facts| Some(facts.ready.into()), rank: Rank::Ready },
    Series {
        metric: &GATEWAY_TRANSITION,
        value: |facts| facts.transition.map(NonZeroI64::get),
        rank: Rank::Detail,
    },
    Series {
        metric: &GATEWAY_CHECKED,
        value: |facts| facts.checked.map(NonZeroI64::get),
        rank: Rank::Detail,
    },
    Series { metric: &GATEWAY_CONNECTIONS, value: |facts| facts.users.map(i64::from), rank: Rank::Detail },
];

// === impl Objects ===

impl Objects {
    /// A table that is kept, or one that stays empty.
    pub fn new(enabled: bool) -> Self {
        Self { tables: enabled.then(Arc::default) }
    }

    /// Notes the status of a connection.
    pub fn connection(&self, name: &ConnectionRef, status: &VaultConnectionStatus) {
        let Some(mut tables) = self.lock() else { return };
        let facts = tables.connections.entry(label(&name.namespace, &name.name)).or_default();
        facts.status(&status.conditions);
        facts.state = status.state;
        facts.token = of_time(status.session.as_ref().and_then(|session| session.expire_time.as_ref()));
        let server = status.server.as_ref();
        facts.certificate = of_time(server.and_then(|server| server.certificate_expire_time.as_ref()));
        facts.checked = facts.checked.max(of_time(status.last_check_time.as_ref()));
        facts.next = of_time(status.next_check_time.as_ref());
    }

    /// Notes a check of a connection, when the next is due, and when its credential ends if somebody must replace it.
    pub fn checked(
        &self,
        name: &ConnectionRef,
        at: Timestamp,
        next: Option<Timestamp>,
        credential_ends: Option<Timestamp>,
    ) {
        let Some(mut tables) = self.lock() else { return };
        if let Some(facts) = tables.connections.get_mut(&label(&name.namespace, &name.name)) {
            facts.checked = seconds(Some(at));
            facts.next = seconds(next);
            facts.credential = seconds(credential_ends);
        }
    }

    /// A connection is gone.
    pub fn forget_connection(&self, name: &ConnectionRef) {
        if let Some(mut tables) = self.lock() {
            tables.connections.remove(&label(&name.namespace, &name.name));
        }
    }

    /// Notes the status of a gateway.
    pub fn gateway(&self, name: &GatewayName, status: &VaultGatewayStatus) {
        let Some(mut tables) = self.lock() else { return };
        let facts = tables.gateways.entry(label(&name.namespace, &name.name)).or_default();
        facts.status(&status.conditions);
        facts.users = status.connections.and_then(|users| users.try_into().ok());
        facts.checked = of_time(status.last_check_time.as_ref());
    }

    /// A gateway is gone.
    pub fn forget_gateway(&self, name: &GatewayName) {
        if let Some(mut tables) = self.lock() {
            tables.gateways.remove(&label(&name.namespace, &name.name));
        }
    }

    /// Writes everything that fits, in `OpenMetrics`.
    pub fn write(&self, text: &mut String, now: Timestamp) {
        let Some(tables) = self.lock() else { return };
        let rows = |table: &BTreeMap<Arc<str>, Facts>| -> Vec<_> {
            table.iter().map(|(label, facts)| (Arc::clone(label), *facts)).collect()
        };
        let (mut connections, mut gateways) = (rows(&tables.connections), rows(&tables.gateways));
        drop(tables);
        let omitted = write_rows(text, &CONNECTION_SERIES, &mut connections, MAX_CONNECTION_BYTES, now)
            + write_rows(text, &GATEWAY_SERIES, &mut gateways, MAX_GATEWAY_BYTES, now);
        OMITTED.write_head(text);
        let _ = writeln!(text, "{} {omitted}", OMITTED.name);
    }

    fn lock(&self) -> Option<MutexGuard<'_, Tables>> {
        Some(self.tables.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Facts ===

impl Facts {
    fn status(&mut self, all: &[Condition]) {
        self.ready = conditions::is_true(all, ConditionType::Ready);
        let ready = conditions::find(all, ConditionType::Ready);
        self.transition = of_time(ready.map(|ready| &ready.last_transition_time));
    }
}

// === impl Series ===

impl Series {
    /// Its value, if it is reported for such an object at this level.
    fn reported(&self, facts: &Facts, level: Level, now: i64) -> Option<i64> {
        let value = (self.value)(facts)?;
        let detail = match level {
            Level::Full => true,
            Level::FailuresInDetail => !facts.ready,
            Level::Brief | Level::ReadyOnly => false,
        };
        let reported = match self.rank {
            Rank::Ready => true,
            Rank::State => level < Level::ReadyOnly,
            Rank::Expiry => detail || (level < Level::ReadyOnly && value - now <= SOON_SECONDS),
            Rank::Detail => detail,
        };
        reported.then_some(value)
    }

    /// How many bytes its line has.
    fn bytes(&self, label: &str, facts: &Facts, value: i64) -> usize {
        let state = self.state(facts).map_or(0, |state| state.len() + ",state=\"\"".len());
        let digits = value.checked_ilog10().map_or(1, |digits| digits as usize + 1);
        self.metric.name.len() + label.len() + state + digits + "{} \n".len()
    }

    /// The state, if it is a label.
    fn state(&self, facts: &Facts) -> Option<&'static str> {
        facts.state.filter(|_| self.rank == Rank::State).map(State::as_str)
    }
}

/// Writes the series of objects within a number of bytes, and returns how many were left out.
fn write_rows(
    text: &mut String,
    all: &[Series],
    rows: &mut Vec<(Arc<str>, Facts)>,
    most: usize,
    now: Timestamp,
) -> usize {
    let now = now.as_second();
    let count = |rows: &[(Arc<str>, Facts)], level| -> usize {
        rows.iter()
            .map(|(_, facts)| all.iter().filter(|it| it.reported(facts, level, now).is_some()).count())
            .sum()
    };
    let size = |(label, facts): &(Arc<str>, Facts), level| -> usize {
        let reported = all.iter().filter_map(|it| Some((it, it.reported(facts, level, now)?)));
        reported.map(|(series, value)| series.bytes(label, facts, value)).sum()
    };
    let everything = count(rows, Level::Full);
    let levels = [Level::Full, Level::FailuresInDetail, Level::Brief];
    let fits = |level: &Level| rows.iter().map(|row| size(row, *level)).sum::<usize>() <= most;
    let level = levels.into_iter().find(fits).unwrap_or(Level::ReadyOnly);
    if level == Level::ReadyOnly {
        // What is not Ready is reported first.
        rows.sort_by_key(|(_, facts)| facts.ready);
        let mut bytes = 0;
        let fitting = rows.iter().take_while(|row| {
            bytes += size(row, level);
            bytes <= most
        });
        let fitting = fitting.count();
        rows.truncate(fitting);
    }
    for series in all {
        let mut is_first = true;
        for (label, facts) in rows.iter() {
            let Some(value) = series.reported(facts, level, now) else { continue };
            if std::mem::take(&mut is_first) {
                series.metric.write_head(text);
            }
            let name = series.metric.name;
            let _ = match series.state(facts) {
                Some(state) => writeln!(text, "{name}{{{label},state=\"{state}\"}} {value}"),
                None => writeln!(text, "{name}{{{label}}} {value}"),
            };
        }
    }
    everything - count(rows, level)
}

/// The labels of an object. Names of Kubernetes hold nothing that must be escaped.
fn label(namespace: &str, name: &str) -> Arc<str> {
    format!("namespace=\"{namespace}\",name=\"{name}\"").into()
}

fn of_time(time: Option<&Time>) -> Seconds {
    seconds(time.map(|time| time.0))
}

fn seconds(time: Option<Timestamp>) -> Seconds {
    time.and_then(|time| NonZeroI64::new(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            condition::Reason,
            status::{Server, Session},
        },
        conditions::{Verdict, fold},
        telemetry::metrics::{Metrics, exposition::Format},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("it is in range")
    }

    const NOW: i64 = 1_800_000_000;

    fn named(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "team-a".into(), name: name.into() }
    }

    fn status(reason: Reason) -> VaultConnectionStatus {
        let ready = Verdict {
            condition: ConditionType::Ready,
            truth: reason.truth(),
            reason,
            message: String::new(),
        };
        VaultConnectionStatus {
            state: Some(reason.state()),
            conditions: fold(&[], &[ready], 1, at(NOW - 100)),
            last_check_time: Some(Time(at(NOW - 10))),
            session: Some(Session { expire_time: Some(Time(at(NOW + 3600))), ..Session::default() }),
            server: Some(Server {
                certificate_expire_time: Some(Time(at(NOW + 90 * 24 * 3600))),
                ..Server::default()
            }),
            ..VaultConnectionStatus::default()
        }
    }

    fn written(objects: &Objects) -> String {
        let mut text = String::new();
        objects.write(&mut text, at(NOW));
        text
    }

    #[test]
    fn a_connection_has_its_state_and_its_times() {
        let objects = Objects::new(true);
        objects.connection(&named("a"), &status(Reason::Connected));
        objects.checked(&named("a"), at(NOW - 1), Some(at(NOW + 59)), Some(at(NOW + 600)));
        let text = written(&objects);
        for line in [
            r#"vault_connection_ready{namespace="team-a",name="a"} 1"#,
            r#"vault_connection_state{namespace="team-a",name="a",state="Connected"} 1"#,
            r#"vault_connection_transition_timestamp_seconds{namespace="team-a",name="a"} 1799999900"#,
            r#"vault_connection_last_check_timestamp_seconds{namespace="team-a",name="a"} 1799999999"#,
            r#"vault_connection_next_check_timestamp_seconds{namespace="team-a",name="a"} 1800000059"#,
            r#"vault_connection_token_expiry_timestamp_seconds{namespace="team-a",name="a"} 1800003600"#,
            r#"vault_connection_credential_expiry_timestamp_seconds{namespace="team-a",name="a"} 1800000600"#,
            r#"vault_connection_certificate_expiry_timestamp_seconds{namespace="team-a",name="a"} 1807776000"#,
            "vault_connection_operator_object_series_omitted 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        objects.connection(&named("a"), &status(Reason::Sealed));
        let text = written(&objects);
        assert!(text.contains(r#"vault_connection_ready{namespace="team-a",name="a"} 0"#), "{text}");
        assert!(!text.contains("Connected"), "{text}");
        objects.forget_connection(&named("a"));
        assert!(!written(&objects).contains("team-a"));
    }

    #[test]
    fn nothing_is_reported_of_single_objects_when_that_is_switched_off() {
        let objects = Objects::new(false);
        objects.connection(&named("a"), &status(Reason::Connected));
        objects.checked(&named("a"), at(NOW), None, None);
        assert_eq!(written(&objects), "");
    }

    /// Every row of the issue's size, in the worst of ways: all are Ready, all fail, one of fifty fails, names are long.
    #[test]
    fn a_scrape_of_ten_thousand_connections_is_bounded() {
        let long = "n".repeat(63);
        let table: &[(&str, usize, &str, &[&str])] = &[
            ("all are Ready", 0, "team", &["vault_connection_state{"]),
            ("all fail", 1, "team", &["vault_connection_state{"]),
            (
                "one of fifty fails",
                50,
                "team",
                &["vault_connection_state{", "vault_connection_transition_timestamp_seconds{"],
            ),
            ("long names", 10, &long, &[]),
        ];
        for (name, failing, namespace, also) in table {
            let metrics = Metrics::new(true);
            for number in 0..10_000_usize {
                let reason = match number.checked_rem(*failing) {
                    Some(0) => Reason::Sealed,
                    Some(_) | None => Reason::Connected,
                };
                let connection = ConnectionRef {
                    namespace: format!("{namespace}{}", if namespace.len() == 63 { "" } else { "-1234" })
                        .into(),
                    name: format!("{number:0>width$}", width = namespace.len().max(16)).into(),
                };
                metrics.objects().connection(&connection, &status(reason));
            }
            for format in [Format::OpenMetrics, Format::Classic] {
                let text = metrics.text(format);
                assert!(text.len() < 2 * 1024 * 1024, "{name}: {} bytes", text.len());
                let ready = text.lines().filter(|line| line.starts_with("vault_connection_ready{"));
                assert!(ready.clone().count() > 8_000, "{name}: {}", ready.count());
                assert!(also.iter().all(|also| text.contains(also)), "{name}");
                assert!(!text.contains("object_series_omitted 0\n"), "{name}: what is left out is reported");
            }
        }
    }

    #[test]
    fn details_of_failures_are_left_out_last_and_what_ends_soon_is_reported() {
        let soon = NonZeroI64::new(NOW + 60);
        let ending = Facts { ready: true, certificate: soon, token: soon, ..Facts::default() };
        let failing = Facts { ready: false, ..ending };
        let reported = |facts: &Facts, level| {
            let reported =
                CONNECTION_SERIES.iter().filter(|series| series.reported(facts, level, NOW).is_some());
            reported
                .map(|series| series.metric.name.trim_start_matches("vault_connection_"))
                .collect::<Vec<_>>()
        };
        let all = ["ready", "token_expiry_timestamp_seconds", "certificate_expiry_timestamp_seconds"];
        let brief = ["ready", "certificate_expiry_timestamp_seconds"];
        let table: &[(Level, &Facts, &[&str])] = &[
            (Level::Full, &ending, &all),
            (Level::FailuresInDetail, &failing, &all),
            (Level::FailuresInDetail, &ending, &brief),
            (Level::Brief, &failing, &brief),
            (Level::ReadyOnly, &failing, &["ready"]),
        ];
        for (level, facts, expected) in table {
            assert_eq!(reported(facts, *level), *expected, "{level:?}");
        }
    }
}
