//! Credentials that end, are locked, or are of another kind than usual, on a real OpenBao.

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection, status::Session};

use crate::{
    faults_table::{Bench, FIRST_WAIT, HELD, assert_waits, check_now},
    support::{
        audit,
        bed::variable,
        cluster::Cluster,
        operator::Operator,
        specs,
        vault::{AppRole, Vault, ends_secret_ids, http},
        verdict::{assert_failed, is_ready},
        wait::{PATIENCE, eventually},
    },
};

/// A role whose tokens end before the next check, so that each check is a login.
fn short_lived() -> Value {
    json!({"token_ttl": "30s", "token_max_ttl": "2m"})
}

/// Merges settings.
fn with(mut settings: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    settings
}

/// Sends a request to the shared Vault, as somebody else than the operator.
async fn ask(path: &str, token: &str, wrap: bool, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}/v1/{path}", variable("BED_VAULT_ADDR"));
    let client = http();
    let mut request = match body {
        Some(body) => client.post(url).body(body.to_string()),
        None => client.get(url),
    };
    if wrap {
        request = request.header("x-vault-wrap-ttl", "300");
    }
    let answer = request.header("x-vault-token", token).send().await.expect("Vault answers");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("it answers whole")).unwrap_or_default())
}

/// What the shared Vault answers its administrator, in a wrapping token.
async fn wrapped(path: &str, body: Option<Value>) -> String {
    let (status, answer) = ask(path, &variable("BED_VAULT_TOKEN"), true, body).await;
    let token = answer["wrap_info"]["token"].as_str();
    token.unwrap_or_else(|| panic!("{path} is not wrapped: {status}")).to_owned()
}

async fn unwrap(token: &str) -> (u16, Value) {
    ask("sys/wrapping/unwrap", token, false, Some(json!({}))).await
}

/// Connects with a secret id of its own.
async fn connect(cluster: &Cluster, vault: &Vault, name: &str, role: &AppRole) {
    let secret_id = vault.secret_id(role).await;
    cluster.secret(name, &specs::pair(role, &secret_id)).await;
    cluster.connect(name, &specs::app_role(&vault.address, &role.mount, name)).await;
}

fn session(connection: &VaultConnection) -> Session {
    connection.status.as_ref().and_then(|status| status.session.clone()).expect("the login is told")
}

#[tokio::test]
async fn a_role_that_others_locked_is_denied_and_ready_once_it_is_unlocked() {
    let (bench, vault) = (Bench::new("faults-locked").await, Vault::shared());
    let role = vault.app_role("faults-locked", json!({"token_ttl": "1h"})).await;
    let login = format!("auth/{}/login", role.mount);
    for _ in 0..5 {
        let guess = json!({"role_id": role.role_id, "secret_id": "a guess"});
        assert_eq!(ask(&login, "", false, Some(guess)).await.0, 400);
    }
    connect(&bench.cluster, &vault, "locked", &role).await;
    let denied = bench.cluster.wait_reason("locked", Reason::LoginDenied).await;
    assert_failed("locked", &denied, Reason::LoginDenied, "the role is not locked after failed logins");
    assert_waits("locked", &denied, HELD);

    let (_, method) =
        ask(&format!("sys/auth/{}", role.mount), &variable("BED_VAULT_TOKEN"), false, None).await;
    let accessor = method["data"]["accessor"].as_str().expect("a mount has an accessor");
    vault.write(&format!("sys/locked-users/{accessor}/unlock/{}", role.role_id), &json!({})).await;
    assert!(is_ready(&check_now(&bench.cluster, "locked").await), "a person need not wait");
}

#[tokio::test]
async fn a_secret_id_that_ends_is_reported_and_a_new_one_is_taken_at_once() {
    let (bench, vault) = (Bench::new("faults-ends").await, Vault::shared());
    let mut rows = vec![("used-up", json!({"secret_id_num_uses": 1}))];
    if ends_secret_ids() {
        rows.push(("expired", json!({"secret_id_ttl": "9s"})));
    }
    let ended = rows.len() as u64;
    let mut roles = Vec::new();
    for (name, ends) in rows {
        let role = vault.app_role("faults-ends", with(short_lived(), &ends)).await;
        connect(&bench.cluster, &vault, name, &role).await;
        bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        roles.push((name, role));
    }
    for (name, role) in &roles {
        let refused = eventually("the secret id has ended", PATIENCE, async || {
            let checked = check_now(&bench.cluster, name).await;
            (!is_ready(&checked)).then_some(checked)
        })
        .await;
        assert_failed(name, &refused, Reason::InvalidCredentials, "Update the Secret");
        assert_waits(name, &refused, HELD);
        let secret_id = vault.secret_id(role).await;
        bench.cluster.secret(name, &specs::pair(role, &secret_id)).await;
        bench.cluster.wait(name, "Ready with a new one", PATIENCE, is_ready).await;
    }
    let refused = "vault_requests_total{operation=\"login\",answer=\"4xx\"";
    assert_eq!(bench.operator.count(refused).await, ended, "each was tried once when it had ended");
}

