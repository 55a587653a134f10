//! A status that somebody else writes over the operator's: a person with the right to, a restore from a backup, or another
//! operator.

use std::time::{Duration, Instant};

use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection, gateway::VaultGateway};

use crate::support::{
    cluster::Cluster,
    fakes::vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    operator::Operator,
    specs,
    verdict::{condition, gateway_ready, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// Shortest time between two corrections that is promised, less what clocks and events may differ.
const BETWEEN: Duration = Duration::from_millis(4500);

/// Nobody has checked anything then.
const FUTURE: &str = "2099-01-01T00:00:00Z";

/// How many corrections are watched.
const CORRECTIONS: u32 = 4;

fn condition_of(kind: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason, "message": "forged",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    })
}

fn forged() -> Value {
    json!({
        "state": "Connected",
        "server": {"version": "9.9.9"},
        "conditions": [condition_of("Ready", "Connected"), condition_of("CertificateExpiring", "Forged")],
    })
}

async fn forge(cluster: &Cluster, name: &str) {
    let patch = Patch::Merge(json!({"status": forged()}));
    let forged = cluster.connections().patch_status(name, &PatchParams::default(), &patch).await;
    assert!(is_ready(&forged.expect("an administrator may")), "the forgery stands for a moment");
}

/// A connection whose secret id is wrong, so that it is checked again in 15 minutes at the earliest.
async fn refused(cluster: &Cluster, fake: &FakeVault) -> VaultConnection {
    cluster
        .secret("wrong", &[("roleId", ROLE_ID), ("secretId", "5d3b6a4e-0000-4000-8000-00000000c003")])
        .await;
    let mut spec = specs::app_role(&fake.url, "approle", "wrong");
    spec["check"] = json!({"interval": "60s", "timeout": "60s"});
    cluster.connect("refused", &spec).await;
    cluster.wait_reason("refused", Reason::InvalidCredentials).await
}

async fn await_ours(cluster: &Cluster, ours: &VaultConnection) {
    let says_ours = |found: &VaultConnection| json!(found.status) == json!(ours.status);
    cluster.wait("refused", "as the operator wrote it", PATIENCE, says_ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_writes_over_a_status_is_replaced_at_once_and_without_a_check() {
    let (cluster, fake) = (Cluster::new("forged").await, FakeVault::new().await);
    let _operator = Operator::start(&cluster).await;
    let ours = refused(&cluster, &fake).await;
    let asked = fake.asked_in_all();
    forge(&cluster, "refused").await;
    await_ours(&cluster, &ours).await;

    // The whole of it is deleted; an older state of the object is written back, status and all.
    let remove = Patch::Json::<()>(
        serde_json::from_value(json!([{"op": "remove", "path": "/status"}])).expect("a patch"),
    );
    cluster
        .connections()
        .patch_status("refused", &PatchParams::default(), &remove)
        .await
        .expect("it is removed");
    await_ours(&cluster, &ours).await;
    let mut restored = cluster.connections().get("refused").await.expect("it is there");
    restored.status = serde_json::from_value(forged()).expect("a status");
    let restored = cluster.connections().replace_status("refused", &PostParams::default(), &restored).await;
    assert!(ready(&restored.expect("it is restored")).is_some());
    await_ours(&cluster, &ours).await;
    assert_eq!(fake.asked_in_all(), asked, "nobody was asked for it");

    // A condition of another's own type is no business of ours.
    let theirs = Patch::Apply(json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
        "status": {"conditions": [condition_of("Theirs", "Theirs")]},
    }));
    let params = PatchParams::apply("another").force();
    cluster.connections().patch_status("refused", &params, &theirs).await.expect("it is applied");
    forge(&cluster, "refused").await;
    cluster.connections().patch_status("refused", &params, &theirs).await.expect("it is applied");
    let right = |found: &VaultConnection| !is_ready(found) && condition(found, "Theirs").is_some();
    cluster.wait("refused", "right again, beside another's condition", PATIENCE, right).await;

    // It waits for no check, either.
    await_right_during_a_check(&cluster, &fake).await;
}

async fn await_right_during_a_check(cluster: &Cluster, fake: &FakeVault) {
    fake.misbehave(Ask::Health, Misdeed::Silence);
    let before = fake.connections();
    cluster.request_check("refused", "now").await;
    eventually("a check hangs", PATIENCE, async || (fake.connections() > before).then_some(())).await;
    forge(cluster, "refused").await;
    cluster.wait("refused", "right while its check hangs", PATIENCE, |found| !is_ready(found)).await;
}

