//! What users and networks get wrong: each has its own reason, and a message with the next step.

use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    cluster::Cluster,
    fakes::Fake,
    operator::{Operator, free_address},
    specs,
    vault::{AppRole, Vault, knows_namespaces},
    verdict::{assert_failed, is_ready},
};

/// How soon a connection must be Ready once its Secret is mended: settle time, check, and a busy machine.
const MENDED: Duration = Duration::from_secs(2);

/// A connection that cannot be Ready.
struct Row {
    name: &'static str,
    spec: Value,
    reason: Reason,
    /// Part of the message: what the reader is to do.
    next_step: &'static str,
}

fn row(name: &'static str, spec: Value, reason: Reason, next_step: &'static str) -> Row {
    Row { name, spec, reason, next_step }
}

/// Applies all connections, so that they fail side by side, and holds each status to the contract.
async fn assert_rows(cluster: &Cluster, rows: &[Row]) {
    for row in rows {
        cluster.connect(row.name, &row.spec).await;
    }
    for row in rows {
        let connection = cluster.wait_reason(row.name, row.reason).await;
        assert_failed(row.name, &connection, row.reason, row.next_step);
    }
}

async fn a_role(vault: &Vault) -> (AppRole, String) {
    let role = vault.app_role("bad-input", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    (role, secret_id)
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_reported() {
    let (cluster, vault) = (Cluster::new("secrets").await, Vault::shared());
    let token = vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await;
    cluster.secret("no-key", &[("other", &token)]).await;
    cluster.raw_secret("no-label", &[("token", token.as_bytes())], false).await;
    cluster.secret("empty", &[("token", "")]).await;
    cluster.secret("newline", &[("token", &format!("{token}\n"))]).await;
    cluster.raw_secret("binary", &[("token", &[0xff, 0xfe, b'a'])], true).await;
    cluster.secret("long", &[("token", &"s".repeat(16 * 1024 + 1))]).await;
    let _operator = Operator::start(&cluster).await;
    let spec = |secret| specs::token(&vault.address, secret);
    let rows = [
        row("no-secret", spec("no-secret"), Reason::SecretNotFound, "Create it with the label"),
        row("no-key", spec("no-key"), Reason::KeyNotFound, "Add the key, or correct its name"),
        row(
            "no-label",
            spec("no-label"),
            Reason::SecretNotLabelled,
            "lacks the label appconnections.dev/credentials",
        ),
        row("empty-value", spec("empty"), Reason::EmptyValue, "Store the credential there"),
        row(
            "trailing-newline",
            spec("newline"),
            Reason::WhitespaceInValue,
            "kubectl create secret --from-literal",
        ),
        row("not-utf8", spec("binary"), Reason::NotUtf8, "Store plain text in `stringData`"),
        row("too-long", spec("long"), Reason::CredentialTooLong, "16 KiB"),
    ];
    assert_rows(&cluster, &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_a_credential_is_reported_before_a_login_is_spent() {
    let (cluster, vault) = (Cluster::new("slips").await, Vault::shared());
    let (role, secret_id) = a_role(&vault).await;
    let wrapping = vault.issue_token(&json!({"policies": ["default"], "ttl": "1h"})).await;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&secret_id);
    let values = [
        ("quotes", format!("\"{secret_id}\""), "is in quotes"),
        ("encoded", encoded, "base64 twice"),
        ("mark", format!("\u{feff}{secret_id}"), "invisible characters"),
        ("variable", format!("secret_id={secret_id}"), "name of a variable"),
        ("answer", format!("{{\"data\": {{\"secret_id\": \"{secret_id}\"}}}}"), "is a document"),
        ("lines", format!("{}\n{}", &secret_id[..18], &secret_id[18..]), "white space or a line break"),
        ("wrapped", wrapping, "wrapped: true"),
    ];
    let operator = Operator::start(&cluster).await;
    for (name, value, _) in &values {
        cluster.secret(name, &specs::pair(&role, value)).await;
        cluster.connect(name, &specs::app_role(&vault.address, &role.mount, name)).await;
    }
    for (name, value, advice) in &values {
        let told = cluster.wait_reason(name, Reason::MalformedCredential).await;
        assert_failed(name, &told, Reason::MalformedCredential, advice);
        assert!(!json!(told.status).to_string().contains(&value[4..12]), "{name}: no value is shown");
    }
    assert_eq!(operator.count("vault_requests_total{operation=\"login\"").await, 0);
    // A name in the place of the role id may be meant: it is tried, and then there is a hint.
    cluster.secret("name", &[("roleId", "demo"), ("secretId", &secret_id)]).await;
    cluster.connect("name", &specs::app_role(&vault.address, &role.mount, "name")).await;
    let told = cluster.wait_reason("name", Reason::InvalidCredentials).await;
    assert_failed("name", &told, Reason::InvalidCredentials, "If it is the role's name");
}

#[tokio::test]
async fn a_secret_that_is_mended_makes_its_connection_ready_within_two_seconds() {
    let (cluster, vault) = (Cluster::new("mended").await, Vault::shared());
    let token = vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await;
    cluster.secret("no-key", &[("other", &token)]).await;
    cluster.raw_secret("no-label", &[("token", token.as_bytes())], false).await;
    let _operator = Operator::start(&cluster).await;
    let rows = [
        ("no-secret", Reason::SecretNotFound),
        ("no-key", Reason::KeyNotFound),
        ("no-label", Reason::SecretNotLabelled),
    ];
    for (name, reason) in rows {
        cluster.connect(name, &specs::token(&vault.address, name)).await;
        cluster.wait_reason(name, reason).await;
    }
    for (name, _) in rows {
        let begin = Instant::now();
        // Creates it, adds the key, or adds the label.
        cluster.secret(name, &[("token", &token)]).await;
        cluster.wait(name, "Ready", MENDED, is_ready).await;
        eprintln!("{name}: Ready {:?} after it was mended", begin.elapsed());
    }
}

#[tokio::test]
async fn what_does_not_answer_as_a_vault_is_distinguished() {
    let (cluster, vault) = (Cluster::new("reach").await, Vault::shared());
    cluster.secret("token", &[("token", "never-sent")]).await;
    let target = Fake::answering("200 OK", "content-type: application/json", "{}").await;
    let location = format!("location: {}/v1/sys/health?token=never-shown", target.url());
    let redirect = Fake::answering("307 Temporary Redirect", &location, "").await;
    let page = Fake::answering("200 OK", "content-type: text/html", "<html>Welcome</html>").await;
    let silent = Fake::silent().await;
    let _operator = Operator::start(&cluster).await;
    let spec = |url: &str| specs::token(url, "token");
    let closed = format!("http://{}", free_address());
    let mut slow = spec(&silent.url());
    slow["check"] = json!({"timeout": "1s"});
    let rows = [
        row(
            "closed-port",
            spec(&closed),
            Reason::ConnectionRefused,
            "Check that Vault is running and listening on this port",
        ),
        row("no-such-name", spec("http://no-such-host.invalid:8200"), Reason::NameNotResolved, "DNS record"),
        row("unknown-ca", spec(&vault.tls_address), Reason::UnknownAuthority, "spec.tls.caBundle"),
        row(
            "tls-on-plain-port",
            spec(&vault.address.replace("http:", "https:")),
            Reason::NotTls,
            "Check the port",
        ),
        row("not-vault", spec(&page.url()), Reason::NotVault, "Check the host, port and path prefix"),
        row(
            "redirect",
            spec(&redirect.url()),
            Reason::Redirected,
            "to the address that serves requests itself",
        ),
        row("silent", slow, Reason::Timeout, "did not respond within 1 s (spec.check.timeout)"),
        row("not-listed", spec("http://192.0.2.1:8200"), Reason::AddressNotAllowed, "--allow-address"),
    ];
    assert_rows(&cluster, &rows).await;

    let redirected = cluster.wait_reason("redirect", Reason::Redirected).await;
    let text = json!(redirected.status).to_string();
    assert!(text.contains(&target.address), "the message names the target: {text}");
    assert!(!text.contains("never-shown"), "it does not show the query: {text}");
    assert!(redirect.connections() > 0);
    assert_eq!(target.connections(), 0, "nothing is sent after a redirect");
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_the_time_that_the_message_tells() {
    let (cluster, silent) = (Cluster::new("timeout").await, Fake::silent().await);
    cluster.secret("token", &[("token", "never-sent")]).await;
    let _operator = Operator::start(&cluster).await;
    let mut spec = specs::token(&format!("https://{}", silent.address), "token");
    spec["check"] = json!({"timeout": "7s"});
    let begin = Instant::now();
    cluster.connect("tls", &spec).await;
    let failed = cluster.wait_reason("tls", Reason::Timeout).await;
    assert_failed("tls", &failed, Reason::Timeout, "did not respond within 7 s (spec.check.timeout)");
    assert!(begin.elapsed() >= Duration::from_secs(7), "it was given only {:?}", begin.elapsed());
}

#[tokio::test]
async fn what_the_operators_flags_do_not_allow_is_never_dialled() {
    let (cluster, vault) = (Cluster::new("flags").await, Vault::shared());
    let fake = Fake::silent().await;
    cluster.secret("token", &[("token", "never-sent")]).await;
    let _operator = Operator::start_with(&cluster, &[]).await;
    let spec = |url: &str| specs::token(url, "token");
    let rows = [
        row("plain-http", spec("http://vault.example.com:8200"), Reason::PlainHttpNotAllowed, "Use https://"),
        row(
            "loopback",
            spec(&vault.tls_address),
            Reason::AddressNotAllowed,
            "Ask the administrator of the operator to allow it",
        ),
        row(
            "localhost",
            spec("https://localhost:8200"),
            Reason::AddressNotAllowed,
            "chart value addressPolicy",
        ),
        row(
            "fake",
            spec(&format!("https://{}", fake.address)),
            Reason::AddressNotAllowed,
            "is a loopback address",
        ),
        row(
            "metadata",
            spec("https://169.254.169.254"),
            Reason::AddressNotAllowed,
            "is a link-local address",
        ),
    ];
    assert_rows(&cluster, &rows).await;
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn a_vault_that_is_sealed_or_not_initialized_gets_no_login() {
    let cluster = Cluster::new("not-ready").await;
    let (sealed, uninitialized) =
        (Vault::own("sealed", "--sealed"), Vault::own("uninitialized", "--uninitialized"));
    cluster.secret("token", &[("token", "never-sent")]).await;
    let operator = Operator::start(&cluster).await;
    let rows = [
        row("sealed", specs::token(&sealed.address, "token"), Reason::Sealed, "vault operator unseal"),
        row(
            "new",
            specs::token(&uninitialized.address, "token"),
            Reason::NotInitialized,
            "vault operator init",
        ),
    ];
    assert_rows(&cluster, &rows).await;
    let health = operator.count("vault_requests_total{operation=\"health\"").await;
    assert_eq!(operator.count("vault_requests_total").await, health, "nothing but sys/health is asked");
}

#[tokio::test]
async fn what_vault_refuses_is_distinguished() {
    let (cluster, vault) = (Cluster::new("refused").await, Vault::shared());
    let (role, secret_id) = a_role(&vault).await;
    let poor = vault.issue_token(&json!({"policies": ["default"], "ttl": "1h"})).await;
    let useless =
        vault.issue_token(&json!({"no_default_policy": true, "policies": ["nothing"], "ttl": "1h"})).await;
    cluster.secret("right", &specs::pair(&role, &secret_id)).await;
    cluster.secret("wrong", &specs::pair(&role, "00000000-0000-0000-0000-000000000000")).await;
    cluster.secret("wrong-token", &[("token", "s.never-issued")]).await;
    cluster.secret("poor-token", &[("token", &poor)]).await;
    cluster.secret("useless-token", &[("token", &useless)]).await;
    let _operator = Operator::start(&cluster).await;
    let spec = |mount, secret| specs::app_role(&vault.address, mount, secret);
    let mut namespace = spec(&role.mount, "right");
    namespace["namespace"] = json!("no-such-team");
    let correct_namespace =
        if knows_namespaces() { "Correct spec.namespace" } else { "Remove spec.namespace" };
    let mut require = specs::token(&vault.address, "poor-token");
    require["require"] = json!({"secretSync": {"mount": "demo_mount"}});
    let rows = [
        row("mount", spec("no-such-mount", "right"), Reason::LoginDenied, "spec.auth.appRole.mount"),
        row("namespace", namespace, Reason::NamespaceNotFound, correct_namespace),
        row("secret-id", spec(&role.mount, "wrong"), Reason::InvalidCredentials, "Update the Secret"),
        row(
            "token",
            specs::token(&vault.address, "wrong-token"),
            Reason::TokenRejected,
            "Store a valid token there",
        ),
        row(
            "useless",
            specs::token(&vault.address, "useless-token"),
            Reason::TokenUnusable,
            "the policy `default`",
        ),
        row("capability", require, Reason::MissingCapabilities, "Add them to a policy of its role or token"),
    ];
    assert_rows(&cluster, &rows).await;

    let missing = cluster.wait_reason("capability", Reason::MissingCapabilities).await;
    let text = json!(missing.status).to_string();
    assert!(text.contains("demo_mount/data/*") && text.contains("sys/mounts"), "each path is named: {text}");
}

#[tokio::test]
async fn the_right_secret_id_mends_a_wrong_one() {
    let (cluster, vault) = (Cluster::new("wrong-id").await, Vault::shared());
    let (role, secret_id) = a_role(&vault).await;
    cluster.secret("credentials", &specs::pair(&role, "00000000-0000-0000-0000-000000000000")).await;
    let _operator = Operator::start(&cluster).await;
    cluster.connect("connection", &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    let stalled = cluster.wait_reason("connection", Reason::InvalidCredentials).await;
    let next_login = stalled.status.and_then(|status| status.next_login_time);
    assert!(next_login.is_some(), "the status says when the same pair is tried again");

    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let mended = cluster.wait("connection", "Ready", MENDED, is_ready).await;
    assert!(mended.status.is_some_and(|status| status.next_login_time.is_none()));
}
