//! Two users of one connection's login at once, through the service that lends it, at a Vault of ours on loopback.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use serde_json::json;
use tokio::time::Instant;
use vault_connection_operator::{
    auth::LoginFault,
    check::{CheckState, Checker, Outcome, Subject},
    names::{ConnectionRef, InstanceUrl, ObjectName},
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::SystemNames,
        dial::Dialer,
        faults::TransportFault,
        policy_file::PolicyHandle,
    },
    references::{Lookup, Object, References, Version, ledger::Ledger},
    session::{
        account::Limits,
        entry::Lease,
        instances::Instances,
        logins::Logins,
        sessions::{Halt, NotRevoked},
    },
    spec::Desired,
    telemetry::metrics::Metrics,
    verify::{memory::Memory, observation::Fault},
};

use crate::support::fakes::vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID};

/// The Secret of the connection.
struct Pair(Mutex<(u32, &'static str)>);

/// A connection, its Vault, and what is kept of it.
struct Stage {
    vault: FakeVault,
    checker: Checker<Pair>,
    desired: Desired,
    state: CheckState,
    connection: ConnectionRef,
    ledger: Mutex<Ledger>,
}

// === impl Pair ===

impl References for Pair {
    type Error = Infallible;

    async fn read(&self, _: &str, _: &ObjectName) -> Result<Lookup, Infallible> {
        let (version, secret_id) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = |(key, text): (&str, &str)| (key.to_owned(), Zeroizing::new(text.as_bytes().to_vec()));
        Ok(Lookup::Found(Object {
            version: Version { uid: "u".into(), resource_version: version.to_string() },
            labelled: true,
            data: [("roleId", ROLE_ID), ("secretId", secret_id)].map(value).into(),
        }))
    }
}

// === impl Stage ===

impl Stage {
    /// Its tokens live for an hour.
    async fn new() -> Self {
        Self::checked_every("1m").await
    }

    /// Its tokens do not live until the next check.
    async fn short_lived() -> Self {
        Self::checked_every("12h").await
    }

    async fn checked_every(interval: &str) -> Self {
        let vault = FakeVault::new().await;
        let key = |key: &str| json!({"secretRef": {"name": "pair", "key": key}});
        let spec = json!({
            "instanceUrl": vault.url, "check": {"interval": interval},
            "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}},
        });
        let allow = vec!["127.0.0.0/8".parse().expect("an entry")];
        let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
        let checker = Checker {
            references: Pair(Mutex::new((1, SECRET_ID))),
            dialer: Dialer::new(policy, true, Arc::new(SystemNames)),
            instances: Instances::default(),
            logins: Logins::new(1000, Limits::default()),
            metrics: Metrics::new(true),
        };
        Self {
            vault,
            checker,
            desired: Desired::parse(&serde_json::from_value(spec).expect("a spec")).expect("a good spec"),
            state: CheckState::default(),
            connection: ConnectionRef { namespace: "ns".into(), name: "shared".into() },
            ledger: Mutex::default(),
        }
    }

    fn subject(&self, stale: bool, patience: Option<Duration>) -> Subject<'_> {
        Subject {
            connection: &self.connection,
            desired: &self.desired,
            ledger: &self.ledger,
            stale,
            is_ready: false,
            register: &|_| {},
            now: Timestamp::now(),
            deadline: patience.map(|patience| Instant::now() + patience),
        }
    }

    async fn acquire(&self) -> Result<Lease, Halt<Infallible>> {
        self.within(None).await
    }

    async fn within(&self, patience: Option<Duration>) -> Result<Lease, Halt<Infallible>> {
        self.checker.sessions().acquire(&self.subject(false, patience), &self.state.session).await
    }

    /// A check, which gives back what it had.
    async fn check(&self, stale: bool) -> Option<Fault> {
        let own = CheckState::new(Arc::clone(&self.state.session));
        let outcome = self.checker.check(&self.subject(stale, None), &own).await;
        let Ok(Outcome::Checked(checked)) = outcome else { panic!("nothing stops") };
        checked.observation.fault
    }

    async fn revoke_due(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        self.checker.sessions().revoke_due(&self.connection, &self.state.session, deadline).await;
    }

    fn rotate(&self, secret_id: &'static str) {
        let mut pair = self.checker.references.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pair = (pair.0 + 1, secret_id);
    }

    /// How many logins and revocations Vault saw.
    fn counts(&self) -> (usize, usize) {
        (self.vault.asked(Ask::Login), self.vault.asked(Ask::RevokeSelf))
    }
}

fn fault(outcome: Result<Lease, Halt<Infallible>>) -> Fault {
    match outcome {
        Err(Halt::Fault(fault)) => fault,
        Err(Halt::GivenUp | Halt::Source(_)) => panic!("nothing stops"),
        Ok(_) => panic!("there is a session"),
    }
}

#[tokio::test]
async fn two_users_at_once_make_one_login_that_is_revoked_when_the_last_gives_it_back() {
    let stage = Stage::short_lived().await;
    let (one, two) = tokio::join!(stage.acquire(), stage.acquire());
    let (one, two) = (one.expect("a session"), two.expect("a session"));
    drop(one);
    stage.revoke_due().await;
    assert_eq!(stage.counts(), (1, 0), "the other still has it");
    drop(two);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((1, 1), 0));
}

