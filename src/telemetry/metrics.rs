//! Metrics: what is counted, and the text that Prometheus reads.
//!
//! [`catalogue`] names every metric; what is told of single objects is in [`objects`].

pub mod budgets;
pub mod catalogue;
pub mod exposition;
pub mod objects;
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicI64},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use self::{budgets::Budgets, catalogue::Description, exposition::Format, objects::Objects};
use crate::{
    api::{condition::Reason, status::State},
    vault::Operation,
};

/// Bounds in seconds. A healthy Vault answers within the first three; the last is the longest `check.timeout`.
const SECONDS: [f64; 9] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// What is counted.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    vault_requests: Family<RequestLabels, Counter>,
    vault_seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    checks: Family<ReasonLabel, Counter>,
    check_seconds: Histogram,
    status_writes: Counter,
    status_overwritten: Counter,
    cluster_failures: Counter,
    connections: Family<StateLabel, Gauge<i64, AtomicI64>>,
    address_policy_file_ok: Gauge<i64, AtomicI64>,
    panics: Counter,
    listed: Family<ListLabels, Gauge<i64, AtomicI64>>,
    unlisted: Arc<Mutex<BTreeSet<(&'static str, String)>>>,
    logins: Family<OutcomeLabel, Counter>,
    leader: Gauge<i64, AtomicI64>,
    shards: Gauge<i64, AtomicI64>,
    queues: Arc<Mutex<BTreeMap<&'static str, Load>>>,
    objects: Objects,
    budgets: Budgets,
}

