//! The command line: `run` the operator, `check` manifests without a cluster, or look after connections as `kubectl vconn`.

mod check;
mod hardening;
mod output;
mod run;
mod stop;
mod style;
mod vconn;

use std::{
    io, net::SocketAddr, path::PathBuf, process::ExitCode, thread::available_parallelism, time::Duration,
};

use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand, ValueEnum, value_parser};
use kube::core::Duration as KubeDuration;
use tokio::runtime::{Builder, Runtime};
use tracing::Level;

use self::output::eprint_line;
use crate::{
    controller::{lease::LeaseDuration, shards::view::MAX_SHARDS},
    network::{
        address_policy::{AddressPolicy, Contact},
        carried::Nat64Prefix,
        entry::Grant,
        policy_file::{PolicyFileError, PolicyHandle},
    },
    session::pace::Bounds,
    telemetry::logs::{LogFormat, chain},
};

/// Checks connections to HashiCorp Vault and OpenBao, and reports whether they work.
#[derive(Debug, Parser)]
#[command(name = "vault-connection-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator, in the cluster of the pod's ServiceAccount or the one in KUBECONFIG.
    Run(RunArgs),
    /// Check VaultConnection manifests without a cluster, and print the status that the cluster would show.
    ///
    /// Exit code: 0 if every connection is Ready, 1 if one is not, 2 if the input is invalid or the check was interrupted.
    Check(CheckArgs),
    /// List, explain, check and change connections in a cluster: the same as `kubectl vconn`.
    Vconn(Box<vconn::Vconn>),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Watch only this namespace. Can be repeated. By default, all namespaces are watched.
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    watch_namespaces: Vec<String>,
    #[command(flatten)]
    addresses: AddressArgs,
    /// Address for /metrics, /healthz, /readyz and, with --status-page, /status.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    listen_address: SocketAddr,
    /// Omit the metrics of single connections and gateways, and so their names, from /metrics.
    #[arg(long)]
    no_object_metrics: bool,
    /// Serve /status, a read-only page with all connections and gateways. It has no login: everyone who can reach the port can read
    /// it.
    #[arg(long)]
    status_page: bool,
    /// Maximum number of connections checked at the same time.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Initial logins per second at one instance; 50 by default. Without --max-logins-per-second, also the maximum.
    #[arg(long, value_parser = value_parser!(u32).range(1..=1000))]
    logins_per_second: Option<u32>,
    /// Maximum logins per second at one instance while it responds quickly; 600 by default. The operator slows down at an
    /// instance that gets slow, fails or answers with 429.
    #[arg(long, value_parser = value_parser!(u32).range(1..=1000))]
    max_logins_per_second: Option<u32>,
    /// Number of rejected logins that lock a role on your servers, if it is lower than Vault's default of 5.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=1000))]
    lockout_threshold: u32,
    /// How often the timestamps of an unchanged status are refreshed, such as 30m.
    #[arg(long, default_value = "30m", value_parser = duration, value_name = "DURATION")]
    heartbeat: Duration,
    /// Maximum duration of the shutdown, most of which is used to revoke tokens. Set the pod's
    /// terminationGracePeriodSeconds to five seconds more.
    #[arg(long, default_value = "25s", value_parser = shutdown_timeout, value_name = "DURATION")]
    shutdown_timeout: Duration,
    /// Be active only while holding the Lease with this name in the operator's namespace, so that several replicas can run.
    #[arg(long, value_name = "NAME")]
    lease: Option<String>,
    /// How long the Lease is valid after a renewal. After a crash, another replica takes over within two more seconds. A longer
    /// duration needs fewer requests and tolerates longer failures of the API server.
    #[arg(long, default_value = "13s", value_parser = lease_duration, value_name = "DURATION")]
    lease_duration: LeaseDuration,
    /// Share the namespaces between this many replicas, each of which holds one of the Leases NAME.shard-0, NAME.shard-1 and
    /// so on. More replicas than that wait for a free one. Each works with its part of the login budgets, so the number must be less
    /// than --lockout-threshold.
    #[arg(long, value_name = "NUMBER", requires = "lease", value_parser = value_parser!(u8).range(2..=i64::from(MAX_SHARDS)))]
    shards: Option<u8>,
    /// Format of log lines.
    #[arg(long, default_value = "json")]
    log_format: LogFormat,
    /// Minimum level of log lines: error, warn, info, debug or trace.
    #[arg(long, default_value = "info")]
    log_level: Level,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("manifests").args(["files", "kustomize"]).required(true).multiple(true))]
