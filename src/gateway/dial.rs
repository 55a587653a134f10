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
    sync::{Arc, Mutex, PoisonError, Weak},
};

use url::Host;

use super::{
    connect::{Connector, Names},
    http::{HttpClient, Path, Shared},
    policy::PolicyHandle,
    pool::Pool,
    route::Rules,
    tunnel::{self, Floor},
    way::Way,
};
use crate::{
    refs::{EndpointUrl, GatewayName, InstanceUrl},
    secrets::{gateway::Endpoint, resolve::WayMaterial, tls::TlsMaterial},
    vault::{
        tls,
        transport::{EndpointProblem, TransportFault},
    },
};

/// A name that never has an address (RFC 6761, section 6.4): what a check asks a proxy for, to see whether it answers.
const NOWHERE: &str = "vault-connection-operator.invalid";

/// Makes HTTP clients.
pub struct Dialer {
    policy: PolicyHandle,
    plain_http: bool,
    shared: Arc<Shared>,
    clients: Mutex<HashMap<Way, Weak<HttpClient>>>,
}

// === impl Dialer ===

impl Dialer {
    /// A dialer under a policy. Plain http is refused unless `plain_http`.
    pub fn new(policy: PolicyHandle, plain_http: bool, names: Arc<dyn Names>) -> Self {
        let shared = Shared {
            connector: Connector::new(names),
            system_roots: tls::system_roots(),
            pool: Pool::default(),
        };
        Self { policy, plain_http, shared: Arc::new(shared), clients: Mutex::default() }
    }

    /// The rules that hold now for the connections of a namespace.
    pub fn rules_for(&self, namespace: &str) -> Arc<Rules> {
        self.policy.rules_for(namespace)
    }

    /// Tells whether a connection may dial its instance, before anything is sent.
    pub fn permit(&self, rules: &Rules, instance: &InstanceUrl) -> Result<(), TransportFault> {
        if instance.is_plain_http() && !self.plain_http {
            return Err(TransportFault::PlainHttp);
        }
        rules.permit_host(&instance.host(), instance.port()).map_err(TransportFault::NotAllowed)
    }

    /// The client for a way, shared with every connection that goes it.
    pub fn client(&self, way: &Way, material: &WayMaterial) -> Arc<HttpClient> {
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
        let rules = self.rules_for(&gateway.namespace);
        let floor = Floor { rules: &rules, connector, system_roots };
        let outcome = match tunnel::ask(endpoint, &target, &floor).await {
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

    fn build(&self, way: &Way, material: &WayMaterial) -> HttpClient {
        let WayMaterial { tls: TlsMaterial { authorities, identity, .. }, gateway, .. } = material;
        let namespace = way.own.as_ref().map(|(namespace, _)| namespace.clone()).unwrap_or_default();
        let gateway =
            gateway.clone().map(|gateway| (GatewayName { namespace, name: gateway.name.clone() }, gateway));
        let path = Path {
            shared: Arc::clone(&self.shared),
            rules: Arc::clone(&way.rules),
            target: (way.instance.host().to_owned(), way.instance.port()),
            gateway,
        };
        let roots = &self.shared.system_roots;
        HttpClient::new(path, tls::client_config(authorities.as_ref(), identity.as_ref(), roots))
    }
}
