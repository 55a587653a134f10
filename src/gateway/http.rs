//! The HTTP client of one way: reqwest, over connections that we dial.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};
use tower::{BoxError, filter::AsyncFilterLayer, filter::AsyncPredicate};
use url::Host;

use super::{
    connect::Connector,
    handover::{HandOver, Stream},
    pool::Pool,
    race::first_of,
    route::Rules,
    tunnel::{self, Floor},
};
use crate::{
    refs::GatewayName,
    secrets::gateway::{Endpoint, Gateway},
    vault::transport::{EndpointFault, TransportFault},
};

/// How long an idle connection is kept. Long enough for the requests of one check, shorter than any interval between
/// checks, so that each check dials anew: it sees a changed address, certificate or firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an endpoint may stay silent before the next one is tried beside it. A handshake with a proxy that works
/// takes three round trips; a second is enough for them around the world.
const NEXT_ENDPOINT: Duration = Duration::from_secs(1);

/// What all connections need to be made.
pub(super) struct Shared {
    pub(super) connector: Connector,
    pub(super) system_roots: Arc<RootCertStore>,
    pub(super) pool: Pool,
}

/// How the connections of one client are made.
pub(super) struct Path {
    pub(super) shared: Arc<Shared>,
    pub(super) rules: Arc<Rules>,
    pub(super) target: (Host<String>, u16),
    pub(super) gateway: Option<(GatewayName, Gateway)>,
}

/// The HTTP client of one way.
pub struct HttpClient {
    path: Arc<Path>,
    tls: ClientConfig,
    current: Mutex<reqwest::Client>,
}

/// Dials before the client connects to its socket.
#[derive(Clone)]
struct DialFirst {
    path: Arc<Path>,
    handover: HandOver,
}

// === impl HttpClient ===

impl HttpClient {
    pub(super) fn new(path: Path, tls: ClientConfig) -> Self {
        let path = Arc::new(path);
        let current = Mutex::new(build(&path, &tls));
        Self { path, tls, current }
    }

    /// The client. The URLs that it is given name the host that the certificate must be for.
    pub fn get(&self) -> reqwest::Client {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Dials another address of the instance from now on, if `host`, to which the one in use has redirected, is among the
    /// addresses of the instance's own name. Nothing is ever sent anywhere else.
    pub async fn move_to(&self, host: &Host<String>) -> bool {
        let Path { shared, rules, target, gateway } = &*self.path;
        if gateway.is_some() || !shared.connector.prefer(rules, target, host).await {
            return false;
        }
        self.renew();
        true
    }

    /// Begins with another address of the instance the next time, if there is one: the one in use does not serve.
    pub fn leave(&self) {
        let (target, port) = &self.path.target;
        if self.path.gateway.is_none() && self.path.shared.connector.doubt(target, *port) {
            self.renew();
        }
    }

    /// The connections of the old client lead to the old address.
    fn renew(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = build(&self.path, &self.tls);
    }
}

fn build(path: &Arc<Path>, tls: &ClientConfig) -> reqwest::Client {
    let handover = HandOver::new().expect("a socket of a random name can be made");
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .unix_socket(handover.path())
        .connector_layer(AsyncFilterLayer::new(DialFirst { path: Arc::clone(path), handover }))
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

// === impl Path ===

impl Path {
    async fn dial(&self) -> Result<Box<dyn Stream>, TransportFault> {
        let Shared { connector, system_roots, pool } = &*self.shared;
        let Some((name, gateway)) = &self.gateway else {
            let (host, port) = &self.target;
            return Ok(Box::new(connector.connect(&self.rules, host, *port).await?));
        };
        let attempt = async |endpoint: &Endpoint| {
            let floor = Floor { rules: &self.rules, connector, system_roots };
            // A target that has no address, or may not be dialled, is no fault of the proxy, and costs it nothing.
            let target = tunnel::target_for(endpoint, &self.target, &floor).await?;
            let outcome = tunnel::ask(endpoint, &target, &floor).await;
            pool.note(name, &endpoint.url, outcome.as_ref().err());
            outcome.map_err(|problem| {
                let endpoint = endpoint.written.clone();
                TransportFault::Gateway(EndpointFault { endpoint, problem })
            })
        };
        let random = |below| fastrand::usize(..below);
        let order = pool.order(name, &gateway.endpoints, |endpoint| &endpoint.url, random);
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
