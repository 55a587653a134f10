//! An API server that cannot be reached, that ends its watches, or whose objects change while a check is under way.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::support::{
    access::kubeconfig_through,
    audit,
    bed::{unique, variable},
    cluster::Cluster,
    fakes::Fake,
    operator::Operator,
    process::Process,
    proxy::Proxy,
    specs,
    vault::Vault,
    verdict::{condition, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// How soon a change must be noticed although the watches have just ended.
const NOTICED: Duration = Duration::from_secs(5);

/// An interval of 10 s, and a busy machine.
const NEXT_CHECK: Duration = Duration::from_secs(20);

/// A connection by a token that is checked as often as the schema allows.
fn often(vault: &Vault, secret: &str) -> Value {
    let mut spec = specs::token(&vault.address, secret);
    spec["check"] = json!({"interval": "10s"});
    spec
}

async fn a_token(vault: &Vault, policy: &str) -> String {
    vault.issue_token(&json!({"policies": [policy], "ttl": "1h"})).await
}

async fn write_policy(vault: &Vault, name: &str, capability: &str) {
    let policy = format!("path \"demo_mount/data/app\" {{ capabilities = [\"{capability}\"] }}");
    vault.write(&format!("sys/policies/acl/{name}"), &json!({"policy": policy})).await;
}

/// How often the status of a connection was written until now.
async fn writes(cluster: &Cluster, name: &str) -> usize {
    let path = format!("/vaultconnections/{name}/status");
    let requests = audit::kube_requests(cluster).await;
    let of_name = requests.iter().filter(|request| request.uri.contains(&path));
    of_name.filter(|request| request.is("patch", "vaultconnections/status")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_go_on_without_the_api_server_and_their_verdicts_are_written_once_it_is_back() {
    let (cluster, vault) = (Cluster::new("api-down").await, Vault::shared());
    let proxy = Proxy::to(&variable("BED_APISERVER")).await;
    let policy = unique("policy");
    write_policy(&vault, &policy, "read").await;
    let revoked = a_token(&vault, "vault-connection").await;
    cluster.secret("kept", &[("token", &a_token(&vault, "vault-connection").await)]).await;
    cluster.secret("denied", &[("token", &a_token(&vault, &policy).await)]).await;
    cluster.secret("revoked", &[("token", &revoked)]).await;
    let operator = Process::start(&kubeconfig_through(&proxy), &[&cluster.namespace]).await;
    let mut denied = often(&vault, "denied");
    denied["require"] = json!({"capabilities": [{"path": "demo_mount/data/app", "verbs": ["read"]}]});
    for (name, spec) in
        [("kept", often(&vault, "kept")), ("denied", denied), ("revoked", often(&vault, "revoked"))]
    {
        cluster.connect(name, &spec).await;
    }
    for name in ["kept", "denied", "revoked"] {
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    // A write whose answer is cut off is made again.
    operator.await_count("status_writes_total", 3, PATIENCE).await;
    let before = cluster.connections().get("kept").await.expect("it is there");

    proxy.cut();
    write_policy(&vault, &policy, "deny").await;
    vault.write("auth/token/revoke", &json!({"token": revoked})).await;
    let (passed, looked_up) = (operator.checks("Connected").await, lookups(&operator, "2xx").await);
    operator.await_count("checks_total{reason=\"Connected\"", passed + 1, NEXT_CHECK).await;
    assert_eq!(lookups(&operator, "2xx").await, looked_up + 1, "Vault was asked once for the kept token");
    operator.await_count("checks_total{reason=\"MissingCapabilities\"", 1, NEXT_CHECK).await;
    operator
        .await_count("vault_requests_total{operation=\"lookup_self\",answer=\"4xx\"", 1, NEXT_CHECK)
        .await;
    // Whoever cannot write or read says so by `Err`, and tries again.
    operator.await_count("cluster_failures_total", 2, NEXT_CHECK).await;
    let unwritten = cluster.connections().get("denied").await.expect("it is there");
    assert!(is_ready(&unwritten), "nothing could be written");

    proxy.heal();
    cluster.wait_reason("denied", Reason::MissingCapabilities).await;
    cluster.wait_reason("revoked", Reason::TokenRejected).await;
    let after = cluster.connections().get("kept").await.expect("it is there");
    assert_eq!(json!(after.status), json!(before.status), "all the time Ready, and nothing to write");
    for (name, expected) in [("kept", 1), ("denied", 2), ("revoked", 2)] {
        assert_eq!(writes(&cluster, name).await, expected, "{name}");
    }
    operator.stop().await;
}

async fn lookups(operator: &Process, answer: &str) -> u64 {
    operator.count(&format!("vault_requests_total{{operation=\"lookup_self\",answer=\"{answer}\"")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_the_watches_are_reset_is_noticed() {
    let (cluster, vault) = (Cluster::new("watches").await, Vault::shared());
    let proxy = Proxy::to(&variable("BED_APISERVER")).await;
    let token = a_token(&vault, "vault-connection").await;
    cluster.secret("token", &[("token", &token)]).await;
    let operator = Process::start(&kubeconfig_through(&proxy), &[&cluster.namespace]).await;
    cluster.connect("old", &specs::token(&vault.address, "token")).await;
    cluster.wait("old", "Ready", PATIENCE, is_ready).await;
    let broken = |connection: &VaultConnection| {
        ready(connection).is_some_and(|ready| ready.reason == Reason::WhitespaceInValue.as_str())
    };

    assert!(proxy.reset() > 0, "watches were open");
    cluster.secret("token", &[("token", &format!("{token}\n"))]).await;
    cluster.wait("old", "WhitespaceInValue", NOTICED, broken).await;
    proxy.reset();
    cluster.secret("token", &[("token", &token)]).await;
    cluster.connect("new", &specs::token(&vault.address, "token")).await;
    cluster.wait("old", "Ready", NOTICED, is_ready).await;
    cluster.wait("new", "Ready", NOTICED, is_ready).await;

    proxy.reset();
    cluster.delete("old").await;
    eventually("the operator forgets what was deleted meanwhile", NOTICED, async || {
        (operator.count("connections{").await == 1).then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_a_name_during_a_check_gets_a_verdict_of_its_own() {
    let (cluster, vault) = (Cluster::new("recreate").await, Vault::shared());
    let proxy = Proxy::to(&vault.address).await;
    cluster.secret("wrong", &[("token", "s.never-issued")]).await;
    cluster.secret("right", &[("token", &a_token(&vault, "vault-connection").await)]).await;
    let operator = Operator::start(&cluster).await;
    let url = format!("http://{}", proxy.address);
    proxy.hold();
    let old = cluster.connect("connection", &specs::token(&url, "wrong")).await;
    eventually("the check is under way", PATIENCE, async || (proxy.requests() > 0).then_some(())).await;
    cluster.delete("connection").await;
    let new = cluster.connect("connection", &specs::token(&url, "right")).await;
    assert_ne!(old.metadata.uid, new.metadata.uid);

    let seen = watch_object(cluster.connections(), "connection").try_filter_map(async |seen| Ok(seen));
    let mut seen = pin!(seen);
    proxy.release();
    let mut reasons = Vec::new();
    let until_ready = async {
        while let Some(connection) = seen.next().await {
            let connection: VaultConnection = connection.expect("the watch goes on");
            assert_eq!(connection.metadata.uid, new.metadata.uid);
            reasons.extend(ready(&connection).map(|ready| ready.reason.clone()));
            if is_ready(&connection) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, until_ready).await.expect("the new one becomes Ready");
    assert_eq!(operator.checks("TokenRejected").await, 0, "the check of the old one ended with it");
    assert_eq!(reasons, ["Connected"], "and nothing of it landed on the new one");
    assert_eq!(operator.count("cluster_failures_total").await, 0, "which is no failure");
    operator.stop();
}

#[tokio::test]
async fn a_connection_is_gone_at_once_although_its_vault_is_silent() {
    let (cluster, vault, silent) = (Cluster::new("gone").await, Vault::shared(), Fake::silent().await);
    cluster.secret("token", &[("token", &a_token(&vault, "vault-connection").await)]).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::token(&silent.url(), "token");
    spec["check"] = json!({"timeout": "3s"});
    cluster.connect("silent", &spec).await;
    eventually("the check is under way", PATIENCE, async || (silent.connections() > 0).then_some(())).await;
    cluster.delete("silent").await;
    let found = cluster.connections().get_opt("silent").await.expect("the API server answers");
    assert!(found.is_none(), "no finalizer holds it: {:?}", found.map(|found| found.metadata));

    cluster.connect("other", &specs::token(&vault.address, "token")).await;
    cluster.wait("other", "Ready", PATIENCE, is_ready).await;
    assert_eq!(operator.checks("Timeout").await, 0, "the others do not wait for the silent one");
    operator.await_count("connections{", 1, PATIENCE).await;
    assert!(writes(&cluster, "silent").await <= 1, "its check ended with it");
    let found = cluster.connections().get_opt("silent").await.expect("the API server answers");
    assert!(found.is_none(), "nothing brings it back");
    assert_eq!(operator.checks("Timeout").await, 0, "nobody waited for the silent server");
    let other = cluster.connections().get("other").await.expect("it is there");
    assert!(condition(&other, "Ready").is_some_and(|ready| ready.status == "True"));
    operator.stop();
}

#[tokio::test]
async fn a_connection_that_a_finalizer_holds_is_not_checked_any_more() {
    let (cluster, vault, silent) = (Cluster::new("held").await, Vault::shared(), Fake::silent().await);
    cluster.secret("token", &[("token", &a_token(&vault, "vault-connection").await)]).await;
    let operator = Operator::start(&cluster).await;
    let mut spec = specs::token(&silent.url(), "token");
    spec["check"] = json!({"interval": "60s", "timeout": "60s"});
    cluster.connect("held", &spec).await;
    eventually("the check is under way", PATIENCE, async || (silent.connections() > 0).then_some(())).await;
    cluster.change("held", &json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    cluster.delete("held").await;
    eventually("its check has ended", PATIENCE, async || (silent.open() == 0).then_some(())).await;

    let before = silent.connections();
    cluster.request_check("held", "now").await;
    cluster.connect("other", &specs::token(&vault.address, "token")).await;
    cluster.wait("other", "Ready", PATIENCE, is_ready).await;
    assert_eq!(silent.connections(), before, "asking leads to no check, either");
    cluster.change("held", &json!({"metadata": {"finalizers": []}})).await;
    operator.await_count("connections{", 1, PATIENCE).await;
    operator.stop();
}
