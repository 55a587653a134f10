//! What many connections cost their Vault: no token is left, no role is locked.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::support::{
    audit,
    cluster::Cluster,
    operator::{Operator, free_address},
    root::Root,
    specs,
    vault::{AppRole, Vault, http},
    verdict::{is_current, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// How long connections come and go.
const BUSY: Duration = Duration::from_secs(30);

/// How many rounds there must be in that time.
const LEAST_ROUNDS: usize = 100;

/// How many connections come and go side by side.
const LANES: usize = 10;

/// How many connections share one stale secret id.
const STALE: usize = 50;

/// How soon a connection must be Ready once its Secret is mended.
const MENDED: Duration = Duration::from_secs(2);

/// Where one connection after another is made, under one name.
struct Lane<'a> {
    cluster: &'a Cluster,
    vault: &'a Vault,
    role: &'a AppRole,
    name: String,
}

// === impl Lane ===

impl Lane<'_> {
    /// Rounds until `end`; returns how many.
    async fn rounds(&self, end: Instant) -> usize {
        let mut rounds = 0;
        while Instant::now() < end {
            self.round(rounds).await;
            rounds += 1;
        }
        rounds
    }

    /// Creates, rotates and deletes a connection. Not every one may come to rest before the next thing happens to it.
    async fn round(&self, number: usize) {
        self.write_secret().await;
        self.cluster
            .connect(&self.name, &specs::app_role(&self.vault.address, &self.role.mount, &self.name))
            .await;
        if number % 4 != 1 {
            self.cluster.wait(&self.name, "Ready", PATIENCE, is_ready).await;
        }
        if number % 4 != 2 {
            let before = self.cluster.connections().get(&self.name).await.expect("it is there");
            self.write_secret().await;
            if number % 4 != 3 {
                let rotated = |now: &VaultConnection| is_ready(now) && versions(now) != versions(&before);
                self.cluster.wait(&self.name, "Ready with the new secret id", PATIENCE, rotated).await;
            }
        }
        self.cluster.delete(&self.name).await;
    }

    async fn write_secret(&self) {
        let secret_id = self.vault.secret_id(self.role).await;
        self.cluster.secret(&self.name, &specs::pair(self.role, &secret_id)).await;
    }
}

/// What the verdict on a connection rests on.
fn versions(connection: &VaultConnection) -> Vec<String> {
    let status = connection.status.iter();
    status.flat_map(|status| &status.credentials).map(|object| object.resource_version.clone()).collect()
}

#[tokio::test]
async fn connections_that_come_and_go_leave_no_token_and_no_lease() {
    let (cluster, vault) = (Cluster::new("rounds").await, Vault::own("rounds", ""));
    let role = vault.app_role("rounds", json!({"token_ttl": "1h"})).await;
    let (root, operator) = (Root::of(&vault), Operator::start(&cluster).await);
    let before = root.accessors().await;
    assert_eq!(root.leases(&role.mount).await.len(), 0);

    let lane =
        |number| Lane { cluster: &cluster, vault: &vault, role: &role, name: format!("connection-{number}") };
    let lanes: Vec<_> = (0..LANES).map(lane).collect();
    lanes[0].write_secret().await;
    cluster.connect("connection-0", &specs::app_role(&vault.address, &role.mount, "connection-0")).await;
    cluster.wait("connection-0", "Ready", PATIENCE, is_ready).await;
    assert_eq!(root.leases(&role.mount).await.len(), 1, "a session of ours is a lease of the mount");
    assert_eq!(root.accessors().await.len(), before.len() + 1);
    cluster.delete("connection-0").await;

    let end = Instant::now() + BUSY;
    let rounds: usize = join_all(lanes.iter().map(|lane| lane.rounds(end))).await.iter().sum();
    let logins = operator.count("vault_requests_total{operation=\"login\"").await;
    eprintln!("{rounds} rounds in {BUSY:?}, {logins} logins");
    assert!(rounds >= LEAST_ROUNDS, "only {rounds}");
    eventually("no token is left", PATIENCE, async || (root.accessors().await == before).then_some(())).await;
    assert_eq!(root.leases(&role.mount).await.len(), 0);
    eventually("the operator has forgotten them", PATIENCE, async || {
        (operator.count("connections{").await == 0).then_some(())
    })
    .await;
    assert_eq!(operator.count("vault_requests_total{operation=\"login\",answer=\"4xx\"").await, 0);
    operator.stop();
    assert_eq!(root.accessors().await, before);
}

