//! Certificates that change under a running operator, and certificates that end.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use vault_connection_operator::api::{
    CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE, connection::VaultConnection,
};

use crate::{
    faults_table::check_now,
    support::{
        fakes::{
            gateway::Speech,
            openbao::MOUNT,
            pki::{Ca, Identity},
            vault::{Ask, FakeVault},
        },
        scene::{CREDENTIALS, HOST, Scene},
        specs::app_role,
        verdict::{condition, is_ready},
        wait::{PATIENCE, eventually},
    },
};

/// How long a changed certificate may take to be used. A second is promised; a busy machine needs some more. The next
/// check that is due anyway is a minute away.
const PROMISED: Duration = Duration::from_secs(5);

/// Applies a ConfigMap with the label whose changes take effect at once.
async fn labelled_config_map(scene: &Scene, name: &str, pem: &str) {
    let config_map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {CREDENTIALS_LABEL: CREDENTIALS_LABEL_VALUE}},
        "data": {"ca.crt": pem},
    }))
    .expect("a ConfigMap");
    let config_maps: Api<ConfigMap> = Api::namespaced(scene.cluster.client.clone(), &scene.cluster.namespace);
    let params = PatchParams::apply("user").force();
    config_maps.patch(name, &params, &Patch::Apply(config_map)).await.expect("it is accepted");
}

/// Waits until a request comes over a connection that was made after `handshakes` others.
async fn await_use(vault: &FakeVault, what: &str, handshakes: usize) {
    let used = async || {
        vault.handshakes()[handshakes..].iter().any(|handshake| handshake.failure.is_none()).then_some(())
    };
    eventually(what, PROMISED, used).await;
}

#[tokio::test]
async fn a_ca_certificate_that_changes_is_trusted_at_once_with_the_session_that_there_is() {
    let scene = Scene::new("tls-rotation").await;
    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway("private", &[&proxy]).await;
    for (source, through) in [("Secret", false), ("Secret", true), ("ConfigMap", false), ("ConfigMap", true)]
    {
        let name = format!("{source}-{through}").to_lowercase();
        let host = if through { HOST } else { "127.0.0.1" };
        let (old, new) = (Ca::new(), Ca::new());
        let vault = FakeVault::with_tls(old.serving_as(&[host]).config()).await;
        proxy.resolve(HOST, vault.address);
        let apply = async |pem: &str| match source {
            "Secret" => scene.cluster.secret(&name, &[("ca.crt", pem)]).await,
            _ => labelled_config_map(&scene, &name, pem).await,
        };
        apply(&old.pem).await;
        let field = if source == "Secret" { "secretRef" } else { "configMapRef" };
        let mut spec = app_role(&vault.url_at(host), MOUNT, CREDENTIALS);
        spec["tls"] = json!({"caBundle": {field: {"name": name, "key": "ca.crt"}}});
        if through {
            spec["gatewayRef"] = json!({"name": "private"});
        }
        scene.cluster.connect(&name, &spec).await;
        scene.ready(&name).await;

        let before = vault.handshakes().len();
        vault.show(new.serving_as(&[host]).config());
        apply(&new.pem).await;
        await_use(&vault, &format!("{name}: the new CA is trusted"), before).await;
        eventually("a check over the new way", PATIENCE, async || {
            (vault.asked(Ask::LookupSelf) > 1).then_some(())
        })
        .await;
        assert_eq!(vault.asked(Ask::Login), 1, "{name}: the session is kept");
        assert!(is_ready(&check_now(&scene.cluster, &name).await), "{name}");

        let before = vault.handshakes().len();
        vault.show(old.serving_as(&[host]).config());
        assert!(
            !is_ready(&check_now(&scene.cluster, &name).await),
            "{name}: the old one is not trusted any more"
        );
        // The fake notes a handshake after the other side has given it up.
        let tried = async || (vault.handshakes().len() > before).then_some(());
        eventually(&format!("{name}: it was tried"), PROMISED, tried).await;
        scene.cluster.delete(&name).await;
    }
}

#[tokio::test]
async fn a_client_certificate_that_changes_is_shown_at_once() {
    let scene = Scene::new("tls-client-rotation").await;
    let proxy = scene.proxy(Speech::Socks5).await;
    scene.gateway("private", &[&proxy]).await;
    let apply = async |identity: &Identity| {
        let data = [("tls.crt", identity.pem.as_str()), ("tls.key", identity.key_pem.as_str())];
        scene.cluster.secret("client", &data).await;
    };
    let (old, new) = (Ca::new(), Ca::new());
    let demanding = |clients| scene.vault_ca.serving_as(&[HOST]).demanding(clients).config();
    scene.vault.show(demanding(&old));
    apply(&old.client("operator")).await;
    let mut spec = scene.spec("private");
    spec["tls"]["clientCertificate"] = json!({"secretRef": {"name": "client"}});
    scene.cluster.connect("mine", &spec).await;
    scene.ready("mine").await;

    let before = scene.vault.handshakes().len();
    scene.vault.show(demanding(&new));
    let identity = new.client("operator");
    apply(&identity).await;
    await_use(&scene.vault, "the new certificate is shown", before).await;
    let looked = async || (scene.vault.asked(Ask::LookupSelf) > 1).then_some(());
    eventually("a check with the new certificate", PATIENCE, looked).await;
    assert_eq!(scene.vault.asked(Ask::Login), 1, "the session is kept");
    assert!(is_ready(&check_now(&scene.cluster, "mine").await));
    let last = scene.vault.handshakes().pop().expect("there was one");
    assert_eq!(last.client, Some(identity.der));
    scene.assert_nobody_dialled_directly().await;
}

#[tokio::test]
async fn the_days_that_a_certificate_has_left_are_reported_and_the_last_fourteen_are_a_warning() {
    let scene = Scene::new("tls-end").await;
    let ca = Ca::new();
    // Half a day more, so that the days are whole ones however long the test takes.
    let ending = |days: u64| {
        let left = Duration::from_hours(24 * days + 12);
        ca.serving_as(&["127.0.0.1"]).ending(SystemTime::now() + left).config()
    };
    let vault = FakeVault::with_tls(ending(40)).await;
    let mut spec = app_role(&vault.url, MOUNT, CREDENTIALS);
    spec["tls"] = json!({"caBundle": {"inline": ca.pem}});
    scene.cluster.connect("mine", &spec).await;
    let warning = |connection: &VaultConnection| {
        condition(connection, "CertificateExpiring").map(|it| (it.status.clone(), it.reason.clone()))
    };
    let left = |connection: &VaultConnection| {
        let server = json!(connection.status)["server"].clone();
        assert_eq!(server["certificateExpireTime"].is_string(), server["certificateDaysLeft"].is_i64());
        server["certificateDaysLeft"].clone()
    };
    let long = scene.ready("mine").await;
    assert_eq!((left(&long), warning(&long)), (json!(40), None));

    vault.show(ending(10));
    let soon = check_now(&scene.cluster, "mine").await;
    assert!(is_ready(&soon), "{:?}", soon.status);
    let warned = Some(("True".to_owned(), "ServerCertificateExpiring".to_owned()));
    assert_eq!((left(&soon), warning(&soon)), (json!(10), warned));

    vault.show(ending(90));
    let renewed = check_now(&scene.cluster, "mine").await;
    assert_eq!((left(&renewed), warning(&renewed)), (json!(90), None));

    let plain = FakeVault::new().await;
    scene.cluster.connect("plain", &app_role(&plain.url, MOUNT, CREDENTIALS)).await;
    let plain = scene.ready("plain").await;
    assert_eq!((left(&plain), warning(&plain)), (Value::Null, None));
}
