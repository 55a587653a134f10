//! HTTP clients for instances: one for each route, shared by the connections that take it.
//!
//! ```text
//!   conversation: HTTP
//!      │
//!   http: TLS for the name that the certificate must be for
//!      │
//!   dial ─┬─ no gateway ──────────────▶ connect: the host's addresses, in turn
//!         └─ gateway: endpoints, in turn ─▶ tunnel ─▶ connect: the proxy's addresses, in turn
//! ```
//!
//! Every connection to an instance or a proxy is made by `connect`, under the address policy.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustls::pki_types::ServerName as TlsName;
use url::Host;

use super::{
    address_policy::Rules,
    connect::{Connector, Names, Tenant},
    fence::Fence,
    http::{HttpClient, Path, Registered, Shared},
    policy_file::PolicyHandle,
    pool::Pool,
    route::Route,
    tunnel::{self, Floor},
};
use crate::{
    names::{EndpointUrl, GatewayName, InstanceUrl},
    network::{
        faults::{EndpointProblem, TransportFault},
        tls,
    },
    references::{
        anchors::Anchors,
        gateway::Endpoint,
        resolve::RouteMaterial,
        tls::{Authorities, TlsMaterial},
    },
};

/// A name that never has an address (RFC 6761, section 6.4): what a check asks a proxy for, to see whether it answers.
const NOWHERE: &str = "vault-connection-operator.invalid";

/// Makes HTTP clients.
pub struct Dialer {
    policy: PolicyHandle,
    plain_http: bool,
    shared: Arc<Shared>,
    clients: Arc<Clients>,
    /// The CA bundles in use, by what they hold.
    bundles: Mutex<HashMap<u64, Weak<Anchors>>>,
}

/// The clients in use. What is in there ends with its client.
pub(super) type Clients = Mutex<HashMap<Arc<Route>, Weak<HttpClient>>>;

// === impl Dialer ===

impl Dialer {
    /// A dialer under a policy. Plain http is refused unless `plain_http`.
    pub fn new(policy: PolicyHandle, plain_http: bool, names: Arc<dyn Names>) -> Self {
        Self::behind(Fence::open(), policy, plain_http, names)
    }