#[tokio::test]
async fn a_credential_that_is_bound_to_other_addresses_is_reported() {
    let (bench, vault) = (Bench::new("faults-bound").await, Vault::shared());
    let elsewhere = json!(["192.0.2.0/24"]);
    let rows = [
        ("token", json!({"token_bound_cidrs": elsewhere}), Reason::TokenUnusable, "token_bound_cidrs", HELD),
        (
            "secret-id",
            json!({"secret_id_bound_cidrs": elsewhere}),
            Reason::SourceAddressDenied,
            "secret_id_bound_cidrs",
            // Vault counts no failed login for it, so that it may be tried again soon.
            FIRST_WAIT,
        ),
    ];
    for (name, bound, reason, next_step, wait) in rows {
        let role = vault.app_role("faults-bound", with(short_lived(), &bound)).await;
        connect(&bench.cluster, &vault, name, &role).await;
        let refused = bench.cluster.wait_reason(name, reason).await;
        assert_failed(name, &refused, reason, next_step);
        assert_waits(name, &refused, wait);
    }
}

#[tokio::test]
async fn a_batch_token_is_kept_and_nobody_tries_to_revoke_it() {
    let (cluster, vault) = (Cluster::new("faults-batch").await, Vault::own("faults-batch", ""));
    let operator = Operator::start(&cluster).await;
    let role = vault.app_role("faults-batch", json!({"token_type": "batch", "token_ttl": "1h"})).await;
    connect(&cluster, &vault, "batch", &role).await;
    cluster.change("batch", &json!({"spec": {"check": {"interval": "10s"}}})).await;
    let ready = cluster.wait("batch", "Ready", PATIENCE, is_ready).await;
    let told = session(&ready);
    assert_eq!((told.token_type.as_deref(), told.renewable), (Some("batch"), Some(false)));
    operator.await_count("vault_requests_total{operation=\"lookup_self\"", 3, PATIENCE).await;
    cluster.delete("batch").await;
    operator.stop();
    let login = format!("auth/{}/login", role.mount);
    let lookup = "auth/token/lookup-self";
    let asked = audit::vault_paths(&vault).await;
    assert_eq!(asked[..4], [&login, lookup, lookup, lookup], "one login, a look for each check");
    assert!(asked[4..].iter().all(|path| path == lookup), "and no end: {asked:?}");
}

#[tokio::test]
async fn tokens_of_every_kind_are_distinguished() {
    const HOUR: i64 = 3600;
    let (bench, vault) = (Bench::new("faults-kinds").await, Vault::shared());
    let rows = [
        ("plain", json!({"ttl": "1h"}), [None, None, None]),
        ("fixed", json!({"ttl": "1h", "renewable": false}), [Some(HOUR), None, None]),
        ("bounded", json!({"ttl": "1h", "explicit_max_ttl": "2h"}), [Some(2 * HOUR), None, None]),
        ("periodic", json!({"period": "1h"}), [None, Some(HOUR), None]),
        ("limited", json!({"ttl": "1h", "num_uses": 5}), [None, None, Some(4)]),
        ("orphan", json!({"ttl": "1h", "no_parent": true}), [None, None, None]),
        ("batch", json!({"ttl": "1h", "type": "batch"}), [Some(HOUR), None, None]),
    ];
    for (name, settings, expected) in rows {
        let token = vault.issue_token(&with(json!({"policies": ["vault-connection"]}), &settings)).await;
        bench.cluster.secret(name, &[("token", &token)]).await;
        bench.cluster.connect(name, &specs::token(&vault.address, name)).await;
        let told = session(&bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await);
        assert_eq!([told.longest_life_seconds, told.period_seconds, told.uses_left], expected, "{name}");
        assert_eq!(
            told.token_type.as_deref(),
            Some(if name == "batch" { "batch" } else { "service" }),
            "{name}"
        );
        assert_eq!(told.renewable, Some(name != "fixed" && name != "batch"), "{name}");
        assert_eq!(told.orphan, Some(name == "orphan"), "{name}");
    }
}

