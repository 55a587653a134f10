//! Connections through a gateway: everything goes that way, and what is wrong with it is told.

use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use vault_connection_operator::api::{connection::VaultConnection, gateway::VaultGateway};

use crate::support::{
    cluster::Cluster,
    fakes::{
        gateway::{FakeGateway, Speech, Target},
        openbao::MOUNT,
        pki::Ca,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    operator::Operator,
    specs::app_role,
    verdict::is_ready,
    wait::PATIENCE,
};

/// A name that only a gateway knows.
const HOST: &str = "vault.private.example";

const SPEECHES: [Speech; 3] = [Speech::Http, Speech::Https, Speech::Socks5];

/// A cluster with an operator, a Vault that only a gateway can reach, and the gateway.
struct Scene {
    cluster: Cluster,
    _operator: Operator,
    vault: FakeVault,
    vault_ca: Ca,
    proxy_ca: Ca,
}

// === impl Scene ===

impl Scene {
    async fn new(prefix: &str) -> Self {
        let cluster = Cluster::new(prefix).await;
        let operator = Operator::start(&cluster).await;
        let vault_ca = Ca::new();
        let vault = FakeVault::with_tls(vault_ca.serving_as(&[HOST]).config()).await;
        cluster.secret("approle", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
        Self { cluster, _operator: operator, vault, vault_ca, proxy_ca: Ca::new() }
    }

    async fn proxy(&self, speech: Speech) -> FakeGateway {
        let proxy = match speech {
            Speech::Http => FakeGateway::http().await,
            Speech::Https => FakeGateway::https(self.proxy_ca.serving()).await,
            Speech::Socks5 => FakeGateway::socks5().await,
        };
        proxy.resolve(HOST, self.vault.address);
        proxy
    }

    fn gateways(&self) -> Api<VaultGateway> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Applies a gateway of these proxies.
    async fn gateway(&self, name: &str, proxies: &[&FakeGateway]) {
        let endpoints: Vec<_> = proxies.iter().map(|proxy| self.endpoint(proxy)).collect();
        self.gateway_of(name, &json!(endpoints)).await;
    }

    fn endpoint(&self, proxy: &FakeGateway) -> Value {
        let url = proxy.url();
        match url.starts_with("https://") {
            true => json!({"url": url, "tls": {"caBundle": {"inline": self.proxy_ca.pem}}}),
            false => json!({"url": url}),
        }
    }

    async fn gateway_of(&self, name: &str, endpoints: &Value) {
        let manifest = json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
            "metadata": {"name": name},
            "spec": {"endpoints": endpoints, "check": {"interval": "10s", "timeout": "2s"}},
        });
        let params = PatchParams::apply("user").force();
        self.gateways().patch(name, &params, &Patch::Apply(manifest)).await.expect("it is accepted");
    }

    /// A connection through a gateway.
    fn spec(&self, gateway: &str) -> Value {
        let mut spec = app_role(&self.vault.url_at(HOST), MOUNT, "approle");
        spec["gatewayRef"] = json!({"name": gateway});
        spec["tls"] = json!({"caBundle": {"inline": self.vault_ca.pem}});
        spec
    }

    async fn wait_gateway(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&VaultGateway) -> bool,
    ) -> VaultGateway {
        let holds = |gateway: Option<&VaultGateway>| gateway.is_some_and(&condition);
        let waited = await_condition(self.gateways(), name, holds);
        let found = tokio::time::timeout(PATIENCE, waited).await;
        found
            .unwrap_or_else(|_| panic!("gateway {name} is not {what}"))
            .expect("it can be watched")
            .expect("it is there")
    }

    async fn ready(&self, name: &str) -> VaultConnection {
        self.cluster.wait(name, "Ready", PATIENCE, is_ready).await
    }
}

/// Status and reason of the gateway's Ready.
fn verdict(gateway: &VaultGateway) -> Option<(&str, &str)> {
    let status = gateway.status.as_ref()?;
    let current = status.observed_generation == gateway.metadata.generation;
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    current.then_some((ready.status.as_str(), ready.reason.as_str()))
}

#[tokio::test]
async fn every_request_goes_through_the_gateway_which_resolves_the_name() {
    let scene = Scene::new("gateway").await;
    let mut proxies: Vec<FakeGateway> = Vec::new();
    for speech in SPEECHES {
        let (proxy, name) = (scene.proxy(speech).await, format!("{speech:?}").to_lowercase());
        scene.gateway(&name, &[&proxy]).await;
        scene.cluster.connect(&name, &scene.spec(&name)).await;
        let connection = scene.ready(&name).await;
        let status = connection.status.expect("it is Ready");
        assert_eq!(status.connection.expect("resolved").gateway.as_deref(), Some(name.as_str()));

        let gateway = scene.wait_gateway(&name, "used once", |gateway| {
            gateway.status.as_ref().is_some_and(|status| status.connections == Some(1))
        });
        assert_eq!(verdict(&gateway.await), Some(("True", "EndpointsHealthy")), "{speech:?}");
        let target = Target { host: HOST.to_owned(), port: scene.vault.address.port(), is_name: true };
        assert!(proxy.targets().iter().all(|asked| *asked == target), "{speech:?}: {:?}", proxy.targets());
        assert!(!proxy.has_seen(SECRET_ID.as_bytes()), "{speech:?}: TLS is end to end");
        scene.cluster.delete(&name).await;
        scene
            .wait_gateway(&name, "used by nobody", |gateway| {
                gateway.status.as_ref().is_some_and(|status| status.connections == Some(0))
            })
            .await;
    }
}
