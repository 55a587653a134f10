//! What answers, but not as a Vault that can serve: each answer has its reason, its waiting time, and its end.

use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, status::ServerRole};

use crate::{
    faults_table::{Bench, FIRST_WAIT, Row, assert_waits, fake_spec, row},
    support::{
        fakes::{
            Fake,
            http::Answer,
            openbao,
            vault::{Ask, FakeVault, Misdeed},
        },
        specs,
        verdict::{assert_failed, condition, is_current, is_ready},
        wait::PATIENCE,
    },
};

/// An hour.
const SKEW: i64 = 3600;

/// More than twice what is read of an answer.
const HUGE: usize = 2 << 20;

/// Deeper than any parser follows.
const DEEP: usize = 10_000;

/// A fake whose health has this status code and these fields.
async fn health(status: u16, fields: &[(&str, Value)]) -> FakeVault {
    let fake = FakeVault::new().await;
    let mut body = fake.health_body();
    for (name, value) in fields {
        body[*name] = value.clone();
    }
    fake.that(Ask::Health, Misdeed::Answer(Answer::json(status, &body)))
}

async fn answering(ask: Ask, answer: Answer) -> FakeVault {
    FakeVault::new().await.that(ask, Misdeed::Answer(answer))
}

#[tokio::test]
async fn a_node_that_cannot_serve_is_reported_by_its_health_code_and_gets_no_login() {
    let bench = Bench::new("faults-health").await;
    let rows = [
        row(
            "dr",
            health(472, &[]).await,
            Reason::DisasterRecoverySecondary,
            "spec.instanceUrl to the primary",
        ),
        row("cut-off", health(474, &[]).await, Reason::StandbyDisconnected, "state of the Vault cluster"),
        row("removed", health(530, &[]).await, Reason::NodeRemoved, "spec.instanceUrl to another node"),
        row(
            "new",
            health(501, &[("initialized", json!(false)), ("sealed", json!(true))]).await,
            Reason::NotInitialized,
            "operator init",
        ),
        row("sealed", health(503, &[("sealed", json!(true))]).await, Reason::Sealed, "operator unseal"),
    ];
    bench.assert_seen(&rows, |_| {}).await;
    for row in &rows {
        assert_eq!(row.fake.asked(Ask::Login), 0, "{}", row.name);
    }
    bench.assert_mends_itself(&rows).await;
}

