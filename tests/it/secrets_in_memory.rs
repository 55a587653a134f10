//! What is left of credentials in the operator's memory once a check has ended.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    bed::variable,
    canary::{Canary, Needle, Needles},
    cluster::Cluster,
    fakes::{
        Fake,
        openbao::MOUNT,
        vault::{Ask, FakeVault, Misdeed, Secrets},
    },
    memory::{self, Hit},
    operator::Operator,
    specs,
    vault::Vault,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How many connections hang at each server.
const HANGING: usize = 8;

/// As large as a credential may be.
const LARGE: usize = 16 << 10;

/// As much as hanging checks of that many large credentials may take.
const MAX_GROWTH: u64 = 24 << 20;

/// When the checks that hang would end by themselves. A busy machine is in time long before.
const HANG: Duration = Duration::from_secs(60);

/// The promise: a second after a check, nothing in memory shows its secret id.
const PROMISED: Duration = Duration::from_secs(1);

/// The login of a role of a real Vault: its role id and its secret id are canaries.
struct Login {
    mount: String,
    role_id: Canary,
    secret_id: Canary,
}

// === impl Login ===

impl Login {
    async fn new(vault: &Vault, prefix: &str, settings: Value) -> Self {
        let mount = vault.app_role(prefix, settings).await.mount;
        let (role_id, secret_id) = (Canary::new("role id", "role-"), Canary::new("secret id", "secret-"));
        let role = format!("auth/{mount}/role/role");
        vault.write(&format!("{role}/role-id"), &json!({"role_id": role_id.value})).await;
        vault.write(&format!("{role}/custom-secret-id"), &json!({"secret_id": secret_id.value})).await;
        Self { mount, role_id, secret_id }
    }

