//! The servers of an oracle's run, and what it does to them.
//!
//! ```text
//!   one operator ──▶ one OpenBao of its own, directly and through two proxies
//!        ▲ kill -9          ▲ seal, stop, SIGSTOP, revoke, lock, ...
//!        └── namespace ◀────┴── Bench, which notes each change before and after it is made
//! ```

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use vault_connection_operator::api::{REQUESTED_AT, gateway::VaultGateway};

use super::{
    changes::{Change, Done, ENDS_AFTER, Kind, Subject},
    model::{INTERVAL, LOGIN_INTERVAL, TIMEOUT},
};
use crate::support::{
    bed::{signal, unique},
    cluster::{Cluster, operator_kubeconfig},
    fakes::gateway::FakeGateway,
    process::Process,
    specs,
    vault::{AppRole, Vault},
};

/// A value that no Vault accepts.
const WRONG: &str = "00000000-0000-0000-0000-000000000000";

/// The gateway of those that go through one.
const GATEWAY: &str = "private";

/// What the documentation lets a connection do.
const POLICY: &str = include_str!("../../../hack/lib/vault-connection.hcl");

/// A policy that allows nothing of that.
const NO_POLICY: &str = "path \"unused\" { capabilities = [\"read\"] }";

/// The servers, the connections, and all that was done.
pub struct Bench {
    pub cluster: Cluster,
    pub vault: Vault,
    pub subjects: Vec<Subject>,
    pub start: Instant,
    roles: HashMap<usize, AppRole>,
    /// The values that are right now, by the number of the credential.
    right: Mutex<HashMap<usize, String>>,
    history: Mutex<Vec<Done>>,
    operator: Mutex<Option<Process>>,
    proxies: Vec<FakeGateway>,
}

/// The name of a connection.
pub fn name(number: usize) -> String {
    format!("connection-{number}")
}

fn secret(credential: usize) -> String {
    format!("credential-{credential}")
}

fn policy(number: usize) -> String {
    format!("oracle-{number}")
}

// === impl Bench ===

impl Bench {
    /// Everything that is right: a Vault, an operator, and a connection for each subject.
    pub async fn new(subjects: Vec<Subject>) -> Self {
        let (cluster, vault) = (Cluster::new("oracle").await, block_in_place(|| Vault::own("oracle", "")));
        let proxies = vec![FakeGateway::http().await, FakeGateway::http().await];
        let mut bench = Self {
            cluster,
            vault,
            subjects,
            start: Instant::now(),
            roles: HashMap::new(),
            right: Mutex::default(),
            history: Mutex::default(),
            operator: Mutex::default(),
            proxies,
        };
        bench.make_roles().await;
        bench.make_gateway().await;
        for subject in bench.subjects.clone() {
            if subject.number == subject.credential {
                bench.write_right(subject.credential, None).await;
            }
            bench.create(subject).await;
        }
        bench.start_operator().await;
        bench.start = Instant::now();
        bench
    }

    async fn make_roles(&mut self) {
        for subject in self.subjects.clone() {
            let number = subject.number;
            self.write_policy(number, POLICY).await;
            if subject.kind.is_token() || number != subject.credential {
                continue;
            }
            let mut settings = match subject.kind {
                Kind::ShortRole | Kind::Wrapped => json!({"token_ttl": "12s", "token_max_ttl": "2m"}),
                Kind::Documented => json!({"token_ttl": "30s", "token_max_ttl": "2m"}),
                Kind::LongRole | Kind::SharedRole | Kind::Requiring | Kind::Gateway => {
                    json!({"token_ttl": "1h"})
                }
                Kind::Periodic | Kind::Fixed | Kind::Limited => unreachable!("a token has no role"),
            };
            settings["token_policies"] = json!(policy(number));
            let role = self.vault.app_role("oracle", settings).await;
            self.roles.insert(number, role);
        }
    }

    async fn write_policy(&self, number: usize, text: &str) {
        self.vault.write(&format!("sys/policies/acl/{}", policy(number)), &json!({"policy": text})).await;
    }

