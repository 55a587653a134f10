//! Who answers, and in whose words: HashiCorp Vault's dialect, and what stands before a Vault and answers in its place.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vault_connection_operator::api::condition::{ConditionType, Reason};

use crate::{
    faults_table::{Bench, fake_spec, row},
    support::{
        fakes::{
            http::Answer,
            vault::{Ask, Dialect, FakeVault, Misdeed},
        },
        specs,
        vault::{Vault, has_namespaces},
        verdict::{assert_failed, condition, is_ready},
        wait::PATIENCE,
    },
};

/// How long a connection that was Ready is given before a passing fault is believed.
const GRACE: Duration = Duration::from_secs(10);

async fn answering(ask: Ask, answer: Answer) -> FakeVault {
    FakeVault::new().await.that(ask, Misdeed::Answer(answer))
}

async fn hashicorp() -> FakeVault {
    FakeVault::new().await.that_speaks(Dialect::HashiCorp)
}

#[tokio::test]
async fn a_vault_of_hashicorp_is_as_good_as_an_openbao() {
    let (bench, fake) = (Bench::new("answers-hashicorp").await, hashicorp().await);
    let mut spec = fake_spec(&fake.url);
    spec["require"] = json!({"secretSync": {"mount": "demo_mount"}});
    bench.cluster.connect("hashicorp", &spec).await;
    let ready = bench.cluster.wait("hashicorp", "Ready", PATIENCE, is_ready).await;
    let server = ready.status.and_then(|status| status.server).expect("it is told");
    assert_eq!(server.version.as_deref(), Some("1.21.3"));
}

#[tokio::test]
async fn what_a_vault_of_hashicorp_refuses_is_distinguished() {
    let bench = Bench::new("answers-refusals").await;
    bench.cluster.secret("given", &[("token", "hvs.never-issued")]).await;
    let (unknown, ignoring) = (hashicorp().await, hashicorp().await);
    bench.cluster.connect("unknown-token", &specs::token(&unknown.url, "given")).await;
    let mut spec = fake_spec(&ignoring.url);
    spec["namespace"] = json!("admin/team-a");
    bench.cluster.connect("ignored-namespace", &spec).await;
    let rows = [
        row(
            "second-factor",
            hashicorp().await.that(Ask::Login, Misdeed::Answer(Dialect::HashiCorp.asks_for_a_factor())),
            Reason::MfaRequired,
            "Exempt this role",
        ),
        row(
            "other-address",
            hashicorp().await.that(
                Ask::Login,
                Misdeed::Answer(Answer::error(
                    400,
                    "source address \"10.0.0.1\" unauthorized by CIDR restrictions on the role: %!w(<nil>)",
                )),
            ),
            Reason::SourceAddressDenied,
            "secret_id_bound_cidrs",
        ),
    ];
    bench.assert_seen(&rows, |_| {}).await;

    let refused = bench.cluster.wait_reason("unknown-token", Reason::TokenRejected).await;
    assert_failed("unknown-token", &refused, Reason::TokenRejected, "Store a valid token there");
    let nowhere = bench.cluster.wait_reason("ignored-namespace", Reason::NamespaceNotFound).await;
    assert_failed("ignored-namespace", &nowhere, Reason::NamespaceNotFound, "Remove spec.namespace");
    assert_eq!(ignoring.asked(Ask::Login), 0, "it would log in to the root namespace");
}

#[tokio::test]
async fn what_stands_before_a_vault_is_distinguished_from_the_vault() {
    let bench = Bench::new("answers-before").await;
    let page = Answer::page;
    let blocked = Reason::RequestBlocked;
    let login = "answered POST auth/approle/login with HTTP";
    let rows = [
        row("login-403", answering(Ask::Login, page(403)).await, blocked, login),
        row("login-400", answering(Ask::Login, page(400)).await, blocked, login),
        row("login-405", answering(Ask::Login, page(405)).await, blocked, "Allow this HTTP method there"),
        row("login-413", answering(Ask::Login, page(413)).await, blocked, "Raise its limit"),
        row("look-403", answering(Ask::LookupSelf, page(403)).await, blocked, "GET auth/token/lookup-self"),
        row("login-502", answering(Ask::Login, page(502)).await, Reason::ServerError, "load balancer"),
        row("login-504", answering(Ask::Login, page(504)).await, Reason::ServerError, "load balancer"),
        row(
            "all-403",
            answering(Ask::Health, page(403)).await.that(Ask::LookupSelf, Misdeed::Answer(page(403))),
            Reason::NotVault,
            "whether a proxy or firewall answers in place of Vault",
        ),
        row(
            "forwarded-for",
            answering(
                Ask::Health,
                Answer::error(
                    400,
                    "missing x-forwarded-for header and configured to reject when not present",
                ),
            )
            .await,
            Reason::ForwardedForRequired,
            "x_forwarded_for_reject_not_present",
        ),
        row(
            "tls-port",
            answering(Ask::Health, Answer::new(400, "Client sent an HTTP request to an HTTPS server.\n"))
                .await,
            Reason::HttpsRequired,
            "Use https://",
        ),
        row(
            "to-https",
            answering(Ask::Health, Answer::new(301, "").with("location: https://127.0.0.1/v1/sys/health"))
                .await,
            Reason::HttpsRequired,
            "Use https://",
        ),
    ];
    bench.assert_seen(&rows, |_| {}).await;
    for row in &rows {
        let asked = row.fake.asked(Ask::Health);
        assert!(asked > 0, "{}", row.name);
    }
    bench.assert_mends_itself(&rows).await;
}

