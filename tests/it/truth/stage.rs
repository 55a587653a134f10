//! An operator beside a Vault, whose credentials change.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use crate::{
    faults_table::check_now,
    support::{
        cluster::Cluster,
        history::History,
        operator::Operator,
        specs,
        vault::{AppRole, Vault},
        verdict::{is_current, is_ready, ready},
        wait::{PATIENCE, eventually},
    },
};

/// How long two more checks of what fails may take: 5 s, and as long again, on a busy machine.
pub(super) const TWO_CHECKS: Duration = Duration::from_secs(60);

/// An operator, and what it says all the time.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) vault: Vault,
    operator: Option<Operator>,
    pub(super) history: History,
    pub(super) start: Instant,
}

// === impl Stage ===

impl Stage {
    pub(super) async fn new(prefix: &str, vault: Vault) -> Self {
        let cluster = Cluster::new(prefix).await;
        let operator = Some(Operator::start(&cluster).await);
        let history = History::of(&cluster);
        Self { cluster, vault, operator, history, start: Instant::now() }
    }

    pub(super) fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("one runs")
    }

    /// A Ready connection by a token that is the only value of its Secret.
    pub(super) async fn by_token(&self, name: &str, settings: &Value) -> String {
        let token = self.vault.issue_token(settings).await;
        self.cluster.secret(name, &[("token", &token)]).await;
        self.cluster.connect(name, &specs::token(&self.vault.address, name)).await;
        self.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        token
    }

    /// A Ready connection by a role of its own, whose session is kept.
    pub(super) async fn by_role(&self, name: &str) -> AppRole {
        let role = self.vault.app_role(name, json!({"token_ttl": "1h"})).await;
        let secret_id = self.vault.secret_id(&role).await;
        self.cluster.secret(name, &specs::pair(&role, &secret_id)).await;
        self.cluster.connect(name, &specs::app_role(&self.vault.address, &role.mount, name)).await;
        self.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        role
    }

    /// Changes a Secret, and returns what a status that rests on it names.
    pub(super) async fn change(&self, name: &str, data: &[(&str, &str)]) -> String {
        self.cluster.secret(name, data).await;
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let secret = secrets.get_metadata(name).await.expect("it is there");
        format!("{name}@{}", secret.metadata.resource_version.expect("the API server sets it"))
    }

    /// Starts another operator, once it has checked each connection.
    pub(super) async fn restart(&mut self, connections: u64) {
        self.operator.take().expect("one runs").stop();
        let operator = Operator::start(&self.cluster).await;
        operator.await_count("checks_total{", connections, PATIENCE).await;
        self.operator = Some(operator);
    }

    /// Waits for so many more checks, of which none may make a connection Ready again.
    pub(super) async fn await_checks(&self, what: &str, more: u64) {
        let before = self.operator().count("checks_total{").await;
        eventually(&format!("{more} more checks"), TWO_CHECKS, async || {
            self.history.assert_none_came_back(what, self.start);
            (self.operator().count("checks_total{").await >= before + more).then_some(())
        })
        .await;
    }

    /// Gives every reason for a check that leaves the Secret as it is.
    pub(super) async fn nudge(&self, name: &str) {
        check_now(&self.cluster, name).await;
        self.cluster.change(name, &json!({"spec": {"check": {"interval": "55s"}}})).await;
        self.cluster.wait(name, "checked for its new spec", PATIENCE, is_current).await;
        self.cluster.change(name, &json!({"metadata": {"labels": {"team": "a"}}})).await;
        check_now(&self.cluster, name).await;
    }

    pub(super) async fn assert_not_ready(&self, what: &str, name: &str) {
        let found = self.cluster.connections().get(name).await.expect("it is there");
        assert!(!is_ready(&found), "{what}: {name} is Ready: {:?}", ready(&found));
    }
}

pub(super) fn policies() -> Value {
    json!({"policies": ["vault-connection"], "ttl": "1h"})
}
