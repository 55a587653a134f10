//! An API server that is too busy to take what the operator writes, and one whose tokens change.

use std::{fs, path::Path, time::Duration};

use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use vault_connection_operator::{
    api::{condition::Reason, connection::VaultConnection},
    manifests,
};

use crate::support::{
    access::{apply, grant, kubeconfig_by_token_file, kubeconfig_through_throttle},
    bed::{self, program, run, unique, variable},
    cluster::Cluster,
    process::Process,
    specs,
    throttle::Throttle,
    vault::Vault,
    verdict::{is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// The interval of the connections here, three times, and a busy machine.
const THREE_CHECKS: Duration = Duration::from_secs(45);

/// The operator reads its token again within a minute; then its next try comes.
const NEW_TOKEN: Duration = Duration::from_secs(90);

/// One write each 5 s at most, for the time that three checks take.
const NO_STORM: usize = 10;

async fn a_token(vault: &Vault) -> String {
    vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_a_busy_api_server_refuses_is_written_later_and_without_a_storm() {
    let (cluster, vault, door) = (Cluster::new("busy").await, Vault::shared(), Throttle::new().await);
    let token = a_token(&vault).await;
    cluster.secret("revoked", &[("token", &token)]).await;
    cluster.secret("kept", &[("token", &a_token(&vault).await)]).await;
    let operator = Process::start(&kubeconfig_through_throttle(&door), &[&cluster.namespace]).await;
    for name in ["revoked", "kept"] {
        let mut spec = specs::token(&vault.address, name);
        spec["check"] = json!({"interval": "10s"});
        cluster.connect(name, &spec).await;
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }

    door.refuse_writes(true);
    vault.write("auth/token/revoke", &json!({"token": token})).await;
    let passed = operator.checks("Connected").await;
    operator.await_count("checks_total{reason=\"Connected\"", passed + 3, THREE_CHECKS).await;
    assert!(operator.checks("TokenRejected").await > 0, "the other connection was checked, too");
    let (refused, stale) = (door.refused(), cluster.connections().get("revoked").await.expect("it is there"));
    assert!(is_ready(&stale), "nothing could be written");
    assert!((1..=NO_STORM).contains(&refused), "{refused} writes were refused");

    door.refuse_writes(false);
    cluster.wait_reason("revoked", Reason::TokenRejected).await;
    cluster.wait("kept", "Ready", PATIENCE, is_ready).await;
    operator.stop().await;
}

/// A client with a token of its own.
async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("it can be read");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("it names a cluster");
    config.proxy_url = None;
    Client::try_from(config).expect("it can be used")
}

/// A token of the account `operator` that ends with the Secret `bound`.
fn bound_token(namespace: &str, bound: &str) -> String {
    apply(
        Path::new(&variable("KUBECONFIG")),
        &[json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": bound, "namespace": namespace}})],
    );
    let token = run(program("kubectl")
        .args(["create", "token", "operator", "--namespace", namespace])
        .args(["--bound-object-kind", "Secret", "--bound-object-name", bound]));
    token.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_operator_that_is_replaced_is_read_again_without_a_restart() {
    let (cluster, vault) = (Cluster::new("own-token").await, Vault::shared());
    let namespace = cluster.namespace.as_str();
    let account: Value = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": namespace}});
    let rights = grant(namespace, None, &json!(manifests::rules()), namespace);
    apply(Path::new(&variable("KUBECONFIG")), &[&[account][..], &rights[..]].concat());
    let file = bed::folder("it").join(unique("token"));
    fs::write(&file, bound_token(namespace, "first")).expect("the bed's folder can be written");
    let kubeconfig = kubeconfig_by_token_file(&file);
    let with_the_first = client(&kubeconfig).await;
    cluster.secret("token", &[("token", &a_token(&vault).await)]).await;
    let operator = Process::start(&kubeconfig, &[namespace]).await;
    cluster.connect("connection", &specs::token(&vault.address, "token")).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    let connections: Api<VaultConnection> = Api::namespaced(with_the_first, namespace);
    let one = ListParams::default().limit(1);
    connections.list(&one).await.expect("the first token is good");

    fs::write(&file, bound_token(namespace, "second")).expect("the bed's folder can be written");
    run(program("kubectl").args(["delete", "secret", "first", "--namespace", namespace]));
    eventually("the first token is refused", PATIENCE, async || {
        let refused = connections.list(&one).await;
        matches!(refused, Err(kube::Error::Api(status)) if status.code == 401).then_some(())
    })
    .await;
    cluster.secret("token", &[("token", "with a newline\n")]).await;
    cluster
        .wait("connection", "WhitespaceInValue", NEW_TOKEN, |connection| {
            ready(connection).is_some_and(|ready| ready.reason == Reason::WhitespaceInValue.as_str())
        })
        .await;
    operator.stop().await;
}
