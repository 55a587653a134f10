//! The operator is killed at each of its requests to Vault: the next one comes to the same status, and what is left behind
//! is little and ends by itself.
//!
//! ```text
//!   create  ─▶ Ready ─▶ rotate ─▶ Ready with the new secret id ─▶ delete ─▶ gone
//!     1 2 3               4 5 6                                     7          kill -9 before and after each
//! ```

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;
use vault_connection_operator::api::connection::VaultConnection;

use crate::support::{
    cluster::{Cluster, operator_kubeconfig},
    process::Process,
    proxy::{Moment, Proxy},
    root::Root,
    specs,
    vault::{AppRole, Vault},
    verdict::is_ready,
    wait::PATIENCE,
};

/// What happens to the connection while the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    Rotate,
    Delete,
}

/// The life of a token that nobody ends.
const TTL: Duration = Duration::from_hours(1);

/// One connection, alone in its namespace, at its mount and behind its proxy.
struct Stage<'a> {
    vault: &'a Vault,
    cluster: Cluster,
    role: AppRole,
    proxy: Proxy,
}

/// What an act leads to without a crash.
#[derive(Debug)]
struct Expected {
    requests: usize,
    conditions: Conditions,
}

/// Type, status and reason of each condition.
type Conditions = Vec<(String, String, String)>;

// === impl Act ===

impl Act {
    const ALL: [Self; 3] = [Self::Create, Self::Rotate, Self::Delete];

    /// How many tokens a crash can leave behind: the one that was kept, and during a rotation the one that was to take
    /// its place. Nobody but the operator that was killed knew them.
    fn most_left(self) -> usize {
        match self {
            Self::Create | Self::Delete => 1,
            Self::Rotate => 2,
        }
    }
}

// === impl Stage ===

impl<'a> Stage<'a> {
    async fn new(vault: &'a Vault) -> Self {
        let cluster = Cluster::new("crash").await;
        let role = vault.app_role("crash", json!({"token_ttl": TTL.as_secs()})).await;
        let proxy = Proxy::to(&vault.address).await;
        let stage = Self { vault, cluster, role, proxy };
        stage.write_secret().await;
        stage
    }

    async fn start(&self) -> Process {
        Process::start(&operator_kubeconfig(), &[&self.cluster.namespace]).await
    }

    async fn write_secret(&self) {
        let secret_id = self.vault.secret_id(&self.role).await;
        self.cluster.secret("credentials", &specs::pair(&self.role, &secret_id)).await;
    }

    /// Begins an act.
    async fn begin(&self, act: Act) {
        match act {
            Act::Create => {
                let url = format!("http://{}", self.proxy.address);
                let spec = specs::app_role(&url, &self.role.mount, "credentials");
                self.cluster.connect("connection", &spec).await;
            }
            Act::Rotate => self.write_secret().await,
            Act::Delete => self.cluster.delete("connection").await,
        }
    }

    /// Waits for the status that an act leads to.
    async fn end(&self, act: Act) -> Conditions {
        if act == Act::Delete {
            let found =
                self.cluster.connections().get_opt("connection").await.expect("the API server answers");
            assert!(found.is_none(), "no finalizer holds it");
            return Vec::new();
        }
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let secret = secrets.get_metadata("credentials").await.expect("it is there");
        let version = secret.metadata.resource_version.expect("the API server sets it");
        let wanted = |connection: &VaultConnection| {
            let mut rests_on = connection.status.iter().flat_map(|status| &status.credentials);
            is_ready(connection) && rests_on.any(|object| object.resource_version == version)
        };
        let connection = self.cluster.wait("connection", "Ready with its secret id", PATIENCE, wanted).await;
        conditions(&connection)
    }

    /// Goes through all acts before this one without a crash.
    async fn go_to(&self, act: Act, operator: &Process) {
        for earlier in Act::ALL.into_iter().take_while(|earlier| *earlier != act) {
            self.begin(earlier).await;
            self.end(earlier).await;
            self.await_revocations(operator, earlier).await;
        }
    }

