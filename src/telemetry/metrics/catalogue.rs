//! Every metric: one table that registers them, and from which `docs/metrics.md` is generated.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>; a test holds that.

use std::fmt::Write as _;

/// What a metric is, as Prometheus names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up, and starts at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations, by upper bound.
    Histogram,
    /// Labels of interest, with the value 1.
    Info,
}

/// One metric.
#[derive(Debug)]
pub struct Description {
    /// Its name in a query; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, as one sentence without its full stop.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub static $id: Description =
                Description { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order of the documentation.
        pub static ALL: &[&Description] = &[$(&$id),*];
    };
}

catalogue! {
    CONNECTION_READY: Gauge "vault_connection_ready" ["namespace", "name"]
        "Whether the VaultConnection is Ready (1) or not (0)";
    CONNECTION_STATE: Gauge "vault_connection_state" ["namespace", "name", "state"]
        "The state of the VaultConnection: 1 for its current state";
    CONNECTION_TRANSITION: Gauge "vault_connection_transition_timestamp_seconds" ["namespace", "name"]
        "When Ready of the VaultConnection last changed";
    CONNECTION_CHECKED: Gauge "vault_connection_last_check_timestamp_seconds" ["namespace", "name"]
        "When the VaultConnection was last checked";
    CONNECTION_NEXT: Gauge "vault_connection_next_check_timestamp_seconds" ["namespace", "name"]
        "When the next check of the VaultConnection is due; absent while it is not checked";
    CONNECTION_TOKEN: Gauge "vault_connection_token_expiry_timestamp_seconds" ["namespace", "name"]
        "When the token that the last check used expires unless it is renewed; the operator renews it if possible";
    CONNECTION_CREDENTIAL: Gauge "vault_connection_credential_expiry_timestamp_seconds" ["namespace", "name"]
        "When the token or secret ID of the VaultConnection expires and someone must have replaced it; present as soon as the operator warns about it";
    CONNECTION_CERTIFICATE: Gauge "vault_connection_certificate_expiry_timestamp_seconds" ["namespace", "name"]
        "When the TLS certificate of the Vault instance expires";
    GATEWAY_READY: Gauge "vault_gateway_ready" ["namespace", "name"]
        "Whether the VaultGateway is Ready (1) or not (0)";
    GATEWAY_TRANSITION: Gauge "vault_gateway_transition_timestamp_seconds" ["namespace", "name"]
        "When Ready of the VaultGateway last changed";
    GATEWAY_CHECKED: Gauge "vault_gateway_last_check_timestamp_seconds" ["namespace", "name"]
        "When the VaultGateway was last checked";
    GATEWAY_CONNECTIONS: Gauge "vault_gateway_connections" ["namespace", "name"]
        "Number of VaultConnections that name the VaultGateway";
    OMITTED: Gauge "vault_connection_operator_object_series_omitted" []
        "Number of series of single objects omitted to limit the size of this scrape";
    CONNECTIONS: Gauge "vault_connection_operator_connections" ["state"]
        "Number of VaultConnections, by state";
    CHECKS: Counter "vault_connection_operator_checks_total" ["reason"]
        "Number of checks, by the resulting reason of Ready";
    CHECK_SECONDS: Histogram "vault_connection_operator_check_seconds" []
        "Duration of a check, including reading Secrets and ConfigMaps";
    VAULT_REQUESTS: Counter "vault_connection_operator_vault_requests_total" ["operation", "answer"]
        "Number of requests to Vault, by operation and class of the response (none: there was no response)";
    VAULT_SECONDS: Histogram "vault_connection_operator_vault_request_seconds" ["operation"]
        "Time until Vault responded or the request timed out, by operation";
    LOGINS: Counter "vault_connection_operator_logins_total" ["outcome"]
        "Number of logins, by outcome: accepted, refused (counts towards Vault's lockout), uncounted (failed without counting), unanswered, or held (not sent, because the login budget of the role is used up or the credential was already rejected)";
    FAILED_LOGINS: Gauge "vault_connection_operator_role_failed_logins" ["instance_url", "vault_namespace", "mount", "role"]
        "Number of recent failed logins of a role. The operator stops at two, or at four after the credential was changed, so that Vault does not lock the role. Only roles with such logins, and at most the 100 with the most; role is a short hash of the role ID";
    LEADER: Gauge "vault_connection_operator_leader" []
        "Whether this replica is active (1) or on standby (0)";
    SHARDS: Gauge "vault_connection_operator_shards" []
        "Number of replicas that share the namespaces, as seen by this one; 0 without sharding";
    STATUS_WRITES: Counter "vault_connection_operator_status_writes_total" []
        "Number of statuses written to the API server";
    STATUS_OVERWRITTEN: Counter "vault_connection_operator_status_overwritten_total" []
        "Number of times that something else had overwritten a status and the operator restored it";
    CLUSTER_FAILURES: Counter "vault_connection_operator_cluster_failures_total" []
        "Number of reconciles that failed because of the Kubernetes API";
    LISTED: Gauge "vault_connection_operator_listed" ["kind", "namespace"]
        "Whether the last attempt to list the objects of a kind succeeded (0: they are not watched), by kind and namespace (empty: all)";
    QUEUE_DEPTH: Gauge "vault_connection_operator_queue_depth" ["kind"]
        "Number of objects that are due and wait for a worker";
    QUEUE_OLDEST: Gauge "vault_connection_operator_queue_oldest_seconds" ["kind"]
        "How long the object that has waited longest for a worker has been due; 0 if none waits";
    WORKERS: Gauge "vault_connection_operator_workers" ["kind"]
        "Maximum number of objects reconciled at the same time";
    WORKERS_BUSY: Gauge "vault_connection_operator_workers_busy" ["kind"]
        "Number of objects being reconciled";
    NAMESPACES: Gauge "vault_connection_operator_namespaces" ["kind"]
        "Number of namespaces with objects that this replica works on";
    POLICY_FILE_OK: Gauge "vault_connection_operator_address_policy_file_ok" []
        "Whether the address policy file was valid when it was last read (0: the previous policy stays in effect)";
    PANICS: Counter "vault_connection_operator_panics_total" []
        "Number of bugs in the operator that an object triggered; its status says InternalError, and other objects are not affected";
    BUILD: Info "vault_connection_operator_build_info" ["version"]
        "Version of the operator";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "Total user and system CPU time spent in seconds";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Number of open file descriptors";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "Maximum number of open file descriptors";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" []
        "Resident memory size in bytes";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Virtual memory size in bytes";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds";
    PROCESS_THREADS: Gauge "process_threads" []
        "Number of OS threads in the process";
}

