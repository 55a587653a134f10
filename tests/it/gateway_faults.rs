//! Proxies that fail in every way: what their connections and the gateways themselves tell, and that nothing leaks.

use std::sync::Arc;

use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    fakes::{
        gateway::{Behaviour, FakeGateway, NONSENSE, PAGE, Speech},
        pki::Ca,
    },
    scene::{HOST, SPEECHES, Scene},
    verdict::{assert_failed, assert_gateway},
};

/// A proxy that fails.
struct Row {
    name: String,
    proxy: Arc<FakeGateway>,
    /// What it does; none: nobody listens there.
    behaviour: Option<Behaviour>,
    /// What the connection tells.
    connection: Reason,
    /// What the gateway tells of itself.
    gateway: Reason,
}

/// What a proxy can do wrong, what its connection tells of it, and what its gateway does.
fn rows(speech: Speech) -> Vec<(&'static str, Option<Behaviour>, Reason, Reason)> {
    use Reason::{
        EndpointsHealthy, GatewayLoginRefused, GatewayRefusesTarget, GatewayUnreachable, NotProxy, NotTls,
        Timeout, UnknownAuthority,
    };
    let evil = Ca::new().serving_as(&[HOST]).config();
    let mut rows = vec![
        ("login", Some(Behaviour::RefuseCredentials), GatewayLoginRefused, GatewayLoginRefused),
        ("denied", Some(Behaviour::DenyTarget), GatewayRefusesTarget, EndpointsHealthy),
        ("unreachable", Some(Behaviour::TargetUnreachable), GatewayRefusesTarget, EndpointsHealthy),
        ("refuses", Some(Behaviour::TargetRefuses), GatewayRefusesTarget, EndpointsHealthy),
        ("silent", Some(Behaviour::Silent), Timeout, GatewayUnreachable),
        ("closes", Some(Behaviour::CloseAtOnce), GatewayUnreachable, GatewayUnreachable),
        ("nonsense", Some(Behaviour::Garbage(NONSENSE)), NotProxy, NotProxy),
        ("stopped", None, GatewayUnreachable, GatewayUnreachable),
        ("evil", Some(Behaviour::Evil(evil)), UnknownAuthority, EndpointsHealthy),
    ];
    match speech {
        // A page with status 200 is a tunnel to a web server, as far as CONNECT can tell.
        Speech::Http | Speech::Https => rows.extend([
            ("page", Some(Behaviour::Garbage(PAGE)), NotTls, EndpointsHealthy),
            ("redirect", Some(Behaviour::Redirect("http://127.0.0.1:1/".to_owned())), NotProxy, NotProxy),
        ]),
        Speech::Socks5 => rows.push(("page", Some(Behaviour::Garbage(PAGE)), NotProxy, NotProxy)),
    }
    rows
}

#[tokio::test]
async fn each_fault_of_a_proxy_is_reported_leaks_nothing_and_passes_by_itself() {
    let scene = Scene::new("gateway-faults").await;
    let mut all = Vec::new();
    for speech in SPEECHES {
        for (what, behaviour, connection, gateway) in rows(speech) {
            let name = format!("{speech:?}-{what}").to_lowercase();
            let proxy = scene.proxy(speech).await;
            match &behaviour {
                Some(behaviour) => proxy.behave(behaviour.clone()),
                None => proxy.stop().await,
            }
            all.push(Row { name, proxy, behaviour, connection, gateway });
        }
    }
    for row in &all {
        scene.gateway(&row.name, &[&row.proxy]).await;
        let mut spec = scene.spec(&row.name);
        spec["check"] = json!({"interval": "10s", "timeout": "2s"});
        scene.cluster.connect(&row.name, &spec).await;
    }
    for Row { name, connection, gateway, .. } in &all {
        let found = scene.cluster.wait_reason(name, *connection).await;
        assert_failed(name, &found, *connection, &format!("VaultGateway \"{name}\""));
        let found = scene.wait_gateway_reason(name, *gateway).await;
        assert_gateway(name, &found, *gateway);
    }
    assert_eq!(scene.vault.connections(), 0, "no request comes through");
    scene.assert_end_to_end();

    for Row { proxy, behaviour, .. } in &all {
        match behaviour {
            Some(_) => proxy.behave(Behaviour::Forward),
            None => proxy.start().await,
        }
    }
    for Row { name, .. } in &all {
        scene.ready(name).await;
        let found = scene.wait_gateway_reason(name, Reason::EndpointsHealthy).await;
        assert_gateway(name, &found, Reason::EndpointsHealthy);
    }
    scene.assert_end_to_end();
}
