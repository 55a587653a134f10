//! A fixed scene for counting instructions: the pure work of checks, and the queue.
//!
//! ```text
//!   hack/instructions              counts, and fails if there are over a tenth more than testdata/instructions.txt says
//!   hack/instructions --update     writes that file anew
//! ```
//!
//! Instructions do not depend on how busy a machine is. They do on the compiler, so the file names it. No I/O, no thread, no clock.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use vault_connection_operator::{
    api::{connection::VaultConnection, status::VaultConnectionStatus},
    controller::engine::queue::{Lane, Limits, Priority, Queue},
    spec::Desired,
    vault::answer::ServerFault,
    verify::{
        observation::{Fault, Observation},
        report::{checked, is_news},
        status::Circumstances,
    },
};

/// How many connections are checked, and how often.
const CONNECTIONS: usize = 20;
const ROUNDS: i64 = 5;

/// How many objects go through the queue, and of how many namespaces they are.
const QUEUED: usize = 400;
const NAMESPACES: usize = 20;

fn main() {
    let checks: usize = (0..CONNECTIONS).map(check_again_and_again).sum();
    let runs = run_through_queue();
    // Whatever nobody uses might not be computed.
    assert_eq!((checks, runs), (CONNECTIONS * 3, QUEUED), "the scene is what it was");
}

fn connection(number: usize) -> Value {
    let key = |key: &str| json!({"secretRef": {"name": "vault-approle", "key": key}});
    json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": format!("connection-{number}"), "namespace": "team-a", "uid": "u", "generation": 1},
        "spec": {
            "instanceUrl": "https://vault.example.com:8200",
            "namespace": "admin/team-a",
            "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}},
            "require": {"secretSync": {"mount": "demo_mount"}},
        },
    })
}

/// Becomes Ready, stays so, and loses its instance. Tells how often the status said something new.
fn check_again_and_again(number: usize) -> usize {
    let object: VaultConnection = serde_json::from_value(connection(number)).expect("it can be read");
    let (mut status, mut news) = (VaultConnectionStatus::default(), 0);
    for round in 0..ROUNDS {
        let desired = Desired::parse(&object.spec).expect("it is valid");
        let fault = (round == 3).then_some(Fault::Server(ServerFault::Sealed));
        let now = Timestamp::from_second(60 * round).expect("small");
        let around = Circumstances { generation: 1, requested_at: None, now, jitter: 0.5 };
        let seen = Observation { fault, ..Observation::default() };
        let (next, _) = checked(&status, &around, &desired, &seen);
        if is_news(&status, &next) {
            news += usize::from(!serde_json::to_vec(&next).expect("it can be written").is_empty());
        }
        status = next;
    }
    news
}

/// Lets each object wait for its turn. Tells how many had one.
fn run_through_queue() -> usize {
    let (mut queue, now) = (Queue::new(Limits::of(64)), Instant::now());
    for number in 0..QUEUED {
        let namespace = format!("team-{}", number % NAMESPACES).into();
        let lane = Lane { namespace, instance: Some("https://vault.example.com:8200".into()) };
        let priority = if number % 3 == 0 { Priority::Renewal { ends: now } } else { Priority::Normal };
        queue.push(format!("connection-{number}"), lane, priority, now);
    }
    let mut runs = 0;
    loop {
        let started: Vec<_> = std::iter::from_fn(|| queue.pop(now + Duration::from_secs(1))).collect();
        if started.is_empty() {
            return runs;
        }
        runs += started.len();
        for key in &started {
            queue.release(key);
        }
    }
}
