//! Several replicas that share the namespaces: each connection is one replica's, whatever happens to the others.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use vault_connection_operator::{
    api::condition::Reason,
    controller::shards::view::{Slot, View, lease_of},
    manifests,
};

use crate::support::{
    access, audit,
    bed::{signal, unique, variable},
    cluster::{Cluster, RELEASE, RELEASE_NAMESPACE},
    operator::Operator,
    specs,
    vault::{AppRole, Vault},
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How soon other replicas must have checked what was a crashed one's: the promise is 15 s and the check.
const CRASH_TAKEOVER: Duration = Duration::from_secs(15 + 3);

/// The same for one that stops by itself, and a busy machine.
const GRACEFUL_TAKEOVER: Duration = Duration::from_secs(2 + 3);

/// Namespaces with a connection each, and replicas that share them.
struct Stage {
    namespaces: Vec<Cluster>,
    vault: Vault,
    role: AppRole,
    lease: String,
    flags: Vec<String>,
}

// === impl Stage ===

impl Stage {
    /// So many namespaces, each with a Secret; and rights to Leases of its own, which are there from an earlier start.
    async fn new(prefix: &str, namespaces: usize, shards: Slot) -> Self {
        let vault = Vault::shared();
        let role = vault.app_role(prefix, json!({"token_ttl": "1h"})).await;
        let secret_id = vault.secret_id(&role).await;
        let namespaces = join_all((0..namespaces).map(|_| Cluster::new(prefix))).await;
        let pair = specs::pair(&role, &secret_id);
        join_all(namespaces.iter().map(|namespace| namespace.secret("credentials", &pair))).await;
        let lease = unique("shards");
        let rules = [manifests::lease_rules(&lease), manifests::shard_rules(&lease)].concat();
        let mut rights = access::grant(&lease, Some(RELEASE_NAMESPACE), &json!(rules), RELEASE_NAMESPACE);
        rights[1]["subjects"][0]["name"] = json!(RELEASE);
        let released = |slot: Slot| {
            let metadata = json!({"name": lease_of(&lease, slot), "namespace": RELEASE_NAMESPACE});
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
        };
        let objects: Vec<_> = rights.into_iter().chain((0..shards).map(released)).collect();
        access::apply(Path::new(&variable("KUBECONFIG")), &objects);
        let flags = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--lease", &lease];
        let mut flags: Vec<_> = flags.map(str::to_owned).into();
        flags.push(format!("--shards={shards}"));
        let others = namespaces.iter().skip(1);
        flags.extend(others.map(|namespace| format!("--watch-namespace={}", namespace.namespace)));
        Self { namespaces, vault, role, lease, flags }
    }

    /// Starts one more replica.
    async fn replica(&self) -> Operator {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Operator::start_with(&self.namespaces[0], &flags).await
    }

    /// Makes the connection of every namespace. It is checked as rarely as can be.
    async fn connect(&self) {
        let mut spec = specs::app_role(&self.vault.address, &self.role.mount, "credentials");
        spec["check"] = json!({"interval": "10m"});
        join_all(self.namespaces.iter().map(|namespace| namespace.connect("connection", &spec))).await;
        self.await_ready().await;
    }

    async fn await_ready(&self) {
        for namespace in &self.namespaces {
            namespace.wait("connection", "Ready", PATIENCE, is_ready).await;
        }
    }

    /// Deletes the Lease of a slot, as somebody could by hand.
    async fn delete_lease(&self, slot: Slot) {
        let leases: Api<Lease> = Api::namespaced(self.namespaces[0].client.clone(), RELEASE_NAMESPACE);
        let name = lease_of(&self.lease, slot);
        leases.delete(&name, &DeleteParams::default()).await.expect("it is there");
    }

    /// Waits until so many tokens of the role are valid.
    async fn await_sessions(&self, wanted: usize) {
        let counted = async || (self.vault.sessions(&self.role.mount).await == wanted).then_some(());
        eventually("every connection has one token", PATIENCE, counted).await;
    }

    /// How many logins Vault has seen.
    async fn logins(&self) -> usize {
        let paths = audit::vault_paths(&self.vault).await;
        audit::count(&paths, &format!("auth/{}/login", self.role.mount))
    }

    /// Waits until every connection that moved was checked. Each costs one login, and no more.
    async fn await_logins(&self, wanted: usize, within: Duration) {
        let logged_in = async || (self.logins().await >= wanted).then_some(());
        eventually("what moved was checked", within, logged_in).await;
        assert_eq!(self.logins().await, wanted);
    }

    /// Waits until every connection is reported by that of these replicas whose slot owns its namespace, and by no other. Tells by which.
    async fn owners(&self, replicas: &[(Slot, &Operator)], within: Duration) -> BTreeMap<String, Slot> {
        let view = View::of(replicas.iter().map(|(slot, _)| *slot));
        let owner =
            |it: &Cluster| (it.namespace.clone(), view.owner(&it.namespace).expect("there are slots"));
        let wanted: BTreeMap<_, _> = self.namespaces.iter().map(owner).collect();
        eventually("each namespace is its owner's", within, async || {
            let mut owners = BTreeMap::new();
            for (slot, replica) in replicas {
                let text = replica.metrics().await;
                let series =
                    text.lines().filter_map(|line| line.strip_prefix("vault_connection_ready{namespace=\""));
                for namespace in series.filter_map(|line| Some(line.split_once('"')?.0.to_owned())) {
                    if owners.insert(namespace, *slot).is_some() {
                        return None;
                    }
                }
            }
            (owners == wanted).then_some(owners)
        })
        .await
    }

    /// Waits until these replicas, and no others, share the namespaces.
    async fn await_shared(&self, replicas: &[&Operator]) {
        for replica in replicas {
            let count = replicas.len() as u64;
            let shared = async || (replica.count("shards ").await == count).then_some(());
            eventually("every replica knows of the others", PATIENCE, shared).await;
        }
    }
}

/// How many namespaces are a slot's.
fn count_of(owners: &BTreeMap<String, Slot>, slot: Slot) -> usize {
    owners.values().filter(|owner| **owner == slot).count()
}

#[tokio::test]
async fn each_namespace_is_checked_by_one_of_three_replicas_and_moves_when_its_replica_goes() {
    let stage = Stage::new("shards", 30, 3).await;
    let (first, second, third) = (stage.replica().await, stage.replica().await, stage.replica().await);
    stage.await_shared(&[&first, &second, &third]).await;
    stage.connect().await;
    let owners = stage.owners(&[(0, &first), (1, &second), (2, &third)], PATIENCE).await;
    assert_eq!(stage.logins().await, 30, "one for each connection");
    for namespace in &stage.namespaces {
        let requests = audit::kube_requests(namespace).await;
        let writes = requests.iter().filter(|it| it.is("patch", "vaultconnections/status")).count();
        assert_eq!(writes, 1, "of the status in {}", namespace.namespace);
    }

    let (crashed, lost) = (Instant::now(), count_of(&owners, 0));
    signal(first.pid, "KILL");
    stage.owners(&[(1, &second), (2, &third)], CRASH_TAKEOVER).await;
    let left = CRASH_TAKEOVER.saturating_sub(crashed.elapsed());
    stage.await_logins(30 + lost, left).await;
    eprintln!("{lost} namespaces moved and were checked {:?} after a crash", crashed.elapsed());

    let fourth = stage.replica().await;
    let owners = stage.owners(&[(0, &fourth), (1, &second), (2, &third)], PATIENCE).await;
    let gained = count_of(&owners, 0);
    stage.await_logins(30 + lost + gained, PATIENCE).await;

    let lost_again = count_of(&owners, 1);
    let (status, _) = second.stop();
    assert_eq!(status.code(), Some(0));
    let stopped = Instant::now();
    stage.owners(&[(0, &fourth), (2, &third)], GRACEFUL_TAKEOVER).await;
    eprintln!("{lost_again} namespaces moved {:?} after a stop", stopped.elapsed());
    stage.await_logins(30 + lost + gained + lost_again, PATIENCE).await;
    stage.await_ready().await;
}

#[tokio::test]
async fn a_replica_that_was_stopped_and_goes_on_sends_nothing() {
    let stage = Stage::new("shards-resumed", 8, 2).await;
    let (mut first, second) = (stage.replica().await, stage.replica().await);
    stage.await_shared(&[&first, &second]).await;
    stage.connect().await;
    let owners = stage.owners(&[(0, &first), (1, &second)], PATIENCE).await;
    signal(first.pid, "STOP");
    stage.owners(&[(1, &second)], CRASH_TAKEOVER).await;
    stage.await_logins(8 + count_of(&owners, 0), PATIENCE).await;
    // From now on, the second has nothing to send.
    for namespace in &stage.namespaces {
        namespace.change("connection", &json!({"spec": {"suspend": true}})).await;
        namespace.wait_reason("connection", Reason::Suspended).await;
    }
    let sent = async || {
        let mut requests = Vec::new();
        for namespace in &stage.namespaces {
            requests.push(audit::kube_requests(namespace).await.len());
        }
        (stage.logins().await, requests)
    };
    let before = sent().await;
    signal(first.pid, "CONT");
    let status = first.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "it says that the Lease is lost");
    assert_eq!(sent().await, before, "logins, requests to the API server");
}