    /// The same, for connections over which something is sent only while a fence is open.
    pub fn behind(fence: Fence, policy: PolicyHandle, plain_http: bool, names: Arc<dyn Names>) -> Self {
        let connector = Connector::new(names, fence);
        let shared = Shared { connector, system: tls::system_anchors(), pool: Pool::default() };
        Self {
            policy,
            plain_http,
            shared: Arc::new(shared),
            clients: Arc::default(),
            bundles: Mutex::default(),
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

    /// The client for a route, shared with every connection that takes it, and the route as all of them have it.
    pub fn client(&self, route: Route, material: &RouteMaterial) -> (Arc<Route>, Arc<HttpClient>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            clients.get_key_value(&route).and_then(|(route, client)| Some((route, client.upgrade()?)));
        if let Some((route, client)) = known {
            return (Arc::clone(route), client);
        }
        let authorities = route.authorities.as_ref().map(|authorities| self.shared_authorities(authorities));
        let route = Arc::new(Route { authorities, ..route });
        let client = Arc::new(self.build(&route, material));
        // The key of one that has just ended is replaced, too.
        clients.remove(&route);
        clients.insert(Arc::clone(&route), Arc::downgrade(&client));
        (route, client)
    }

    /// Tells whether an endpoint of a gateway works: whether it can be reached, and takes the login.
    pub async fn probe(&self, gateway: &GatewayName, endpoint: &Endpoint) -> Result<(), EndpointProblem> {
        let Shared { connector, system, pool } = &*self.shared;
        let target = (Host::Domain(NOWHERE.to_owned()), 443);
        let rules = self.rules_for(&gateway.namespace);
        let tenant = Tenant { namespace: &gateway.namespace, rules: &rules };
        let floor = Floor { tenant, connector, system };
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

    fn build(&self, route: &Arc<Route>, material: &RouteMaterial) -> HttpClient {
        let RouteMaterial { tls, gateway, .. } = material;
        let namespace = route.own.as_ref().map(|(namespace, _)| namespace.clone()).unwrap_or_default();
        let gateway = gateway.clone().map(|mut gateway| {
            for endpoint in &mut gateway.endpoints {
                if let Some(authorities) = &mut endpoint.tls.authorities {
                    *authorities = self.shared_authorities(authorities);
                }
            }
            (GatewayName { namespace: namespace.into(), name: gateway.name.as_str().into() }, gateway)
        });
        let tls = TlsMaterial { authorities: route.authorities.clone(), ..tls.clone() };
        let path = Path {
            shared: Arc::clone(&self.shared),
            rules: Arc::clone(&route.rules),
            target: (route.instance.host().to_owned(), route.instance.port()),
            gateway,
            tls: (!route.instance.is_plain_http())
                .then(|| (tls::Client::new(&tls, &self.shared.system), tls_name(route))),
        };
        HttpClient::new(path, Registered::new(&self.clients, route))
    }

    /// The same certificates as others have them, if others do: a bundle is held once.
    fn shared_authorities(&self, authorities: &Authorities) -> Authorities {
        let Authorities { anchors, trust } = authorities;
        let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bundles.get(&anchors.digest()).and_then(Weak::upgrade).filter(|known| known == anchors);
        let anchors = known.unwrap_or_else(|| {
            bundles.retain(|_, bundle| bundle.strong_count() > 0);
            bundles.insert(anchors.digest(), Arc::downgrade(anchors));
            Arc::clone(anchors)
        });
        Authorities { anchors, trust: *trust }
    }
}

/// The name that the certificate of the instance must be for. None: its host cannot be in a certificate.
fn tls_name(route: &Route) -> Option<TlsName<'static>> {
    let host = match (&route.server_name, route.instance.host()) {
        (Some(name), _) => name.as_str().to_owned(),
        (None, Host::Domain(name)) => name.to_owned(),
        (None, Host::Ipv4(ip)) => return Some(TlsName::from(IpAddr::V4(ip))),
        (None, Host::Ipv6(ip)) => return Some(TlsName::from(IpAddr::V6(ip))),
    };
    TlsName::try_from(host).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::Instant,
    };

    use super::*;
    use crate::{
        names::{ServerName, VaultNamespace},
        network::{
            address_policy::{AddressPolicy, Contact},
            connect::Addresses,
        },
        references::{Versions, gateway::Gateway},
        vault::{client::Client, health},
    };

    /// Every name leads to this machine.
    struct Here;

    impl Names for Here {
        fn addresses<'a>(&'a self, _: &'a str, port: u16) -> Addresses<'a> {
            Box::pin(async move { Ok(vec![([127, 0, 0, 1], port).into()]) })
        }
    }

    fn dialer() -> Dialer {
        let allow = vec!["127.0.0.0/8".parse().expect("a range"), "*.example".parse().expect("a pattern")];
        let policy = AddressPolicy::new(allow, Vec::new(), Contact::default());
        Dialer::new(PolicyHandle::fixed(policy), true, Arc::new(Here))
    }

    fn material(server_name: Option<ServerName>, endpoint: Option<EndpointUrl>) -> RouteMaterial {
        let proxy = |url: EndpointUrl| Endpoint {
            written: url.to_string(),
            url,
            login: None,
            tls: TlsMaterial::default(),
        };
        let gateway = endpoint.map(|url| Gateway { name: "g".to_owned(), endpoints: vec![proxy(url)] });
        let tls = TlsMaterial { server_name, ..TlsMaterial::default() };
        RouteMaterial { tls, gateway, rests_on: Versions::new() }
    }

    /// A proxy that lets everything through, and an instance that says nothing of use.
    async fn yes_sayer() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("it listens").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                    // Whoever is not let through has the answer with the end of the connection, and need not wait for it.
                    if request.starts_with(b"CONNECT ") {
                        let _ = stream.read(&mut request).await;
                    }
                });
            }
        });
        port
    }

    async fn ask(
        dialer: &Dialer,
        instance: &InstanceUrl,
        material: &RouteMaterial,
    ) -> Result<u16, TransportFault> {
        let route = Route::new(instance, "ns", material, &dialer.rules_for("ns"));
        let (route, http) = dialer.client(route, material);
        let namespace = VaultNamespace::parse("admin").expect("valid");
        let client = Client::new(http, &route, namespace, "ns");
        let deadline = Instant::now() + Duration::from_secs(5);
        client.send(health::request(), None, deadline).await.map(|answer| answer.status)
    }

    #[tokio::test]
    async fn a_host_that_no_request_can_name_is_refused_or_a_name_without_an_address() {
        let (dialer, port) = (dialer(), yes_sayer().await);
        // Longer than a name can be, which the rules for URLs do not mind.
        let long = "a".repeat(300);
        for scheme in ["http", "https"] {
            assert!(InstanceUrl::parse(&format!("{scheme}://a\"b.example:{port}")).is_err(), "a quote");
            let instance = InstanceUrl::parse(&format!("{scheme}://{long}:{port}")).expect("it parses");
            for server_name in [None, ServerName::parse("vault.internal").ok()] {
                let proxy = EndpointUrl::parse(&format!("http://127.0.0.1:{port}")).expect("valid");
                let asked = ask(&dialer, &instance, &material(server_name, Some(proxy))).await;
                assert_eq!(asked, Err(TransportFault::NameNotResolved), "{scheme}");
            }
        }
    }

    #[tokio::test]
    async fn what_was_built_for_a_way_ends_with_its_last_user_and_is_shared_by_content() {
        let dialer = dialer();
        let pem = |name: &str| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
            params.self_signed(&key).expect("a certificate").pem()
        };
        let with = |pem: &str, url: &str| {
            let authorities = Authorities::parse(pem.as_bytes(), crate::api::tls::Trust::Only).ok();
            let mut material = material(None, None);
            material.tls.authorities = authorities;
            let instance = InstanceUrl::parse(url).expect("valid");
            let route = Route::new(&instance, "ns", &material, &dialer.rules_for("ns"));
            dialer.client(route, &material)
        };
        let bundle = pem("ca.example");
        let (one, other) = (with(&bundle, "https://a.example"), with(&bundle, "https://b.example"));
        let anchors = |route: &Route| Arc::as_ptr(&route.authorities.as_ref().expect("a bundle").anchors);
        assert_eq!(anchors(&one.0), anchors(&other.0), "a bundle is held once");
        assert!(Arc::ptr_eq(&one.1, &with(&bundle, "https://a.example").1), "so is a client");
        for index in 0..500 {
            drop(with(&pem(&format!("ca-{index}.example")), "https://a.example"));
        }
        assert_eq!(dialer.clients.lock().expect("no panic").len(), 2);
        drop((one, other));
        assert_eq!(dialer.clients.lock().expect("no panic").len(), 0);
        drop(with(&pem("last.example"), "https://a.example"));
        assert!(dialer.bundles.lock().expect("no panic").len() <= 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_spec_makes_dialling_panic(
            scheme in "https?",
            host in prop_oneof![
                "[a-z!$&'()*+,;=~{}\"`_.-]{1,12}(\\.example)?",
                "[a-zé。\u{ad}%0-9]{1,8}",
                "(127\\.0\\.0\\.1|\\[::1\\]|0x7f\\.1)",
                "[a-z]{64}\\.example\\.?",
            ],
            server_name in prop::option::of("[a-zA-Z0-9_.-]{1,70}"),
            proxy in prop::option::of("(http|https|socks5|socks5h)://(127\\.0\\.0\\.1|[a-z{}\"`]{1,6})"),
            path in "(/[a-z|^\"{}~%.]{0,6}){0,2}",
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (dialer, port) = (dialer(), yes_sayer().await);
                let Ok(instance) = InstanceUrl::parse(&format!("{scheme}://{host}:{port}{path}")) else { return };
                let server_name = server_name.and_then(|name| ServerName::parse(&name).ok());
                let endpoint = proxy.and_then(|proxy| EndpointUrl::parse(&format!("{proxy}:{port}")).ok());
                // Whatever comes of it, it comes as a value.
                let _ = ask(&dialer, &instance, &material(server_name, endpoint)).await;
            });
        }
    }
}