    async fn make_gateway(&self) {
        let endpoints: Vec<_> = self.proxies.iter().map(|proxy| json!({"url": proxy.url()})).collect();
        let manifest = json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
            "metadata": {"name": GATEWAY}, "spec": {"endpoints": endpoints, "check": {"interval": "10s"}},
        });
        let gateways: Api<VaultGateway> =
            Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let applied =
            gateways.patch(GATEWAY, &PatchParams::apply("user").force(), &Patch::Apply(manifest)).await;
        applied.expect("the gateway is accepted");
    }

    fn subject(&self, number: usize) -> Subject {
        self.subjects[number]
    }

    pub fn role(&self, credential: usize) -> Option<&AppRole> {
        self.roles.get(&credential)
    }

    pub fn roles(&self) -> impl Iterator<Item = (usize, &AppRole)> {
        self.roles.iter().map(|(credential, role)| (*credential, role))
    }

    /// The value that is right for a credential now.
    pub fn right(&self, credential: usize) -> String {
        lock(&self.right).get(&credential).cloned().expect("each had one from the begin")
    }

    /// The time since the begin of the run.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// All that was done, in the order of time.
    pub fn history(&self) -> Vec<Done> {
        lock(&self.history).clone()
    }

    /// Makes a change, and notes when.
    pub async fn make(&self, change: Change) {
        let began = self.now();
        if let Change::RightCredential(credential) | Change::WrongCredential(credential) = change {
            // The value that was to end is replaced before its end.
            lock(&self.history)
                .retain(|done| done.change != Change::Revoked(credential) || done.began <= began);
        }
        self.note(Done { change, began, ended: Duration::MAX });
        self.do_it(change).await;
        let ended = self.now();
        {
            let mut history = lock(&self.history);
            let noted = history.iter_mut().rev().find(|done| done.change == change && done.began == began);
            noted.expect("it was noted").ended = ended;
        }
        if let Change::EndingCredential(credential) = change {
            let at = ended + ENDS_AFTER;
            self.note(Done { change: Change::Revoked(credential), began: at, ended: at });
        }
    }

    fn note(&self, done: Done) {
        let mut history = lock(&self.history);
        let at = history.partition_point(|before| before.began <= done.began);
        history.insert(at, done);
    }

    #[expect(clippy::cognitive_complexity, reason = "a line for each change")]
    async fn do_it(&self, change: Change) {
        match change {
            Change::Sealed => self.vault.seal().await,
            Change::Unsealed => self.vault.unseal().await,
            Change::Stopped => block_in_place(|| self.vault.stop()),
            Change::Started => block_in_place(|| self.vault.start()),
            Change::Silenced => signal(self.vault.pid(), "STOP"),
            Change::Woken => signal(self.vault.pid(), "CONT"),
            Change::OperatorKilled => self.kill_operator().await,
            Change::OperatorStarted => self.start_operator().await,
            Change::ProxiesStopped => {
                for proxy in &self.proxies {
                    proxy.stop().await;
                }
            }
            Change::ProxiesStarted => {
                for proxy in &self.proxies {
                    proxy.start().await;
                }
            }
            Change::WrongCredential(credential) => self.write_wrong(credential).await,
            Change::RightCredential(credential) => self.write_right(credential, None).await,
            Change::EndingCredential(credential) => self.write_right(credential, Some(ENDS_AFTER)).await,
            Change::Revoked(credential) => self.revoke(credential).await,
            Change::Locked(credential) => self.vault.lock(&self.roles[&credential]).await,
            Change::Unlocked(credential) => self.vault.unlock(&self.roles[&credential]).await,
            Change::PolicyRemoved(number) => self.write_policy(number, NO_POLICY).await,
            Change::PolicyRestored(number) => self.write_policy(number, POLICY).await,
            Change::SessionRevoked(credential) => {
                let path = format!("sys/leases/revoke-prefix/auth/{}/login", self.roles[&credential].mount);
                self.vault.write(&path, &json!({})).await;
            }
            Change::LoginsLimited(credential) => self.limit_logins(credential, 1, "10m").await,
            Change::LoginsUnlimited(credential) => self.limit_logins(credential, 1_000_000, "1s").await,
            Change::Suspended(number) => self.merge(number, &json!({"spec": {"suspend": true}})).await,
            Change::Resumed(number) => self.merge(number, &json!({"spec": {"suspend": false}})).await,
            Change::Deleted(number) => self.cluster.delete(&name(number)).await,
            Change::Created(number) => self.create(self.subject(number)).await,
            Change::Asked(number) => {
                let annotations = json!({REQUESTED_AT: unique("request")});
                self.merge(number, &json!({"metadata": {"annotations": annotations}})).await;
            }
            Change::SpecTouched(number) => {
                self.merge(number, &json!({"spec": {"description": unique("touched")}})).await;
            }
        }
    }

    /// Changes a connection, if it is there.
    async fn merge(&self, number: usize, patch: &Value) {
        if self.cluster.connections().get_opt(&name(number)).await.expect("the API server answers").is_some()
        {
            self.cluster.change(&name(number), patch).await;
        }
    }

    async fn kill_operator(&self) {
        let operator = lock(&self.operator).take().expect("one runs");
        signal(operator.pid, "KILL");
        operator.await_kill().await;
    }

    async fn start_operator(&self) {
        let operator = Process::start(&operator_kubeconfig(), &[&self.cluster.namespace]).await;
        *lock(&self.operator) = Some(operator);
    }

    /// Ends the operator, which revokes its sessions.
    pub async fn stop_operator(&self) {
        let operator = lock(&self.operator).take().expect("one runs");
        operator.stop().await;
    }

    async fn create(&self, subject: Subject) {
        let mut spec = match self.roles.get(&subject.credential) {
            Some(role) => specs::app_role(&self.vault.address, &role.mount, &secret(subject.credential)),
            None => specs::token(&self.vault.address, &secret(subject.credential)),
        };
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        spec["check"] = json!({
            "interval": seconds(INTERVAL), "timeout": seconds(TIMEOUT), "loginInterval": seconds(LOGIN_INTERVAL),
        });
        match subject.kind {
            Kind::Requiring => spec["require"] = json!({"secretSync": {"mount": "demo_mount"}}),
            Kind::Gateway => spec["gatewayRef"] = json!({"name": GATEWAY}),
            Kind::Wrapped => spec["auth"]["appRole"]["secretId"]["wrapped"] = json!(true),
            Kind::ShortRole
            | Kind::Documented
            | Kind::LongRole
            | Kind::SharedRole
            | Kind::Periodic
            | Kind::Fixed
            | Kind::Limited => {}
        }
        self.cluster.connect(&name(subject.number), &spec).await;
    }

    /// A new value that is right. The one before lives on, and so does what was logged in with it.
    async fn write_right(&self, credential: usize, life: Option<Duration>) {
        let value = match self.roles.get(&credential) {
            None => self.vault.issue_token(&self.token_settings(credential, life)).await,
            Some(role) if self.subject(credential).kind == Kind::Wrapped => {
                self.vault.wrapped_secret_id(role).await
            }
            Some(role) => self.vault.secret_id(role).await,
        };
        lock(&self.right).insert(credential, value.clone());
        self.write(credential, &value).await;
    }

    fn token_settings(&self, credential: usize, life: Option<Duration>) -> Value {
        let mut settings = match self.subject(credential).kind {
            Kind::Periodic => json!({"period": "10m"}),
            Kind::Limited => json!({"ttl": "2h", "num_uses": 500}),
            Kind::Fixed
            | Kind::ShortRole
            | Kind::Documented
            | Kind::LongRole
            | Kind::SharedRole
            | Kind::Requiring
            | Kind::Gateway
            | Kind::Wrapped => json!({"ttl": "2h"}),
        };
        if let Some(life) = life {
            settings["explicit_max_ttl"] = json!(life.as_secs());
        }
        settings["policies"] = json!([policy(credential)]);
        settings
    }

    async fn write_wrong(&self, credential: usize) {
        self.write(credential, WRONG).await;
    }

    async fn write(&self, credential: usize, value: &str) {
        let secret = secret(credential);
        match self.roles.get(&credential) {
            Some(role) => self.cluster.secret(&secret, &specs::pair(role, value)).await,
            None => self.cluster.secret(&secret, &[("token", value)]).await,
        }
    }

    async fn revoke(&self, credential: usize) {
        match self.roles.get(&credential) {
            Some(role) => self.vault.destroy_secret_ids(role).await,
            None => {
                self.vault.write("auth/token/revoke", &json!({"token": self.right(credential)})).await;
            }
        }
    }

    async fn limit_logins(&self, credential: usize, rate: u32, interval: &str) {
        let path = format!("auth/{}", self.roles[&credential].mount);
        let quota = json!({"path": path, "rate": rate, "interval": interval});
        self.vault.write(&format!("sys/quotas/rate-limit/oracle-{credential}"), &quota).await;
    }

    /// Deletes every connection.
    pub async fn delete_all(&self) {
        let deleted =
            self.cluster.connections().delete_collection(&DeleteParams::default(), &<_>::default()).await;
        deleted.expect("they are deleted");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
