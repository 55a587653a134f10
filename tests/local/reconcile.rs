//! The real reconcile of a connection in this process: a Kubernetes API in memory, and a Vault of ours on loopback.
//!
//! ```text
//!   object ─▶ Kind::reconcile ─▶ FakeVault      requests counted
//!                  └───────────▶ ApiServer      reads, status writes and events counted
//! ```
//!
//! What a real API server and a real Vault make of the same is in `tests/it`; here a whole history takes milliseconds.

mod api_server;
mod revocations;
mod takeover;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::FutureExt as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vault_connection_operator::{
    check::Checker,
    cluster::Cluster,
    controller::{
        Context,
        connection::Connections,
        engine::{Listing, Reconciler, Requeue, object::Object, publisher::Publisher},
    },
    names::{ConnectionRef, ObjectName},
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::SystemNames,
        dial::Dialer,
        policy_file::PolicyHandle,
    },
    references::Version,
    session::{account::Limits, instances::Instances, logins::Logins, sessions::Subject, shutdown},
    spec::Desired,
    telemetry::{metrics::Metrics, page::board::Board},
};

use self::api_server::{ApiServer, NAME, NAMESPACE};
use crate::support::{
    fakes::vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    wait::{PATIENCE, eventually},
};

/// The Secret that the connection names.
const SECRET: &str = "vault-approle";

/// An operator with one connection, and all that it talks to.
struct Stage {
    vault: FakeVault,
    api: ApiServer,
    context: Arc<Context>,
    connections: Arc<Connections>,
}

// === impl Stage ===

impl Stage {
    async fn new() -> Self {
        let vault = FakeVault::new().await;
        let api = ApiServer::new(&spec(&vault.url));
        api.write_secret(SECRET, &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]);
        let cluster = Cluster::with_client(api.client(), "http://api.invalid".parse().expect("a URL"));
        let allow = vec!["127.0.0.0/8".parse().expect("an entry")];
        let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
        let context = Arc::new(Context {
            publisher: Publisher::new(cluster.client(), None),
            checker: Checker {
                references: cluster.clone(),
                dialer: Dialer::new(policy, true, Arc::new(SystemNames)),
                instances: Instances::default(),
                logins: Logins::new(50, Limits::default()),
                metrics: Metrics::new(true),
            },
            cluster,
            connections: Arc::default(),
            gateways: Arc::default(),
            board: Board::new(true),
            heartbeat: Duration::from_mins(30),
        });
        context.checker.logins.expect_lists(1);
        let connections = Arc::new(Connections::new(Arc::clone(&context), &[None]));
        connections.listed(None, Listing::Complete);
        Self { vault, api, context, connections }
    }

    /// One that has made its first check.
    async fn ready() -> Self {
        let stage = Self::new().await;
        stage.reconcile().await;
        assert_eq!(stage.ready_is(), ("True".to_owned(), "Connected".to_owned()));
        stage
    }

    /// What the engine does when the watch brings the object.
    fn seen(&self) -> Arc<Object<Connections>> {
        let mut object = self.api.connection();
        self.connections.seen(&key(), &mut object, None);
        Arc::new(object)
    }

    /// What the engine does when the object was another replica's until now, and somebody else still holds this state of it.
    fn gained(&self) -> Arc<Object<Connections>> {
        let mut object = Arc::new(self.api.connection());
        let held = Arc::clone(&object);
        self.connections.gained(&key(), &mut object);
        held
    }

    /// What the engine does when another replica looks after the object from now on.
    async fn hand_over(&self) {
        Arc::clone(&self.connections).hand_over(vec![key()]).await;
    }

    /// Ends the Ready, or writes the status again, if it is time for that.
    async fn expire(&self, object: Arc<Object<Connections>>) {
        let expired = Box::pin(Arc::clone(&self.connections).expire(object));
        expired.await.expect("the API server answers");
    }

    /// What the engine does next.
    async fn reconcile(&self) -> Requeue {
        let object = self.seen();
        Arc::clone(&self.connections).reconcile(object).await.expect("the API server answers")
    }

    /// Writes the Secret, and lets the operator see that it has settled.
    fn rotate(&self, secret_id: &str) {
        let resource_version = self.api.write_secret(SECRET, &[("roleId", ROLE_ID), ("secretId", secret_id)]);
        let version = Version { uid: format!("uid-of-{SECRET}").into(), resource_version };
        let registry = &self.context.connections;
        let changes = registry.saw(NAMESPACE, &ObjectName::secret(SECRET), Some(&version));
        assert_eq!(changes.len(), 1, "the connection was registered for it");
        registry.settled(key());
    }

    /// What the engine does after a run, if that has left something. Tells whether it has.
    async fn clean_up(&self) -> bool {
        let has_left = self.connections.has_cleanup(&key());
        if has_left {
            let cleaned_up = Box::pin(Arc::clone(&self.connections).clean_up(self.seen()));
            cleaned_up.await.expect("the API server answers");
        }
        has_left
    }

    fn logins(&self) -> usize {
        self.vault.asked(Ask::Login)
    }

    /// Resolves when Vault was asked that so often.
    async fn asked(&self, ask: Ask, times: usize) {
        let asked = async || (self.vault.asked(ask) == times).then_some(());
        eventually("Vault is asked", PATIENCE, asked).await;
    }

    fn ready_is(&self) -> (String, String) {
        self.api.condition("Ready")
    }
}

