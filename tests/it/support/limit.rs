//! A process under a limit of memory, as its container would have it, or of file descriptors.
//!
//! As root with a memory controller (cgroup v1 or v2) it is the kernel's own limit, which kills. Else only the highest use is
//! read afterwards, and compared.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::bed::{package, unique};

/// A memory limit.
pub struct Limit {
    pub bytes: u64,
    group: Option<Group>,
}

/// A control group of ours. It goes with its last process.
struct Group {
    folder: PathBuf,
    /// The files of its limit and of its highest use.
    limit: &'static str,
    peak: &'static str,
}

// === impl Limit ===

impl Limit {
    /// The limit that the chart gives to the operator.
    pub fn of_the_chart() -> Self {
        let bytes = chart_limit();
        let group = Group::v2(bytes).or_else(|| Group::v1(bytes));
        eprintln!(
            "memory limit: {bytes} bytes, {}",
            if group.is_some() {
                "held by the kernel"
            } else {
                "compared afterwards: no control group can be made here"
            }
        );
        Self { bytes, group }
    }

    /// The same command, under the limit from its first moment.
    pub fn over(&self, command: &Command) -> Command {
        let script = match &self.group {
            Some(_) => "echo $$ > \"$0\" && exec \"$@\"",
            None => "exec \"$@\"",
        };
        let procs = self.group.as_ref().map(|group| group.folder.join("cgroup.procs"));
        begun_by(script, procs.unwrap_or_default().as_os_str(), command)
    }

    /// The highest use so far of a process that runs, in bytes.
    pub fn peak(&self, pid: u32) -> u64 {
        let of_group = |group: &Group| number(&fs::read_to_string(group.folder.join(group.peak)).ok()?);
        let of_process = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            Some(number(line.trim().trim_end_matches("kB"))? * 1024)
        };
        self.group.as_ref().and_then(of_group).or_else(of_process).expect("the process runs")
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // It can be removed when its processes are gone; one that is left is empty.
            let _ = fs::remove_dir(&group.folder);
        }
    }
}

// === impl Group ===

impl Group {
    fn v2(bytes: u64) -> Option<Self> {
        let own = own_group("0::")?;
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        let enabled = fs::read_to_string(root.join(&own).join("cgroup.subtree_control")).ok()?;
        enabled.split_whitespace().find(|controller| *controller == "memory")?;
        let group =
            Self { folder: root.join(own).join(unique("vco")), limit: "memory.max", peak: "memory.peak" };
        group.made(bytes)
    }

    fn v1(bytes: u64) -> Option<Self> {
        let own = own_group("memory:")?;
        let folder = Path::new("/sys/fs/cgroup/memory").join(own).join(unique("vco"));
        let group = Self { folder, limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes" };
        group.made(bytes)
    }

    fn made(self, bytes: u64) -> Option<Self> {
        fs::create_dir(&self.folder).ok()?;
        if fs::write(self.folder.join(self.limit), bytes.to_string()).is_err() {
            let _ = fs::remove_dir(&self.folder);
            return None;
        }
        Some(self)
    }
}

/// The same command, that may have so many file descriptors.
pub fn with_descriptors(count: u32, command: &Command) -> Command {
    begun_by("ulimit -n \"$0\" && exec \"$@\"", count.to_string().as_ref(), command)
}

/// The same command, begun by a shell script with one argument of its own, `$0`.
fn begun_by(script: &str, argument: &OsStr, command: &Command) -> Command {
    let mut begun = Command::new("/bin/sh");
    begun.env_clear();
    for (name, value) in command.get_envs() {
        begun.envs(value.map(|value| (name, value)));
    }
    begun.args(["-c", script]).arg(argument).arg(command.get_program()).args(command.get_args());
    begun
}

/// The group of this process, without its first slash.
fn own_group(controller: &str) -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path))?;
    Some(path.trim_start_matches(['/', ':']).to_owned())
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `resources.limits.memory` of the chart.
fn chart_limit() -> u64 {
    let values = package().join("charts/vault-connection-operator/values.yaml");
    let text = fs::read_to_string(values).expect("the chart is there");
    let (_, resources) = text.split_once("\nresources:").expect("the chart has resources");
    let (_, limits) = resources.split_once("limits:").expect("with limits");
    let (_, memory) = limits.split_once("memory:").expect("of memory");
    let mebibytes = memory.trim_start().split("Mi").next().and_then(number).expect("in Mi");
    mebibytes << 20
}