/// How much work of a kind there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Objects that are due and wait for a worker.
    pub depth: usize,
    /// Since when the one that waits longest is due.
    pub oldest: Option<Instant>,
    /// Objects that are being reconciled.
    pub busy: usize,
    /// How many can be.
    pub workers: usize,
    /// Namespaces with objects that this replica looks after.
    pub namespaces: usize,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedLogin {
    /// Vault accepted it.
    Accepted,
    /// Vault refused it, and counts that for its lockout.
    Refused,
    /// Vault answered in a way that it does not count.
    Uncounted,
    /// No answer came.
    Unanswered,
    /// It was not sent: Vault would refuse it, or lock the role.
    Held,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabels {
    kind: &'static str,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Registers every metric. `objects` says whether those of single connections and gateways are kept.
    pub fn new(objects: bool) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Arc::default(),
            vault_requests: Family::default(),
            vault_seconds: Family::new_with_constructor(seconds),
            checks: Family::default(),
            check_seconds: seconds(),
            status_writes: Counter::default(),
            status_overwritten: Counter::default(),
            cluster_failures: Counter::default(),
            connections: Family::default(),
            address_policy_file_ok: Gauge::default(),
            panics: Counter::default(),
            listed: Family::default(),
            unlisted: Arc::default(),
            logins: Family::default(),
            leader: Gauge::default(),
            shards: Gauge::default(),
            queues: Arc::default(),
            objects: Objects::new(objects),
            budgets: Budgets::new(objects),
        };
        // An operator without such a file has no bad one.
        metrics.address_policy_file_ok.set(1);
        let mut registry = Registry::default();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        register(&mut registry, &catalogue::BUILD, version);
        register(&mut registry, &catalogue::VAULT_REQUESTS, metrics.vault_requests.clone());
        register(&mut registry, &catalogue::VAULT_SECONDS, metrics.vault_seconds.clone());
        register(&mut registry, &catalogue::CHECKS, metrics.checks.clone());
        register(&mut registry, &catalogue::CHECK_SECONDS, metrics.check_seconds.clone());
        register(&mut registry, &catalogue::LOGINS, metrics.logins.clone());
        register(&mut registry, &catalogue::LEADER, metrics.leader.clone());
        register(&mut registry, &catalogue::SHARDS, metrics.shards.clone());
        register(&mut registry, &catalogue::STATUS_WRITES, metrics.status_writes.clone());
        register(&mut registry, &catalogue::STATUS_OVERWRITTEN, metrics.status_overwritten.clone());
        register(&mut registry, &catalogue::CLUSTER_FAILURES, metrics.cluster_failures.clone());
        register(&mut registry, &catalogue::CONNECTIONS, metrics.connections.clone());
        register(&mut registry, &catalogue::POLICY_FILE_OK, metrics.address_policy_file_ok.clone());
        register(&mut registry, &catalogue::PANICS, metrics.panics.clone());
        register(&mut registry, &catalogue::LISTED, metrics.listed.clone());
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// What is told of single objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What is told of roles with failed logins.
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Counts a login.
    pub fn login(&self, outcome: CountedLogin) {
        self.logins.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// Notes whether this process works, or stands by for another.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Notes how many replicas share the namespaces.
    pub fn shards(&self, count: usize) {
        self.shards.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes how much work of a kind there is.
    pub fn load(&self, kind: &'static str, load: Load) {
        self.queues().insert(kind, load);
    }

    /// Counts a request to Vault.
    pub fn vault_asked(&self, operation: Operation, status: Option<u16>, took: Duration) {
        let operation = operation.as_str();
        self.vault_requests.get_or_create(&RequestLabels { operation, answer: class(status) }).inc();
        self.vault_seconds.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    /// Counts a check by the reason that ended it, if one did.
    pub fn checked(&self, reason: Option<Reason>, took: Duration) {
        let reason = reason.unwrap_or(Reason::Connected);
        self.checks.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
        self.check_seconds.observe(took.as_secs_f64());
    }

    /// Counts a status that was written.
    pub fn status_written(&self) {
        self.status_writes.inc();
    }

    /// Counts a status that somebody else had overwritten.
    pub fn status_overwritten(&self) {
        self.status_overwritten.inc();
    }

    /// Counts a failure of the API server.
    pub fn cluster_failed(&self) {
        self.cluster_failures.inc();
    }

    /// Counts a run that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Notes whether the objects of a kind could be listed in a namespace, or in all.
    pub fn listed(&self, kind: &'static str, namespace: Option<&str>, ok: bool) {
        let namespace = namespace.unwrap_or_default().to_owned();
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        if ok {
            unlisted.remove(&(kind, namespace.clone()));
        } else {
            unlisted.insert((kind, namespace.clone()));
        }
        drop(unlisted);
        self.listed.get_or_create_owned(&ListLabels { kind, namespace }).set(ok.into());
    }

    /// What could not be listed the last time: kinds, and their namespaces; an empty one means all.
    pub fn unlisted(&self) -> Vec<(&'static str, String)> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Notes whether the file of the address policy makes sense.
    pub fn address_policy_file(&self, ok: bool) {
        self.address_policy_file_ok.set(ok.into());
    }

    /// Moves a connection from one state to another; none is for one that is not there yet, or no longer.
    pub fn moved(&self, from: Option<State>, to: Option<State>) {
        let gauge =
            |state: State| self.connections.get_or_create_owned(&StateLabel { state: state.as_str() });
        from.map(|state| gauge(state).dec());
        to.map(|state| gauge(state).inc());
    }

    /// The text that Prometheus reads.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry).expect("a String takes every write");
        self.write_queues(&mut text);
        let now = Timestamp::now();
        self.objects.write(&mut text, now);
        self.budgets.write(&mut text, now);
        process::write(&mut text);
        encode_eof(&mut text).expect("a String takes every write");
        format.render(text)
    }

    fn write_queues(&self, text: &mut String) {
        type Value<'a> = &'a dyn Fn(&Load) -> String;
        let loads: Vec<_> = self.queues().iter().map(|(kind, load)| (*kind, *load)).collect();
        let age = |load: &Load| load.oldest.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let number = |count: usize| count.to_string();
        let families: [(&Description, Value<'_>); 5] = [
            (&catalogue::QUEUE_DEPTH, &|load| number(load.depth)),
            (&catalogue::QUEUE_OLDEST, &|load| age(load).to_string()),
            (&catalogue::WORKERS, &|load| number(load.workers)),
            (&catalogue::WORKERS_BUSY, &|load| number(load.busy)),
            (&catalogue::NAMESPACES, &|load| number(load.namespaces)),
        ];
        for (metric, value) in families {
            metric.write_head(text);
            for (kind, load) in &loads {
                let _ = writeln!(text, "{}{{kind=\"{kind}\"}} {}", metric.name, value(load));
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<&'static str, Load>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register(registry: &mut Registry, description: &'static Description, metric: impl Metric) {
    registry.register(description.family(), description.help, metric);
}

// === impl CountedLogin ===

impl CountedLogin {
    /// The label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Uncounted => "uncounted",
            Self::Unanswered => "unanswered",
            Self::Held => "held",
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn class(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(_) => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{budgets::FailingRole, *};
    use crate::{
        api::{gateway::VaultGatewayStatus, status::VaultConnectionStatus},
        names::{ConnectionRef, GatewayName},
    };

    /// Metrics in which everything has happened once.
    fn busy() -> Metrics {
        let metrics = Metrics::new(true);
        metrics.vault_asked(Operation::Login, Some(400), Duration::from_millis(3));
        metrics.vault_asked(Operation::Health, None, Duration::from_secs(5));
        metrics.checked(Some(Reason::Sealed), Duration::from_millis(3));
        metrics.moved(None, Some(State::Sealed));
        metrics.moved(Some(State::Sealed), Some(State::Connected));
        metrics.panicked();
        metrics.listed("VaultConnection", Some("team-a"), false);
        metrics.listed("VaultConnection", None, true);
        metrics.login(CountedLogin::Refused);
        let role = || FailingRole {
            instance_url: "https://vault.example.com".to_owned(),
            vault_namespace: String::new(),
            mount: "approle".to_owned(),
            role: "0a1b".to_owned(),
        };
        metrics.budgets().note(role, || vec![Timestamp::MAX], Timestamp::now());
        metrics.leads(true);
        metrics.shards(3);
        let load = Load { depth: 3, oldest: None, busy: 2, workers: 64, namespaces: 5 };
        metrics.load("VaultConnection", load);
        metrics
    }

    #[test]
    fn what_is_counted_is_reported() {
        let text = busy().text(Format::OpenMetrics);
        for line in [
            r#"vault_connection_operator_vault_requests_total{operation="login",answer="4xx"} 1"#,
            r#"vault_connection_operator_vault_requests_total{operation="health",answer="none"} 1"#,
            r#"vault_connection_operator_checks_total{reason="Sealed"} 1"#,
            r#"vault_connection_operator_connections{state="Sealed"} 0"#,
            r#"vault_connection_operator_connections{state="Connected"} 1"#,
            "vault_connection_operator_panics_total 1",
            r#"vault_connection_operator_listed{kind="VaultConnection",namespace="team-a"} 0"#,
            r#"vault_connection_operator_listed{kind="VaultConnection",namespace=""} 1"#,
            r#"vault_connection_operator_logins_total{outcome="refused"} 1"#,
            "vault_connection_operator_leader 1",
            "vault_connection_operator_shards 3",
            r#"vault_connection_operator_namespaces{kind="VaultConnection"} 5"#,
            r#"vault_connection_operator_queue_depth{kind="VaultConnection"} 3"#,
            r#"vault_connection_operator_queue_oldest_seconds{kind="VaultConnection"} 0"#,
            r#"vault_connection_operator_workers{kind="VaultConnection"} 64"#,
            r#"vault_connection_operator_workers_busy{kind="VaultConnection"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    /// The family, the type, and the labels of every sample, by what a scraper of the classic format reads.
    #[test]
    fn everything_that_is_reported_is_in_the_catalogue_and_the_other_way_round() {
        let metrics = busy();
        let (connection, gateway) = everything();
        let name = ConnectionRef { namespace: "ns".into(), name: "a".into() };
        metrics.objects().connection(&name, &connection);
        let now = Timestamp::now();
        metrics.objects().checked(&name, now, Some(now), Some(now));
        metrics.objects().gateway(&GatewayName { namespace: "ns".into(), name: "g".into() }, &gateway);
        let text = metrics.text(Format::Classic);
        let mut reported = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.split_once(' ').expect("a sample has a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let is_it = |metric: &&&Description| {
                let suffix = name.strip_prefix(metric.name);
                match metric.kind {
                    catalogue::Kind::Histogram => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                    catalogue::Kind::Counter | catalogue::Kind::Gauge | catalogue::Kind::Info => {
                        suffix == Some("")
                    }
                }
            };
            let metric =
                catalogue::ALL.iter().find(is_it).unwrap_or_else(|| panic!("{line} is not in the catalogue"));
            let used =
                labels.trim_end_matches('}').split("\",").filter_map(|label| Some(label.split_once('=')?.0));
            let used: Vec<_> = used.filter(|label| *label != "le").collect();
            assert_eq!(used, metric.labels, "{line}");
            reported.insert(metric.name);
        }
        let all: BTreeSet<_> = catalogue::ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(reported, all);
        for metric in catalogue::ALL {
            let kind = if metric.kind == catalogue::Kind::Info { "gauge" } else { metric.kind.as_str() };
            let head = format!("# HELP {0} {1}.\n# TYPE {0} {kind}\n", metric.name, metric.help);
            assert_eq!(text.matches(&head).count(), 1, "{head}");
        }
    }

    /// Statuses with every field that is told.
    fn everything() -> (VaultConnectionStatus, VaultGatewayStatus) {
        let time = "2026-01-01T00:00:00Z";
        let ready = serde_json::json!([{
            "type": "Ready", "status": "True", "reason": "Connected", "message": "", "lastTransitionTime": time,
        }]);
        let connection = serde_json::json!({
            "state": "Connected", "conditions": ready, "lastCheckTime": time,
            "session": {"expireTime": time}, "server": {"certificateExpireTime": time},
        });
        let gateway = serde_json::json!({"conditions": ready, "lastCheckTime": time, "connections": 1});
        (
            serde_json::from_value(connection).expect("a status"),
            serde_json::from_value(gateway).expect("a status"),
        )
    }
}
