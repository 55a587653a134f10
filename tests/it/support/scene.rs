//! A cluster with an operator, a Vault that only a gateway can reach, and gateways.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::{wait::await_condition, watcher::watch_object},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vault_connection_operator::api::{
    REQUESTED_AT, condition::Reason, connection::VaultConnection, gateway::VaultGateway,
};

use super::{
    bed::unique,
    cluster::Cluster,
    fakes::{
        gateway::{FakeGateway, Speech},
        openbao::MOUNT,
        pki::Ca,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    operator::Operator,
    specs::app_role,
    verdict::{gateway_ready, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// A name that only a gateway knows.
pub const HOST: &str = "vault.private.example";

/// The Secret with the pair that every fake accepts.
pub const CREDENTIALS: &str = "approle";

/// Everything that a proxy can speak.
pub const SPEECHES: [Speech; 3] = [Speech::Http, Speech::Https, Speech::Socks5];

/// What is behind a proxy must not be readable there: the pair, and any token that a fake issues.
const NOT_FOR_PROXIES: [&str; 3] = [ROLE_ID, SECRET_ID, "s.fake"];

/// A cluster with an operator, a Vault that only a gateway can reach, and the proxies to it.
pub struct Scene {
    pub cluster: Cluster,
    pub operator: Operator,
    pub vault: FakeVault,
    /// Who certifies the Vault.
    pub vault_ca: Ca,
    /// Who certifies proxies.
    pub proxy_ca: Ca,
    proxies: Mutex<Vec<Arc<FakeGateway>>>,
}

/// The verdicts on a connection over a time.
pub struct Verdicts {
    seen: Arc<Mutex<Vec<String>>>,
    watch: JoinHandle<()>,
}

// === impl Verdicts ===

impl Verdicts {
    /// It was Ready all the time, as far as anybody could see.
    pub fn assert_always_ready(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!seen.is_empty() && seen.iter().all(|verdict| verdict.starts_with("True ")), "{seen:?}");
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

// === impl Scene ===

impl Scene {
    pub async fn new(prefix: &str) -> Self {
        let cluster = Cluster::new(prefix).await;
        let operator = Operator::start(&cluster).await;
        let vault_ca = Ca::new();
        let vault = FakeVault::with_tls(vault_ca.serving_as(&[HOST]).config()).await;
        cluster.secret(CREDENTIALS, &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
        Self { cluster, operator, vault, vault_ca, proxy_ca: Ca::new(), proxies: Mutex::default() }
    }

    /// A new proxy that knows the way to the Vault.
    pub async fn proxy(&self, speech: Speech) -> Arc<FakeGateway> {
        let proxy = match speech {
            Speech::Http => FakeGateway::http().await,
            Speech::Https => FakeGateway::https(self.proxy_ca.serving()).await,
            Speech::Socks5 => FakeGateway::socks5().await,
        };
        proxy.resolve(HOST, self.vault.address);
        let proxy = Arc::new(proxy);
        self.all_proxies().push(Arc::clone(&proxy));
        proxy
    }

    fn all_proxies(&self) -> MutexGuard<'_, Vec<Arc<FakeGateway>>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn gateways(&self) -> Api<VaultGateway> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Applies a gateway of these proxies.
    pub async fn gateway(&self, name: &str, proxies: &[&FakeGateway]) {
        let endpoints: Vec<_> = proxies.iter().map(|proxy| self.endpoint(proxy)).collect();
        self.gateway_of(name, &json!(endpoints)).await;
    }

    /// A proxy, as `spec.endpoints` takes it.
    pub fn endpoint(&self, proxy: &FakeGateway) -> Value {
        let url = proxy.url();
        if url.starts_with("https://") {
            json!({"url": url, "tls": {"caBundle": {"inline": self.proxy_ca.pem}}})
        } else {
            json!({"url": url})
        }
    }

    /// Applies a gateway of these endpoints. It is checked as often as can be.
    pub async fn gateway_of(&self, name: &str, endpoints: &Value) {
        self.gateway_every("10s", name, endpoints).await;
    }

    /// The same, and it is checked so often.
    pub async fn gateway_every(&self, interval: &str, name: &str, endpoints: &Value) {
        let manifest = json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
            "metadata": {"name": name},
            "spec": {"endpoints": endpoints, "check": {"interval": interval, "timeout": "2s"}},
        });
        let params = PatchParams::apply("user").force();
        let applied = self.gateways().patch(name, &params, &Patch::Apply(manifest)).await;
        applied.unwrap_or_else(|error| panic!("{name} is not accepted: {error}"));
    }

    /// Asks for a check of a gateway now.
    pub async fn request_gateway_check(&self, name: &str) {
        let patch = json!({"metadata": {"annotations": {REQUESTED_AT: unique("request")}}});
        let gateways = self.gateways();
        let asked = gateways.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        asked.unwrap_or_else(|error| panic!("{name} cannot be changed: {error}"));
    }

    pub async fn delete_gateway(&self, name: &str) {
        self.gateways().delete(name, &DeleteParams::default()).await.expect("it is deleted");
    }

    /// A connection to the Vault through a gateway.
    pub fn spec(&self, gateway: &str) -> Value {
        let mut spec = app_role(&self.vault.url_at(HOST), MOUNT, CREDENTIALS);
        spec["gatewayRef"] = json!({"name": gateway});
        spec["tls"] = json!({"caBundle": {"inline": self.vault_ca.pem}});
        spec
    }

    /// Connects through a gateway, with nothing of its own.
    pub async fn connect(&self, name: &str, gateway: &str) {
        self.cluster.connect(name, &self.spec(gateway)).await;
    }

    pub async fn wait_gateway(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&VaultGateway) -> bool,
    ) -> VaultGateway {
        let holds = |gateway: Option<&VaultGateway>| gateway.is_some_and(&condition);
        let waited = await_condition(self.gateways(), name, holds);
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found.expect("it can be watched").expect("it is there"),
            Err(_) => {
                let found = self.gateways().get_opt(name).await.expect("the API server answers");
                let status = json!(found.map(|found| found.status));
                panic!("gateway {name} is not {what}; its status: {status:#}");
            }
        }
    }

    /// Waits until the status of a gateway is about its spec and gives this reason.
    pub async fn wait_gateway_reason(&self, name: &str, reason: Reason) -> VaultGateway {
        let told = |gateway: &VaultGateway| {
            gateway_ready(gateway).is_some_and(|ready| ready.reason == reason.as_str())
        };
        self.wait_gateway(name, reason.as_str(), told).await
    }

    pub async fn ready(&self, name: &str) -> VaultConnection {
        self.cluster.wait(name, "Ready", PATIENCE, is_ready).await
    }

    /// Waits for an event of a kind's object with this reason, and returns its note and its type.
    pub async fn event(&self, kind: &str, name: &str, reason: &str) -> (String, String) {
        let events: Api<Event> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        eventually(&format!("an event {reason} of {kind} {name}"), PATIENCE, async || {
            let events = events.list(&ListParams::default()).await.expect("the API server answers");
            events.items.into_iter().find_map(|event| {
                let about = event.regarding?;
                let is_it = about.kind.as_deref() == Some(kind)
                    && about.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason);
                is_it.then(|| (event.note.unwrap_or_default(), event.type_.unwrap_or_default()))
            })
        })
        .await
    }

    /// Keeps every verdict on a connection from now on, until it is dropped.
    pub fn verdicts(&self, name: &str) -> Verdicts {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (connections, name, noted) = (self.cluster.connections(), name.to_owned(), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            let mut changes = pin!(watch_object(connections, &name));
            while let Some(change) = changes.next().await {
                let Ok(Some(connection)) = change else { continue };
                let verdict = ready(&connection).map(|ready| format!("{} {}", ready.status, ready.reason));
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(verdict);
            }
        });
        Verdicts { seen, watch }
    }

    /// No proxy could read what is between a connection and its Vault.
    pub fn assert_end_to_end(&self) {
        for proxy in self.all_proxies().iter() {
            for text in NOT_FOR_PROXIES {
                assert!(!proxy.has_seen(text.as_bytes()), "{} has seen {text}", proxy.url());
            }
        }
    }

    /// Every connection that was made to the Vault came out of a tunnel.
    pub async fn assert_nobody_dialled_directly(&self) {
        self.assert_end_to_end();
        let tunnels = || self.all_proxies().iter().map(|proxy| proxy.targets().len()).sum::<usize>();
        let equal = async || (tunnels() == self.vault.connections()).then_some(());
        eventually("as many tunnels as connections to the Vault", PATIENCE, equal).await;
    }
}
