//! Whole checks: any spec, against a server that answers anything, through the real check. Nothing panics, every
//! condition has a verdict, nothing is Ready that the server did not accept, and no credential is shown.
//!
//! Input, a line each:
//!
//! ```text
//!   the spec of a VaultConnection, in JSON
//!   the spec of every VaultGateway that it may name, in JSON
//!   the value of every Secret: CANARY stands for a credential; or !missing, !forbidden, !unlabelled
//!   then the server's answers: WORD STATUS[;HEADER:VALUE] BODY, or WORD raw BYTES, WORD more BYTES, WORD hang, WORD close
//! ```
//!
//! The first answer that was not given yet, and whose WORD is in the first line of the request, is given; the last such one
//! is given again. After raw bytes the connection is closed. `tls` and `socks` are the words for a client that does not speak HTTP. In a BODY, CANARY is the
//! credential that the server was sent, LONG a very long text, MANY a very long list.
//!
//! With SHOW_STATUS in its environment, it prints the status after each check.
//!
//! The server is in this process and on loopback, where every name leads; the address policy lets nothing else be dialled.
//! The clock stands still but for waiting, so that a server that says nothing costs no time.

#![no_main]

#[path = "checks/server.rs"]
mod server;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use self::server::{Answer, Script, serve};
use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::{Corpus, fuzz_target};
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::Instant,
};
use vault_connection_operator::{
    api::{condition::ConditionType, connection::VaultConnectionSpec, status::VaultConnectionStatus},
    check::{CheckState, Checker, Outcome, Subject},
    conditions::{self, MAX_MESSAGE_BYTES},
    names::{ConnectionRef, ObjectKind, ObjectName},
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::{Addresses, Names},
        dial::Dialer,
        policy_file::PolicyHandle,
    },
    references::{Lookup, Object, References, Version, gateway::lookup_of_spec, ledger::Ledger},
    session::{account::Limits, instances::Instances, logins::Logins},
    spec::Desired,
    telemetry::metrics::Metrics,
    verify::{
        report,
        status::{self, Circumstances},
    },
};

/// What stands for a credential in an input, and the credential: longer than what a word of a server's own may hold.
const MARK: &str = "CANARY";
const CREDENTIAL: &str = "a-custom-canary-credential-4f1c0ffee8d6";

/// Most bytes of a status in JSON. An object of Kubernetes may have 1.5 MiB; this is what etcd and every watch carry.
const MAX_STATUS_BYTES: usize = 64 * 1024;

/// Where a CA is read from.
const CA_KEY: &str = "ca.crt";
const CA: &str = include_str!("../corpus/pem/ca");

fuzz_target!(|input: &str| -> Corpus {
    let mut lines = input.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (spec, gateway, secret) = (next(), next(), next());
    let Ok(spec_read) = serde_json::from_str::<VaultConnectionSpec>(spec) else { return Corpus::Reject };
    let desired = match Desired::parse(&spec_read) {
        Ok(desired) => desired,
        Err(error) => {
            let status = status::invalid_spec(&<_>::default(), &around(0), &error.to_string());
            assert_sound(&status);
            assert!(!is_ready(&status), "an invalid spec is never Ready");
            return Corpus::Keep;
        }
    };
    let script = Script { answers: lines.filter_map(Answer::parse).collect(), ..Script::default() };
    let objects = Objects { keys: keys(spec, gateway), gateway: json(gateway), secret: secret.to_owned() };
    WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(World::new);
        world.checks(&desired, script, objects, secret == MARK);
    });
    Corpus::Keep
});

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What serves one input after the other: finding the system's CAs takes longer than many checks.
struct World {
    runtime: Runtime,
    script: Arc<Mutex<Script>>,
    dialer: Option<Dialer>,
}

/// Every object that is asked for.
struct Objects {
    keys: Vec<String>,
    gateway: Value,
    secret: String,
}

/// Leads everywhere to the server.
struct OneAddress(SocketAddr);

// === the assertions ===

/// What holds of every status.
fn assert_sound(status: &VaultConnectionStatus) {
    for kind in [ConditionType::Ready].into_iter().chain(ConditionType::STEPS) {
        let verdict = conditions::find(&status.conditions, kind).expect("every condition has a verdict");
        assert!(!verdict.reason.is_empty() && !verdict.message.is_empty(), "{}", verdict.type_);
        assert!(verdict.message.len() <= MAX_MESSAGE_BYTES, "{}", verdict.message.len());
    }
    let steps = ConditionType::STEPS.into_iter().all(|step| conditions::is_true(&status.conditions, step));
    assert_eq!(is_ready(status), steps, "Ready is the sum of the steps");
    let text = serde_json::to_string(status).expect("a status serializes");
    assert!(text.len() <= MAX_STATUS_BYTES, "{} bytes", text.len());
}

fn assert_hides_the_credential(status: &VaultConnectionStatus) {
    let text = serde_json::to_string(status).expect("a status serializes").to_lowercase();
    assert!(!text.contains(CREDENTIAL), "{text}");
}

