//! A connection's life: asked for, suspended, deleted; and the operator's.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::json;
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::support::{
    audit,
    cluster::Cluster,
    fakes::Fake,
    operator::Operator,
    specs,
    vault::{AppRole, Vault},
    verdict::{assert_failed, condition, is_current, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// How soon the operator must end after SIGTERM.
const STOP: Duration = Duration::from_secs(5);

/// A Ready connection whose session is kept.
struct Kept {
    cluster: Cluster,
    vault: Vault,
    role: AppRole,
    operator: Operator,
}

// === impl Kept ===

impl Kept {
    async fn new(prefix: &str) -> Self {
        let (cluster, vault) = (Cluster::new(prefix).await, Vault::shared());
        let role = vault.app_role(prefix, json!({"token_ttl": "1h"})).await;
        let secret_id = vault.secret_id(&role).await;
        cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
        let operator = Operator::start(&cluster).await;
        let kept = Self { cluster, vault, role, operator };
        kept.connect().await;
        assert_eq!(kept.sessions().await, 1);
        kept
    }

    async fn connect(&self) -> VaultConnection {
        let spec = specs::app_role(&self.vault.address, &self.role.mount, "credentials");
        self.cluster.connect("connection", &spec).await;
        self.cluster.wait("connection", "Ready", PATIENCE, is_ready).await
    }

    async fn sessions(&self) -> usize {
        self.vault.sessions(&self.role.mount).await
    }

    async fn await_no_session(&self) {
        eventually("the session is revoked", PATIENCE, async || (self.sessions().await == 0).then_some(()))
            .await;
    }

    async fn logins(&self) -> usize {
        let path = format!("auth/{}/login", self.role.mount);
        audit::count(&audit::vault_paths(&self.vault).await, &path)
    }
}

#[tokio::test]
async fn a_suspended_connection_gives_its_session_back_until_it_is_resumed() {
    let kept = Kept::new("suspend").await;
    kept.cluster.change("connection", &json!({"spec": {"suspend": true}})).await;
    let suspended = kept.cluster.wait_reason("connection", Reason::Suspended).await;
    assert!(ready(&suspended).is_some_and(|ready| ready.status == "Unknown"));
    for kind in ["Stalled", "Reconciling"] {
        assert!(condition(&suspended, kind).is_none(), "nobody has to wait for it or to mend it");
    }
    kept.await_no_session().await;

    kept.cluster.change("connection", &json!({"spec": {"suspend": false}})).await;
    kept.cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    assert_eq!(kept.sessions().await, 1);
    assert_eq!(kept.logins().await, 2);
}

#[tokio::test]
async fn a_deleted_connection_gives_its_session_back_and_its_name_is_free() {
    let kept = Kept::new("delete").await;
    kept.cluster.delete("connection").await;
    kept.await_no_session().await;

    let again = kept.connect().await;
    assert_eq!(again.metadata.generation, Some(1), "it is a new one");
    assert_eq!(kept.sessions().await, 1);
    kept.cluster.delete("connection").await;
    kept.connect().await;
    eventually("only the session of the newest is left", PATIENCE, async || {
        (kept.sessions().await == 1).then_some(())
    })
    .await;
    assert_eq!(kept.logins().await, 3);
}

#[tokio::test]
async fn a_request_for_a_check_is_answered_by_one() {
    let kept = Kept::new("request").await;
    let before = kept.operator.count("checks_total").await;
    kept.cluster.request_check("connection", "monday").await;
    kept.cluster
        .wait("connection", "asked on monday", PATIENCE, |connection| {
            let status = connection.status.as_ref();
            status.is_some_and(|status| status.last_handled_reconcile_at.as_deref() == Some("monday"))
        })
        .await;
    assert_eq!(kept.operator.count("checks_total").await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_requests_without_end_lead_to_one_check_in_five_seconds() {
    let kept = Kept::new("flapping").await;
    let secret_id = kept.vault.secret_id(&kept.role).await;
    let pair = specs::pair(&kept.role, &secret_id);
    let (before, begin) = (kept.operator.count("checks_total").await, Instant::now());
    let mut round = 0;
    // The first is made at once, each further one 5 s after the one before.
    while kept.operator.count("checks_total").await < before + 3 {
        round += 1;
        kept.cluster.request_check("connection", &format!("round {round}")).await;
        kept.cluster.secret("credentials", &[&pair[..], &[("round", &round.to_string())]].concat()).await;
        assert!(begin.elapsed() < PATIENCE, "the requests are answered");
    }
    let took = begin.elapsed();
    eprintln!("three checks for {round} requests and changes in {took:?}");
    assert!(took > Duration::from_millis(9500), "{round} requests led to three checks in {took:?}");
    kept.cluster
        .wait("connection", "the last request", PATIENCE, |connection| {
            let handled =
                connection.status.as_ref().and_then(|status| status.last_handled_reconcile_at.clone());
            handled == Some(format!("round {round}"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_is_reported_once_and_not_answered() {
    let kept = Kept::new("long-request").await;
    let events: Api<Event> = Api::namespaced(kept.cluster.client.clone(), &kept.cluster.namespace);
    let told = async || {
        let list = events.list(&ListParams::default()).await.expect("the API server lists");
        list.items.into_iter().filter(|event| event.reason.as_deref() == Some("RequestTooLong")).count()
    };
    let before = kept.operator.count("checks_total").await;
    for letter in ["a", "b", "c"] {
        kept.cluster.request_check("connection", &letter.repeat(257)).await;
    }
    eventually("an event tells it", PATIENCE, async || (told().await == 1).then_some(())).await;
    assert_eq!(kept.operator.count("checks_total").await, before);
    let longest = "d".repeat(256);
    kept.cluster.request_check("connection", &longest).await;
    kept.cluster
        .wait("connection", "the longest request", PATIENCE, |connection| {
            let handled =
                connection.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some(longest.as_str())
        })
        .await;
    assert_eq!((kept.operator.count("checks_total").await, told().await), (before + 1, 1));
}

#[tokio::test]
async fn a_changed_spec_is_checked_and_observed() {
    let kept = Kept::new("change").await;
    let require = json!({"capabilities": [{"path": "secret/data/other", "verbs": ["read", "list"]}]});
    kept.cluster.change("connection", &json!({"spec": {"require": require}})).await;
    let denied = kept.cluster.wait_reason("connection", Reason::MissingCapabilities).await;
    assert_eq!(denied.metadata.generation, Some(2));
    let next_step = "read, list on \"secret/data/other\". Add them to a policy";
    assert_failed("changed", &denied, Reason::MissingCapabilities, next_step);
    assert_eq!(kept.logins().await, 1, "the kept session answers the new question");
}

#[tokio::test]
async fn sigterm_ends_the_operator_in_time_and_revokes_the_sessions() {
    let kept = Kept::new("sigterm").await;
    let Kept { vault, role, operator, .. } = kept;
    let (status, took) = operator.stop();
    eprintln!("stopped after {took:?}");
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP, "it took {took:?}");
    assert_eq!(vault.sessions(&role.mount).await, 0);
}

#[tokio::test]
async fn sigterm_does_not_wait_for_a_vault_that_is_silent() {
    let (cluster, silent) = (Cluster::new("sigterm-silent").await, Fake::silent().await);
    cluster.secret("token", &[("token", "never-sent")]).await;
    let operator = Operator::start(&cluster).await;
    cluster.connect("connection", &specs::token(&silent.url(), "token")).await;
    eventually("the check is under way", PATIENCE, async || (silent.connections() > 0).then_some(())).await;
    let (status, took) = operator.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP, "it took {took:?}");
}

#[tokio::test]
async fn ten_connections_with_one_wrong_secret_id_cost_the_role_two_logins() {
    let (cluster, vault) = (Cluster::new("lockout").await, Vault::shared());
    let role = vault.app_role("lockout", json!({"token_ttl": "1h"})).await;
    cluster.secret("credentials", &specs::pair(&role, "00000000-0000-0000-0000-000000000000")).await;
    let operator = Operator::start(&cluster).await;
    let names: Vec<_> = (0..10).map(|number| format!("connection-{number}")).collect();
    for name in &names {
        cluster.connect(name, &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    }
    let mut reasons = BTreeMap::new();
    for name in &names {
        let judged = cluster.wait(name, "judged", PATIENCE, is_current).await;
        let reason = ready(&judged).map(|ready| ready.reason.clone()).unwrap_or_default();
        *reasons.entry(reason).or_insert(0) += 1;
    }
    operator.stop();
    let expected = [("InvalidCredentials", 2), ("LoginBudgetSpent", 8)];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    let logins = audit::count(&audit::vault_paths(&vault).await, &format!("auth/{}/login", role.mount));
    assert_eq!(logins, 2);
}

#[tokio::test]
async fn a_restarted_operator_does_not_try_a_refused_credential_again() {
    let (cluster, vault) = (Cluster::new("restart").await, Vault::shared());
    let role = vault.app_role("restart", json!({"token_ttl": "1h"})).await;
    cluster.secret("credentials", &specs::pair(&role, "00000000-0000-0000-0000-000000000000")).await;
    let spec = specs::app_role(&vault.address, &role.mount, "credentials");
    let first = Operator::start(&cluster).await;
    cluster.connect("connection", &spec).await;
    let before = cluster.wait_reason("connection", Reason::InvalidCredentials).await;
    first.stop();

    let second = Operator::start(&cluster).await;
    second.await_count("checks_total{reason=\"InvalidCredentials\"", 1, PATIENCE).await;
    second.stop();
    let logins = audit::count(&audit::vault_paths(&vault).await, &format!("auth/{}/login", role.mount));
    assert_eq!(logins, 1, "by two operators");
    let after = cluster.wait("connection", "judged", PATIENCE, is_current).await;
    assert_eq!(json!(before.status)["conditions"], json!(after.status)["conditions"]);
    assert_eq!(json!(before.status)["nextLoginTime"], json!(after.status)["nextLoginTime"]);
}

#[tokio::test]
async fn a_users_token_is_never_revoked() {
    let (cluster, vault) = (Cluster::new("users-token").await, Vault::shared());
    let issue = async || vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await;
    let tokens = [issue().await, issue().await, issue().await, issue().await];
    let operator = Operator::start(&cluster).await;
    for (name, token) in ["deleted", "suspended", "rotated", "kept"].into_iter().zip(&tokens) {
        cluster.secret(name, &[("token", token)]).await;
        cluster.connect(name, &specs::token(&vault.address, name)).await;
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    cluster.delete("deleted").await;
    cluster.change("suspended", &json!({"spec": {"suspend": true}})).await;
    cluster.secret("rotated", &[("token", &issue().await)]).await;
    cluster.wait_reason("suspended", Reason::Suspended).await;
    operator.await_count("vault_requests_total{operation=\"lookup_self\"", 5, PATIENCE).await;
    assert_eq!(operator.count("vault_requests_total{operation=\"revoke_self\"").await, 0);
    operator.stop();
    for token in &tokens {
        assert!(vault.accepts(token).await);
    }
}

#[tokio::test]
async fn a_token_that_cannot_live_until_the_next_check_is_revoked_after_each() {
    let (cluster, vault) = (Cluster::new("short").await, Vault::shared());
    let role = vault.app_role("short", json!({"token_ttl": "30s", "token_max_ttl": "2m"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start(&cluster).await;
    cluster.connect("connection", &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    let connection = cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    let session = connection.status.and_then(|status| status.session).expect("the login is told");
    assert_eq!((session.ttl_seconds, session.expire_time), (Some(30), None), "it is not kept");
    operator.await_count("vault_requests_total{operation=\"revoke_self\"", 1, PATIENCE).await;
    assert_eq!(vault.sessions(&role.mount).await, 0);
}
