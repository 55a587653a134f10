//! What a check costs on each route to an instance: directly, and through each kind of gateway.
//!
//! ```text
//!   hack/bed run -- cargo bench --locked --bench routes
//! ```
//!
//! Each round makes one first check (health, login, self-check, revocation) on each route in turn, against the real OpenBao
//! of the bed with TLS. Every check begins without a connection, as those of the operator do. The proxies are those of the
//! tests, in this process, so that their own cost is counted, too.

#![expect(clippy::print_stdout, reason = "it prints what it has measured")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};
use tokio::time::Instant;
use vault_connection_operator::{
    check::{CheckState, Checker, Outcome, Subject},
    names::{ConnectionRef, ObjectKind, ObjectName},
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::SystemNames,
        dial::Dialer,
        policy_file::PolicyHandle,
    },
    references::{Lookup, Object, References, Version, gateway::lookup_of_spec, ledger::Ledger},
    session::{account::Limits, instances::Instances, logins::Logins},
    spec::Desired,
    telemetry::metrics::Metrics,
};

use support::{
    bed::variable,
    fakes::{gateway::FakeGateway, pki::Ca},
    specs::app_role,
    vault::{AppRole, Vault},
};

/// How often each route is measured. The median of so many is steady to some percent.
const ROUNDS: usize = 200;

/// Checks that nobody counts: the first ones find cold caches.
const WARM_UP: usize = 20;

/// What the connections name: the pair, and a gateway of each kind.
struct Objects {
    pair: BTreeMap<String, String>,
    gateways: BTreeMap<String, Value>,
}

impl References for Objects {
    type Error = Infallible;

    async fn read(&self, _: &str, object: &ObjectName) -> Result<Lookup, Infallible> {
        let version = Version { uid: Arc::clone(&object.name), resource_version: "1".to_owned() };
        Ok(match object.kind {
            ObjectKind::VaultGateway => lookup_of_spec(&self.gateways[&*object.name], version),
            ObjectKind::Secret | ObjectKind::ConfigMap | ObjectKind::ServiceAccount => {
                let value = |(key, text): (&String, &String)| {
                    (key.clone(), Zeroizing::new(text.clone().into_bytes()))
                };
                Lookup::Found(Object { version, labelled: true, data: self.pair.iter().map(value).collect() })
            }
        })
    }
}

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Ca::new();
    let proxies =
        [FakeGateway::http().await, FakeGateway::https(ca.serving()).await, FakeGateway::socks5().await];
    let endpoint = |proxy: &FakeGateway| match proxy.url() {
        url if url.starts_with("https") => json!({"url": url, "tls": {"caBundle": {"inline": ca.pem}}}),
        url => json!({"url": url}),
    };
    let scheme = |proxy: &FakeGateway| proxy.url().split(':').next().unwrap_or_default().to_owned();
    let gateways: BTreeMap<_, _> =
        proxies.iter().map(|proxy| (scheme(proxy), json!({"endpoints": [endpoint(proxy)]}))).collect();

    let vault = Vault::shared();
    let role = vault.app_role("bench", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    let pair = [("roleId", role.role_id.clone()), ("secretId", secret_id)];
    let pair = pair.map(|(key, text)| (key.to_owned(), text)).into();
    let routes: Vec<(String, Desired)> = [None]
        .into_iter()
        .chain(gateways.keys().map(Some))
        .map(|gateway| {
            (gateway.map_or("direct", String::as_str).to_owned(), desired(&role, gateway.map(String::as_str)))
        })
        .collect();
    let checker = checker(Objects { pair, gateways });
    let mut taken: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..WARM_UP + ROUNDS {
        for (name, desired) in &routes {
            let took = check(&checker, name, desired).await;
            if round >= WARM_UP {
                taken.entry(name).or_default().push(took);
            }
        }
    }
    println!("{ROUNDS} first checks on each route (health, login, self-check, revocation), in milliseconds");
    println!("{:<8} {:>8} {:>8} {:>8}", "route", "median", "90 %", "most");
    for (name, mut taken) in taken {
        taken.sort_unstable();
        let at = |share: usize| taken[(taken.len() - 1) * share / 100].as_secs_f64() * 1000.0;
        println!("{name:<8} {:>8.2} {:>8.2} {:>8.2}", at(50), at(90), at(100));
    }
}

fn checker(references: Objects) -> Checker<Objects> {
    let allow = vec!["127.0.0.0/8".parse().expect("an entry")];
    let policy = PolicyHandle::fixed(AddressPolicy::new(allow, Vec::new(), Contact::default()));
    Checker {
        references,
        dialer: Dialer::new(policy, false, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::new(1000, Limits::default()),
        metrics: Metrics::new(true),
    }
}

fn desired(role: &AppRole, gateway: Option<&str>) -> Desired {
    let mut spec = app_role(&variable("BED_VAULT_TLS_ADDR"), &role.mount, "pair");
    let ca = fs::read_to_string(variable("BED_VAULT_CA")).expect("the bed has a CA");
    spec["tls"] = json!({"caBundle": {"inline": ca}});
    if let Some(name) = gateway {
        spec["gatewayRef"] = json!({"name": name});
    }
    Desired::parse(&serde_json::from_value(spec).expect("a spec")).expect("a good spec")
}

/// One check, from nothing to the end of its session.
async fn check(checker: &Checker<Objects>, name: &str, desired: &Desired) -> Duration {
    let connection = ConnectionRef { namespace: "bench".into(), name: name.into() };
    let (ledger, state, started) = (Mutex::new(Ledger::default()), CheckState::default(), Instant::now());
    let subject = Subject {
        connection: &connection,
        desired,
        ledger: &ledger,
        stale: false,
        is_ready: false,
        register: &|_| {},
        now: Timestamp::now(),
        deadline: None,
    };
    let seen = checker.check(&subject, &state).await.unwrap_or_else(|never| match never {});
    let Outcome::Checked(seen) = seen else { panic!("nothing stops") };
    assert_eq!(seen.observation.fault, None, "{name}");
    let due = Instant::now() + Duration::from_secs(2);
    checker.sessions().revoke("bench", state.session.reset(), due).await;
    started.elapsed()
}
