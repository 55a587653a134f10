//! Connections through a gateway: everything goes that way, or nowhere.

use std::time::Duration;

use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use crate::{
    faults_table::check_now,
    support::{
        bed::{program, run},
        fakes::{
            gateway::{Speech, Target},
            vault::Ask,
        },
        scene::{HOST, SPEECHES, Scene},
        verdict::{assert_failed, assert_gateway, is_ready},
        wait::eventually,
    },
};

/// How long a change of a gateway, or of what it names, may take to be acted upon. A second is promised; a busy machine
/// needs some more.
const PROMISED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn every_request_goes_through_the_gateway_which_resolves_the_name() {
    let scene = Scene::new("gateway").await;
    for speech in SPEECHES {
        let (proxy, name) = (scene.proxy(speech).await, format!("{speech:?}").to_lowercase());
        scene.gateway(&name, &[&proxy]).await;
        scene.connect(&name, &name).await;
        let connection = scene.ready(&name).await;
        let status = connection.status.expect("it is Ready");
        assert_eq!(status.connection.expect("resolved").gateway.as_deref(), Some(name.as_str()));

        let used_by = |count| {
            let (scene, name) = (&scene, &name);
            async move {
                let what = format!("used by {count}");
                scene
                    .wait_gateway(name, &what, |gateway| {
                        gateway.status.as_ref().is_some_and(|status| status.connections == Some(count))
                    })
                    .await
            }
        };
        used_by(1).await;
        let gateway = scene.wait_gateway_reason(&name, Reason::EndpointsHealthy).await;
        assert_gateway(&name, &gateway, Reason::EndpointsHealthy);
        let target = Target { host: HOST.to_owned(), port: scene.vault.address.port(), is_name: true };
        assert!(proxy.targets().iter().all(|asked| *asked == target), "{speech:?}: {:?}", proxy.targets());
        scene.cluster.delete(&name).await;
        used_by(0).await;
    }
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_a_failure_and_never_a_direct_dial() {
    let scene = Scene::new("gateway-missing").await;
    scene.connect("mine", "private").await;
    let missing = scene.cluster.wait_reason("mine", Reason::GatewayNotFound).await;
    assert_failed("missing", &missing, Reason::GatewayNotFound, "VaultGateway \"private\"");
    assert_eq!(scene.vault.connections(), 0);

    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway("private", &[&proxy]).await;
    scene.ready("mine").await;
    assert_eq!(scene.vault.sessions(), 1);

    scene.delete_gateway("private").await;
    let gone = scene.cluster.wait_reason("mine", Reason::GatewayNotFound).await;
    assert_failed("deleted", &gone, Reason::GatewayNotFound, "never connects to the instance without it");
    let (dialled, visited) = (scene.vault.connections(), proxy.connections());
    let (note, kind) = scene.event("VaultGateway", "private", "DeletedInUse").await;
    assert!(kind == "Warning" && note.contains("mine"), "{kind}: {note}");
    let (note, kind) = scene.event("VaultConnection", "mine", "GatewayNotFound").await;
    assert!(kind == "Warning" && note.contains("private"), "{kind}: {note}");
    for _ in 0..2 {
        let asked = check_now(&scene.cluster, "mine").await;
        assert_failed("asked", &asked, Reason::GatewayNotFound, "private");
    }
    assert_eq!(scene.vault.sessions(), 1, "there is a session that could be used");
    assert_eq!((scene.vault.connections(), proxy.connections()), (dialled, visited));

    scene.gateway("private", &[&proxy]).await;
    scene.ready("mine").await;
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn a_gateway_whose_spec_changes_takes_its_connections_along_without_a_login() {
    let scene = Scene::new("gateway-changed").await;
    let (old, new) = (scene.proxy(Speech::Http).await, scene.proxy(Speech::Socks5).await);
    scene.gateway("private", &[&old]).await;
    scene.connect("mine", "private").await;
    scene.ready("mine").await;
    let logins = scene.vault.asked(Ask::Login);

    scene.gateway("private", &[&new]).await;
    let moved = async || (!new.targets().is_empty()).then_some(());
    eventually("the connection goes over the new endpoint", PROMISED, moved).await;
    let looked = async || (scene.vault.asked(Ask::LookupSelf) > 1).then_some(());
    eventually("a check over the new endpoint", PROMISED, looked).await;
    assert_eq!(scene.vault.asked(Ask::Login), logins, "the session is kept");
    let mine = check_now(&scene.cluster, "mine").await;
    assert!(is_ready(&mine), "{:?}", mine.status);
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_prints_gateways_in_columns_and_explains_them() {
    let scene = Scene::new("gateway-kubectl").await;
    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway("private", &[&proxy]).await;
    scene.connect("mine", "private").await;
    scene.ready("mine").await;
    scene
        .wait_gateway("private", "used by one", |gateway| {
            gateway.status.as_ref().is_some_and(|status| status.connections == Some(1))
        })
        .await;
    let kubectl = |arguments: &[&str]| {
        run(program("kubectl").args(["--namespace", &scene.cluster.namespace]).args(arguments))
    };
    let words =
        |line: &str| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let table = |arguments: &[&str]| -> Vec<Vec<String>> { kubectl(arguments).lines().map(words).collect() };
    let [heads, line] = &table(&["get", "vgw"])[..] else { panic!("one gateway") };
    assert_eq!(heads, &["NAME", "READY", "HEALTHY", "CONNECTIONS", "REASON", "AGE"]);
    assert_eq!(line[..5], ["private", "True", "1", "1", "EndpointsHealthy"]);
    let [heads, line] = &table(&["get", "vgw", "--output", "wide"])[..] else { panic!("one gateway") };
    let narrow = ["NAME", "READY", "HEALTHY", "CONNECTIONS", "REASON"];
    assert_eq!(heads[..5], narrow);
    assert_eq!(heads[5..], ["ENDPOINTS", "SINCE", "LAST CHECK", "AGE", "MESSAGE"]);
    assert_eq!((&line[5], &line[9]), (&proxy.url(), &"1 of 1 endpoints work.".to_owned()));
    let explained = kubectl(&["explain", "vgw.spec.endpoints"]);
    assert!(
        explained.contains("FIELD: endpoints") && explained.contains("Address of the proxy"),
        "{explained}"
    );
    assert!(
        kubectl(&["get", "vault", "--output", "name"]).contains("vaultgateway.appconnections.dev/private")
    );
}

#[tokio::test]
async fn socks5_is_given_an_address_and_what_is_wrong_with_the_name_is_not_the_proxys_fault() {
    let scene = Scene::new("gateway-socks5").await;
    let proxy = scene.proxy(Speech::Socks5).await;
    let url = proxy.url().replace("socks5h://", "socks5://");
    scene.gateway_of("private", &json!([{"url": url}])).await;
    let spec = |host: &str| {
        let mut spec = scene.spec("private");
        spec["instanceUrl"] = json!(scene.vault.url_at(host));
        spec["tls"]["serverName"] = json!(HOST);
        spec
    };
    let rows = [
        ("unknown", "vault.invalid", Reason::NameNotResolved, "vault.invalid does not resolve to an address"),
        ("denied", "10.255.255.1", Reason::AddressNotAllowed, "10.255.255.1"),
    ];
    for (name, host, reason, words) in rows {
        scene.cluster.connect(name, &spec(host)).await;
        let found = scene.cluster.wait_reason(name, reason).await;
        assert_failed(name, &found, reason, words);
        assert_failed(name, &found, reason, "VaultGateway \"private\"");
    }
    for host in ["127.0.0.1", "localhost"] {
        let name = host.replace('.', "-");
        scene.cluster.connect(&name, &spec(host)).await;
        scene.ready(&name).await;
    }
    let target = Target { host: "127.0.0.1".to_owned(), port: scene.vault.address.port(), is_name: false };
    assert!(proxy.targets().iter().all(|asked| *asked == target), "{:?}", proxy.targets());
    let gateway = scene.wait_gateway_reason("private", Reason::EndpointsHealthy).await;
    assert_gateway("private", &gateway, Reason::EndpointsHealthy);
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn a_connection_that_changes_its_gateway_ends_its_session_over_the_old_one() {
    let scene = Scene::new("gateway-ref").await;
    let (old, new) = (scene.proxy(Speech::Https).await, scene.proxy(Speech::Http).await);
    scene.gateway("old", &[&old]).await;
    scene.gateway("new", &[&new]).await;
    scene.connect("mine", "old").await;
    scene.ready("mine").await;
    let before = old.targets().len();
    scene.connect("mine", "new").await;
    scene.ready("mine").await;
    let ended = async || (scene.vault.asked(Ask::RevokeSelf) == 1).then_some(());
    eventually("the old session is ended", PROMISED, ended).await;
    assert_eq!((scene.vault.asked(Ask::Login), scene.vault.sessions()), (2, 1));
    assert_eq!(old.targets().len(), before + 1, "only its end went over the old gateway");
    assert!(!new.targets().is_empty());
    scene.assert_nobody_dialled_directly().await;
}