struct CheckArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Output format of the status.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    addresses: AddressArgs,
}

#[derive(Debug, Args)]
struct InputArgs {
    /// File with VaultConnection, VaultGateway, Secret and ConfigMap manifests (YAML or JSON), directory of such files, quoted
    /// pattern such as 'conn-*.yaml', or - for standard input. Can be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Directory with a kustomization. Needs kubectl. Can be repeated.
    #[arg(short = 'k', long, value_name = "DIRECTORY")]
    kustomize: Vec<PathBuf>,
    /// Also read subdirectories.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// List every object that is ignored, and print every condition.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct MemoryArgs {
    /// Log in even if Vault recently rejected the login. Five rejected logins within 15 minutes lock the role for everyone.
    #[arg(long)]
    force: bool,
    /// File that remembers rejected logins between runs. It contains no credentials. By default, it is
    /// vault-connection-operator/refused-logins.json in `$XDG_CACHE_HOME` or `~/.cache`.
    #[arg(long, value_name = "FILE", conflicts_with = "no_state_file")]
    state_file: Option<PathBuf>,
    /// Do not remember rejected logins between runs. Repeated runs with a wrong credential can then lock its role.
    #[arg(long)]
    no_state_file: bool,
}

#[derive(Clone, Debug, Args)]
struct AddressArgs {
    /// Allow only these instances: a host (vault.example.com), a pattern (*.example.com), an address or a range
    /// (10.0.0.0/8), optionally with a port (:8200) or ports (:8200-8210), optionally for some namespaces only
    /// (team-*=10.0.0.0/8). Can be repeated. Loopback, link-local and metadata addresses and the API server are refused
    /// unless an entry lists them explicitly.
    #[arg(long = "allow-address", value_name = "[NAMESPACES=]PLACE[:PORT]")]
    allow_addresses: Vec<Grant>,
    /// YAML file with more entries: `rules`, a list of {namespaces: [...], allow: [...]}, and optionally `contact`. Changes
    /// take effect within seconds.
    #[arg(long, value_name = "FILE")]
    address_policy_file: Option<PathBuf>,
    /// Whom users should ask to allow an address; shown in messages. A contact in the file takes precedence.
    #[arg(long, default_value = "the administrator of the operator", value_name = "TEXT")]
    address_policy_contact: Contact,
    /// Prefix of a NAT64 translator in the operator's network (RFC 6052), if it is not a well-known one. IPv4 addresses
    /// that are refused are also refused behind it. Can be repeated.
    #[arg(long = "nat64-prefix", value_name = "PREFIX")]
    nat64_prefixes: Vec<Nat64Prefix>,
    /// Allow http:// instance URLs, which send credentials unencrypted.
    #[arg(long)]
    allow_plain_http: bool,
}

/// The login budgets are too small to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoBudget {
    /// Not every replica could cause one refused login.
    #[error(
        "--shards={shards} needs a --lockout-threshold of at least {least}: each replica may cause one rejected login, and together they \
         must not lock a role. Use fewer shards, or raise the threshold in Vault and here"
    )]
    Refusals {
        /// How many replicas share it.
        shards: u32,
        /// What would be enough.
        least: u32,
    },
    /// Not every replica could log in once a second.
    #[error("--shards={shards} needs --logins-per-second and --max-logins-per-second of at least {shards}")]
    Pace {
        /// How many replicas share it.
        shards: u32,
    },
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line for each connection, and what is wrong with it.
    Table,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// Test report for CI servers (`JUnit` XML).
    Junit,
    /// Annotations for GitHub Actions.
    Github,
}

/// Every subcommand and flag, for the documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let started = vconn::started();
    if let Err(error) = hardening::harden() {
        // Whoever forbids that much to the process hardly lets it be dumped.
        eprint_line("warning", &format!("failed to disable core dumps: {error}"));
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error, 1),
    };
    let command = match started {
        vconn::Started::Operator => Cli::parse().command,
        vconn::Started::Plugin(plugin) => Command::Vconn(plugin),
        vconn::Started::Completer(words) => {
            let outcome = runtime.block_on(vconn::complete(words));
            return outcome.unwrap_or_else(|error| failure(error.as_ref(), 1));
        }
    };
    let outcome = match command {
        Command::Run(args) => {
            let format = args.log_format;
            let outcome = runtime.block_on(run::run(args)).map(|()| ExitCode::SUCCESS);
            match (format, outcome) {
                (LogFormat::Json, Err(error)) => {
                    tracing::error!(error = chain(error.as_ref()), "the operator cannot continue");
                    Ok(ExitCode::FAILURE)
                }
                (LogFormat::Text, Err(error)) => Err((error, 1)),
                (_, Ok(code)) => Ok(code),
            }
        }
        Command::Check(args) => runtime.block_on(check::check(args)).map_err(|e| (e, 2)),
        Command::Vconn(args) => runtime.block_on(vconn::run(*args)).map_err(|e| (e, 2)),
    };
    // Work that was given up may still wait for a server; the process does not.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|(error, code)| failure(error.as_ref(), code))
}