#[tokio::test]
async fn a_login_that_works_where_health_is_kept_from_us_is_ready_and_says_so() {
    let bench = Bench::new("answers-health").await;
    let answers = [
        ("page-401", Answer::page(401)),
        ("page-403", Answer::page(403)),
        ("page-404", Answer::page(404)),
        ("vaults-own-403", Answer::error(403, "permission denied")),
    ];
    for (name, answer) in answers {
        let fake = answering(Ask::Health, answer).await;
        bench.cluster.connect(name, &fake_spec(&fake.url)).await;
        let ready = bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let told = condition(&ready, ConditionType::ServerReady.as_str()).expect("it is judged");
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "HealthNotReadable"), "{name}");
        assert!(told.message.contains("GET sys/health was refused"), "{name}: {}", told.message);
    }
}

#[tokio::test]
async fn a_standby_without_an_active_node_is_passing_and_a_ready_connection_is_given_time() {
    let bench = Bench::new("answers-standby").await;
    let answers = [
        ("no-leader", Answer::error(503, "no active Vault instance found")),
        ("lost-leader", Answer::error(500, "local node not active but active cluster node not found")),
        ("redirects", Answer::new(307, "").with("location: https://10.0.0.9:8200/v1/auth/token/lookup-self")),
        ("redirects-nowhere", Answer::new(307, "").with("location: ")),
    ];
    let mut fakes = Vec::new();
    for (name, answer) in answers {
        let fake = FakeVault::new().await;
        bench.cluster.connect(name, &fake_spec(&fake.url)).await;
        bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        fake.misbehave(Ask::LookupSelf, Misdeed::Answer(answer));
        fakes.push((name, fake, Instant::now()));
        bench.cluster.request_check(name, "now").await;
    }
    for (name, _, begin) in &fakes {
        let told = bench.cluster.wait(name, "not Ready", PATIENCE, |found| !is_ready(found)).await;
        assert!(begin.elapsed() >= GRACE, "{name} was given only {:?}", begin.elapsed());
        assert_failed(name, &told, Reason::NoActiveNode, "During an election, wait");
    }
    for (name, fake, _) in &fakes {
        fake.behave();
        bench.cluster.wait(name, "Ready by itself", PATIENCE, is_ready).await;
    }
}

#[tokio::test]
async fn a_token_of_another_vault_namespace_is_not_ready_and_says_which_it_belongs_to() {
    if !has_namespaces() {
        return;
    }
    let (bench, vault) = (Bench::new("answers-namespace").await, Vault::shared());
    let [own, sibling] = ["own", "sibling"].map(crate::support::bed::unique);
    let child = format!("{own}/child");
    // A path may begin with the namespace that it is in.
    for path in [
        format!("sys/namespaces/{own}"),
        format!("sys/namespaces/{sibling}"),
        format!("{own}/sys/namespaces/child"),
    ] {
        vault.write(&path, &json!({})).await;
    }
    let settings = json!({"policies": ["default"], "ttl": "1h"});
    let issued = vault.write(&format!("{own}/auth/token/create"), &settings).await;
    let token = issued["auth"]["client_token"].as_str().expect("a token is issued").to_owned();
    bench.cluster.secret("token", &[("token", &token)]).await;
    let spec = |namespace: &str| -> Value {
        let mut spec = specs::token(&vault.address, "token");
        spec["namespace"] = json!(namespace);
        spec
    };
    for (name, namespace) in [("root", ""), ("sibling", &sibling), ("child", &child)] {
        bench.cluster.connect(name, &spec(namespace)).await;
        let told = bench.cluster.wait_reason(name, Reason::TokenNamespaceMismatch).await;
        assert_failed(name, &told, Reason::TokenNamespaceMismatch, &format!("set spec.namespace to {own:?}"));
    }
    let mut required = spec(&child);
    required["require"] = json!({"capabilities": [{"path": "kv/data/app", "verbs": ["read"]}]});
    bench.cluster.connect("child-required", &required).await;
    bench.cluster.wait_reason("child-required", Reason::TokenNamespaceMismatch).await;
    bench.cluster.connect("own", &spec(&own)).await;
    bench.cluster.wait("own", "Ready", PATIENCE, is_ready).await;
}
