//! One tenant, all others: servers that hold every check as long as they can.

use std::{
    iter,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    cluster::Cluster,
    fakes::{
        Fake,
        vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    },
    operator::Operator,
    specs,
    verdict::{is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// How many connections the tenant has that is not kind.
const TARPITS: usize = 64;

/// How many are applied at once.
const APPLIED_AT_ONCE: usize = 16;

/// Two intervals of the connections here, and a busy machine.
const TWO_INTERVALS: Duration = Duration::from_secs(22);

/// A stop without anything to revoke, and a busy machine.
const SHORT_STOP: Duration = Duration::from_millis(1500);

/// What is promised.
const STOP: Duration = Duration::from_secs(5);

/// A spec that is checked every ten seconds.
fn often(url: &str) -> Value {
    let mut spec = specs::app_role(url, "approle", "credentials");
    spec["check"] = json!({"interval": "10s", "timeout": "10s"});
    spec
}

/// A spec whose check takes as long as can be, if nobody answers.
fn tarpit(url: &str) -> Value {
    let mut spec = specs::app_role(url, "approle", "credentials");
    spec["check"] = json!({"interval": "1m", "timeout": "1m"});
    spec
}

async fn give_credentials(cluster: &Cluster) {
    cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
}

/// Connects to a silent server by many paths, and to as many silent servers.
async fn connect_tarpits(cluster: &Cluster, silent: &[Fake]) {
    let paths = (0..TARPITS).map(|number| format!("{}/path-{number}", silent[0].url()));
    let servers = silent.iter().skip(1).map(Fake::url);
    let urls = paths.chain(servers).enumerate();
    stream::iter(urls)
        .for_each_concurrent(APPLIED_AT_ONCE, async |(number, url)| {
            cluster.connect(&format!("tarpit-{number}"), &tarpit(&url)).await;
        })
        .await;
}

fn flags<'a>(concurrency: &'a str, other: &'a Cluster) -> Vec<&'a str> {
    let open = ["--allow-address", "127.0.0.1", "--allow-plain-http"];
    let work = ["--concurrency", concurrency, "--watch-namespace", &other.namespace];
    [&open[..], &work].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn tarpits_of_one_namespace_keep_nobody_else_waiting() {
    let (hostile, victim) = (Cluster::new("tarpits").await, Cluster::new("victim").await);
    let silent = join_all(iter::repeat_with(Fake::silent).take(1 + TARPITS)).await;
    let vault = FakeVault::new().await;
    give_credentials(&hostile).await;
    give_credentials(&victim).await;
    let operator = Operator::start_with(&hostile, &flags("8", &victim)).await;
    connect_tarpits(&hostile, &silent).await;
    eventually("the tarpits hold what they can", PATIENCE, async || {
        (silent.iter().map(Fake::connections).sum::<usize>() >= 4).then_some(())
    })
    .await;

    let started = Instant::now();
    for name in ["a", "b", "c", "d"] {
        victim.connect(name, &often(&vault.url)).await;
    }
    for name in ["a", "b", "c", "d"] {
        victim.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    eprintln!("four first checks took {:?}", started.elapsed());
    // What was Ready is checked as it should be, and a Vault that dies is told as always.
    let passed = operator.checks("Connected").await;
    operator.await_count("checks_total{reason=\"Connected\"", passed + 4, TWO_INTERVALS).await;
    vault.misbehave(Ask::Health, Misdeed::Reset);
    vault.misbehave(Ask::LookupSelf, Misdeed::Reset);
    for name in ["a", "b", "c", "d"] {
        let down = victim.wait(name, "not Ready", TWO_INTERVALS, |found| !is_ready(found)).await;
        let reason = ready(&down).map(|ready| ready.reason.clone());
        assert_ne!(reason.as_deref(), Some(Reason::CheckOverdue.as_str()), "{name} was looked at");
    }
    operator.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_ready_ends_in_time_although_every_worker_is_held() {
    let (hostile, victim) = (Cluster::new("held").await, Cluster::new("held-victim").await);
    let (silent, vault) = (Fake::silent().await, FakeVault::new().await);
    give_credentials(&hostile).await;
    give_credentials(&victim).await;
    let operator = Operator::start_with(&hostile, &flags("1", &victim)).await;
    victim.connect("victim", &often(&vault.url)).await;
    victim.wait("victim", "Ready", PATIENCE, is_ready).await;
    // No check that passed can be younger than this, once the only worker is held.
    hostile.connect("tarpit", &tarpit(&silent.url())).await;
    eventually("it is held", PATIENCE, async || (silent.connections() > 0).then_some(())).await;
    let held = Instant::now();
    let late = victim.wait("victim", "not Ready", TWO_INTERVALS, |found| !is_ready(found)).await;
    eprintln!("an old Ready ended {:?} after the last worker was held", held.elapsed());
    let ready = ready(&late).expect("it was looked at");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", Reason::CheckOverdue.as_str()));
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_stops_in_time_whatever_its_instances_do() {
    let (cluster, other) = (Cluster::new("stop").await, Cluster::new("stop-other").await);
    let silent = join_all(iter::repeat_with(Fake::silent).take(1 + TARPITS)).await;
    let (vault, mute) = (FakeVault::new().await, FakeVault::new().await);
    give_credentials(&cluster).await;
    give_credentials(&other).await;

    let operator = Operator::start_with(&cluster, &flags("64", &other)).await;
    connect_tarpits(&cluster, &silent).await;
    eventually("many checks hang", PATIENCE, async || {
        (silent.iter().map(Fake::connections).sum::<usize>() >= 32).then_some(())
    })
    .await;
    let (status, took) = operator.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < SHORT_STOP, "nothing was to be revoked, and it took {took:?}");

    // Sessions are revoked, and one instance that does not answer keeps no other from it.
    let operator = Operator::start_with(&cluster, &flags("64", &other)).await;
    let names: Vec<_> = (0..40).map(|number| format!("kept-{number}")).collect();
    for name in &names {
        other.connect(name, &specs::app_role(&vault.url, "approle", "credentials")).await;
        other.connect(&format!("mute-{name}"), &specs::app_role(&mute.url, "approle", "credentials")).await;
    }
    for name in &names {
        other.wait(name, "Ready", PATIENCE, is_ready).await;
        other.wait(&format!("mute-{name}"), "Ready", PATIENCE, is_ready).await;
    }
    mute.misbehave(Ask::RevokeSelf, Misdeed::Silence);
    assert_eq!((vault.sessions(), mute.sessions()), (names.len(), names.len()));
    let (status, took) = operator.stop();
    eprintln!("{} sessions and as many that could not be revoked: stopped after {took:?}", names.len());
    assert_eq!((status.code(), vault.sessions()), (Some(0), 0));
    assert!(took < STOP, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_left_at_the_stop_are_counted_and_a_silent_instance_is_soon_given_up() {
    const SESSIONS: usize = 120;
    let (cluster, mute) = (Cluster::new("stop-left").await, FakeVault::new().await);
    give_credentials(&cluster).await;
    let operator = Operator::start(&cluster).await;
    let spec = specs::app_role(&mute.url, "approle", "credentials");
    let names: Vec<_> = (0..SESSIONS).map(|number| format!("kept-{number}")).collect();
    let connected = names.iter().map(|name| cluster.connect(name, &spec));
    stream::iter(connected).buffer_unordered(APPLIED_AT_ONCE).collect::<Vec<_>>().await;
    eventually("every session is kept", PATIENCE, async || (mute.sessions() == SESSIONS).then_some(())).await;
    for name in &names {
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    mute.misbehave(Ask::RevokeSelf, Misdeed::Silence);
    let log = String::from_utf8(operator.said_at_end()).expect("a log is text");
    assert!(log.contains(&format!("revoked=0 left={SESSIONS}")), "{log}");
    assert!(mute.asked(Ask::RevokeSelf) <= SESSIONS / 2, "{} were asked", mute.asked(Ask::RevokeSelf));
}