fn is_ready(status: &VaultConnectionStatus) -> bool {
    conditions::is_true(&status.conditions, ConditionType::Ready)
}

// === impl World ===

impl World {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let script: Arc<Mutex<Script>> = Arc::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let grant = |entry: String| entry.parse().expect("an entry");
        let allow = vec![grant(address.to_string()), grant("*.test".to_owned())];
        let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
        let guard = runtime.enter();
        let dialer = Dialer::new(policy, true, Arc::new(OneAddress(address)));
        drop(guard);
        let scripts = Arc::clone(&script);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&scripts)));
            }
        });
        Self { runtime, script, dialer: Some(dialer) }
    }

    /// Two checks of a connection: the first with nothing, the second with what the first kept.
    fn checks(&mut self, desired: &Desired, script: Script, references: Objects, is_secret: bool) {
        *self.script.lock().expect("nobody panics") = script;
        let checker = Checker {
            references,
            dialer: self.dialer.take().expect("it was given back"),
            instances: Instances::default(),
            logins: Logins::new(1000, Limits::default()),
            metrics: Metrics::new(true),
        };
        let script = Arc::clone(&self.script);
        let checker = self.runtime.block_on(async move {
            let (state, mut status) = (CheckState::default(), VaultConnectionStatus::default());
            for second in [0, desired.interval.as_secs()] {
                status = check(&checker, desired, &state, &status, second).await;
                if std::env::var_os("SHOW_STATUS").is_some() {
                    eprintln!("{}", serde_json::to_string_pretty(&status).expect("a status serializes"));
                }
                assert_sound(&status);
                if is_secret {
                    assert_hides_the_credential(&status);
                }
                let script = script.lock().expect("nobody panics");
                if is_ready(&status) {
                    assert!(script.accepted_token, "Ready, and no answer said so");
                    assert!(script.accepted_login || is_token(desired), "Ready, and no login was accepted");
                }
            }
            checker
        });
        self.dialer = Some(checker.dialer);
    }
}

fn around(second: i64) -> Circumstances<'static> {
    let now = Timestamp::from_second(1_800_000_000 + second).expect("it is in range");
    Circumstances { generation: 1, requested_at: None, now, jitter: 0.5 }
}

async fn check(
    checker: &Checker<Objects>,
    desired: &Desired,
    state: &CheckState,
    before: &VaultConnectionStatus,
    second: u64,
) -> VaultConnectionStatus {
    let connection = ConnectionRef { namespace: "fuzz".into(), name: "connection".into() };
    let around = around(i64::try_from(second).expect("an interval is short"));
    let ledger = Mutex::new(Ledger::default());
    let subject = Subject {
        connection: &connection,
        desired,
        ledger: &ledger,
        stale: second > 0 && second.is_multiple_of(2),
        is_ready: second > 0,
        register: &|_| {},
        now: around.now,
        deadline: None,
    };
    let checked = checker.check(&subject, state).await.unwrap_or_else(|never| match never {});
    let deadline = Instant::now() + desired.timeout;
    checker.sessions().revoke_due(&connection, &state.session, deadline).await;
    let Outcome::Checked(checked) = checked else { panic!("nothing stops") };
    report::checked(before, &around, desired, &checked.observation).0
}

fn is_token(desired: &Desired) -> bool {
    desired.target.method.given_token().is_some()
}

// === what the check reads ===

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Every text in the specs: the keys of objects are among them.
fn keys(spec: &str, gateway: &str) -> Vec<String> {
    let mut keys = vec!["username".to_owned(), "password".to_owned()];
    let mut rest = vec![json(spec), json(gateway)];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => keys.push(text),
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => rest.extend(fields.into_iter().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    keys
}

impl References for Objects {
    type Error = Infallible;

    async fn read(&self, _: &str, object: &ObjectName) -> Result<Lookup, Infallible> {
        let version = Version { uid: Arc::clone(&object.name), resource_version: "1".to_owned() };
        Ok(match (object.kind, self.secret.as_str()) {
            (_, "!missing") => Lookup::Missing,
            (_, "!forbidden") => Lookup::Forbidden,
            (_, "!unlabelled") => Lookup::NotLabelled,
            (ObjectKind::VaultGateway, _) => lookup_of_spec(&self.gateway, version),
            (ObjectKind::Secret | ObjectKind::ConfigMap | ObjectKind::ServiceAccount, secret) => {
                let text = secret.replace(MARK, CREDENTIAL);
                let value = |key: &String| {
                    let text = if key == CA_KEY { CA } else { &text };
                    (key.clone(), Zeroizing::new(text.as_bytes().to_vec()))
                };
                let data: BTreeMap<_, _> = self.keys.iter().map(value).collect();
                Lookup::Found(Object { version, labelled: true, data })
            }
        })
    }
}

impl Names for OneAddress {
    fn addresses<'a>(&'a self, _: &'a str, _: u16) -> Addresses<'a> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}
