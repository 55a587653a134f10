//! An operator that reaches the Kubernetes API only through a proxy, as the chart gives it one: `extraEnv` with `HTTPS_PROXY`.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use crate::support::{
    access::write,
    bed::variable,
    cluster::{Cluster, operator_kubeconfig},
    fakes::gateway::FakeGateway,
    operator::Operator,
    specs,
    vault::Vault,
    verdict::is_ready,
    wait::PATIENCE,
};

/// A name of the API server that only the proxy knows.
const API_SERVER: &str = "api.cluster.example";

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_leads_to_the_kubernetes_api_and_never_to_vault() {
    let (cluster, vault) = (Cluster::new("kube-proxy").await, Vault::shared());
    let address: SocketAddr =
        variable("BED_APISERVER").trim_start_matches("https://").parse().expect("an address");
    let proxy = FakeGateway::http().await;
    proxy.resolve(API_SERVER, address);
    let text = fs::read_to_string(operator_kubeconfig()).expect("the operator's kubeconfig can be read");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    let server = &mut config["clusters"][0]["cluster"];
    server["server"] = json!(format!("https://{API_SERVER}:{}", address.port()));
    // The certificate of the bed's API server has its address alone.
    server["tls-server-name"] = json!(address.ip());
    let variables = [("HTTPS_PROXY", proxy.url()), ("HTTP_PROXY", proxy.url())];
    let _operator = Operator::start_with_environment(&cluster, &write(&config.to_string()), &variables).await;

    let token = vault.issue_token(&json!({"policies": ["default"], "ttl": "1h"})).await;
    cluster.secret("token", &[("token", &token)]).await;
    cluster.connect("a", &specs::token(&vault.address, "token")).await;
    cluster.wait("a", "Ready", PATIENCE, is_ready).await;
    let targets = proxy.targets();
    let expected = format!("{API_SERVER}:{}", address.port());
    assert!(!targets.is_empty() && targets.iter().all(|it| it.to_string() == expected), "{targets:?}");
}