/// How long a replica that was stopped may have sent after that, at the least: it had renewed its Lease within the last 8 s, and sends
/// until 12.5 s after a renewal.
const MIN_SENT: Duration = Duration::from_millis(4500);

#[tokio::test]
async fn a_lease_that_is_deleted_by_hand_ends_no_claim_before_its_holder_has_stopped() {
    let stage = Stage::new("shards-deleted", 8, 2).await;
    let (mut first, second) = (stage.replica().await, stage.replica().await);
    stage.await_shared(&[&first, &second]).await;
    stage.connect().await;
    let owners = stage.owners(&[(0, &first), (1, &second)], PATIENCE).await;
    let lost = count_of(&owners, 0);
    signal(first.pid, "STOP");
    let stopped = Instant::now();
    stage.delete_lease(0).await;
    stage.await_logins(8 + lost, PATIENCE).await;
    assert!(stopped.elapsed() >= MIN_SENT, "{:?}", stopped.elapsed());
    signal(first.pid, "CONT");
    assert_eq!(first.ended(PATIENCE).code(), Some(1), "it says that the Lease is lost");
    // The Lease is made anew.
    let third = stage.replica().await;
    let owners = stage.owners(&[(0, &third), (1, &second)], PATIENCE).await;
    stage.await_logins(8 + lost + count_of(&owners, 0), PATIENCE).await;
}

