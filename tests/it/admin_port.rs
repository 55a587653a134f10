//! The port of the probes and metrics, which everybody may reach, and what the process forbids with its memory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::Stdio,
};

use crate::support::{
    cluster::Cluster,
    operator::{Operator, READS_MEMORY, bare_command, is_root},
    wait::{PATIENCE, eventually},
};

/// How many connections are held open: a few hundred took 120 MB.
const MANY: usize = 500;

/// How much memory they may take, in KiB.
const MAX_GROWTH: u64 = 8 * 1024;

/// A figure of `/proc/PID/status`, in KiB.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells it");
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("it is a number")
}

/// Whether the kernel writes no core dump of a process.
fn leaves_no_core(pid: u32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("a limit");
    line.split_whitespace().take(2).all(|limit| limit == "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_requests_cost_little_and_keep_no_probe_out() {
    let cluster = Cluster::new("admin-port").await;
    let operator = Operator::start(&cluster).await;
    assert!(leaves_no_core(operator.pid));
    let before = memory(operator.pid, "VmRSS");
    let begun = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(7 * 1024));
    let mut held = Vec::new();
    for number in 0..MANY {
        let mut stream = TcpStream::connect(operator.address()).expect("it listens");
        // It may be gone at once.
        let _ = stream.write_all(begun.as_bytes());
        held.push(stream);
        if number % 50 == 0 {
            assert!(operator.is_ready().await, "a probe is answered beside {number}");
        }
    }
    assert!(operator.is_ready().await);
    let growth = memory(operator.pid, "VmRSS").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "{growth} KiB");
    for mut stream in held {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
        let mut answer = Vec::new();
        // Each ends, by a reset or without an answer.
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_can_be_dumped_by_nobody() {
    // The files of a process that cannot be dumped belong to root and its group, not to its own user and group. Root has to
    // be of another group to show it.
    const NOGROUP: u32 = 65_534;
    let mut command = bare_command(Path::new("no-such-kubeconfig"));
    command.args(["check", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_remove(READS_MEMORY);
    if is_root() {
        command.gid(NOGROUP);
    }
    // It reads its standard input until that ends, and so it is there to be looked at.
    let mut child = command.spawn().expect("the operator starts");
    let files = || fs::metadata(format!("/proc/{}/environ", child.id())).expect("it runs");
    let is_roots = || files().uid() == 0 && files().gid() == 0;
    eventually("it is nobody's to dump", PATIENCE, async || is_roots().then_some(())).await;
    assert!(leaves_no_core(child.id()));
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(2), "it was given nothing to check");
}
