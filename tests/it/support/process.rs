//! An operator with a kubeconfig of the test's own, or one that is to be killed.

use std::{
    fs::File,
    ops::Deref,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    bed::{self, signal, test_name, unique},
    endpoint::{Endpoint, show_end_of_failed},
    limit::{Limit, with_descriptors},
    operator::{bare_command, free_address},
    wait::{PATIENCE, eventually},
};

/// A running operator. One that is not stopped is killed at the end of its test.
pub struct Process {
    pub pid: u32,
    endpoint: Endpoint,
    log: PathBuf,
    child: Child,
}

// === impl Process ===

impl Process {
    /// Starts one that watches these namespaces and may dial loopback without TLS, and waits until it is ready.
    pub async fn start(kubeconfig: &Path, namespaces: &[&str]) -> Self {
        Self::launch(kubeconfig, namespaces, |command| command).await
    }

    /// The same, under a memory limit.
    pub async fn start_under(limit: &Limit, kubeconfig: &Path, namespaces: &[&str]) -> Self {
        Self::launch(kubeconfig, namespaces, |command| limit.over(&command)).await
    }

    /// The same, with so many file descriptors at most.
    pub async fn start_with_descriptors(count: u32, kubeconfig: &Path, namespaces: &[&str]) -> Self {
        Self::launch(kubeconfig, namespaces, |command| with_descriptors(count, &command)).await
    }

    async fn launch(
        kubeconfig: &Path,
        namespaces: &[&str],
        limited: impl FnOnce(std::process::Command) -> std::process::Command,
    ) -> Self {
        let address = free_address();
        let log = bed::folder("logs").join(format!("{}.{}.log", test_name(), unique("operator")));
        let file = File::create(&log).expect("the bed's folder can be written");
        let mut command = bare_command(kubeconfig);
        command
            .args(["run", "--listen-address", &address, "--log-format", "text", "--log-level", "debug"])
            .args(["--allow-address", "127.0.0.1", "--allow-plain-http"])
            .args(namespaces.iter().flat_map(|namespace| ["--watch-namespace", namespace]));
        let mut command = limited(command);
        command.stdin(Stdio::null()).stderr(file);
        let child = Command::from(command).kill_on_drop(true).spawn().expect("the operator starts");
        let pid = child.id().expect("it has not been waited for");
        let process = Self { pid, endpoint: Endpoint::at(address), log, child };
        let ready = async || process.is_ready().await.then_some(());
        eventually("the operator is ready", PATIENCE, ready).await;
        process
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

impl Deref for Process {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        show_end_of_failed(&self.log);
    }
}
