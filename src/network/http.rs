//! The HTTP client of one route: requests over connections that we dial.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Request, StatusCode};
use rustls::pki_types::ServerName as TlsName;
use secrecy::zeroize::Zeroizing;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use url::Host;

use super::{
    address_policy::Rules,
    connect::{Connector, Tenant},
    conversation::{Conversation, Unanswered},
    dial::Clients,
    pool::Pool,
    race::first_of,
    route::Route,
    stream::{LastWord, Stream},
    tunnel::{self, Floor},
};
use crate::{
    names::GatewayName,
    network::{
        chain::CertificateEnd,
        faults::{EndpointFault, TransportFault},
        tls::Client as TlsClient,
        wire,
    },
    references::{
        anchors::Anchors,
        gateway::{Endpoint, Gateway},
    },
};

/// How long an idle connection is kept. Long enough for the requests of one check, shorter than any interval between
/// checks, so that each check dials anew: it sees a changed address, certificate or firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long an endpoint may stay silent before the next one is tried beside it. A handshake with a proxy that works
/// takes three round trips; a second is enough for them around the world.
const NEXT_ENDPOINT_DELAY: Duration = Duration::from_secs(1);

/// What all connections need to be made.
pub(super) struct Shared {
    pub(super) connector: Connector,
    pub(super) system: Arc<Anchors>,
    pub(super) pool: Pool,
}

/// How the connections of one client are made.
pub(super) struct Path {
    pub(super) shared: Arc<Shared>,
    pub(super) rules: Arc<Rules>,
    pub(super) target: (Host<String>, u16),
    pub(super) gateway: Option<(GatewayName, Gateway)>,
    /// TLS with the instance; none for plain http. With the name that its certificate must be for; none if no certificate
    /// can be for it.
    pub(super) tls: Option<(TlsClient, Option<TlsName<'static>>)>,
}

/// The HTTP client of one route.
pub struct HttpClient {
    path: Path,
    _registered: Registered,
    idle: Mutex<Vec<Idle>>,
    /// Whether a task closes those that are idle for too long.
    is_swept: AtomicBool,
}

/// What came back.
pub struct Heard {
    /// HTTP status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Which certificate that the connection rests on ends first; none for plain http.
    pub certificate_end: Option<CertificateEnd>,
    /// The body; empty if it is too long.
    pub body: Zeroizing<Vec<u8>>,
}

/// An entry among the clients in use, which ends with this.
pub(super) struct Registered {
    clients: Weak<Clients>,
    route: Arc<Route>,
}

struct Idle {
    conversation: Conversation,
    until: Instant,
}

// === impl HttpClient ===

impl HttpClient {
    pub(super) fn new(path: Path, registered: Registered) -> Self {
        Self { path, _registered: registered, idle: Mutex::default(), is_swept: AtomicBool::default() }
    }

    /// Sends a request for a connection of `namespace`, and reads an answer of up to `limit` bytes. All that it needs ends
    /// with the future.
    pub async fn send(
        self: &Arc<Self>,
        namespace: &str,
        request: Request<String>,
        limit: usize,
    ) -> Result<Heard, TransportFault> {
        let mut request = request;
        while let Some(idle) = self.take_idle() {
            match self.converse(idle, request, limit).await {
                Ok(heard) => return Ok(heard),
                Err(Unanswered { fault, unsent: None }) => return Err(fault),
                // The server closed it meanwhile.
                Err(Unanswered { fault: _, unsent: Some(unsent) }) => request = unsent,
            }
        }
        let conversation = self.path.begin(namespace).await?;
        self.converse(conversation, request, limit).await.map_err(|unanswered| unanswered.fault)
    }

    /// Dials another address of the instance from now on, if `host`, to which the one in use has redirected, is among the
    /// addresses of the instance's own name. Nothing is ever sent anywhere else.
    pub async fn follow_redirect(&self, namespace: &str, host: &Host<String>) -> bool {
        let Path { shared, rules, target, gateway, tls: _ } = &self.path;
        let tenant = Tenant { namespace, rules };
        if gateway.is_some() || !shared.connector.prefer(tenant, target, host).await {
            return false;
        }
        self.hang_up();
        true
    }