#[tokio::test]
async fn an_address_that_changes_ends_the_session_at_the_old_one() {
    let (cluster, vault) = (Cluster::new("address").await, Vault::shared());
    let role = vault.app_role("address", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start(&cluster).await;
    cluster.connect("connection", &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;

    let closed = (format!("http://{}", free_address()), Reason::ConnectionRefused);
    let refused = ("http://192.0.2.1:8200".to_owned(), Reason::AddressNotAllowed);
    for (address, reason) in [closed, refused] {
        cluster.change("connection", &json!({"spec": {"instanceUrl": address}})).await;
        cluster.wait_reason("connection", reason).await;
        eventually("no session is left", PATIENCE, async || {
            (vault.sessions(&role.mount).await == 0).then_some(())
        })
        .await;
        cluster.change("connection", &json!({"spec": {"instanceUrl": vault.address}})).await;
        cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
        assert_eq!(vault.sessions(&role.mount).await, 1);
    }
    operator.stop();
    assert_eq!(vault.sessions(&role.mount).await, 0);
}

#[tokio::test]
async fn fifty_connections_with_a_stale_secret_id_do_not_lock_the_role_over_restarts() {
    let (cluster, vault) = (Cluster::new("stale").await, Vault::shared());
    let role = vault.app_role("stale", json!({"token_ttl": "1h"})).await;
    let login = format!("auth/{}/login", role.mount);
    let logins = async || audit::count(&audit::vault_paths(&vault).await, &login);
    let names: Vec<_> = (0..STALE).map(|number| format!("connection-{number}")).collect();
    let stale = specs::pair(&role, "00000000-0000-0000-0000-000000000000");
    join_all(names.iter().map(|name| cluster.secret(name, &stale))).await;
    let mut operator = Operator::start(&cluster).await;
    for name in &names {
        cluster.connect(name, &specs::app_role(&vault.address, &role.mount, name)).await;
    }
    for restart in 0..=3 {
        if restart > 0 {
            operator.stop();
            operator = Operator::start(&cluster).await;
        }
        operator.await_count("checks_total", 50, PATIENCE).await;
        for name in &names {
            cluster.wait(name, "judged", PATIENCE, is_current).await;
        }
        assert_eq!(logins().await, 2, "refused logins after {restart} restarts");
    }
    let mut reasons = BTreeMap::new();
    for connection in cluster.connections().list(&<_>::default()).await.expect("the API server answers") {
        let reason = ready(&connection).map(|ready| ready.reason.clone()).unwrap_or_default();
        *reasons.entry(reason).or_insert(0) += 1;
    }
    let expected = [("InvalidCredentials", 2), ("LoginBudgetSpent", STALE - 2)];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());

    let right = vault.secret_id(&role).await;
    let body = json!({"role_id": role.role_id, "secret_id": right}).to_string();
    let request = http().post(format!("{}/v1/{login}", vault.address)).body(body);
    let answer = request.send().await.expect("Vault answers");
    assert_eq!(answer.status(), StatusCode::OK, "others can log in");

    let begin = Instant::now();
    cluster.secret("connection-49", &specs::pair(&role, &right)).await;
    cluster.wait("connection-49", "Ready", MENDED, is_ready).await;
    eprintln!("Ready {:?} after it was mended", begin.elapsed());
    assert_eq!(logins().await, 4, "two refused, one from outside, one that is mended");
    operator.stop();
}

#[tokio::test]
async fn a_connection_that_is_new_after_a_restart_does_not_lock_a_role_that_was_refused_before() {
    let (cluster, vault) = (Cluster::new("new-stale").await, Vault::shared());
    let role = vault.app_role("new-stale", json!({"token_ttl": "1h"})).await;
    let login = format!("auth/{}/login", role.mount);
    let stale = specs::pair(&role, "00000000-0000-0000-0000-000000000000");
    cluster.secret("stale", &stale).await;
    let spec = specs::app_role(&vault.address, &role.mount, "stale");
    let operator = Operator::start(&cluster).await;
    for name in ["old-a", "old-b"] {
        cluster.connect(name, &spec).await;
        cluster.wait_reason(name, Reason::InvalidCredentials).await;
    }
    operator.stop();

    let names: Vec<_> = (0..10).map(|number| format!("a-{number}")).collect();
    for name in &names {
        cluster.connect(name, &spec).await;
    }
    let operator = Operator::start(&cluster).await;
    for name in &names {
        cluster.wait_reason(name, Reason::LoginBudgetSpent).await;
    }
    operator.stop();
    assert_eq!(audit::count(&audit::vault_paths(&vault).await, &login), 2, "by two operators");
    for name in ["old-a", "old-b"] {
        let old = cluster.connections().get(name).await.expect("it is there").status.expect("it was judged");
        assert_eq!(old.refused_login_times.len(), 1, "{name}");
    }
}
