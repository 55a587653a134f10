//! What an operator tells of itself: its readiness, its metrics, and the end of its log.

use std::{fs, path::Path, thread, time::Duration};

use super::{vault::http, wait::eventually};

/// How much of a log to show when a test fails.
const TAIL_LINES: usize = 40;

/// Where a running operator answers.
pub struct Endpoint {
    address: String,
    http: reqwest::Client,
}

// === impl Endpoint ===

impl Endpoint {
    pub fn at(address: String) -> Self {
        Self { address, http: http() }
    }

    /// Where it listens: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("http://{}/readyz", self.address)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Its metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        let answer = self.http.get(url).send().await.expect("the operator tells its metrics");
        answer.text().await.expect("metrics are text")
    }

    /// The sum of the metrics that begin with `series`, such as `vault_requests_total{operation="health"`.
    pub async fn count(&self, series: &str) -> u64 {
        let text = self.metrics().await;
        let series = format!("vault_connection_operator_{series}");
        let values = text.lines().filter(|line| line.starts_with(&series));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// How many checks gave this reason to Ready.
    pub async fn checks(&self, reason: &str) -> u64 {
        self.count(&format!("checks_total{{reason=\"{reason}\"")).await
    }

    /// Waits until so many metrics of a series were counted.
    pub async fn await_count(&self, series: &str, at_least: u64, within: Duration) {
        eventually(&format!("{at_least} of {series}"), within, async || {
            (self.count(series).await >= at_least).then_some(())
        })
        .await;
    }
}

/// Prints the end of a log, if the test has failed.
pub fn show_end_of_failed(log: &Path) {
    if thread::panicking() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        eprintln!("--- the end of {}\n{tail}\n---", log.display());
    }
}
