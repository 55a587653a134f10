//! What a gateway costs the API server that many connections name.

use crate::support::{
    audit,
    fakes::gateway::Speech,
    scene::Scene,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How many connections name the gateway.
const CONNECTIONS: usize = 40;

/// The status of the first check, and each two seconds at most another number of connections, on a busy machine.
const MOST_WRITES: usize = 12;

#[tokio::test]
async fn many_connections_that_begin_at_once_are_a_few_writes_of_their_gateways_status() {
    let scene = Scene::new("gateway-count").await;
    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway_every("10m", "many", &serde_json::json!([scene.endpoint(&proxy)])).await;
    for number in 0..CONNECTIONS {
        scene.cluster.connect(&format!("connection-{number}"), &scene.spec("many")).await;
    }
    for number in 0..CONNECTIONS {
        scene.cluster.wait(&format!("connection-{number}"), "Ready", PATIENCE, is_ready).await;
    }
    let gateways = scene.gateways();
    eventually("all are counted", PATIENCE, async || {
        let gateway = gateways.get("many").await.expect("it is there");
        let counted = gateway.status.and_then(|status| status.connections);
        (counted == i64::try_from(CONNECTIONS).ok()).then_some(())
    })
    .await;
    let requests = audit::kube_requests(&scene.cluster).await;
    let writes = requests.iter().filter(|request| request.is("patch", "vaultgateways/status")).count();
    assert!(writes <= MOST_WRITES, "{writes} writes for {CONNECTIONS} connections");
}