    /// Waits until what an act ended is revoked, which is its last request.
    async fn await_revocations(&self, operator: &Process, act: Act) {
        let revoked = match act {
            Act::Create => 0,
            Act::Rotate => 1,
            Act::Delete => 2,
        };
        operator.await_count("vault_requests_total{operation=\"revoke_self\"", revoked, PATIENCE).await;
    }

    /// What every act leads to, and how many requests to Vault it takes.
    async fn without_a_crash(&self) -> Vec<(Act, Expected)> {
        let operator = self.start().await;
        let mut expected = Vec::new();
        for act in Act::ALL {
            let before = self.proxy.requests();
            self.begin(act).await;
            let conditions = self.end(act).await;
            self.await_revocations(&operator, act).await;
            expected.push((act, Expected { requests: self.proxy.requests() - before, conditions }));
        }
        operator.stop().await;
        assert_eq!(self.lives().await.len(), 0);
        expected
    }

    /// Kills the operator at a request of an act; a second one must come to the same end.
    async fn with_a_crash(&self, act: Act, expected: &Expected, request: usize, moment: Moment) -> usize {
        let row = format!("{act:?}, request {request}, {moment:?}");
        let first = self.start().await;
        self.go_to(act, &first).await;
        self.proxy.kill_at(request, moment, first.pid);
        self.begin(act).await;
        first.await_kill().await;

        let second = self.start().await;
        let found = self.end(act).await;
        if act != Act::Delete {
            second.await_count("checks_total", 1, PATIENCE).await;
        }
        assert_eq!(found, expected.conditions, "{row}");
        assert_eq!(self.end(act).await, expected.conditions, "{row}: still");
        second.stop().await;
        let left = self.lives().await;
        assert!(left.len() <= act.most_left(), "{row}: {left:?}");
        assert!(left.iter().all(|life| !life.is_zero() && *life <= TTL), "{row}: {left:?}");
        left.len()
    }

    /// Waits in vain for one request more than an act takes.
    async fn past_the_last(&self, act: Act, expected: &Expected) {
        let operator = self.start().await;
        self.go_to(act, &operator).await;
        let before = self.proxy.requests();
        self.proxy.kill_at(expected.requests + 1, Moment::BeforeRequest, operator.pid);
        self.begin(act).await;
        assert_eq!(self.end(act).await, expected.conditions, "{act:?}");
        self.await_revocations(&operator, act).await;
        assert_eq!(self.proxy.requests() - before, expected.requests, "{act:?}");
    }

    async fn lives(&self) -> Vec<Duration> {
        Root::of(self.vault).lives(&self.role.mount).await
    }
}

fn conditions(connection: &VaultConnection) -> Conditions {
    let conditions = connection.status.iter().flat_map(|status| &status.conditions);
    conditions.map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_request_changes_no_final_status_and_leaves_little_behind() {
    let vault = Vault::own("crash", "");
    let expected = Stage::new(&vault).await.without_a_crash().await;
    eprintln!("without a crash: {expected:#?}");
    let mut crashes = Vec::new();
    for (act, expected) in &expected {
        for request in 1..=expected.requests {
            for moment in [Moment::BeforeRequest, Moment::AfterAnswer] {
                let vault = &vault;
                crashes.push(async move {
                    let left = Stage::new(vault).await.with_a_crash(*act, expected, request, moment).await;
                    (act, request, moment, left)
                });
            }
        }
    }
    let past = expected.iter().map(|(act, expected)| {
        let vault = &vault;
        async move { Stage::new(vault).await.past_the_last(*act, expected).await }
    });
    let (left, _) = futures::join!(join_all(crashes), join_all(past));
    for row in left {
        eprintln!("tokens left: {row:?}");
    }
}