// === impl Description ===

impl Description {
    /// The name of the family in OpenMetrics: without the suffix that its samples have.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// Writes the lines that go before its samples, in OpenMetrics.
    pub fn write_head(&self, text: &mut String) {
        let (family, help, kind) = (self.family(), self.help, self.kind.as_str());
        let _ = write!(text, "# HELP {family} {help}.\n# TYPE {family} {kind}\n");
    }
}

// === impl Kind ===

impl Kind {
    /// The word of the exposition formats.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// The tables of `docs/metrics.md`.
pub fn table() -> String {
    let groups = [
        ("Connections and gateways", "vault_connection_", "vault_gateway_"),
        ("The operator", "vault_connection_operator_", "vault_connection_operator_"),
        ("The process", "process_", "process_"),
    ];
    let group = |name: &str| groups.iter().rposition(|(_, a, b)| name.starts_with(a) || name.starts_with(b));
    let mut text = String::new();
    for (number, (title, ..)) in groups.iter().enumerate() {
        let _ =
            write!(text, "### {title}\n\n| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
        for metric in ALL.iter().filter(|metric| group(metric.name) == Some(number)) {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            let _ = writeln!(
                text,
                "| `{}` | {} | {labels} | {}. |",
                metric.name,
                metric.kind.as_str(),
                metric.help
            );
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What `promtool check metrics` holds a metric against.
    fn faults(metric: &Description) -> Vec<&'static str> {
        const UNITS_THAT_ARE_NOT_BASE: &[&str] = &[
            "milliseconds",
            "microseconds",
            "minutes",
            "hours",
            "days",
            "kilobytes",
            "megabytes",
            "percent",
            "ms",
            "secs",
            "sec",
        ];
        let name = metric.name;
        let words: Vec<_> = name.split('_').collect();
        let ends = |suffix| name.ends_with(suffix);
        let checks = [
            ("no help text", metric.help.is_empty() || metric.help.ends_with('.')),
            (
                "a counter must end in _total, and nothing else may",
                ends("_total") != (metric.kind == Kind::Counter),
            ),
            ("_info is for infos", ends("_info") != (metric.kind == Kind::Info)),
            ("a suffix of histograms and summaries", ["_bucket", "_count", "_sum"].into_iter().any(ends)),
            (
                "a unit that is not a base unit",
                words.iter().any(|word| UNITS_THAT_ARE_NOT_BASE.contains(word)),
            ),
            (
                "the type in the name",
                words.iter().any(|word| ["gauge", "counter", "histogram", "info"].contains(word))
                    && !ends("_info"),
            ),
            ("a character that is not lower case", !name.chars().all(|c| c.is_ascii_lowercase() || c == '_')),
            (
                "a reserved label",
                metric
                    .labels
                    .iter()
                    .any(|label| ["le", "quantile"].contains(label) || label.starts_with("__")),
            ),
            (
                "a label whose name is in the metric's",
                metric.labels.iter().any(|label| name.contains(&format!("_by_{label}"))),
            ),
            (
                "a histogram without a unit",
                metric.kind == Kind::Histogram && !ends("_seconds") && !ends("_bytes"),
            ),
        ];
        checks.into_iter().filter(|(_, is_wrong)| *is_wrong).map(|(fault, _)| fault).collect()
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            assert_eq!(faults(metric), Vec::<&str>::new(), "{}", metric.name);
            assert!(names.insert(metric.name), "{} is there twice", metric.name);
        }
    }

    #[test]
    fn a_name_that_breaks_a_rule_is_found() {
        let wrong = |name, kind, labels| faults(&Description { name, kind, labels, help: "Help" }).len();
        assert_eq!(wrong("checks", Kind::Counter, &[]), 1);
        assert_eq!(wrong("open_total", Kind::Gauge, &[]), 1);
        assert_eq!(wrong("wait_milliseconds", Kind::Gauge, &[]), 1);
        assert_eq!(wrong("state_gauge", Kind::Gauge, &[]), 1);
        assert_eq!(wrong("request_count", Kind::Gauge, &[]), 1);
        assert_eq!(wrong("queueDepth", Kind::Gauge, &["le"]), 2);
        assert_eq!(wrong("request", Kind::Histogram, &[]), 1);
    }
}
