//! The operator without file descriptors: it neither dies nor blames a Vault, and goes on when it has some again.

use std::{iter, time::Instant};

use futures::future::join_all;
use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    cluster::{Cluster, operator_kubeconfig},
    fakes::{
        Fake,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    history::{History, shown},
    process::Process,
    specs,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// Enough to start with and for some connections, fewer than what hangs here wants.
const DESCRIPTORS: u32 = 48;

/// How many connections hang, each at a server of its own, so that the limit for one instance does not apply.
const HANGING: usize = 40;

/// What may be said of a connection while the operator lacks descriptors: its Vault and its spec are right.
fn blames_the_operator(reason: &str) -> bool {
    let ours = [Reason::Connected, Reason::OperatorOutOfResources, Reason::CheckOverdue, Reason::NotChecked];
    ours.iter().any(|it| it.as_str() == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_without_descriptors_blames_itself_and_recovers() {
    let (cluster, victims) = (Cluster::new("descriptors").await, Cluster::new("descriptors-victim").await);
    let (fake, silent) =
        (FakeVault::new().await, join_all(iter::repeat_with(Fake::silent).take(HANGING)).await);
    for cluster in [&cluster, &victims] {
        cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID), ("token", "t")]).await;
    }
    let namespaces = [cluster.namespace.as_str(), victims.namespace.as_str()];
    let operator = Process::start_with_descriptors(DESCRIPTORS, &operator_kubeconfig(), &namespaces).await;
    let (history, start) = (History::of(&victims), Instant::now());
    let good = specs::every_ten_seconds(specs::app_role(&fake.url, "approle", "credentials"));
    victims.connect("early", &good).await;
    victims.wait("early", "Ready", PATIENCE, is_ready).await;

    let names: Vec<_> = (0..HANGING).map(|number| format!("hangs-{number}")).collect();
    for (name, silent) in names.iter().zip(&silent) {
        let mut spec = specs::token(&silent.url(), "credentials");
        spec["check"] = json!({"interval": "20s", "timeout": "20s"});
        cluster.connect(name, &spec).await;
    }
    victims.connect("late", &good).await;
    // Whatever needs a descriptor first fails first: as a rule, the reading of a Secret.
    let failed = async || {
        let reason = Reason::OperatorOutOfResources.as_str();
        let found = operator.count("cluster_failures_total").await + operator.checks(reason).await;
        (found > 0).then_some(())
    };
    eventually("something could not be done", PATIENCE * 3, failed).await;

    join_all(names.iter().map(|name| cluster.delete(name))).await;
    for name in ["early", "late"] {
        victims.request_check(name, "descriptors are free again").await;
        victims.wait(name, "Ready again", PATIENCE * 3, is_ready).await;
        let history = history.of_connection(name);
        let reasons = history.iter().filter_map(|seen| seen.verdict.as_ref().map(|it| it.reason.as_str()));
        assert!(reasons.clone().all(blames_the_operator), "{name}: {}", shown(&history, start));
    }
    assert_eq!(operator.count("panics_total").await, 0);
    operator.stop().await;
}
