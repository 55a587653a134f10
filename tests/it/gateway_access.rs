//! Who is let in by a proxy: logins, and TLS with the proxy itself.

use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    fakes::{
        gateway::{FakeGateway, Speech},
        pki::{Ca, Identity, Serving},
        vault::FakeVault,
    },
    scene::{SPEECHES, Scene},
    verdict::{assert_failed, assert_gateway, is_current, is_ready, ready},
};

const USER: &str = "team-a";
const PASSWORD: &str = "canary-password";

/// How long a changed Secret may take to be acted upon. A second is promised; a busy machine needs some more.
const PROMISED: Duration = Duration::from_secs(10);

/// What is in a Secret, whether it has the label, and what comes of it.
type Login<'a> = (&'static str, &'a [(&'static str, &'a [u8])], bool, Reason);

/// An https endpoint, and what comes of it.
struct Row<'a> {
    name: &'static str,
    serving: Serving<'a>,
    tls: Value,
    /// None: it works. Else what the message says.
    complaint: Option<&'static str>,
}

#[tokio::test]
async fn a_login_at_a_proxy_is_taken_from_its_secret_and_what_is_wrong_with_it_is_reported() {
    let scene = Scene::new("gateway-login").await;
    let good: [(&str, &[u8]); 2] = [("username", USER.as_bytes()), ("password", PASSWORD.as_bytes())];
    let wrong: [(&str, &[u8]); 2] = [("username", USER.as_bytes()), ("password", b"canary-wrong")];
    let rows: [Login<'_>; 4] = [
        ("no label", &good, false, Reason::SecretNotLabelled),
        ("no password", &good[..1], true, Reason::KeyNotFound),
        ("with a newline", &[good[0], ("password", b"p\n")], true, Reason::WhitespaceInValue),
        ("wrong", &wrong, true, Reason::GatewayLoginRefused),
    ];
    for speech in SPEECHES {
        let name = format!("{speech:?}").to_lowercase();
        let proxy = scene.proxy(speech).await;
        proxy.demand(USER, PASSWORD);
        let mut endpoint = scene.endpoint(&proxy);
        endpoint["credentials"] = json!({"secretRef": {"name": name}});
        scene.gateway_of(&name, &json!([endpoint])).await;
        scene.connect(&name, &name).await;

        let told = async |row: &str, reason: Reason| {
            let label = format!("{name}, {row}");
            let mine = scene.cluster.wait_reason(&name, reason).await;
            assert_failed(&label, &mine, reason, &format!("VaultGateway \"{name}\""));
            let message = &ready(&mine).expect("there is a Ready").message;
            let is_login = reason == Reason::GatewayLoginRefused;
            assert!(
                is_login || message.starts_with("spec.endpoints[0].credentials of VaultGateway"),
                "{message}"
            );
            let gateway = scene.wait_gateway_reason(&name, reason).await;
            assert_gateway(&label, &gateway, reason);
            let text = format!("{} {}", json!(mine.status), json!(gateway.status));
            assert!(!text.contains("canary"), "{label}: {text}");
        };
        told("no Secret", Reason::SecretNotFound).await;
        for (row, data, labelled, reason) in rows {
            scene.cluster.raw_secret(&name, data, labelled).await;
            told(row, reason).await;
        }
        assert_eq!(proxy.targets().len(), 0, "{name}: nobody is let in");

        scene.cluster.raw_secret(&name, &good, true).await;
        scene.cluster.wait(&name, "Ready at once", PROMISED, is_ready).await;
        let gateway = scene.wait_gateway_reason(&name, Reason::EndpointsHealthy).await;
        assert_gateway(&name, &gateway, Reason::EndpointsHealthy);
        let named = gateway.status.expect("it has a status").credentials;
        assert_eq!(named.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), [name.as_str()]);

        scene.cluster.raw_secret(&name, &wrong, true).await;
        let refused = Reason::GatewayLoginRefused.as_str();
        scene
            .cluster
            .wait(&name, "refused at once", PROMISED, |it| {
                is_current(it) && ready(it).is_some_and(|ready| ready.reason == refused)
            })
            .await;
        scene.cluster.raw_secret(&name, &good, true).await;
        scene.cluster.wait(&name, "Ready at once", PROMISED, is_ready).await;
        assert!(proxy.visits().iter().any(|visit| visit.user.as_deref() == Some(USER)), "{name}");
    }
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn a_proxy_with_tls_is_verified_and_shown_a_certificate_if_it_asks() {
    let scene = Scene::new("gateway-tls").await;
    let (ca, clients) = (&scene.proxy_ca, Ca::new());
    let cluster = &scene.cluster;
    for (name, identity) in [("right", clients.client("operator")), ("other", Ca::new().client("operator"))] {
        tls_secret(&scene, name, &identity).await;
    }
    let trusting = |pem: &str| json!({"caBundle": {"inline": pem}});
    let with = |key: &str, value: Value| {
        let mut tls = trusting(&ca.pem);
        tls[key] = value;
        tls
    };
    let showing = |secret: &str| with("clientCertificate", json!({"secretRef": {"name": secret}}));
    let here = || ca.serving_as(&["127.0.0.1"]);
    let asks = Some("requires a client certificate, or rejected the one it received");
    let row = |name, serving, tls, complaint| Row { name, serving, tls, complaint };
    let rows = vec![
        row("other-ca", here(), trusting(&Ca::new().pem), Some("a CA that is not trusted")),
        row("expired", here().ending_in_the_past(), trusting(&ca.pem), Some("has expired")),
        row("other-name", ca.serving_as(&["proxy.example"]), trusting(&ca.pem), Some("for another name")),
        row("named", ca.serving_as(&["proxy.example"]), with("serverName", json!("proxy.example")), None),
        row("asks-12", here().demanding(&clients).speaking_only(&TLS12), trusting(&ca.pem), asks),
        row("asks-13", here().demanding(&clients).speaking_only(&TLS13), trusting(&ca.pem), asks),
        row("wrong-12", here().demanding(&clients).speaking_only(&TLS12), showing("other"), asks),
        row("wrong-13", here().demanding(&clients).speaking_only(&TLS13), showing("other"), asks),
        row("right-12", here().demanding(&clients).speaking_only(&TLS12), showing("right"), None),
        row("right-13", here().demanding(&clients).speaking_only(&TLS13), showing("right"), None),
    ];
    let mut proxies = Vec::new();
    let mut complaints = Vec::new();
    for Row { name, serving, tls, complaint } in rows {
        let proxy = scene.proxy(Speech::Https).await;
        proxy.show(serving.config());
        scene.gateway_of(name, &json!([{"url": proxy.url(), "tls": tls}])).await;
        scene.connect(name, name).await;
        proxies.push(proxy);
        complaints.push((name, complaint));
    }
    let plain = FakeVault::not_tls().await;
    scene.gateway_of("plain", &json!([{"url": plain.url, "tls": trusting(&ca.pem)}])).await;
    scene.connect("plain", "plain").await;
    complaints.push(("plain", Some("does not speak TLS")));

    for (name, complaint) in complaints {
        match complaint {
            None => drop(scene.ready(name).await),
            Some(words) => {
                let mine = cluster.wait_reason(name, Reason::GatewayUnreachable).await;
                assert_failed(name, &mine, Reason::GatewayUnreachable, words);
                assert_failed(name, &mine, Reason::GatewayUnreachable, &format!("VaultGateway \"{name}\""));
                let gateway = scene.wait_gateway_reason(name, Reason::GatewayUnreachable).await;
                assert_gateway(name, &gateway, Reason::GatewayUnreachable);
                let message = &gateway.status.expect("it has a status").endpoints[0].message;
                assert!(message.contains(words), "{name}: {message}");
            }
        }
    }
    let named = shakes(&proxies[3]);
    assert!(named.iter().all(|it| it.server_name.as_deref() == Some("proxy.example")), "{named:?}");
    scene.assert_nobody_dialled_directly().await;
}

fn shakes(proxy: &FakeGateway) -> Vec<crate::support::fakes::tls::Handshake> {
    proxy.visits().into_iter().filter_map(|visit| visit.handshake).collect()
}

async fn tls_secret(scene: &Scene, name: &str, identity: &Identity) {
    let data = [("tls.crt", identity.pem.as_str()), ("tls.key", identity.key_pem.as_str())];
    scene.cluster.secret(name, &data).await;
}
