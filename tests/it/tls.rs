//! TLS with Vault, directly and through every kind of proxy: the same settings, the same outcome.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rustls::{
    ProtocolVersion, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    fakes::{
        gateway::{FakeGateway, Speech, Target},
        openbao::MOUNT,
        pki::{Ca, Identity, Key},
        vault::FakeVault,
    },
    scene::{CREDENTIALS, Scene},
    specs::app_role,
    verdict::assert_failed,
};

/// A name in a certificate that is not the host of the URL.
const OTHER: &str = "vault.internal";

/// What comes of a row: it works, or fails for a reason, with these words.
type Outcome = Option<(Reason, &'static str)>;

/// A Vault that is reached on one way.
struct Row {
    name: String,
    vault: FakeVault,
    /// The host in the URL.
    host: String,
    tls: Value,
    outcome: Outcome,
}

/// How a Vault is reached.
struct Route {
    name: &'static str,
    proxy: Option<Arc<FakeGateway>>,
}

/// What the rows of every way have in common.
struct Authorities {
    servers: Ca,
    clients: Ca,
}

// === impl Route ===

impl Route {
    async fn all(scene: &Scene) -> [Self; 4] {
        let by = async |name: &'static str, speech| {
            let proxy = scene.proxy(speech).await;
            scene.gateway(name, &[&proxy]).await;
            Self { name, proxy: Some(proxy) }
        };
        [
            Self { name: "direct", proxy: None },
            by("http", Speech::Http).await,
            by("https", Speech::Https).await,
            by("socks5", Speech::Socks5).await,
        ]
    }

    fn host(&self, row: &str) -> String {
        if self.proxy.is_some() { format!("{row}.private.example") } else { "127.0.0.1".to_owned() }
    }

    /// Every way that TLS with a Vault can go.
    async fn rows(&self, Authorities { servers, clients }: &Authorities) -> Vec<Row> {
        let both = [("12", &TLS12), ("13", &TLS13)];
        let mut rows = Vec::new();
        let mut add = |name: &str, vault: FakeVault, tls: Value, outcome: Outcome| {
            let host = self.host(name);
            if let Some(proxy) = &self.proxy {
                proxy.resolve(&host, vault.address);
            }
            let mut settings = json!({"caBundle": {"inline": servers.pem}});
            settings.as_object_mut().expect("an object").extend(tls.as_object().expect("one too").clone());
            let name = format!("{}-{name}", self.name);
            rows.push(Row { name, vault, host, tls: settings, outcome });
        };
        let named = |names: &[&str]| servers.serving_as(names);
        let tls = async |serving: crate::support::fakes::pki::Serving<'_>| {
            FakeVault::with_tls(serving.config()).await
        };
        let plain = json!({});
        let showing = |secret: &str| json!({"clientCertificate": {"secretRef": {"name": secret}}});
        let other = json!({"serverName": OTHER});
        let mismatch = |words| Some((Reason::CertificateNameMismatch, words));

        add("named", tls(named(&[OTHER])).await, other.clone(), None);
        let host = self.host("misnamed");
        add("misnamed", tls(named(&[&host])).await, other, mismatch("spec.tls.serverName"));
        add("foreign", tls(named(&["vault.example"])).await, plain.clone(), mismatch("spec.instanceUrl"));
        let host = self.host("expired");
        let expired = Some((Reason::CertificateExpired, "has expired"));
        add("expired", tls(named(&[&host]).ending_in_the_past()).await, plain.clone(), expired);
        let host = self.host("unknown");
        let unknown = Some((Reason::UnknownAuthority, "spec.tls.caBundle"));
        add("unknown", tls(Ca::new().serving_as(&[&host])).await, plain.clone(), unknown);
        let not_tls = Some((Reason::NotTls, "does not speak TLS"));
        add("plain", FakeVault::not_tls().await, plain.clone(), not_tls);
        let old = Some((Reason::TlsFailed, "1.2 or 1.3 is required"));
        add("old", FakeVault::with_old_tls().await, plain.clone(), old);
        for (version, spoken) in both {
            let serving = |name: &str| {
                let host = self.host(name);
                servers.serving_as(&[&host]).speaking_only(spoken)
            };
            let name = format!("only-{version}");
            add(&name, tls(serving(&name)).await, plain.clone(), None);
            let required = Some((Reason::ClientCertificateRequired, "spec.tls.clientCertificate"));
            let rejected = Some((Reason::ClientCertificateRejected, "spec.tls.clientCertificate"));
            for (what, settings, outcome) in [
                ("nobody", plain.clone(), required),
                ("stranger", showing("stranger"), rejected),
                ("client", showing("client"), None),
            ] {
                let name = format!("{what}-{version}");
                add(&name, tls(serving(&name).demanding(clients)).await, settings, outcome);
            }
        }
        rows
    }
}