/// A failure on standard error.
fn failure(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    eprint_line("error", &chain(error));
    ExitCode::from(code)
}

// === impl AddressArgs ===

impl AddressArgs {
    /// The policy that the flags give, together with the file's. The API server's addresses are protected.
    fn policy(self, api_servers: Vec<SocketAddr>) -> Result<PolicyHandle, PolicyFileError> {
        let flags = AddressPolicy::new(self.allow_addresses, api_servers, self.address_policy_contact)
            .behind(self.nat64_prefixes);
        match self.address_policy_file {
            Some(file) => PolicyHandle::with_file(flags, file),
            None => Ok(PolicyHandle::fixed(flags)),
        }
    }
}

/// The threads that everything runs on. One makes hundreds of checks a second; another one takes a fifth more CPU for each, since the
/// two wake each other, and memory of its own. Where there are cores to spare, a second one makes sure of the probes.
fn runtime() -> io::Result<Runtime> {
    const CORES_PER_THREAD: usize = 2;
    const MAX_THREADS: usize = 2;
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = (cores / CORES_PER_THREAD).clamp(1, MAX_THREADS);
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

// === impl RunArgs ===

impl RunArgs {
    /// How fast logins of this process may follow each other, and how many refused ones lock a role as far as it is concerned: the
    /// replicas that share the namespaces do not know of each other's logins, so that each has its part of what may be in all.
    fn login_budget(&self) -> Result<(Bounds, u32), NoBudget> {
        let shards = self.shards.map_or(1, u32::from);
        let (pace, refusals) = (self.pace(), self.lockout_threshold.saturating_sub(1));
        if shards > 1 && refusals < shards {
            return Err(NoBudget::Refusals { shards, least: shards + 1 });
        }
        if pace.start < shards {
            return Err(NoBudget::Pace { shards });
        }
        Ok((
            Bounds::new(pace.start / shards, pace.max / shards),
            if shards > 1 { refusals / shards + 1 } else { self.lockout_threshold },
        ))
    }

    /// How fast logins may follow each other in all. Whoever gives one bound means it.
    fn pace(&self) -> Bounds {
        const START: u32 = 50;
        const MAX: u32 = 600;
        match (self.logins_per_second, self.max_logins_per_second) {
            (None, None) => Bounds::new(START, MAX),
            (Some(start), None) => Bounds::new(start, start),
            (None, Some(max)) => Bounds::new(START.min(max), max),
            (Some(start), Some(max)) => Bounds::new(start.min(max), max),
        }
    }
}

/// A time for the shutdown: shorter than five seconds nothing can be revoked, and nobody lets a pod end for an hour.
fn shutdown_timeout(text: &str) -> Result<Duration, String> {
    const SECONDS: std::ops::RangeInclusive<u64> = 5..=3600;
    duration(text)
        .ok()
        .filter(|duration| SECONDS.contains(&duration.as_secs()))
        .ok_or_else(|| "must be a duration from 5s to 1h".to_owned())
}

/// How long a Lease is valid.
fn lease_duration(text: &str) -> Result<LeaseDuration, String> {
    duration(text)
        .ok()
        .and_then(LeaseDuration::new)
        .ok_or_else(|| "must be a duration in whole seconds from 10s to 300s".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<KubeDuration> = text.parse().ok();
    parsed
        .filter(|duration| !duration.is_negative())
        .map(Duration::from)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be a duration, such as 30m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_one_bound_for_logins_means_it() {
        let pace = |args: &[&str]| {
            let line = ["vault-connection-operator", "run"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(line).expect("good flags").command {
                Command::Run(args) => args.pace(),
                Command::Check(_) | Command::Vconn(_) => panic!("this is run"),
            }
        };
        let bounds = |start, max| Bounds { start, max };
        assert_eq!(pace(&[]), bounds(50, 600));
        assert_eq!(pace(&["--logins-per-second=10"]), bounds(10, 10));
        assert_eq!(pace(&["--max-logins-per-second=20"]), bounds(20, 20));
        assert_eq!(pace(&["--logins-per-second=10", "--max-logins-per-second=100"]), bounds(10, 100));
        assert_eq!(pace(&["--logins-per-second=100", "--max-logins-per-second=10"]), bounds(10, 10));
    }

    #[test]
    fn replicas_that_share_the_namespaces_never_exceed_a_budget_together() {
        let budget = |args: &[&str]| {
            let line =
                ["vault-connection-operator", "run", "--lease=x"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(line).expect("good flags").command {
                Command::Run(args) => args.login_budget(),
                Command::Check(_) | Command::Vconn(_) => panic!("this is run"),
            }
        };
        let bounds = |start, max| Bounds { start, max };
        let table: &[(&[&str], _)] = &[
            (&[], Ok((bounds(50, 600), 5))),
            (&["--lockout-threshold=1"], Ok((bounds(50, 600), 1))),
            (&["--shards=2"], Ok((bounds(25, 300), 3))),
            (&["--shards=3"], Ok((bounds(16, 200), 2))),
            (&["--shards=4"], Ok((bounds(12, 150), 2))),
            (&["--shards=5"], Err(NoBudget::Refusals { shards: 5, least: 6 })),
            (&["--shards=8", "--lockout-threshold=9"], Ok((bounds(6, 75), 2))),
            (&["--shards=2", "--lockout-threshold=2"], Err(NoBudget::Refusals { shards: 2, least: 3 })),
            (&["--shards=4", "--lockout-threshold=100"], Ok((bounds(12, 150), 25))),
            (&["--shards=4", "--logins-per-second=3"], Err(NoBudget::Pace { shards: 4 })),
            (&["--shards=4", "--max-logins-per-second=4"], Ok((bounds(1, 1), 2))),
        ];
        for (flags, expected) in table {
            assert_eq!(budget(flags), *expected, "{flags:?}");
        }
        // Whatever the threshold is: all replicas together stay below it.
        for threshold in 3..=40 {
            for shards in 2..=u32::from(MAX_SHARDS) {
                let flags = [format!("--shards={shards}"), format!("--lockout-threshold={threshold}")];
                let Ok((_, own)) = budget(&flags.each_ref().map(String::as_str)) else { continue };
                let limits = crate::session::account::Limits::below(own);
                let most = limits.unproven.max(limits.proven).max(limits.changed);
                assert!(u32::try_from(most).expect("it is small") * shards < threshold, "{flags:?}");
            }
        }
    }

    #[test]
    fn bad_flags_are_refused() {
        use clap::error::ErrorKind;
        let kind = |args: &[&str]| {
            let line = std::iter::once("vault-connection-operator").chain(args.iter().copied());
            Cli::try_parse_from(line).err().map(|error| error.kind())
        };
        assert_eq!(kind(&["run"]), None);
        assert_eq!(
            kind(&["run", "--heartbeat=1h30m", "--log-level=debug", "--allow-address=10.0.0.0/8"]),
            None
        );
        assert_eq!(kind(&["run", "--heartbeat=0s"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--concurrency=0"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--shutdown-timeout=5s"]), None);
        assert_eq!(kind(&["run", "--shutdown-timeout=4s"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--lease=x", "--lease-duration=30s"]), None);
        assert_eq!(kind(&["run", "--lease=x", "--shards=8"]), None);
        assert_eq!(kind(&["run", "--shards=2"]), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(kind(&["run", "--lease=x", "--shards=1"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--lease=x", "--shards=9"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--lease-duration=9s"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--lease-duration=10500ms"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--allow-address=https://x"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--allow-address=team-*=10.0.0.0/8:8200"]), None);
        assert_eq!(kind(&["run", "--allow-address=Team=10.0.0.7"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--address-policy-contact="]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--nat64-prefix=2001:db8:64::/96"]), None);
        assert_eq!(kind(&["run", "--nat64-prefix=2001:db8::/33"]), Some(ErrorKind::ValueValidation));
        assert_eq!(kind(&["run", "--log-format=xml"]), Some(ErrorKind::InvalidValue));
        assert_eq!(kind(&["check"]), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(kind(&["check", "-f", "-", "-o", "json"]), None);
        assert_eq!(kind(&["check", "-k", ".", "-f", "a", "-f", "b", "-R", "-v", "--force"]), None);
        assert_eq!(
            kind(&["check", "-f", "-", "--state-file=a", "--no-state-file"]),
            Some(ErrorKind::ArgumentConflict)
        );
    }
}
