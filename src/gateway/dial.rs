//! HTTP clients for instances: one for each way, shared by the connections that go it.
//!
//! ```text
//!   reqwest: HTTP, TLS for the name in the URL
//!      │
//!   handover: a Unix socket of this process
//!      │
//!   dial ─┬─ no gateway ──────────────▶ connect: the host's addresses, in turn
//!         └─ gateway: endpoints, in turn ─▶ tunnel ─▶ connect: the proxy's addresses, in turn
//! ```
//!
//! Every connection to an instance or a proxy is made by `connect`, under the address policy. The URL that reqwest
//! sees has the name that the certificate must be for in the place of the host; it never resolves or dials that.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use reqwest::redirect;
use rustls::RootCertStore;
use tower::{BoxError, filter::AsyncFilterLayer, filter::AsyncPredicate};
use url::Host;

use super::{
    connect::{Connector, Names},
    handover::{HandOver, Stream},
    pool::Pool,
    race::first_of,
    route::AddressPolicy,
    tunnel,
    way::Way,
};
use crate::{
    refs::{EndpointUrl, GatewayName, InstanceUrl},
    secrets::{
        gateway::{Endpoint, Gateway},
        resolve::WayMaterial,
    },
    vault::{
        tls,
        transport::{EndpointFault, EndpointProblem, TransportFault},
    },
};

/// How long an idle connection is kept. Long enough for the requests of one check, shorter than any interval between
/// checks, so that each check dials anew: it sees a changed address, certificate or firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an endpoint may stay silent before the next one is tried beside it. A handshake with a proxy that works
/// takes three round trips; a second is enough for them around the world.
const NEXT_ENDPOINT: Duration = Duration::from_secs(1);

/// A name that never has an address (RFC 6761, section 6.4): what a check asks a proxy for, to see whether it answers.
const NOWHERE: &str = "vault-connection-operator.invalid";

/// Makes HTTP clients.
pub struct Dialer {
    plain_http: bool,
    shared: Arc<Shared>,
    clients: Mutex<HashMap<Way, Weak<reqwest::Client>>>,
}

/// What all connections need to be made.
struct Shared {
    connector: Connector,
    system_roots: Arc<RootCertStore>,
    pool: Pool,
}

/// How the connections of one client are made.
struct Path {
    shared: Arc<Shared>,
    target: (Host<String>, u16),
    gateway: Option<(GatewayName, Gateway)>,
}

/// Dials before the client connects to its socket.
#[derive(Clone)]
struct DialFirst {
    path: Arc<Path>,
    handover: HandOver,
}

// === impl Dialer ===

impl Dialer {
    /// A dialer under a policy. Plain http is refused unless `plain_http`.
    pub fn new(policy: AddressPolicy, plain_http: bool, names: Arc<dyn Names>) -> Self {
        let shared = Shared {
            connector: Connector::new(names, Arc::new(policy)),
            system_roots: tls::system_roots(),
            pool: Pool::default(),
        };
        Self { plain_http, shared: Arc::new(shared), clients: Mutex::default() }
    }

    /// Tells whether a connection may dial its instance, before anything is sent.
    pub fn permit(&self, instance: &InstanceUrl) -> Result<(), TransportFault> {
        if instance.is_plain_http() && !self.plain_http {
            return Err(TransportFault::PlainHttp);
        }
        self.shared.connector.permit(&instance.host(), instance.port())
    }

    /// The client for a way, shared with every connection that goes it.
    pub fn client(&self, way: &Way, material: &WayMaterial) -> Arc<reqwest::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(way).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(self.build(way, material));
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(way.clone(), Arc::downgrade(&client));
        client
    }

    /// Tells whether an endpoint of a gateway works: whether it can be reached, and takes the login.
    pub async fn probe(&self, gateway: &GatewayName, endpoint: &Endpoint) -> Result<(), EndpointProblem> {
        let Shared { connector, system_roots, pool } = &*self.shared;
        let target = (Host::Domain(NOWHERE.to_owned()), 443);
        let outcome = match tunnel::ask(endpoint, &target, connector, system_roots).await {
            Ok(_) | Err(EndpointProblem::TargetRefused) => Ok(()),
            Err(problem) => Err(problem),
        };
        pool.note(gateway, &endpoint.url, outcome.as_ref().err());
        outcome
    }

    /// Notes that an endpoint gave no answer in time.
    pub fn gave_up(&self, gateway: &GatewayName, endpoint: &EndpointUrl) -> EndpointProblem {
        let problem = EndpointProblem::Unreachable(Box::new(TransportFault::TimedOut));
        self.shared.pool.note(gateway, endpoint, Some(&problem));
        problem
    }

    /// Forgets what was seen of a gateway.
    pub fn forget(&self, gateway: &GatewayName) {
        self.shared.pool.forget(gateway);
    }

    fn build(&self, way: &Way, material: &WayMaterial) -> reqwest::Client {
        let WayMaterial { tls, gateway, .. } = material;
        let namespace = way.own.as_ref().map(|(namespace, _)| namespace.clone()).unwrap_or_default();
        let gateway =
            gateway.clone().map(|gateway| (GatewayName { namespace, name: gateway.name.clone() }, gateway));
        let path = Arc::new(Path {
            shared: Arc::clone(&self.shared),
            target: (way.instance.host().to_owned(), way.instance.port()),
            gateway,
        });
        let handover = HandOver::new().expect("a socket of a random name can be made");
        let roots = &self.shared.system_roots;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(
                tls.authorities.as_ref(),
                tls.identity.as_ref(),
                roots,
            ))
            .unix_socket(handover.path())
            .connector_layer(AsyncFilterLayer::new(DialFirst { path, handover }))
            // A redirect would carry the token along, a proxy of the environment would see every request.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .tls_info(true)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client with these fixed settings builds")
    }
}

// === impl Path ===

impl Path {
    async fn dial(&self) -> Result<Box<dyn Stream>, TransportFault> {
        let Shared { connector, system_roots, pool } = &*self.shared;
        let Some((name, gateway)) = &self.gateway else {
            let (host, port) = &self.target;
            return Ok(Box::new(connector.connect(host, *port).await?));
        };
        let attempt = async |endpoint: &Endpoint| {
            let outcome = tunnel::through(endpoint, &self.target, connector, system_roots).await;
            pool.note(name, &endpoint.url, outcome.as_ref().err());
            outcome.map_err(|problem| {
                let endpoint = endpoint.url.to_string();
                TransportFault::Gateway(EndpointFault { endpoint, problem })
            })
        };
        let order =
            pool.order(name, &gateway.endpoints, |endpoint| &endpoint.url, |below| fastrand::usize(..below));
        first_of(order, NEXT_ENDPOINT, attempt).await.expect("a gateway has an endpoint")
    }
}

// === impl DialFirst ===

impl<R: Send + 'static> AsyncPredicate<R> for DialFirst {
    type Future = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;
    type Request = R;

    fn check(&mut self, request: R) -> Self::Future {
        let Self { path, handover } = self.clone();
        Box::pin(async move {
            handover.offer(path.dial().await?);
            Ok(request)
        })
    }
}
