//! Metrics in the OpenMetrics text format, under the prefix `vault_connection_operator`.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

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
    cluster_failures: Counter,
    connections: Family<StateLabel, Gauge<i64, AtomicI64>>,
    address_policy_file_ok: Gauge<i64, AtomicI64>,
    panics: Counter,
    listed: Family<ListLabels, Gauge<i64, AtomicI64>>,
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
    /// Registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("vault_connection_operator");
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Arc::default(),
            vault_requests: Family::default(),
            vault_seconds: Family::new_with_constructor(seconds),
            checks: Family::default(),
            check_seconds: seconds(),
            status_writes: Counter::default(),
            cluster_failures: Counter::default(),
            connections: Family::default(),
            address_policy_file_ok: Gauge::default(),
            panics: Counter::default(),
            listed: Family::default(),
        };
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", version);
        registry.register(
            "vault_requests",
            "Requests to Vault, by operation and class of the answer (none: no answer came)",
            metrics.vault_requests.clone(),
        );
        registry.register(
            "vault_request_seconds",
            "Time until Vault answered or was given up",
            metrics.vault_seconds.clone(),
        );
        registry.register("checks", "Checks, by the reason that they gave to Ready", metrics.checks.clone());
        registry.register(
            "check_seconds",
            "Time that a check took, references included",
            metrics.check_seconds.clone(),
        );
        registry.register(
            "status_writes",
            "Statuses written to the API server",
            metrics.status_writes.clone(),
        );
        registry.register(
            "cluster_failures",
            "Reconciles that failed because the API server did",
            metrics.cluster_failures.clone(),
        );
        registry.register("connections", "VaultConnections, by state", metrics.connections.clone());
        // An operator without such a file has no bad one.
        metrics.address_policy_file_ok.set(1);
        registry.register(
            "address_policy_file_ok",
            "Whether the address policy file made sense when it was last read (0: an older policy holds)",
            metrics.address_policy_file_ok.clone(),
        );
        registry.register(
            "panics",
            "Defects of the operator that an object showed; its status says InternalError, and the others go on",
            metrics.panics.clone(),
        );
        registry.register(
            "listed",
            "Whether objects could be listed the last time (0: they are not watched), by kind and namespace (empty: all)",
            metrics.listed.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
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
        self.listed.get_or_create_owned(&ListLabels { kind, namespace }).set(ok.into());
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
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes every write");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
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
    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::new();
        metrics.vault_asked(Operation::Login, Some(400), Duration::from_millis(3));
        metrics.vault_asked(Operation::Health, None, Duration::from_secs(5));
        metrics.checked(Some(Reason::Sealed), Duration::from_millis(3));
        metrics.moved(None, Some(State::Sealed));
        metrics.moved(Some(State::Sealed), Some(State::Connected));
        metrics.panicked();
        metrics.listed("VaultConnection", Some("team-a"), false);
        metrics.listed("VaultConnection", None, true);
        let text = metrics.text();
        for line in [
            r#"vault_connection_operator_vault_requests_total{operation="login",answer="4xx"} 1"#,
            r#"vault_connection_operator_vault_requests_total{operation="health",answer="none"} 1"#,
            r#"vault_connection_operator_checks_total{reason="Sealed"} 1"#,
            r#"vault_connection_operator_connections{state="Sealed"} 0"#,
            r#"vault_connection_operator_connections{state="Connected"} 1"#,
            "vault_connection_operator_panics_total 1",
            r#"vault_connection_operator_listed{kind="VaultConnection",namespace="team-a"} 0"#,
            r#"vault_connection_operator_listed{kind="VaultConnection",namespace=""} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