#[tokio::test]
async fn a_standby_node_is_as_good_as_an_active_one() {
    let bench = Bench::new("faults-standby").await;
    let standby = [("standby", json!(true))];
    let rows = [
        ("standby", health(429, &standby).await, ServerRole::Standby),
        ("performance-standby", health(473, &standby).await, ServerRole::PerformanceStandby),
    ];
    for (name, fake, role) in rows {
        bench.cluster.connect(name, &fake_spec(&fake.url)).await;
        let ready = bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let server = ready.status.as_ref().and_then(|status| status.server.as_ref()).expect("it is told");
        assert_eq!(server.role, Some(role), "{name}");
        let told = condition(&ready, "ServerReady").expect("it is judged");
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("True", json!(role).as_str().expect("text"))
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_reported_and_does_no_harm() {
    let bench = Bench::new("faults-clock").await;
    for (name, skew) in [("ahead", SKEW), ("behind", -SKEW)] {
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        let fake = health(200, &[("server_time_utc", json!(now + skew))]).await;
        bench.cluster.connect(name, &fake_spec(&fake.url)).await;
        let ready = bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let told = ready.status.and_then(|status| status.server?.clock_skew_seconds).expect("it is told");
        // The answer was made before it was asked for.
        assert!((skew - 20..=skew).contains(&told), "{name}: {told}");
    }
}

/// Answers that no Vault gives, to what is asked first and to the login.
async fn foreign_answers(ask: Ask) -> Vec<Row> {
    let huge = json!({"data": {}, "padding": "x".repeat(HUGE)});
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(DEEP), "]".repeat(DEEP));
    let error = "log of the instance";
    let not_vault = "Check the host, port and path prefix";
    let names = match ask {
        Ask::Health => ["h500", "h502", "h503", "h-page", "h-cut", "h-huge", "h-deep"],
        _ => ["l500", "l502", "l503", "l-page", "l-cut", "l-huge", "l-deep"],
    };
    let answers = [
        (Answer::page(500), Reason::ServerError, error),
        (Answer::page(502), Reason::ServerError, error),
        (Answer::page(503), Reason::ServerError, error),
        (Answer::page(200), Reason::NotVault, not_vault),
        (Answer::new(200, r#"{"auth":{"client_token":"s.canary","#), Reason::NotVault, not_vault),
        (Answer::json(200, &huge), Reason::NotVault, not_vault),
        (Answer::new(200, &deep), Reason::NotVault, not_vault),
    ];
    let mut rows = Vec::new();
    for (name, (answer, reason, next_step)) in names.into_iter().zip(answers) {
        rows.push(row(name, answering(ask, answer).await, reason, next_step));
    }
    rows
}

#[tokio::test]
async fn what_is_no_answer_of_a_vault_is_reported_and_passes_by_itself() {
    let bench = Bench::new("faults-foreign").await;
    let mut rows = foreign_answers(Ask::Health).await;
    rows.extend(foreign_answers(Ask::Login).await);
    bench.assert_seen(&rows, |_| {}).await;
    bench.assert_mends_itself(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_token_is_refused_is_not_ready_and_leaves_no_token_behind() {
    let bench = Bench::new("faults-unusable").await;
    let refused = |text| Answer::error(403, text);
    let rows = [
        row(
            "bound-elsewhere",
            answering(Ask::LookupSelf, refused("permission denied")).await,
            Reason::TokenUnusable,
            "token_bound_cidrs",
        )
        .that_is_held(),
        row(
            "no-default-policy",
            answering(Ask::LookupSelf, refused("1 error occurred:\n\t* permission denied\n\n")).await,
            Reason::TokenUnusable,
            "may not use auth/token/lookup-self. Add the policy `default` to its role or token",
        )
        .that_is_held(),
        row(
            "fails-later",
            answering(Ask::LookupSelf, Answer::page(500)).await,
            Reason::ServerError,
            "log of the instance",
        ),
    ];
    bench.assert_seen(&rows, |_| {}).await;
    for row in &rows {
        assert_eq!(row.fake.asked(Ask::Login), 1, "{}", row.name);
        row.fake.behave();
        assert!(is_ready(&bench.check_now(row.name).await), "{}: a person need not wait", row.name);
    }
    bench.assert_leaves_no_session(&rows).await;
}

#[tokio::test]
async fn a_ready_connection_whose_server_asks_to_wait_long_is_not_called_ready_meanwhile() {
    let (bench, fake) = (Bench::new("faults-ready-wait").await, FakeVault::new().await);
    bench.cluster.connect("limited", &fake_spec(&fake.url)).await;
    bench.cluster.wait("limited", "Ready", PATIENCE, is_ready).await;
    let limit = Answer::error(429, "rate limit quota exceeded").with("retry-after: 120");
    fake.misbehave(Ask::LookupSelf, Misdeed::Answer(limit));
    let limited = bench.check_now("limited").await;
    assert_failed("limited", &limited, Reason::RateLimited, "of the instance");
}

#[tokio::test]
async fn absurd_numbers_of_one_server_do_not_stop_the_others() {
    let bench = Bench::new("faults-absurd").await;
    let retry = Answer::error(429, "quota").with(&format!("retry-after: {}", u64::MAX));
    let mut life = openbao::lookup("s.given");
    life["data"]["ttl"] = json!(u64::MAX);
    let rows = [
        ("retry", answering(Ask::LookupSelf, retry).await),
        ("clock", health(200, &[("server_time_utc", json!(i64::MIN))]).await),
        ("life", answering(Ask::LookupSelf, Answer::json(200, &life)).await),
    ];
    bench.cluster.secret("given", &[("token", "s.given")]).await;
    for (name, absurd) in &rows {
        bench.cluster.connect(name, &specs::token(&absurd.url, "given")).await;
        bench.cluster.wait(name, "judged", PATIENCE, is_current).await;
        bench.check_now(name).await;
    }
}

#[tokio::test]
async fn a_redirect_of_a_standby_at_login_is_reported_and_nothing_is_sent_after_it() {
    let bench = Bench::new("faults-redirect").await;
    let target = Fake::answering("200 OK", "content-type: application/json", "{}").await;
    let location = format!("location: {}/v1/auth/approle/login?token=canary", target.url());
    let fake = answering(Ask::Login, Answer::new(307, "").with(&location)).await;
    let rows = [row("redirect", fake, Reason::NoActiveNode, "spec.instanceUrl to the active node")];
    bench.assert_seen(&rows, |_| {}).await;
    let told = bench.cluster.wait_reason("redirect", Reason::NoActiveNode).await;
    assert!(json!(told.status).to_string().contains(&target.address), "the message names the target");
    bench.assert_mends_itself(&rows).await;
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_given_that_time() {
    let bench = Bench::new("faults-wait").await;
    let limit = || Answer::error(429, "request path \"auth/approle/login\": rate limit quota exceeded");
    let leases = Answer::error(429, "request path \"auth/approle/login\": lease count quota exceeded");
    let behind = Answer::error(412, "required index state not present");
    let page = Answer::page(503).with("retry-after: 40");
    let rows = [
        ("no-time", Ask::Login, limit(), Reason::RateLimited, FIRST_WAIT.as_secs()),
        ("no-wait", Ask::Login, limit().with("retry-after: 0"), Reason::RateLimited, FIRST_WAIT.as_secs()),
        ("leases", Ask::Login, leases, Reason::RateLimited, FIRST_WAIT.as_secs()),
        ("replica", Ask::LookupSelf, behind, Reason::ServerError, FIRST_WAIT.as_secs()),
        ("login", Ask::Login, limit().with("retry-after: 30"), Reason::RateLimited, 30),
        ("lookup", Ask::LookupSelf, limit().with("retry-after: 20"), Reason::RateLimited, 20),
        ("health", Ask::Health, limit().with("retry-after: 600"), Reason::RateLimited, 600),
        ("maintenance", Ask::Login, page, Reason::ServerError, 40),
    ];
    let mut fakes = Vec::new();
    for (name, ask, answer, reason, seconds) in rows {
        let fake = answering(ask, answer).await;
        bench.cluster.connect(name, &fake_spec(&fake.url)).await;
        let waiting = bench.cluster.wait_reason(name, reason).await;
        assert_failed(name, &waiting, reason, "of the instance");
        assert_waits(name, &waiting, std::time::Duration::from_secs(seconds));
        fakes.push((name, ask, fake));
    }
    for (name, ask, fake) in fakes {
        fake.behave();
        // What health shows is shared for 5 s, so that a request in them asks nobody.
        if ask != Ask::Health {
            assert!(is_ready(&bench.check_now(name).await), "{name}: a person need not wait");
        }
    }
}
