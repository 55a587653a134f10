//! An operator with a kubeconfig of the test's own, or one that is to be killed.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    thread,
};

use tokio::{
    process::{Child, Command},
    time::{Duration, timeout},
};

use super::{
    bed::{self, signal, test_name, unique},
    operator::{bare_command, free_address},
    vault::http,
    wait::{PATIENCE, eventually},
};

/// How much of a log to show when a test fails.
const TAIL_LINES: usize = 40;

/// A running operator. One that is not stopped is killed at the end of its test.
pub struct Process {
    pub pid: u32,
    address: String,
    log: PathBuf,
    child: Child,
    http: reqwest::Client,
}

// === impl Process ===

impl Process {
    /// Starts one that watches these namespaces and may dial loopback without TLS, and waits until it is ready.
    pub async fn start(kubeconfig: &Path, namespaces: &[&str]) -> Self {
        let address = free_address();
        let log = bed::folder("logs").join(format!("{}.{}.log", test_name(), unique("operator")));
        let file = File::create(&log).expect("the bed's folder can be written");
        let mut command = bare_command(kubeconfig);
        command
            .args(["run", "--listen-address", &address, "--log-format", "text", "--log-level", "debug"])
            .args(["--allow-address", "127.0.0.1", "--allow-plain-http"])
            .args(namespaces.iter().flat_map(|namespace| ["--watch-namespace", namespace]))
            .stderr(file);
        let child = Command::from(command).kill_on_drop(true).spawn().expect("the operator starts");
        let pid = child.id().expect("it has not been waited for");
        let process = Self { pid, address, log, child, http: http() };
        let url = format!("http://{}/readyz", process.address);
        eventually("the operator is ready", PATIENCE, async || {
            let answer = process.http.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        process
    }

    /// The sum of the metrics that begin with `series`, such as `vault_requests_total{operation="health"`.
    pub async fn count(&self, series: &str) -> u64 {
        let url = format!("http://{}/metrics", self.address);
        let answer = self.http.get(url).send().await.expect("the operator tells its metrics");
        let text = answer.text().await.expect("metrics are text");
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

    /// Waits until somebody has killed it.
    pub async fn await_kill(mut self) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("the operator is killed in time").expect("it can be waited for");
        assert_eq!(status.signal(), Some(9), "it ended by itself, {status}");
    }

    /// Ends it by SIGTERM. What it had begun is done then, and its sessions are revoked.
    pub async fn stop(mut self) {
        signal(self.pid, "TERM");
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("the operator ends in time").expect("it can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- the end of {}\n{tail}\n---", self.log.display());
        }
    }
}
