//! HTTP clients for instances: one for each address and set of CA certificates, shared by the connections to it.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::RootCertStore;

use super::route::{AddressPolicy, Refusal};
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
    policy: Arc<AddressPolicy>,
    plain_http: bool,
    system_roots: Arc<RootCertStore>,
    clients: Mutex<HashMap<ClientKey, Weak<reqwest::Client>>>,
}

/// What two connections must have in common to share a client.
#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    host: String,
    port: u16,
    ca: Option<CaPem>,
}

/// Resolves names, and drops the addresses that the policy refuses.
struct GuardedResolver {
    policy: Arc<AddressPolicy>,
    port: u16,
}

/// Why a name gave no address to dial.
#[derive(Clone, Copy, Debug)]
pub enum ResolveFault {
    /// It has none.
    NotResolved,
    /// All it has are refused.
    Refused(Refusal),
}

// === impl Dialer ===

impl Dialer {
    /// A dialer under a policy. Plain http is refused unless `plain_http`.
    pub fn new(policy: AddressPolicy, plain_http: bool) -> Self {
        Self {
            policy: Arc::new(policy),
            plain_http,
            system_roots: tls::system_roots(),
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// Tells whether a connection may dial its instance, before anything is sent.
    pub fn permit(&self, instance: &InstanceUrl) -> Result<(), TransportFault> {
        if instance.is_plain_http() && !self.plain_http {
            return Err(TransportFault::PlainHttp);
        }
        self.policy.permit_host(&instance.host(), instance.port()).map_err(TransportFault::NotAllowed)
    }

    /// The client for an instance, shared with every connection that reaches it in the same way.
    pub fn client(
        &self,
        instance: &InstanceUrl,
        ca: Option<&CaPem>,
    ) -> Result<Arc<reqwest::Client>, InvalidPem> {
        let key = ClientKey { host: instance.host().to_string(), port: instance.port(), ca: ca.cloned() };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(self.build(key.port, ca)?);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    fn build(&self, port: u16, ca: Option<&CaPem>) -> Result<reqwest::Client, InvalidPem> {
        let roots = tls::roots(ca, &self.system_roots)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(roots))
            .dns_resolver(Arc::new(GuardedResolver { policy: Arc::clone(&self.policy), port }))
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

// === impl GuardedResolver ===

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, port) = (Arc::clone(&self.policy), self.port);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), port))
                .await
                .map_err(|_| ResolveFault::NotResolved)?
                .collect();
            let mut refusal = None;
            let permitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| match policy.permit_address(name.as_str(), *address) {
                    Ok(()) => true,
                    Err(why) => {
                        refusal = Some(why);
                        false
                    }
                })
                .collect();
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