fn key() -> ConnectionRef {
    ConnectionRef { namespace: NAMESPACE.into(), name: NAME.into() }
}

fn spec(url: &str) -> Value {
    let key = |key: &str| json!({"secretRef": {"name": SECRET, "key": key}});
    json!({"instanceUrl": url, "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}}})
}

#[tokio::test]
async fn the_first_check_is_three_requests_and_one_write_and_a_settled_one_is_none() {
    let stage = Stage::ready().await;
    assert_eq!(
        (stage.vault.asked_in_all(), stage.api.counts()),
        (3, (3, 1)),
        "one read in two requests, one write"
    );
    assert!(stage.api.events().is_empty(), "{:?}", stage.api.events());
    let Requeue::After(wait) = stage.reconcile().await else { panic!("there is a next check") };
    assert!(wait <= Duration::from_mins(2), "{wait:?}");
    assert_eq!((stage.vault.asked_in_all(), stage.api.counts()), (3, (3, 1)), "nothing was due");
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_after_the_run_and_at_the_latest_by_the_next_one() {
    let stage = Stage::ready().await;
    let at_first = stage.api.read_version();
    stage.rotate(SECRET_ID);
    stage.reconcile().await;
    let progress = || (stage.logins(), stage.api.counts().1, stage.api.read_version() == at_first);
    assert_eq!(progress(), (2, 1, true), "the next check does not wait for that");
    stage.api.refuse_writes(true);
    let object = stage.seen();
    let refused = Box::pin(Arc::clone(&stage.connections).clean_up(object)).await;
    assert!(refused.is_err() && stage.connections.has_cleanup(&key()), "it is still to be written");
    stage.api.refuse_writes(false);
    assert!(stage.clean_up().await);
    assert_eq!(progress(), (2, 2, false));
    assert!(!stage.clean_up().await, "nothing is left");

    let former = stage.api.read_version();
    stage.context.connections.trigger(key());
    stage.rotate(SECRET_ID);
    stage.reconcile().await;
    stage.reconcile().await;
    assert_eq!((stage.logins(), stage.api.counts().1, stage.api.read_version() == former), (3, 3, false));
}

#[tokio::test]
async fn two_reconciles_at_once_share_one_login() {
    let stage = Stage::new().await;
    tokio::join!(stage.reconcile(), stage.reconcile());
    assert_eq!((stage.logins(), stage.api.counts().1), (1, 1));
}

#[tokio::test]
async fn a_refused_secret_id_ends_ready_at_once_and_is_tried_once() {
    let stage = Stage::ready().await;
    stage.rotate("wrong");
    stage.reconcile().await;
    assert_eq!(stage.ready_is(), ("False".to_owned(), "InvalidCredentials".to_owned()));
    assert_eq!(stage.api.event_reasons(), ["InvalidCredentials"]);
    assert_eq!(stage.logins(), 2);
    for _ in 0..3 {
        stage.context.connections.trigger(key());
        stage.reconcile().await;
    }
    assert_eq!(stage.logins(), 2, "the same pair is not tried again");
    stage.rotate(SECRET_ID);
    let Requeue::After(wait) = stage.reconcile().await else { panic!("the change is tried") };
    assert!(wait <= Duration::from_secs(10), "changes one after the other are some seconds apart: {wait:?}");
}

#[tokio::test]
async fn each_transition_is_an_event_of_its_own_and_says_what_it_was() {
    let stage = Stage::ready().await;
    let name_key = |key: &str| {
        stage.api.change(|it| it["spec"]["auth"]["appRole"]["roleId"]["secretRef"]["key"] = json!(key));
        stage.reconcile()
    };
    for wrong in ["role-id", "role_id", "role_id"] {
        name_key(wrong).await;
        assert_eq!(stage.ready_is().1, "KeyNotFound");
        name_key("roleId").await;
        assert_eq!(stage.ready_is().1, "Connected");
    }
    assert_eq!(stage.api.event_reasons(), ["KeyNotFound", "Connected"].repeat(3));
    let events = stage.api.events();
    let notes = events.iter().step_by(2).map(|event| event["note"].as_str().unwrap_or_default());
    for (note, key) in notes.zip(["role-id", "role_id", "role_id"]) {
        assert!(note.contains(&format!("{key:?}")), "{note}");
    }
    let names: BTreeSet<_> = events.iter().map(|event| event["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 6, "the API server keeps each: {names:?}");
}

#[tokio::test]
async fn a_status_that_meets_a_change_is_written_after_it() {
    let stage = Stage::new().await;
    let object = stage.seen();
    stage.api.change(|connection| connection["metadata"]["labels"] = json!({"team": "a"}));
    Arc::clone(&stage.connections).reconcile(object).await.expect("a conflict is no failure");
    assert_eq!(stage.api.counts().1, 0);
    stage.reconcile().await;
    assert_eq!((stage.ready_is().0.as_str(), stage.api.counts().1), ("True", 1));
    assert_eq!(stage.logins(), 1, "the verdict stands; only its write was to be made again");
}

fn suspend(connection: &mut Value) {
    connection["spec"]["suspend"] = json!(true);
}

fn delete(connection: &mut Value) {
    connection["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn who_is_suspended_or_deleted_leaves_no_session() {
    for change in [suspend, delete] {
        let stage = Stage::new().await;
        stage.api.change(|connection| connection["spec"]["check"] = json!({"interval": "10s"}));
        stage.reconcile().await;
        stage.api.change(change);
        assert_eq!(stage.reconcile().await, Requeue::OnChange);
        assert_eq!((stage.logins(), stage.vault.sessions()), (1, 0));
    }
}

/// As a sync of a connection does.
#[tokio::test]
async fn others_lend_the_session_of_a_connection_while_its_check_is_under_way() {
    let stage = Stage::ready().await;
    stage.vault.misbehave(Ask::LookupSelf, Misdeed::Silence);
    stage.context.connections.trigger(key());
    let mut check = Box::pin(stage.reconcile());
    tokio::select! {
        _ = &mut check => panic!("Vault is silent"),
        () = stage.asked(Ask::LookupSelf, 2) => {}
    }
    let entry = stage.context.connections.get(&key()).expect("it was reconciled");
    assert!(entry.state.try_lock().is_err(), "the check has it");
    let desired = Desired::parse(&stage.api.spec()).expect("a valid spec");
    let subject = Subject {
        connection: &key(),
        desired: &desired,
        ledger: &entry.ledger,
        stale: false,
        is_ready: true,
        register: &|_| {},
        now: Timestamp::now(),
        deadline: None,
    };
    let memory = entry.memory();
    let sessions = stage.context.checker.sessions();
    let lease = sessions.acquire(&subject, &memory.session).now_or_never().expect("it is lent at once");
    assert!(lease.is_ok());
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_check_that_a_stop_ends_says_nothing_and_leaves_no_session() {
    let stage = Stage::new().await;
    stage.vault.misbehave(Ask::LookupSelf, Misdeed::Silence);
    let stopping = CancellationToken::new();
    let mut run = Box::pin(shutdown::Run::new(&stopping).scope(stage.reconcile()));
    tokio::select! {
        _ = &mut run => panic!("Vault is silent"),
        () = stage.asked(Ask::LookupSelf, 1) => {}
    }
    stopping.cancel();
    assert_eq!(run.await, Requeue::OnChange);
    assert_eq!(stage.api.counts().1, 0, "no verdict follows from it");
    assert_eq!((stage.logins(), stage.vault.sessions()), (1, 0));
}

#[tokio::test]
async fn a_panic_is_reported_and_the_next_check_begins_anew() {
    let stage = Stage::ready().await;
    let (connections, object) = (Arc::clone(&stage.connections), stage.seen());
    let report = connections.report_panic(object, Duration::from_secs(10));
    Box::pin(report).await.expect("the API server answers");
    assert_eq!(stage.ready_is().1, "InternalError");
    stage.reconcile().await;
    assert_eq!((stage.ready_is().0.as_str(), stage.logins()), ("True", 2));
}