#[tokio::test]
async fn a_check_and_another_user_share_a_session_that_is_not_worth_keeping() {
    let stage = Stage::short_lived().await;
    let (lease, fault) = tokio::join!(stage.acquire(), stage.check(false));
    assert_eq!(fault, None);
    stage.revoke_due().await;
    assert_eq!(stage.counts(), (1, 0), "the other still has it");
    drop(lease);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((1, 1), 0));
}

#[tokio::test]
async fn a_session_that_is_kept_is_lent_while_a_check_is_under_way_without_a_request() {
    let stage = Stage::new().await;
    assert_eq!(stage.check(false).await, None);
    stage.vault.misbehave(Ask::LookupSelf, Misdeed::Silence);
    let mut check = Box::pin(stage.check(false));
    assert!(check.as_mut().now_or_never().is_none(), "it is under way");
    let asked = stage.vault.asked_in_all();
    let lease = stage.acquire().now_or_never().expect("it is lent at once").expect("a session");
    assert!(stage.state.session.known().has_session());
    drop((lease, check));
    stage.revoke_due().await;
    assert_eq!(stage.vault.asked(Ask::Login), 1);
    assert!(stage.vault.asked_in_all() <= asked + 1, "nothing but the check asks");
    assert_eq!(stage.vault.sessions(), 1, "it is still kept");
}

#[tokio::test]
async fn a_user_that_goes_away_takes_nothing_from_the_others() {
    let stage = Stage::short_lived().await;
    let mut waiting = Box::pin(stage.acquire());
    let (lease, ()) = tokio::join!(stage.acquire(), async {
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        drop(waiting);
    });
    drop(lease);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((1, 1), 0));
}

/// A suspension does not wait for users, and they do not panic because of it.
#[tokio::test]
async fn a_session_that_is_begun_while_the_connection_is_released_is_lent_and_revoked() {
    let forget: fn(&Stage) -> usize = |stage| stage.state.session.reset().len();
    let suspend: fn(&Stage) -> usize = |stage| stage.state.session.release().len();
    for release in [forget, suspend] {
        let stage = Stage::new().await;
        let mut begun = Box::pin(stage.acquire());
        assert!(begun.as_mut().now_or_never().is_none(), "it is under way");
        assert_eq!(release(&stage), 0);
        drop(begun.await.expect("a session"));
        assert!(!stage.state.session.known().has_session());
        stage.revoke_due().await;
        assert_eq!((stage.counts(), stage.vault.sessions()), ((1, 1), 0));
    }
}

