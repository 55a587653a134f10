//! The operator under the memory limit of its chart, while hostile objects do their worst.

use std::{iter, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

use crate::support::{
    cluster::{Cluster, operator_kubeconfig},
    fakes::{
        Fake,
        pki::Ca,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    limit::Limit,
    process::Process,
    specs,
    verdict::is_ready,
    wait::PATIENCE,
};

/// How many hostile connections of each sort.
const OF_EACH: usize = 24;

/// How many are applied at once.
const APPLIED_AT_ONCE: usize = 16;

/// As much as Kubernetes lets a Secret hold, almost.
const LARGE: usize = 900_000;

/// As much as the operator reads of an answer, or a little less.
const ANSWER: usize = 1_000_000;

/// The longest that hostile checks of ten seconds hold up one another, and a busy machine.
const ALL_CHECKED: Duration = Duration::from_secs(150);

/// Three intervals of the victims, and a busy machine.
const THREE_CHECKS: Duration = Duration::from_secs(45);

/// A spec as large as the CRD lets it be.
fn large(url: &str) -> Value {
    let mut spec = specs::app_role(&format!("{url}/{}", "p".repeat(1900)), "approle", "credentials");
    spec["description"] = json!("d".repeat(256));
    let path = |number: usize| format!("secret/data/{number:0>3}/{}", "x".repeat(490));
    let verbs = json!(["create", "read", "update", "delete", "list"]);
    let capabilities: Vec<_> = (0..32).map(|number| json!({"path": path(number), "verbs": verbs})).collect();
    spec["require"] = json!({"capabilities": capabilities});
    let authority = Ca::new().pem;
    spec["tls"] = json!({"caBundle": {"inline": authority.repeat(65_000 / authority.len())}});
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_objects_do_not_make_the_operator_outgrow_the_limit_of_its_chart() {
    let (hostile, victim) = (Cluster::new("worst").await, Cluster::new("worst-victim").await);
    let (limit, vault) = (Limit::of_the_chart(), FakeVault::new().await);
    // Refused logins are counted by role and cluster: the victim's has no part in this.
    let other_vault = FakeVault::new().await;
    let silent = join_all(iter::repeat_with(Fake::silent).take(OF_EACH)).await;
    let json = "content-type: application/json";
    let nested = format!("{}{}", "{\"a\":".repeat(60), "1".to_owned() + &"}".repeat(60));
    let many = format!("[{}]", vec![nested.as_str(); ANSWER / (nested.len() + 1)].join(","));
    let answers = [
        Fake::answering("200 OK", json, &many).await,
        Fake::answering("200 OK", json, &format!("{{\"version\":\"{}\"}}", "v".repeat(ANSWER))).await,
        Fake::answering(
            "500 Internal Server Error",
            json,
            &format!("{{\"errors\":[{}\"\"]}}", "\"\",".repeat(ANSWER / 3)),
        )
        .await,
    ];
    for cluster in [&hostile, &victim] {
        cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
    }
    let huge = "h".repeat(LARGE);
    hostile.secret("huge", &[("roleId", ROLE_ID), ("secretId", &huge)]).await;

    let namespaces = [hostile.namespace.as_str(), victim.namespace.as_str()];
    let operator = Process::start_under(&limit, &operator_kubeconfig(), &namespaces).await;
    victim
        .connect("victim", &specs::every_ten_seconds(specs::app_role(&vault.url, "approle", "credentials")))
        .await;
    victim.wait("victim", "Ready", PATIENCE, is_ready).await;

    let specs = (0..OF_EACH).flat_map(|number| {
        let (tarpit, server) = (silent[number].url(), &answers[number % answers.len()]);
        [
            specs::app_role(&tarpit, "approle", "credentials"),
            specs::app_role(&server.url(), "approle", "credentials"),
            specs::app_role(&other_vault.url, "approle", "huge"),
            specs::app_role(&tarpit, "approle", "huge"),
            large(&tarpit),
        ]
    });
    stream::iter(specs.map(specs::every_ten_seconds).enumerate())
        .for_each_concurrent(APPLIED_AT_ONCE, async |(number, spec)| {
            hostile.connect(&format!("hostile-{number}"), &spec).await;
        })
        .await;
    for number in 0..5 * OF_EACH {
        let name = format!("hostile-{number}");
        hostile
            .wait(&name, "judged", ALL_CHECKED, |found| {
                found.status.as_ref().is_some_and(|status| !status.conditions.is_empty())
            })
            .await;
    }
    // Nobody was forgotten meanwhile, and nobody is now.
    let passed = operator.checks("Connected").await;
    operator.await_count("checks_total{reason=\"Connected\"", passed + 3, THREE_CHECKS).await;
    victim.connect("another", &specs::app_role(&vault.url, "approle", "credentials")).await;
    for name in ["victim", "another"] {
        victim.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    let peak = limit.peak(operator.pid);
    eprintln!("the operator took {} MiB at most, of {} MiB", peak >> 20, limit.bytes >> 20);
    assert!(peak < limit.bytes, "it took {peak} bytes");
    operator.stop().await;
}
