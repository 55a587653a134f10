//! What a gateway costs the API server that many connections name.

use std::time::{Duration, Instant};

use crate::support::{
    audit,
    fakes::gateway::Speech,
    scene::Scene,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How many connections name the gateway.
const CONNECTIONS: usize = 40;

/// A number of connections stands so long before another one is written.
const RECOUNT: Duration = Duration::from_secs(2);

/// The status of the first check, the first number, and the last one.
const OTHER_WRITES: usize = 3;

#[tokio::test]
async fn many_connections_that_begin_one_after_the_other_are_a_few_writes_of_their_gateways_status() {
    let scene = Scene::new("gateway-count").await;
    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway_every("10m", "many", &serde_json::json!([scene.endpoint(&proxy)])).await;
    let started = Instant::now();
    for number in 0..CONNECTIONS {
        let name = format!("connection-{number}");
        scene.cluster.connect(&name, &scene.spec("many")).await;
        scene.cluster.wait(&name, "Ready", PATIENCE, is_ready).await;
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
    let numbers = started.elapsed().as_secs() / RECOUNT.as_secs();
    let most = OTHER_WRITES + usize::try_from(numbers).expect("a test does not take ages");
    assert!(writes <= most, "{writes} writes for {CONNECTIONS} connections, and {most} at most");
}