// === impl Row ===

impl Row {
    async fn connect(&self, scene: &Scene, way: &Route) {
        let mut spec = app_role(&self.vault.url_at(&self.host), MOUNT, CREDENTIALS);
        spec["tls"] = self.tls.clone();
        if way.proxy.is_some() {
            spec["gatewayRef"] = json!({"name": way.name});
        }
        scene.cluster.connect(&self.name, &spec).await;
    }

    async fn assert_seen(&self, scene: &Scene, way: &Route, client: &Identity) {
        let (name, port) = (&self.name, self.vault.address.port());
        if let Some((reason, words)) = self.outcome {
            let found = scene.cluster.wait_reason(name, reason).await;
            assert_failed(name, &found, reason, words);
            if way.proxy.is_some() {
                assert_failed(name, &found, reason, &format!("VaultGateway \"{}\"", way.name));
            }
            assert!(self.vault.hosts().is_empty(), "{name}: no request came through");
        } else {
            scene.ready(name).await;
            let authority = format!("{}:{port}", self.host);
            let hosts = self.vault.hosts();
            assert!(!hosts.is_empty() && hosts.iter().all(|host| *host == authority), "{name}: {hosts:?}");
        }
        let is_named = self.tls["serverName"] == OTHER;
        let sni = match (is_named, way.proxy.is_some()) {
            (true, _) => Some(OTHER),
            (false, true) => Some(self.host.as_str()),
            // An address is no server name.
            (false, false) => None,
        };
        let shows = name.contains("-client-").then_some(&client.der);
        for handshake in self.vault.handshakes() {
            assert_eq!(handshake.server_name.as_deref(), sni, "{name}");
            assert!(handshake.failure.is_some() || handshake.client.as_ref() == shows, "{name}");
            let version = self.spoken();
            assert!(
                version.is_none() || handshake.version.is_none() || handshake.version == version,
                "{name}"
            );
        }
        if let Some(proxy) = &way.proxy {
            let targets = proxy.targets();
            let target = Target { host: self.host.clone(), port, is_name: true };
            assert!(targets.contains(&target), "{name}: {targets:?}");
            assert!(targets.iter().all(|target| target.host != OTHER), "{name}: {targets:?}");
        }
    }

    fn spoken(&self) -> Option<ProtocolVersion> {
        let version: Option<&SupportedProtocolVersion> = [("-12", &TLS12), ("-13", &TLS13)]
            .into_iter()
            .find_map(|(end, version)| self.name.ends_with(end).then_some(version));
        version.map(|version| version.version)
    }
}

#[tokio::test]
async fn tls_with_vault_is_the_same_on_every_way() {
    let scene = Scene::new("tls").await;
    let both = Authorities { servers: Ca::new(), clients: Ca::new() };
    let client = both.clients.client("operator");
    tls_secret(&scene, "client", &client.pem, &client.key_pem).await;
    let stranger = Ca::new().client("operator");
    tls_secret(&scene, "stranger", &stranger.pem, &stranger.key_pem).await;
    let ways = Route::all(&scene).await;
    let mut all = Vec::new();
    for way in &ways {
        for row in way.rows(&both).await {
            row.connect(&scene, way).await;
            all.push((way, row));
        }
    }
    for (way, row) in &all {
        row.assert_seen(&scene, way, &client).await;
    }
    scene.assert_end_to_end();
}