    fn pair(&self) -> [(&'static str, &str); 2] {
        [("roleId", &self.role_id.value), ("secretId", &self.secret_id.value)]
    }
}

/// A token of a user that is a canary.
async fn token_canary(vault: &Vault) -> Canary {
    let token = Canary::new("token", "token-");
    let settings = json!({"id": token.value, "policies": ["vault-connection"], "ttl": "1h"});
    vault.issue_token(&settings).await;
    token
}

/// As it is held, and as it stands in its Secret.
fn forms(canary: &Canary) -> Vec<Needle> {
    [canary.plain(), canary.base64()].concat()
}

fn list(hits: &[&Hit]) -> String {
    hits.iter().map(|hit| format!("{} in {}", hit.what, hit.place)).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_after_a_check_no_secret_id_is_left_in_memory() {
    let (cluster, vault) = (Cluster::new("memory").await, Vault::shared());
    let kept = Login::new(&vault, "memory-kept", json!({"token_ttl": "1h"})).await;
    let short = Login::new(&vault, "memory-short", json!({"token_ttl": "30s"})).await;
    let secure = Login::new(&vault, "memory-tls", json!({"token_ttl": "1h"})).await;
    let (refused, token) = (Canary::new("refused secret id", "secret-"), token_canary(&vault).await);
    let refused_token = Canary::new("refused token", "token-");
    let refused_role = Login::new(&vault, "memory-refused", json!({})).await;
    for (name, role) in [("kept", &kept), ("short", &short), ("secure", &secure)] {
        cluster.secret(name, &role.pair()).await;
    }
    let wrong = [("roleId", refused_role.role_id.value.as_str()), ("secretId", refused.value.as_str())];
    cluster.secret("refused", &wrong).await;
    cluster.secret("token", &[("token", &token.value)]).await;
    cluster.secret("refused-token", &[("token", &refused_token.value)]).await;

    let operator = Operator::start(&cluster).await;
    let ca = fs::read_to_string(variable("BED_VAULT_CA")).expect("the bed has a CA");
    let mut over_tls = specs::app_role(&vault.tls_address, &secure.mount, "secure");
    over_tls["tls"] = json!({"caBundle": {"inline": ca}});
    let rows = [
        ("kept", specs::app_role(&vault.address, &kept.mount, "kept"), Reason::Connected),
        ("short", specs::app_role(&vault.address, &short.mount, "short"), Reason::Connected),
        ("secure", over_tls, Reason::Connected),
        (
            "refused",
            specs::app_role(&vault.address, &refused_role.mount, "refused"),
            Reason::InvalidCredentials,
        ),
        ("refused-token", specs::token(&vault.address, "refused-token"), Reason::TokenRejected),
        ("token", specs::token(&vault.address, "token"), Reason::Connected),
    ];
    for (name, spec, _) in &rows {
        let mut spec = spec.clone();
        spec["check"] = json!({"interval": if *name == "short" { "10s" } else { "10m" }});
        cluster.connect(name, &spec).await;
    }
    for (name, _, reason) in &rows {
        cluster.wait_reason(name, *reason).await;
    }
    // A second login reads the Secret anew, and nothing is written after it that could cover what is left.
    let checks = u64::try_from(rows.len()).expect("a small number") + 1;
    operator.await_count("checks_total", checks, PATIENCE).await;
    // The one wait for time itself: how long a value may be left is what is promised.
    tokio::time::sleep(PROMISED).await;

    // One look at all of it, before the next login is due.
    let logins = [&kept, &short, &secure, &refused_role];
    let ids = logins.into_iter().flat_map(|login| [&login.role_id, &login.secret_id]);
    let all = ids.chain([&refused, &token, &refused_token]).flat_map(forms).collect();
    let hits = memory::search(operator.pid, &Needles::of(all));
    let (tokens, left): (Vec<_>, Vec<_>) = hits.iter().partition(|hit| hit.what.contains("token"));
    assert!(left.is_empty(), "this is left in memory:\n{}", list(&left));
    let (refused, kept): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|hit| hit.what.contains("refused"));
    assert!(!kept.is_empty(), "the token that is kept is found, or else nothing could be");
    // Nothing is promised of a token that was refused: its connection is kept for some seconds.
    eprintln!("left of a refused token: {}", list(&refused));
}

#[tokio::test]
async fn a_connection_that_carried_a_secret_id_is_not_kept() {
    let (cluster, fake) = (Cluster::new("memory-last").await, FakeVault::new().await);
    let secrets = Secrets {
        role_id: "role-0000".to_owned(),
        secret_id: "secret-0000".to_owned(),
        wrapping_token: "wrap-0000".to_owned(),
        token: "token-0000".to_owned(),
    };
    let fake = fake.that_knows(&secrets);
    let pair = [("roleId", secrets.role_id.as_str()), ("secretId", secrets.wrapping_token.as_str())];
    cluster.secret("wrapped", &pair).await;
    let _operator = Operator::start(&cluster).await;
    let mut spec = specs::app_role(&fake.url, MOUNT, "wrapped");
    spec["auth"]["appRole"]["secretId"]["wrapped"] = json!(true);
    cluster.connect("wrapped", &spec).await;
    cluster.wait("wrapped", "Ready", PATIENCE, is_ready).await;
    let rows = [
        (Ask::WrappingLookup, true),
        (Ask::Unwrap, true),
        (Ask::Login, true),
        (Ask::Health, false),
        (Ask::LookupSelf, false),
    ];
    for (ask, expected) in rows {
        assert_eq!((fake.asked(ask), fake.ends_with(ask)), (1, expected), "{ask:?}");
    }
}

/// What a process holds of memory now, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// How many sockets a process has that lead to a port of this machine.
fn sockets_to(pid: u32, port: u16) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten();
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let own: HashSet<_> = links.filter_map(|link| link.to_str().map(str::to_owned)).collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel has a table");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let remote = format!(":{port:04X}");
    fields
        .filter(|it| it.len() > 9 && it[2].ends_with(&remote) && own.contains(&format!("socket:[{}]", it[9])))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_after_its_deletion_nothing_is_left_of_a_connection_whose_server_hangs() {
    let (cluster, deaf) = (Cluster::new("memory-hangs").await, Fake::silent().await);
    let (login, own) = (FakeVault::new().await, FakeVault::new().await);
    login.misbehave(Ask::Login, Misdeed::Silence);
    own.misbehave(Ask::LookupSelf, Misdeed::Silence);
    let operator = Operator::start(&cluster).await;
    let before = resident(operator.pid);
    let canary = Canary::new("credential", "c-");
    let large = canary.value.repeat(LARGE / canary.value.len());
    let names: Vec<_> = (0..3 * HANGING).map(|number| format!("hangs-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // A role of its own: of one that nothing is known of, one connection logs in at a time.
        let role_id = format!("role-{number}");
        cluster.secret(name, &[("roleId", &role_id), ("secretId", &large), ("token", &large)]).await;
        let mut spec = match number % 3 {
            0 => specs::app_role(&deaf.url(), MOUNT, name),
            1 => specs::app_role(&login.url, MOUNT, name),
            _ => specs::token(&own.url, name),
        };
        spec["check"] = json!({"interval": "60s", "timeout": format!("{}s", HANG.as_secs())});
        cluster.connect(name, &spec).await;
    }
    eventually("all hang", PATIENCE, async || {
        let hang = [deaf.connections(), login.asked(Ask::Login), own.asked(Ask::LookupSelf)];
        (hang == [HANGING; 3]).then_some(())
    })
    .await;
    let growth = resident(operator.pid).saturating_sub(before);
    let needles = Needles::of(forms(&canary));
    assert!(
        !memory::search(operator.pid, &needles).is_empty(),
        "a credential in use is found, or none could be"
    );

    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let deletions = names.iter().map(async |name| {
        cluster.delete(name).await;
        secrets.delete(name, &DeleteParams::default()).await.expect("it is deleted");
    });
    join_all(deletions).await;
    let deleted = Instant::now();
    let left = loop {
        let begin = deleted.elapsed();
        let hits = memory::search(operator.pid, &needles);
        if hits.is_empty() || begin > HANG / 4 {
            eprintln!("nothing was left {begin:?} after the deletion; {} KiB more before it", growth >> 10);
            break hits;
        }
    };
    assert!(left.is_empty(), "this is left in memory:\n{}", list(&left.iter().collect::<Vec<_>>()));
    let port =
        |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let ports = [port(&deaf.address), login.address.port(), own.address.port()];
    assert_eq!(ports.map(|port| sockets_to(operator.pid, port)), [0; 3], "every socket is closed");
    assert!(growth < MAX_GROWTH, "{growth} bytes");
}
