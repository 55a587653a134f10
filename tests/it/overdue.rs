//! A Ready that no check can earn anew in time.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    cluster::Cluster,
    fakes::vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    operator::Operator,
    specs,
    verdict::{is_ready, ready},
    wait::PATIENCE,
};

/// Four connections for the one worker that a namespace may hold at an instance here: while the first waits for an answer, not all of the others can be looked at in time.
const CONNECTIONS: [&str; 4] = ["a", "b", "c", "d"];

/// Two intervals, and a busy machine.
const TOLD: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_ends_in_time_although_no_check_can_be_made() {
    let (cluster, fake) = (Cluster::new("overdue").await, FakeVault::new().await);
    cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
    let flags = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--concurrency", "4"];
    let operator = Operator::start_with(&cluster, &flags).await;
    let mut spec = specs::app_role(&fake.url, "approle", "credentials");
    spec["check"] = json!({"interval": "10s", "timeout": "10s"});
    for name in CONNECTIONS {
        cluster.connect(name, &spec).await;
    }
    for name in CONNECTIONS {
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    fake.misbehave(Ask::Health, Misdeed::Silence);
    fake.misbehave(Ask::LookupSelf, Misdeed::Silence);
    let told = join_all(CONNECTIONS.map(async |name| {
        let found = cluster.wait(name, "not Ready", TOLD, |found| !is_ready(found)).await;
        ready(&found).map(|ready| ready.reason.clone()).expect("it was looked at")
    }));
    let told = told.await;
    let known = [Reason::CheckOverdue.as_str(), Reason::Timeout.as_str()];
    assert!(told.iter().all(|reason| known.contains(&reason.as_str())), "{told:?}");
    assert!(told.iter().any(|reason| reason == Reason::CheckOverdue.as_str()), "{told:?}");

    fake.behave();
    for name in CONNECTIONS {
        cluster.wait(name, "Ready by itself", TOLD, is_ready).await;
    }
    operator.stop();
}