#[tokio::test]
async fn client_certificates_of_every_kind_are_shown() {
    let scene = Scene::new("tls-client").await;
    let (servers, clients) = (Ca::new(), Ca::new());
    let vault = FakeVault::with_tls(servers.serving_as(&["127.0.0.1"]).demanding(&clients).config()).await;
    let traditional = |mut identity: Identity| {
        identity.key_pem = identity.traditional_key_pem();
        identity
    };
    let rows = [
        ("p256", clients.client_with("operator", Key::P256)),
        ("p384", clients.client_with("operator", Key::P384)),
        ("ed25519", clients.client_with("operator", Key::Ed25519)),
        ("rsa", clients.client_with("operator", Key::Rsa2048)),
        ("sec1", traditional(clients.client_with("operator", Key::P256))),
        ("pkcs1", traditional(clients.client_with("operator", Key::Rsa2048))),
        ("intermediate", clients.intermediate().client("operator")),
    ];
    let spec = |secret: &str| {
        let mut spec = app_role(&vault.url, MOUNT, CREDENTIALS);
        let reference = json!({"secretRef": {"name": secret}});
        spec["tls"] = json!({"caBundle": {"inline": servers.pem}, "clientCertificate": reference});
        spec
    };
    for (name, identity) in &rows {
        tls_secret(&scene, name, &identity.pem, &identity.key_pem).await;
        scene.cluster.connect(name, &spec(name)).await;
        scene.ready(name).await;
        let shown = vault.handshakes().into_iter().any(|it| it.client.as_ref() == Some(&identity.der));
        assert!(shown, "{name}: the Vault has seen it");
    }

    let other = clients.client("operator");
    tls_secret(&scene, "mixed", &other.pem, &rows[0].1.key_pem).await;
    scene.cluster.connect("mixed", &spec("mixed")).await;
    let found = scene.cluster.wait_reason("mixed", Reason::InvalidKeyPair).await;
    assert_failed("mixed", &found, Reason::InvalidKeyPair, "spec.tls.clientCertificate");
    tls_secret(&scene, "mixed", &other.pem, &other.key_pem).await;
    scene.ready("mixed").await;
}

#[tokio::test]
async fn a_ca_certificate_comes_from_a_secret_a_config_map_or_the_manifest_alone_or_with_the_systems() {
    let scene = Scene::new("tls-ca").await;
    let ca = Ca::new();
    let vault = FakeVault::with_tls(ca.serving()).await;
    scene.cluster.secret("ca", &[("ca.crt", &ca.pem)]).await;
    let config_map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "ca"}, "data": {"ca.crt": ca.pem},
    }))
    .expect("a ConfigMap");
    let config_maps: Api<ConfigMap> = Api::namespaced(scene.cluster.client.clone(), &scene.cluster.namespace);
    let params = PatchParams::apply("user").force();
    config_maps.patch("ca", &params, &Patch::Apply(config_map)).await.expect("it is accepted");
    let key = json!({"name": "ca", "key": "ca.crt"});
    for (source, bundle) in [
        ("secret", json!({"secretRef": key})),
        ("config-map", json!({"configMapRef": key})),
        ("inline", json!({"inline": ca.pem})),
    ] {
        for trust in ["Only", "WithSystem"] {
            let name = format!("{source}-{}", trust.to_lowercase());
            let mut spec = app_role(&vault.url, MOUNT, CREDENTIALS);
            spec["tls"] = json!({"caBundle": bundle});
            spec["tls"]["caBundle"]["trust"] = json!(trust);
            scene.cluster.connect(&name, &spec).await;
            scene.ready(&name).await;
        }
    }
}

async fn tls_secret(scene: &Scene, name: &str, chain: &str, key: &str) {
    scene.cluster.secret(name, &[("tls.crt", chain), ("tls.key", key)]).await;
}
