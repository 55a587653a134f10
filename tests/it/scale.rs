//! What many connections of one instance cost: counts of requests, which a busy machine does not change.

use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::json;

use crate::support::{
    audit::{self, KubeRequest},
    cluster::Cluster,
    fakes::{
        http::Answer,
        vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    },
    operator::Operator,
    specs,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How many connections there are.
const CONNECTIONS: usize = 40;

/// How many are applied at once.
const APPLIED_AT_ONCE: usize = 16;

/// How often a failing instance is asked over all connections.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How many may ask before it is known that the instance fails.
const ASKED_AT_FIRST: u64 = 4;

const CONNECTED: &str = "connections{state=\"Connected\"";

/// Many connections to one Vault that share one Secret.
struct Crowd {
    cluster: Cluster,
    vault: FakeVault,
    operator: Operator,
}

impl Crowd {
    /// All of them are Ready.
    async fn new(prefix: &str, interval: &str) -> Self {
        let (cluster, vault) = (Cluster::new(prefix).await, FakeVault::new().await);
        cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
        let operator = Operator::start(&cluster).await;
        let mut spec = specs::app_role(&vault.url, "approle", "credentials");
        spec["check"] = json!({"interval": interval});
        let names: Vec<_> = (0..CONNECTIONS).map(|number| format!("c-{number}")).collect();
        let applied = names.iter().map(|name| cluster.connect(name, &spec));
        stream::iter(applied).buffer_unordered(APPLIED_AT_ONCE).collect::<Vec<_>>().await;
        for name in &names {
            cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        }
        Self { cluster, vault, operator }
    }

    async fn status_patches(&self) -> usize {
        let requests = audit::kube_requests(&self.cluster).await;
        requests.iter().filter(|request| request.is("patch", "vaultconnections/status")).count()
    }

    /// How often the Secret was read that all share.
    async fn reads(&self) -> usize {
        let requests = audit::kube_requests(&self.cluster).await;
        let is_read = |request: &&KubeRequest| {
            request.is("list", "secrets") && request.uri.contains("fieldSelector=metadata.name")
        };
        requests.iter().filter(is_read).count()
    }

    fn asked(&self) -> [usize; 3] {
        [Ask::Health, Ask::Login, Ask::LookupSelf].map(|ask| self.vault.asked(ask))
    }

    async fn await_all(&self, series: &str, within: Duration) {
        self.operator.await_count(series, CONNECTIONS as u64, within).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_check_costs_three_requests_and_one_patch_and_so_does_a_restart_without_the_patch() {
    let crowd = Crowd::new("scale-first", "5m").await;
    assert_eq!(crowd.asked(), [CONNECTIONS; 3]);
    assert_eq!(crowd.status_patches().await, CONNECTIONS);

    let reads_before = crowd.reads().await;
    let Crowd { cluster, vault, operator } = crowd;
    operator.stop();
    assert_eq!(vault.sessions(), 0, "all were revoked");
    let operator = Operator::start(&cluster).await;
    let crowd = Crowd { cluster, vault, operator };
    crowd.await_all("checks_total{reason=\"Connected\"", PATIENCE).await;
    // Sixteen begin at once. The first reads for itself, the others share the next read.
    let reads = crowd.reads().await - reads_before;
    eprintln!("{CONNECTIONS} first checks of one Secret have read it {reads} times");
    assert!(reads <= CONNECTIONS * 3 / 4, "{reads} reads");
    assert_eq!(crowd.asked(), [CONNECTIONS * 2; 3]);
    assert_eq!(crowd.status_patches().await, CONNECTIONS, "nothing new was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_a_probe_in_five_seconds_and_ends_for_all_at_once() {
    let crowd = Crowd::new("scale-outage", "10s").await;
    let mut health = crowd.vault.health_body();
    health["sealed"] = json!(true);
    crowd.vault.misbehave(Ask::Health, Misdeed::Answer(Answer::json(503, &health)));
    crowd.vault.misbehave(Ask::LookupSelf, Misdeed::Answer(Answer::error(503, "Vault is sealed")));
    let asked_before = crowd.vault.asked(Ask::Health);
    let begin = tokio::time::Instant::now();
    crowd.cluster.request_check("c-0", "now").await;
    crowd.await_all("connections{state=\"Sealed\"", PATIENCE * 3).await;
    let asked = crowd.vault.asked(Ask::Health) - asked_before;
    // Before the first answer, nobody knows that others ask, too.
    let most = begin.elapsed().as_secs().div_ceil(ASK_EVERY.as_secs()) + ASKED_AT_FIRST;
    eprintln!("{asked} probes in {:?}", begin.elapsed());
    assert!(asked as u64 <= most, "{asked} probes, and {most} were due");

    // By now the waits of each are as long as the outage, and nobody is left to them.
    let logins = crowd.vault.asked(Ask::Login);
    crowd.vault.behave();
    crowd.await_all(CONNECTED, PATIENCE).await;
    assert_eq!(crowd.vault.asked(Ask::Login), logins, "the kept sessions serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_a_shared_secret_costs_a_login_each() {
    let crowd = Crowd::new("scale-rotation", "5m").await;
    let before = crowd.asked();
    // The same credential in another version of the Secret.
    let data = [("roleId", ROLE_ID), ("secretId", SECRET_ID), ("note", "written anew")];
    crowd.cluster.secret("credentials", &data).await;
    eventually("all have logged in again", PATIENCE, async || {
        (crowd.vault.asked(Ask::Login) == before[1] + CONNECTIONS).then_some(())
    })
    .await;
    eventually("the old sessions are revoked", PATIENCE, async || {
        (crowd.vault.sessions() == CONNECTIONS).then_some(())
    })
    .await;
}
