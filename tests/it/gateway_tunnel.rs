//! A Vault in a private network that takes no connection from outside, through a tunnel that the private side opened.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use vault_connection_operator::api::{condition::Reason, gateway::VaultGateway};

use crate::support::{
    bed::variable,
    cluster::Cluster,
    operator::Operator,
    specs::{app_role, pair},
    tunnel::Tunnel,
    vault::Vault,
    verdict::{condition, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// A name that only the private side knows.
const HOST: &str = "vault.private.example";

#[tokio::test]
async fn a_vault_in_a_private_network_is_reached_by_a_tunnel_and_by_nothing_else() {
    let (cluster, vault) = (Cluster::new("tunnel").await, Vault::shared());
    let _operator = Operator::start(&cluster).await;
    let role = vault.app_role("tunnel", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("approle", &pair(&role, &secret_id)).await;
    let mut tunnel = Tunnel::to(&variable("BED_VAULT_TLS_ADDR"), HOST).await;

    let gateways: Api<VaultGateway> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let gateway = json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
        "metadata": {"name": "private-network"},
        "spec": {"endpoints": [{"url": tunnel.url()}], "check": {"interval": "10s", "timeout": "5s"}},
    });
    let params = PatchParams::apply("user").force();
    gateways.patch("private-network", &params, &Patch::Apply(gateway)).await.expect("it is accepted");
    let mut spec = app_role(&tunnel.url_of("https", HOST), &role.mount, "approle");
    spec["gatewayRef"] = json!({"name": "private-network"});
    // The certificate of the bed's OpenBao is for its address.
    let ca = std::fs::read_to_string(variable("BED_VAULT_CA")).expect("the bed has a CA");
    spec["tls"] = json!({"caBundle": {"inline": ca}, "serverName": "127.0.0.1"});
    spec["check"] = json!({"interval": "10s", "timeout": "5s"});
    cluster.connect("private", &spec).await;
    cluster.wait("private", "Ready", PATIENCE, is_ready).await;
    assert!(tunnel.door.admitted() > 0);

    let is_healthy = |healthy: i64| {
        let gateways = &gateways;
        async move || {
            let gateway = gateways.get("private-network").await.expect("it is there");
            (gateway.status.and_then(|status| status.healthy_endpoints) == Some(healthy)).then_some(())
        }
    };
    eventually("the gateway is healthy", PATIENCE, is_healthy(1)).await;

    tunnel.cut().await;
    let cut = cluster.wait_reason("private", Reason::GatewayUnreachable).await;
    let message = &ready(&cut).expect("there is a Ready").message;
    assert!(
        message.contains("VaultGateway \"private-network\"") && message.contains(&tunnel.url()),
        "{message}"
    );
    assert!(condition(&cut, "Reconciling").is_some(), "it may come back by itself");
    eventually("the gateway is not healthy", PATIENCE, is_healthy(0)).await;

    tunnel.restore().await;
    cluster.wait("private", "Ready again", PATIENCE, is_ready).await;
    eventually("the gateway is healthy again", PATIENCE, is_healthy(1)).await;
    assert_eq!(tunnel.door.refused(), 0, "nobody came by another way");
}
