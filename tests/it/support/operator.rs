//! The operator: the real binary, as the chart's ServiceAccount.

use std::{
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    ops::Deref,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    bed::{self, signal, test_name, unique, variable},
    cluster::{Cluster, operator_kubeconfig},
    endpoint::{Endpoint, show_end_of_failed},
    wait::{PATIENCE, eventually},
};

/// What opens loopback and plain http, as a user would.
const OPEN: &[&str] =
    &["--allow-address", "127.0.0.1", "--allow-address", "*.private.example", "--allow-plain-http"];

/// Promised are 5 s; more is a failure that a test shows, and this is when it is killed.
const LONGEST_STOP: Duration = Duration::from_secs(8);

/// Asks a debug build to let its parent read its memory.
pub const READS_MEMORY: &str = "BED_READS_MEMORY";

/// A running operator, which watches the namespace of one test.
pub struct Operator {
    endpoint: Endpoint,
    log: PathBuf,
    pub pid: u32,
    ended: Receiver<ExitStatus>,
    stopped: bool,
}

// === impl Operator ===

impl Operator {
    /// Starts one that may dial loopback without TLS, and waits until it is ready.
    pub async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, OPEN).await
    }

    /// The same, and it logs all that it can.
    pub async fn start_tracing(cluster: &Cluster, kubeconfig: &Path) -> Self {
        Self::launch(cluster, kubeconfig, "trace", OPEN).await
    }

    pub async fn start_with(cluster: &Cluster, flags: &[&str]) -> Self {
        Self::launch(cluster, &operator_kubeconfig(), "debug", flags).await
    }

    /// One with these variables.
    pub async fn start_with_environment(
        cluster: &Cluster,
        kubeconfig: &Path,
        variables: &[(&str, String)],
    ) -> Self {
        let mut command = bare_command(kubeconfig);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Self::launch_as(command, cluster, "debug", OPEN).await
    }

    async fn launch(cluster: &Cluster, kubeconfig: &Path, level: &str, flags: &[&str]) -> Self {
        Self::launch_as(bare_command(kubeconfig), cluster, level, flags).await
    }

    async fn launch_as(mut command: Command, cluster: &Cluster, level: &str, flags: &[&str]) -> Self {
        let address = free_address();
        let log = bed::folder("logs").join(format!("{}.{}.log", test_name(), unique("operator")));
        let file = File::create(&log).expect("the bed's folder can be written");
        let stdout = file.try_clone().expect("a file has a second handle");
        let child = command
            .args(["run", "--watch-namespace", &cluster.namespace, "--listen-address", &address])
            .args(["--log-format", "text", "--log-level", level])
            .args(flags)
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .expect("the operator starts");
        let pid = child.id();
        let mut operator = Self {
            endpoint: Endpoint::at(address),
            log,
            pid,
            ended: wait_in_background(child),
            stopped: false,
        };
        operator.await_ready().await;
        operator
    }

    async fn await_ready(&mut self) {
        eventually("the operator is ready", PATIENCE, async || {
            if let Ok(status) = self.ended.try_recv() {
                self.stopped = true;
                panic!("the operator ended at once, {status}");
            }
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// Stops it, and tells all that it wrote to standard output and standard error.
    pub fn said_at_end(mut self) -> Vec<u8> {
        self.terminate();
        fs::read(&self.log).expect("the bed keeps its log")
    }

    /// Ends it by SIGTERM, and tells how and after what time it ended. What it had begun is done then.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let (status, took) = self.terminate();
        (status.unwrap_or_else(|| panic!("the operator had to be killed after {LONGEST_STOP:?}")), took)
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = self.ended.recv_timeout(within).expect("the operator ends");
        self.stopped = true;
        status
    }

    fn terminate(&mut self) -> (Option<ExitStatus>, Duration) {
        self.stopped = true;
        let begin = Instant::now();
        signal(self.pid, "TERM");
        let status = match self.ended.recv_timeout(LONGEST_STOP) {
            Ok(status) => Some(status),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                signal(self.pid, "KILL");
                None
            }
        };
        (status, begin.elapsed())
    }
}

impl Deref for Operator {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if !self.stopped {
            self.terminate();
        }
        show_end_of_failed(&self.log);
    }
}

/// The operator's binary with nothing of our environment but the bed that it is to end with.
pub fn bare_command(kubeconfig: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-connection-operator"));
    command
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .env("BED_DIR", variable("BED_DIR"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    if !is_root() {
        // Nobody else may read the memory of the operator, which some tests search.
        command.env(READS_MEMORY, "1");
    }
    command
}

/// Whether root runs the tests.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("it is there").uid() == 0
}

/// Runs the binary to its end, with a text on its standard input. One that goes on, although it should not, is killed.
pub fn run_to_end(command: &mut Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the operator starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that ends without reading its input is no failure.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let pid = child.id();
    let (sender, ended) = channel();
    let waiting = thread::spawn(move || {
        let output = child.wait_with_output();
        // Nobody may be waiting any more.
        let _ = sender.send(());
        output
    });
    if ended.recv_timeout(PATIENCE).is_err() {
        signal(pid, "KILL");
    }
    waiting.join().expect("waiting does not panic").expect("the operator ends")
}

/// An address that nobody listens on. Below what the kernel gives to outgoing connections and what `hack/bed` takes, and
/// never the same twice in a process.
pub fn free_address() -> String {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let offset = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).expect("it is below COUNT");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

/// Reaps a process in a thread, so that its end can be waited for with a deadline.
fn wait_in_background(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, ended) = channel();
    thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // Nobody may be interested any more.
            let _ = sender.send(status);
        }
    });
    ended
}