/// As at a start: what the status says is recalled by the first check, and somebody else has come first.
#[tokio::test]
async fn a_session_of_another_user_is_revoked_after_a_first_check_recalls_the_status() {
    let stage = Stage::new().await;
    let lease = stage.acquire().await.expect("a session");
    stage.state.recall(Memory::default());
    assert_eq!(stage.check(false).await, None);
    stage.revoke_due().await;
    assert_eq!(stage.counts(), (2, 0), "the other still has its own");
    drop(lease);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((2, 1), 1));
}

#[tokio::test]
async fn an_old_session_is_revoked_after_a_rotation_when_its_lease_is_back() {
    let stage = Stage::new().await;
    assert_eq!(stage.check(false).await, None);
    let old = stage.acquire().await.expect("a session");
    stage.rotate(SECRET_ID);
    assert_eq!(stage.check(true).await, None);
    stage.revoke_due().await;
    assert_eq!(stage.counts(), (2, 0), "somebody uses the old one");
    drop(old);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((2, 1), 1));
}

#[tokio::test]
async fn an_old_session_is_not_held_back_by_a_lease_that_is_overdue() {
    let stage = Stage::new().await;
    assert_eq!(stage.check(false).await, None);
    let overdue = stage.within(Some(Duration::ZERO)).await.expect("it is lent at once");
    stage.rotate(SECRET_ID);
    assert_eq!(stage.check(true).await, None);
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((2, 1), 1));
    drop(overdue);
    stage.revoke_due().await;
    assert_eq!(stage.counts(), (2, 1), "once");
}

#[tokio::test]
async fn a_refused_login_is_the_fault_of_all_that_wait_and_is_made_once() {
    let stage = Stage::new().await;
    stage.rotate("wrong");
    let (one, two) = tokio::join!(stage.acquire(), stage.acquire());
    let refused = Fault::Login(LoginFault::InvalidCredentials);
    assert_eq!((fault(one), fault(two)), (refused.clone(), refused));
    let counted = stage.state.session.known().memory.refused_lately(Timestamp::now());
    assert_eq!((stage.counts(), counted.len()), ((1, 0), 1));
}

#[tokio::test]
async fn who_has_less_time_waits_no_longer_and_costs_the_others_nothing() {
    let stage = Stage::new().await;
    let hasty = async {
        tokio::task::yield_now().await;
        stage.within(Some(Duration::ZERO)).await
    };
    let (patient, hasty) = tokio::join!(stage.acquire(), hasty);
    assert_eq!(fault(hasty), Fault::LoginQueued);
    assert!(patient.is_ok());
    assert_eq!(stage.vault.asked(Ask::Login), 1);
}

#[tokio::test]
async fn a_session_is_revoked_at_its_own_address_when_the_next_one_is_not_allowed() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.check(false).await, None);
    stage.desired.target.instance = InstanceUrl::parse("http://192.0.2.1:8200").expect("valid");
    let fault = stage.check(false).await;
    assert!(matches!(fault, Some(Fault::Transport(TransportFault::NotAllowed(_)))), "{fault:?}");
    stage.revoke_due().await;
    assert_eq!((stage.counts(), stage.vault.sessions()), ((1, 1), 0));
}

#[tokio::test]
async fn nothing_is_revoked_at_an_address_that_is_no_longer_allowed() {
    let stage = Stage::new().await;
    assert_eq!(stage.check(false).await, None);
    let [token] = stage.state.session.reset().try_into().ok().expect("one token");
    let sessions = stage.checker.sessions();
    let none = PolicyHandle::fixed(AddressPolicy::new(Vec::new(), Vec::new(), Contact::default()));
    let dialer = Dialer::new(none, true, Arc::new(SystemNames));
    let strict = vault_connection_operator::session::sessions::Sessions { dialer: &dialer, ..sessions };
    let outcome = strict.revoke_one("ns", &token, Instant::now() + Duration::from_secs(5)).await;
    assert_eq!(outcome, Err(NotRevoked::NotAllowed));
    assert_eq!(stage.vault.asked(Ask::RevokeSelf), 0);
}
