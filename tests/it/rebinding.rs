//! A name server that changes its mind between two requests of one check. The operator asks the resolver of the system,
//! which a test cannot replace without being root; so this runs the operator's own checker and dialer in this process,
//! with a resolver of the test in the place of the system's.
//!
//! ```text
//!   rebound.example.com ──▶ 127.0.0.2:P  a good Vault, which the policy allows
//!                      └──▶ 127.0.0.1:P  counts who comes: nobody may
//! ```

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{FutureExt, ready};
use k8s_openapi::jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use tokio::{net::TcpListener, time::Instant};
use vault_connection_operator::{
    check::{CheckState, Checker, Outcome, Subject},
    names::{ConnectionRef, ObjectName},
    network::{
        address_policy::{AddressPolicy, Contact, Protected, Rule},
        connect::{Addresses, Names},
        dial::Dialer,
        faults::TransportFault,
        policy_file::PolicyHandle,
    },
    references::{Lookup, Object, References, Version, ledger::Ledger},
    session::{account::Limits, instances::Instances, logins::Logins},
    spec::Desired,
    telemetry::metrics::Metrics,
    verify::observation::Fault,
};

use crate::{
    faults_table::fake_spec,
    support::fakes::vault::{Ask, FakeVault, ROLE_ID, SECRET_ID},
};

const GOOD: &[&str] = &["127.0.0.2"];

/// What a rebound name leads to: the same place, in each form that a resolver can give.
const EVIL: [&[&str]; 4] =
    [&["127.0.0.1"], &["::ffff:127.0.0.1"], &["::127.0.0.1"], &["127.0.0.1", "::ffff:127.0.0.1"]];

/// How many requests the first check of an AppRole connection makes: health, login, look.
const REQUESTS: usize = 3;

/// A name server that gives other answers as time goes by; the last one stays.
#[derive(Default)]
struct Rebinding(Mutex<VecDeque<&'static [&'static str]>>);

/// The Secret of the connection.
struct Pair;

/// A listener that nobody may come to.
struct Forbidden {
    port: u16,
    connections: Arc<AtomicUsize>,
}

/// A connection, and what it is checked with.
struct Bench {
    checker: Checker<Pair>,
    names: Arc<Rebinding>,
    desired: Desired,
    kept: CheckState,
}

// === impl Rebinding ===

impl Rebinding {
    fn answer(&self, answers: impl IntoIterator<Item = &'static [&'static str]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answers.into_iter().collect();
    }
}

impl Names for Rebinding {
    fn addresses<'a>(&'a self, name: &'a str, port: u16) -> Addresses<'a> {
        assert_eq!(name, "rebound.example.com");
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        let address = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().expect("an address"), port);
        ready(Ok(answer.unwrap_or_default().iter().map(address).collect())).boxed()
    }
}

// === impl Pair ===

impl References for Pair {
    type Error = Infallible;

    async fn read(&self, _: &str, _: &ObjectName) -> Result<Lookup, Infallible> {
        let value = |(key, text): (&str, &str)| (key.to_owned(), Zeroizing::new(text.as_bytes().to_vec()));
        Ok(Lookup::Found(Object {
            version: Version { uid: "u".into(), resource_version: "1".to_owned() },
            labelled: true,
            data: [("roleId", ROLE_ID), ("secretId", SECRET_ID)].map(value).into(),
        }))
    }
}

// === impl Forbidden ===

impl Forbidden {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

// === impl Bench ===

impl Bench {
    fn new(port: u16) -> Self {
        // reqwest takes the provider of the process for its own types; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allow = vec!["127.0.0.2".parse().expect("an entry")];
        let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
        let names = Arc::new(Rebinding::default());
        let spec = fake_spec(&format!("http://rebound.example.com:{port}"));
        let spec = serde_json::from_value(spec).expect("a spec");
        let checker = Checker {
            references: Pair,
            dialer: Dialer::new(policy, true, Arc::clone(&names) as Arc<dyn Names>),
            instances: Instances::default(),
            logins: Logins::new(10, Limits::default()),
            metrics: Metrics::new(true),
        };
        let desired = Desired::parse(&spec).expect("a good spec");
        Self { checker, names, desired, kept: CheckState::default() }
    }

    async fn check(&mut self) -> Option<Fault> {
        let connection = ConnectionRef { namespace: "ns".into(), name: "rebound".into() };
        let ledger = Mutex::new(Ledger::default());
        let subject = Subject {
            connection: &connection,
            desired: &self.desired,
            ledger: &ledger,
            stale: false,
            is_ready: false,
            register: &|_| {},
            deadline: None,
            now: Timestamp::now(),
        };
        let checked = self.checker.check(&subject, &self.kept).await;
        let checked = checked.unwrap_or_else(|never| match never {});
        let due = Instant::now() + Duration::from_secs(2);
        self.checker.sessions().revoke_due(&connection, &self.kept.session, due).await;
        let Outcome::Checked(checked) = checked else { panic!("nothing stops") };
        checked.observation.fault
    }
}

fn assert_refused(fault: Option<&Fault>) {
    let Some(Fault::Transport(TransportFault::NotAllowed(refusal))) = fault else {
        panic!("it is not refused: {fault:?}")
    };
    assert_eq!(refusal.rule(), Rule::Protected(Protected::Loopback));
    let said = refusal.to_string();
    assert!(said.contains("its name resolves to") && said.contains("a loopback address"), "{said}");
}

#[tokio::test]
async fn a_name_that_is_rebound_within_a_check_is_dialled_no_further() {
    let forbidden = Forbidden::listen().await;
    let vault = FakeVault::at(SocketAddr::from(([127, 0, 0, 2], forbidden.port))).await;
    for evil in EVIL {
        for good_answers in 0..REQUESTS {
            let mut bench = Bench::new(forbidden.port);
            bench.names.answer(std::iter::repeat_n(GOOD, good_answers).chain([evil]));
            let asked = vault.asked_in_all();
            assert_refused(bench.check().await.as_ref());
            assert_eq!(vault.asked_in_all() - asked, good_answers, "{evil:?}");
        }
    }
    assert_eq!(forbidden.connections(), 0);
}

#[tokio::test]
async fn a_session_that_is_kept_is_not_sent_to_where_its_name_was_rebound() {
    let forbidden = Forbidden::listen().await;
    let vault = FakeVault::at(SocketAddr::from(([127, 0, 0, 2], forbidden.port))).await;
    let mut bench = Bench::new(forbidden.port);
    // One of two addresses is refused, so the other one is taken.
    bench.names.answer([&["127.0.0.1", "127.0.0.2"][..]]);
    assert_eq!(bench.check().await, None);
    assert_eq!((vault.asked(Ask::Login), vault.sessions()), (1, 1));

    bench.names.answer([EVIL[0]]);
    assert_refused(bench.check().await.as_ref());
    // Not even to end it.
    let tokens = bench.kept.session.reset();
    assert_eq!(tokens.len(), 1);
    bench.checker.sessions().revoke("ns", tokens, Instant::now() + Duration::from_secs(2)).await;
    assert_eq!(vault.sessions(), 1);
    assert_eq!(forbidden.connections(), 0);
}
