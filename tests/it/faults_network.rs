//! What the network does to a connection: it ends in time, is told by its own reason, and passes by itself.

use std::time::{Duration, Instant};

use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::{
    faults_table::{Bench, FIRST_WAIT, assert_waits, fake_spec, row},
    support::{
        fakes::{
            http::Answer,
            pki::Ca,
            vault::{Ask, BlackHole, FakeVault, Misdeed},
        },
        verdict::{assert_failed, condition, is_ready},
        wait::PATIENCE,
    },
};

/// How long a connection that was Ready is given before an outage is believed.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_is_reported_and_passes_by_itself() {
    let bench = Bench::new("faults-network").await;
    let fake = FakeVault::new;
    let (broke, late) = ("Check the network, firewalls and load balancers", "did not respond within");
    let failed = Reason::ConnectionFailed;
    let rows = [
        row("reset-at-once", fake().await.that_resets(), failed, broke),
        row("reset-at-health", fake().await.that(Ask::Health, Misdeed::Reset), failed, broke),
        row("reset-at-login", fake().await.that(Ask::Login, Misdeed::Reset), failed, broke)
            .that_loses_a_login(),
        row("cut-at-health", fake().await.that(Ask::Health, Misdeed::Cut), failed, broke),
        row("cut-at-lookup", fake().await.that(Ask::LookupSelf, Misdeed::Cut), failed, broke),
        row("silent-at-health", fake().await.that(Ask::Health, Misdeed::Silence), Reason::Timeout, late)
            .with_timeout("1s"),
        row("silent-at-login", fake().await.that(Ask::Login, Misdeed::Silence), Reason::Timeout, late)
            .with_timeout("1s")
            .that_loses_a_login(),
        row("silent-at-lookup", fake().await.that(Ask::LookupSelf, Misdeed::Silence), Reason::Timeout, late)
            .with_timeout("1s"),
        row("drip-at-health", fake().await.that(Ask::Health, Misdeed::Drip), Reason::Timeout, late)
            .with_timeout("3s"),
        row("drip-at-lookup", fake().await.that(Ask::LookupSelf, Misdeed::Drip), Reason::Timeout, late)
            .with_timeout("3s"),
    ];
    bench.assert_seen(&rows, |_| {}).await;
    bench.assert_mends_itself(&rows).await;
    bench.assert_leaves_no_session(&rows).await;
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_a_timeout() {
    let bench = Bench::new("faults-black-hole").await;
    let hole = BlackHole::new().await;
    let mut spec = fake_spec(&hole.url());
    spec["check"] = json!({"timeout": "1s"});
    bench.cluster.connect("lost", &spec).await;
    let lost = bench.cluster.wait_reason("lost", Reason::Timeout).await;
    assert_failed("lost", &lost, Reason::Timeout, "firewalls that drop packets");
    assert_waits("lost", &lost, FIRST_WAIT);
    let _fake = hole.open();
    bench.cluster.wait("lost", "Ready by itself", PATIENCE, is_ready).await;
}

#[tokio::test]
async fn a_bad_certificate_is_reported_before_anything_is_sent_and_a_good_one_mends_it() {
    let (bench, ca) = (Bench::new("faults-tls").await, Ca::new());
    let rows = [
        row(
            "expired",
            FakeVault::with_tls(ca.serving_expired()).await,
            Reason::CertificateExpired,
            "Renew it, or correct the clocks",
        ),
        row(
            "other-name",
            FakeVault::with_tls(ca.serving_another_name()).await,
            Reason::CertificateNameMismatch,
            "that the certificate lists",
        ),
        row(
            "other-ca",
            FakeVault::with_tls(Ca::new().serving()).await,
            Reason::UnknownAuthority,
            "spec.tls.caBundle",
        ),
        row(
            "namesake-ca",
            FakeVault::with_tls(ca.namesake().serving()).await,
            Reason::UnknownAuthority,
            "spec.tls.caBundle",
        ),
    ];
    let trust = json!({"caBundle": {"inline": ca.pem}});
    bench.assert_seen(&rows, |spec| spec["tls"] = trust.clone()).await;
    for row in &rows {
        assert_eq!(row.fake.asked(Ask::Health), 0, "{}", row.name);
        row.fake.show(ca.serving());
    }
    bench.assert_mends_itself(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_rotated_under_a_ready_connection_shows_at_once_and_so_does_the_new_bundle() {
    let (bench, old, new) = (Bench::new("faults-ca").await, Ca::new(), Ca::new());
    let fake = FakeVault::with_tls(old.serving()).await;
    bench.cluster.secret("ca", &[("ca.crt", &old.pem)]).await;
    let mut spec = fake_spec(&fake.url);
    spec["tls"] = json!({"caBundle": {"secretRef": {"name": "ca", "key": "ca.crt"}}});
    bench.cluster.connect("rotated", &spec).await;
    bench.cluster.wait("rotated", "Ready", PATIENCE, is_ready).await;

    fake.show(new.serving());
    let found = bench.check_now("rotated").await;
    assert_failed("rotated", &found, Reason::UnknownAuthority, "spec.tls.caBundle");
    let authenticated = condition(&found, "Authenticated").map(|found| found.reason.clone());
    assert_eq!(authenticated.as_deref(), Some("NotChecked"), "an old True does not stay");

    bench.cluster.secret("ca", &[("ca.crt", &format!("{}{}", old.pem, new.pem))]).await;
    bench.cluster.wait("rotated", "Ready with the new bundle", PATIENCE, is_ready).await;
    bench.operator.stop();
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test]
async fn a_ready_connection_is_given_ten_seconds_before_a_passing_fault_is_believed() {
    let bench = Bench::new("faults-grace").await;
    let rows = [
        ("silent", Misdeed::Silence, Reason::Timeout),
        ("reset", Misdeed::Reset, Reason::ConnectionFailed),
        ("failing", Misdeed::Answer(Answer::page(502)), Reason::ServerError),
    ];
    let mut fakes = Vec::new();
    for (name, misdeed, reason) in rows {
        let fake = FakeVault::new().await;
        let mut spec = fake_spec(&fake.url);
        spec["check"] = json!({"timeout": "1s"});
        bench.cluster.connect(name, &spec).await;
        bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        fake.misbehave(Ask::Health, misdeed.clone());
        fake.misbehave(Ask::LookupSelf, misdeed);
        fakes.push((name, reason, fake, Instant::now()));
        bench.cluster.request_check(name, "now").await;
    }
    for (name, reason, _, begin) in &fakes {
        let told = bench.cluster.wait(name, "not Ready", PATIENCE, |found| !is_ready(found)).await;
        assert!(begin.elapsed() >= GRACE, "{name} was given only {:?}", begin.elapsed());
        assert_failed(name, &told, *reason, "");
    }
    for (name, _, fake, _) in &fakes {
        fake.behave();
        bench.cluster.wait(name, "Ready by itself", PATIENCE, is_ready).await;
        assert_eq!(fake.sessions(), 1, "{name}: one session is left");
    }
}
