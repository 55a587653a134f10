//! Faults of a whole OpenBao, made on a real one.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::{
    faults_table::{Bench, FIRST_WAIT, assert_waits, check_now, waits},
    support::{
        bed::{run, signal},
        specs,
        vault::{Vault, http},
        verdict::{assert_failed, is_ready},
        wait::{PATIENCE, eventually},
    },
};

/// How much a pipe holds on Linux before its writer has to wait.
const PIPE: usize = 64 << 10;

/// What is left of the window of a quota once a test has begun.
const NEARLY_TEN_MINUTES: Duration = Duration::from_secs(9 * 60);

/// The audit log of an OpenBao, as a pipe that nobody empties: each request but `sys/health` waits to be audited.
struct BlockedAudit {
    path: PathBuf,
    pipe: File,
}

// === impl BlockedAudit ===

impl BlockedAudit {
    async fn new(vault: &Vault) -> Self {
        let path = vault.audit.clone();
        fs::rename(&path, path.with_extension("before")).expect("there is an audit log");
        run(Command::new("mkfifo").arg(&path));
        // Open at both ends, so that neither side waits for the other.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path).expect("the pipe opens");
        let pid = vault.pid();
        signal(pid, "HUP");
        eventually("OpenBao has opened its audit log anew", PATIENCE, async || {
            is_open(pid, &path).then_some(())
        })
        .await;
        pipe.write_all(&vec![b'\n'; PIPE]).expect("the pipe takes what it holds");
        Self { path, pipe }
    }

    /// Empties the pipe from now on, until OpenBao ends.
    fn unblock(self) {
        let mut reader = File::open(&self.path).expect("the pipe opens");
        drop(self.pipe);
        thread::spawn(move || {
            let mut chunk = vec![0; PIPE];
            while reader.read(&mut chunk).is_ok_and(|read| read > 0) {}
        });
    }
}

/// Whether a process has a file open.
fn is_open(pid: u32, path: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == path))
}

#[tokio::test]
async fn a_blocked_audit_device_is_a_timeout_and_passes_by_itself() {
    let (bench, vault) = (Bench::new("faults-audit").await, Vault::own("faults-audit", ""));
    let role = vault.app_role("faults-audit", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    bench.cluster.secret("audited", &specs::pair(&role, &secret_id)).await;
    let blocked = BlockedAudit::new(&vault).await;
    let mut spec = specs::app_role(&vault.address, &role.mount, "audited");
    spec["check"] = json!({"timeout": "1s"});
    bench.cluster.connect("audited", &spec).await;
    let told = bench.cluster.wait_reason("audited", Reason::Timeout).await;
    assert_failed("audited", &told, Reason::Timeout, "did not respond within 1 s (spec.check.timeout)");
    assert_waits("audited", &told, FIRST_WAIT);
    assert_eq!(bench.operator.count("vault_requests_total{operation=\"health\",answer=\"2xx\"").await, 1);

    blocked.unblock();
    bench.cluster.wait("audited", "Ready by itself", PATIENCE, is_ready).await;
}

#[tokio::test]
async fn a_rate_limit_quota_is_reported_with_and_without_the_time_to_wait() {
    let (bench, vault) = (Bench::new("faults-quota").await, Vault::own("faults-quota", ""));
    let role = vault.app_role("faults-quota", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    bench.cluster.secret("limited", &specs::pair(&role, &secret_id)).await;
    let quota = async |rate: u32| {
        let settings = json!({
            "path": format!("auth/{}", role.mount), "rate": rate, "interval": "10m",
        });
        vault.write("sys/quotas/rate-limit/logins", &settings).await;
    };
    quota(1).await;
    let login = format!("{}/v1/auth/{}/login", vault.address, role.mount);
    // Somebody else takes the one login that there is.
    let taken = http().post(login).body(json!({"role_id": "nobody"}).to_string()).send().await;
    assert_eq!(taken.expect("Vault answers").status(), 400);

    for (name, told) in [("quiet", false), ("told", true)] {
        vault.write("sys/quotas/config", &json!({"enable_rate_limit_response_headers": told})).await;
        bench.cluster.connect(name, &specs::app_role(&vault.address, &role.mount, "limited")).await;
        let limited = bench.cluster.wait_reason(name, Reason::RateLimited).await;
        assert_failed(name, &limited, Reason::RateLimited, "Check the rate limits and quotas");
        if told {
            assert!(waits(&limited) > NEARLY_TEN_MINUTES, "{:?}", waits(&limited));
        } else {
            assert_waits(name, &limited, FIRST_WAIT);
        }
    }
    quota(1000).await;
    for name in ["quiet", "told"] {
        assert!(is_ready(&check_now(&bench.cluster, name).await), "{name}: a person need not wait");
    }
}
