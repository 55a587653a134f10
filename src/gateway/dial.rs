//! HTTP clients for instances: one for each address and set of CA certificates, shared by the connections to it.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::RootCertStore;

use super::{
    policy::PolicyHandle,
    route::{Refusal, Rules},
};
use crate::{
    refs::InstanceUrl,
    secrets::resolve::CaPem,
    vault::{
        tls::{self, InvalidPem},
        transport::TransportFault,
    },
};

/// How long an idle connection is kept. Long enough for the requests of one check, shorter than any interval between
/// checks, so that each check dials anew: it sees a changed address, certificate or firewall.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// Makes HTTP clients.
pub struct Dialer {
    policy: PolicyHandle,
    names: Arc<dyn Names>,
    plain_http: bool,
    system_roots: Arc<RootCertStore>,
    clients: Mutex<HashMap<ClientKey, Weak<reqwest::Client>>>,
}

/// Finds the addresses of a host name.
pub trait Names: Send + Sync {
    /// All its addresses, at this port.
    fn find(&self, name: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
struct SystemNames;

/// What two connections must have in common to share a client. What was built under other rules, and every connection
/// that it holds open, serves nobody.
#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    rules: Arc<Rules>,
    host: String,
    port: u16,
    ca: Option<CaPem>,
}

/// Resolves names, and drops the addresses that the policy refuses.
struct GuardedResolver {
    rules: Arc<Rules>,
    names: Arc<dyn Names>,
    port: u16,
}

/// Why a name gave no address to dial.
#[derive(Clone, Debug)]
pub enum ResolveFault {
    /// It has none.
    NotResolved,
    /// All it has are refused.
    Refused(Refusal),
}

// === impl Dialer ===

impl Dialer {
    /// A dialer under a policy. Plain http is refused unless `plain_http`.
    pub fn new(policy: PolicyHandle, plain_http: bool) -> Self {
        Self::with_names(policy, plain_http, Arc::new(SystemNames))
    }

    /// The same with another resolver.
    pub fn with_names(policy: PolicyHandle, plain_http: bool, names: Arc<dyn Names>) -> Self {
        Self {
            policy,
            names,
            plain_http,
            system_roots: tls::system_roots(),
            clients: Mutex::new(HashMap::new()),
        }
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

    /// The client for an instance, shared with every connection that reaches it in the same way.
    pub fn client(
        &self,
        rules: &Arc<Rules>,
        instance: &InstanceUrl,
        ca: Option<&CaPem>,
    ) -> Result<Arc<reqwest::Client>, InvalidPem> {
        let key = ClientKey {
            rules: Arc::clone(rules),
            host: instance.host().to_string(),
            port: instance.port(),
            ca: ca.cloned(),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(self.build(rules, key.port, ca)?);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    fn build(
        &self,
        rules: &Arc<Rules>,
        port: u16,
        ca: Option<&CaPem>,
    ) -> Result<reqwest::Client, InvalidPem> {
        let resolver = GuardedResolver { rules: Arc::clone(rules), names: Arc::clone(&self.names), port };
        let roots = tls::roots(ca, &self.system_roots)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(roots))
            .dns_resolver(Arc::new(resolver))
            // A redirect would carry the token along, a proxy of the environment would see every request.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client with these fixed settings builds");
        Ok(client)
    }
}

// === impl SystemNames ===

impl Names for SystemNames {
    fn find(&self, name: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

// === impl GuardedResolver ===

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, port) = (Arc::clone(&self.rules), self.port);
        let found = self.names.find(name.as_str().to_owned(), port);
        Box::pin(async move {
            let found = found.await.map_err(|_| ResolveFault::NotResolved)?;
            let refused = |address: &SocketAddr| rules.permit_address(name.as_str(), *address).err();
            let permitted: Vec<_> = found.iter().copied().filter(|it| refused(it).is_none()).collect();
            // Servers give addresses in any order; which one a refusal names must not depend on that.
            let refusal = found.into_iter().min().and_then(|address| refused(&address));
            match refusal {
                Some(why) if permitted.is_empty() => Err(ResolveFault::Refused(why).into()),
                _ if permitted.is_empty() => Err(ResolveFault::NotResolved.into()),
                _ => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}

// === impl ResolveFault ===

impl fmt::Display for ResolveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotResolved => f.write_str("failed to resolve the host name"),
            Self::Refused(refusal) => write!(f, "failed to find an allowed address: {refusal}"),
        }
    }
}

impl StdError for ResolveFault {}
