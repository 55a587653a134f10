//! Gateways of several endpoints: one that works is enough.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::{
    faults_table::check_now,
    support::{
        fakes::gateway::{Behaviour, FakeGateway, Speech},
        scene::{Scene, Verdicts},
        verdict::{assert_failed, assert_gateway, is_ready, ready},
    },
};

/// A Ready connection through a gateway of two.
struct Pair {
    scene: Scene,
    proxies: [Arc<FakeGateway>; 2],
    verdicts: Verdicts,
}

/// How often a random order is tried. That the same one comes first every time happens once in a million times.
const TRIES: usize = 20;

/// What a Ready connection is given before a passing fault is believed, less what times in a status are rounded by.
const GRACE: SignedDuration = SignedDuration::from_secs(9);

// === impl Pair ===

impl Pair {
    /// The gateway is checked so often.
    async fn checked_every(interval: &str) -> Self {
        let scene = Scene::new("pool").await;
        let proxies = [scene.proxy(Speech::Http).await, scene.proxy(Speech::Socks5).await];
        let endpoints: Vec<Value> = proxies.iter().map(|proxy| scene.endpoint(proxy)).collect();
        scene.gateway_every(interval, "pool", &json!(endpoints)).await;
        scene.wait_gateway_reason("pool", Reason::EndpointsHealthy).await;
        let mut spec = scene.spec("pool");
        spec["check"] = json!({"interval": "10s", "timeout": "5s"});
        scene.cluster.connect("mine", &spec).await;
        scene.ready("mine").await;
        let verdicts = scene.verdicts("mine");
        Self { scene, proxies, verdicts }
    }

    /// How many tunnels each proxy has made.
    fn tunnels(&self) -> [usize; 2] {
        self.proxies.each_ref().map(|proxy| proxy.targets().len())
    }

    /// Makes a check, which must pass, and tells which proxy it went over.
    async fn check(&self) -> usize {
        let before = self.tunnels();
        let mine: VaultConnection = check_now(&self.scene.cluster, "mine").await;
        assert!(is_ready(&mine), "{:?}", mine.status);
        let after = self.tunnels();
        (0..2).find(|index| after[*index] > before[*index]).expect("it went over a proxy")
    }

    /// Waits until the gateway gives this reason, and holds it to the contract.
    async fn await_gateway(&self, reason: Reason, healthy: i64) {
        self.scene.request_gateway_check("pool").await;
        let gateway = self.scene.wait_gateway_reason("pool", reason).await;
        assert_gateway("pool", &gateway, reason);
        let status = gateway.status.expect("it has a status");
        assert_eq!(status.healthy_endpoints, Some(healthy));
        assert_eq!(status.endpoints.len(), 2);
    }
}

#[tokio::test]
async fn a_proxy_that_dies_is_left_for_the_other_within_the_same_check() {
    let pair = Pair::checked_every("10s").await;
    for _ in 0..3 {
        let used = pair.check().await;
        pair.proxies[used].stop().await;
        assert_eq!(pair.check().await, 1 - used);
        pair.await_gateway(Reason::EndpointsDegraded, 1).await;
        assert_eq!(pair.check().await, 1 - used);
        pair.proxies[used].start().await;
        pair.await_gateway(Reason::EndpointsHealthy, 2).await;
    }
    pair.verdicts.assert_always_ready();
    pair.scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn a_silent_proxy_does_not_fail_a_check() {
    // Nobody but the connection finds out.
    let pair = Pair::checked_every("1h").await;
    let silent = &pair.proxies[0];
    silent.behave(Behaviour::Silent);
    let before = silent.connections();
    for _ in 0..TRIES {
        assert_eq!(pair.check().await, 1);
        if silent.connections() > before {
            break;
        }
    }
    assert!(silent.connections() > before, "it is tried");
    pair.verdicts.assert_always_ready();
    pair.scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn without_any_proxy_a_connection_fails_until_one_is_back() {
    let pair = Pair::checked_every("10s").await;
    let Pair { scene, proxies, .. } = &pair;
    for proxy in proxies {
        proxy.stop().await;
    }
    let stopped = Timestamp::now();
    scene.cluster.request_check("mine", "now").await;
    let failed = scene.cluster.wait_reason("mine", Reason::GatewayUnreachable).await;
    assert_failed("all down", &failed, Reason::GatewayUnreachable, "VaultGateway \"pool\"");
    let since = ready(&failed).expect("there is a Ready").last_transition_time.0;
    assert!(since.duration_since(stopped) > GRACE, "one look is not enough: {since} after {stopped}");
    pair.await_gateway(Reason::GatewayUnreachable, 0).await;

    proxies[1].start().await;
    pair.await_gateway(Reason::EndpointsDegraded, 1).await;
    scene.ready("mine").await;
    proxies[0].start().await;
    pair.await_gateway(Reason::EndpointsHealthy, 2).await;
    scene.assert_nobody_dialled_directly().await;
}