/// Times of checks that nobody has made, in a status that is otherwise the operator's own.
async fn forge_times(cluster: &Cluster, name: &str) {
    let patch = Patch::Merge(json!({"status": {"lastCheckTime": FUTURE, "nextCheckTime": FUTURE}}));
    let forged = cluster.connections().patch_status(name, &PatchParams::default(), &patch).await;
    assert!(is_ready(&forged.expect("an administrator may")), "the rest of it stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_come_in_a_status_of_before_the_start_proves_nothing_and_does_not_stay() {
    let (cluster, fake) = (Cluster::new("forged-start").await, FakeVault::new().await);
    cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::app_role(&fake.url, "approle", "credentials");
    spec["check"] = json!({"interval": "10s", "timeout": "5s"});
    cluster.connect("proved", &spec).await;
    cluster.wait("proved", "Ready", PATIENCE, is_ready).await;
    operator.stop();

    forge_times(&cluster, "proved").await;
    let operator = Operator::start(&cluster).await;
    let is_of_today = |found: &VaultConnection| {
        let last = found.status.as_ref().and_then(|status| status.last_check_time.as_ref());
        is_ready(found) && last.is_some_and(|last| json!(last) != json!(FUTURE))
    };
    cluster.wait("proved", "Ready, since a check of today", PATIENCE, is_of_today).await;
    operator.stop();

    forge_times(&cluster, "proved").await;
    fake.misbehave(Ask::Health, Misdeed::Silence);
    fake.misbehave(Ask::Login, Misdeed::Silence);
    let _operator = Operator::start(&cluster).await;
    cluster.wait("proved", "not Ready any more", PATIENCE, |found| !is_ready(found)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_correct_one_another_write_rarely() {
    let (cluster, fake) = (Cluster::new("forged-fight").await, FakeVault::new().await);
    let operator = Operator::start(&cluster).await;
    refused(&cluster, &fake).await;
    let begin = Instant::now();
    for _ in 0..CORRECTIONS {
        forge(&cluster, "refused").await;
        cluster.wait("refused", "right again", PATIENCE, |found| !is_ready(found)).await;
    }
    let took = begin.elapsed();
    assert!(took > BETWEEN * (CORRECTIONS - 1), "{CORRECTIONS} corrections within {took:?}");
    assert!(operator.count("status_overwritten_total").await >= u64::from(CORRECTIONS), "each is counted");
    let log = operator.said_at_end();
    let lines = String::from_utf8_lossy(&log).matches("the status was overwritten; restoring it").count();
    assert_eq!(lines, 1, "a line for each object, not for each correction");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_gateway_is_replaced_as_that_of_a_connection() {
    let cluster = Cluster::new("forged-gateway").await;
    let _operator = Operator::start(&cluster).await;
    let gateways: Api<VaultGateway> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let manifest = json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway", "metadata": {"name": "broken"},
        "spec": {
            "endpoints": [{"url": "http://127.0.0.1:9", "credentials": {"secretRef": {"name": "missing"}}}],
            "check": {"interval": "1h"},
        },
    });
    let applied =
        gateways.patch("broken", &PatchParams::apply("user").force(), &Patch::Apply(manifest)).await;
    applied.expect("it is accepted");
    let status = |wanted: &'static str| {
        move |found: Option<&VaultGateway>| {
            found
                .and_then(gateway_ready)
                .is_some_and(|ready| ready.status == wanted && ready.message != "forged")
        }
    };
    let told = timeout(PATIENCE, await_condition(gateways.clone(), "broken", status("False"))).await;
    told.expect("it is checked in time").expect("the watch works");
    let forged =
        json!({"status": {"healthyEndpoints": 1, "conditions": [condition_of("Ready", "EndpointsHealthy")]}});
    let forged = gateways.patch_status("broken", &PatchParams::default(), &Patch::Merge(forged)).await;
    assert!(
        gateway_ready(&forged.expect("an administrator may")).is_some_and(|ready| ready.status == "True")
    );
    let told = timeout(PATIENCE, await_condition(gateways, "broken", status("False"))).await;
    told.expect("it is right again in time").expect("the watch works");
}