#[tokio::test]
async fn a_token_with_limited_uses_is_looked_up_once_and_left_alone() {
    let (bench, vault) = (Bench::new("faults-limited").await, Vault::shared());
    let settings = json!({"policies": ["vault-connection"], "ttl": "1h", "num_uses": 5});
    let token = vault.issue_token(&settings).await;
    bench.cluster.secret("limited", &[("token", &token)]).await;
    bench.cluster.connect("limited", &specs::token(&vault.address, "limited")).await;
    bench.cluster.wait("limited", "Ready", PATIENCE, is_ready).await;
    for _ in 0..3 {
        assert!(is_ready(&check_now(&bench.cluster, "limited").await));
    }
    // A look from outside is not a use of it.
    let seen = vault.write("auth/token/lookup", &json!({"token": token})).await;
    assert_eq!(seen["data"]["num_uses"], 4);
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once_and_kept() {
    let (bench, vault) = (Bench::new("faults-wrapped").await, Vault::shared());
    let role = vault.app_role("faults-wrapped", short_lived()).await;
    let wrapping = wrapped(&format!("auth/{}/role/role/secret-id", role.mount), Some(json!({}))).await;
    connect_wrapped(&bench.cluster, &vault, "wrapped", &role, &wrapping).await;
    bench.cluster.wait("wrapped", "Ready", PATIENCE, is_ready).await;
    for _ in 0..2 {
        assert!(is_ready(&check_now(&bench.cluster, "wrapped").await), "what it held is still known");
    }
    assert_eq!(bench.operator.count("vault_requests_total{operation=\"login\"").await, 3);
    assert_eq!(bench.operator.count("vault_requests_total{operation=\"unwrap\"").await, 1);
    assert_eq!(unwrap(&wrapping).await.0, 400, "nobody can open it a second time");
}

#[tokio::test]
async fn a_wrapping_token_that_somebody_opened_before_is_a_warning_and_a_new_one_mends_it() {
    let (bench, vault) = (Bench::new("faults-spent").await, Vault::shared());
    let role = vault.app_role("faults-spent", short_lived()).await;
    let path = format!("auth/{}/role/role/secret-id", role.mount);
    let spent = wrapped(&path, Some(json!({}))).await;
    assert_eq!(unwrap(&spent).await.0, 200, "somebody opens it");
    connect_wrapped(&bench.cluster, &vault, "spent", &role, &spent).await;
    let told = bench.cluster.wait_reason("spent", Reason::WrappingTokenSpent).await;
    assert_failed("spent", &told, Reason::WrappingTokenSpent, "this is a security incident");
    assert_waits("spent", &told, FIRST_WAIT);
    let events: Api<Event> = Api::namespaced(bench.cluster.client.clone(), &bench.cluster.namespace);
    eventually("an event warns", PATIENCE, async || {
        let events = events.list(&ListParams::default()).await.expect("the API server answers");
        let warns = |event: &Event| {
            event.reason.as_deref() == Some("WrappingTokenSpent") && event.type_.as_deref() == Some("Warning")
        };
        events.iter().any(warns).then_some(())
    })
    .await;
    assert_eq!(bench.operator.count("vault_requests_total{operation=\"login\"").await, 0);

    let fresh = wrapped(&path, Some(json!({}))).await;
    bench.cluster.secret("spent", &[("roleId", &role.role_id), ("secretId", &fresh)]).await;
    bench.cluster.wait("spent", "Ready with a new one", PATIENCE, is_ready).await;
}

#[tokio::test]
async fn a_wrapping_token_of_something_else_is_reported_and_not_opened() {
    let (bench, vault) = (Bench::new("faults-foreign").await, Vault::shared());
    let role = vault.app_role("faults-foreign", short_lived()).await;
    let other = vault.app_role("faults-other", short_lived()).await;
    let of_other = format!("auth/{}/role/role/secret-id", other.mount);
    let rows = [
        ("mounts", wrapped("sys/mounts", None).await),
        ("other-mount", wrapped(&of_other, Some(json!({}))).await),
    ];
    for (name, foreign) in rows {
        connect_wrapped(&bench.cluster, &vault, name, &role, &foreign).await;
        let told = bench.cluster.wait_reason(name, Reason::WrappingTokenForeign).await;
        assert_failed(name, &told, Reason::WrappingTokenForeign, "find out who stored this one");
        assert_waits(name, &told, FIRST_WAIT);
        let (status, opened) = unwrap(&foreign).await;
        assert!(status == 200 && opened["data"].is_object(), "{name}: it can still be opened: {status}");
    }
    assert_eq!(bench.operator.count("vault_requests_total{operation=\"unwrap\"").await, 0);
}

async fn connect_wrapped(cluster: &Cluster, vault: &Vault, name: &str, role: &AppRole, wrapping: &str) {
    cluster.secret(name, &specs::pair(role, wrapping)).await;
    let mut spec = specs::app_role(&vault.address, &role.mount, name);
    spec["auth"]["appRole"]["secretId"]["wrapped"] = json!(true);
    cluster.connect(name, &spec).await;
}