    /// Begins with another address of the instance the next time, if there is one: the one in use does not serve.
    pub fn demote(&self) {
        let (target, port) = &self.path.target;
        if self.path.gateway.is_none() && self.path.shared.connector.demote(target, *port) {
            self.hang_up();
        }
    }

    async fn converse(
        self: &Arc<Self>,
        mut conversation: Conversation,
        request: Request<String>,
        limit: usize,
    ) -> Result<Heard, Unanswered> {
        let refine =
            |unanswered: Unanswered| Unanswered { fault: self.path.refine(unanswered.fault), ..unanswered };
        let (head, body) = conversation.ask(request).await.map_err(refine)?.into_parts();
        let body = conversation.read(body, limit).await;
        let body = body.map_err(|fault| refine(Unanswered { fault, unsent: None }))?;
        let certificate_end = conversation.certificate_end.clone();
        if conversation.is_open() {
            self.keep(conversation);
        }
        Ok(Heard { status: head.status, headers: head.headers, certificate_end, body })
    }

    fn take_idle(&self) -> Option<Conversation> {
        let now = Instant::now();
        let mut idle = self.lock();
        idle.retain(|idle| idle.until > now);
        while let Some(Idle { mut conversation, .. }) = idle.pop() {
            if conversation.is_open() {
                return Some(conversation);
            }
        }
        None
    }

    /// Keeps a connection for the next request. One task closes those that nobody has used, for as long as there are any.
    fn keep(self: &Arc<Self>, conversation: Conversation) {
        let until = Instant::now() + IDLE_TIMEOUT;
        self.lock().push(Idle { conversation, until });
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let client = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(next) = client.upgrade().and_then(|client| client.sweep()) {
                sleep_until(next).await;
            }
        });
    }

    /// Closes what was idle for too long. Tells when to look again; none when nothing is left.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.lock();
        idle.retain(|idle| idle.until > now);
        let next = idle.iter().map(|idle| idle.until).min();
        self.is_swept.store(next.is_some(), Ordering::Release);
        next
    }

    /// The idle connections lead to the old address.
    fn hang_up(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Registered ===

impl Registered {
    pub(super) fn new(clients: &Arc<Clients>, route: &Arc<Route>) -> Self {
        Self { clients: Arc::downgrade(clients), route: Arc::clone(route) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(clients) = self.clients.upgrade() else { return };
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        // Meanwhile there may be another client of this route.
        if clients.get(&self.route).is_some_and(|client| client.strong_count() == 0) {
            clients.remove(&self.route);
        }
    }
}

// === impl Path ===

impl Path {
    async fn begin(&self, namespace: &str) -> Result<Conversation, TransportFault> {
        let Some((tls, name)) = &self.tls else {
            let stream = LastWord::new(self.dial(namespace).await?);
            return Conversation::begin(Box::new(stream), None).await;
        };
        let name = name.as_ref().ok_or(TransportFault::NameNotResolved)?;
        let stream = LastWord::new(self.dial(namespace).await?);
        let (config, seen) = tls.config();
        let stream = TlsConnector::from(config).connect(name.clone(), stream).await;
        let stream =
            stream.map_err(|error| self.refine(wire::fault_of(&error).unwrap_or(TransportFault::Failed)))?;
        Conversation::begin(Box::new(stream), seen.end()).await
    }

    /// What a fault says of our own certificate, which only we know.
    fn refine(&self, fault: TransportFault) -> TransportFault {
        match &self.tls {
            Some((tls, _)) => tls.refine(fault),
            None => fault,
        }
    }

    async fn dial(&self, namespace: &str) -> Result<Box<dyn Stream>, TransportFault> {
        let Shared { connector, system, pool } = &*self.shared;
        let tenant = Tenant { namespace, rules: &self.rules };
        let Some((name, gateway)) = &self.gateway else {
            let (host, port) = &self.target;
            return Ok(Box::new(connector.connect(tenant, host, *port).await?));
        };
        let attempt = async |endpoint: &Endpoint| {
            let floor = Floor { tenant, connector, system };
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
        // A gateway without an endpoint gives no connection.
        first_of(order, NEXT_ENDPOINT_DELAY, attempt).await.unwrap_or(Err(TransportFault::Failed))
    }
}