#[tokio::test]
async fn a_namespace_that_comes_back_is_checked_anew_and_leaves_no_token_behind() {
    let mut stage = Stage::new("shards-back", 12, 2).await;
    // So that one secret id that is refused holds back nobody else of the role.
    stage.flags.push("--lockout-threshold=9".to_owned());
    let first = stage.replica().await;
    stage.connect().await;
    stage.await_sessions(12).await;
    let second = stage.replica().await;
    stage.await_shared(&[&first, &second]).await;
    let owners = stage.owners(&[(0, &first), (1, &second)], PATIENCE).await;
    let moved = count_of(&owners, 1);
    stage.await_logins(12 + moved, PATIENCE).await;
    stage.await_sessions(12).await;

    let refused = stage.namespaces.iter().find(|it| owners[&it.namespace] == 1).expect("some have moved");
    refused.secret("credentials", &specs::pair(&stage.role, "wrong")).await;
    refused.wait_reason("connection", Reason::InvalidCredentials).await;
    assert_eq!(second.stop().0.code(), Some(0));
    stage.owners(&[(0, &first)], GRACEFUL_TAKEOVER).await;
    // The others once more; what was refused to the second, the first does not try again.
    stage.await_logins(12 + moved + 1 + moved - 1, PATIENCE).await;
    stage.await_sessions(11).await;
    refused.wait_reason("connection", Reason::InvalidCredentials).await;
    let requests = audit::kube_requests(refused).await;
    let writes = requests.iter().filter(|it| it.is("patch", "vaultconnections/status")).count();
    assert_eq!(writes, 2, "Ready by the first, rejected by the second, and nothing since");
}

#[tokio::test]
async fn a_replica_that_wants_to_work_alone_waits_for_those_that_share_the_namespaces() {
    let stage = Stage::new("shards-alone", 2, 2).await;
    let alone: Vec<_> =
        stage.flags.iter().filter(|flag| !flag.starts_with("--shards")).map(String::as_str).collect();
    let leader = Operator::start_with(&stage.namespaces[0], &alone).await;
    stage.connect().await;
    let sharing = stage.replica().await;
    assert_eq!((leader.count("leader ").await, sharing.count("leader ").await), (1, 0));
    leader.stop();
    sharing.await_count("leader ", 1, GRACEFUL_TAKEOVER).await;
    let another = Operator::start_with(&stage.namespaces[0], &alone).await;
    assert_eq!(another.count("leader ").await, 0, "it stands by");
    stage.owners(&[(0, &sharing)], PATIENCE).await;
    sharing.stop();
    another.await_count("leader ", 1, CRASH_TAKEOVER).await;
}
