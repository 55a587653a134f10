//! A Vault that can misbehave.
//!
//! ```text
//!   accept ─▶ reset? ─▶ TLS ─▶ request ─▶ a misdeed for what is asked? ─▶ the answer of OpenBao 2.7.2
//! ```
//!
//! It knows one role at `auth/approle`, and the tokens that it issued. It answers what the operator asks as a real
//! server does, which `faults_fake.rs` compares; a test takes one thing of that away. Anything else that is asked of it
//! fails the test.

mod ask;
mod black_hole;
mod dialect;
mod exchange;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    super::bed::unique,
    http::{Answer, Request},
    openbao,
    tls::{Door, Handshake},
};

use self::exchange::connection;
pub use self::{
    ask::{Ask, Misdeed},
    black_hole::BlackHole,
    dialect::Dialect,
};

/// The pair that it accepts.
pub const ROLE_ID: &str = "7d3b6a4e-0000-4000-8000-00000000a001";
pub const SECRET_ID: &str = "7d3b6a4e-0000-4000-8000-00000000b002";

/// A Vault that can misbehave. It lives as long as the test's runtime.
pub struct FakeVault {
    pub url: String,
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// Credentials of a test's own.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub role_id: String,
    pub secret_id: String,
    /// What holds the secret id, and gives it as often as it is asked.
    pub wrapping_token: String,
    /// What it issues at every login, and accepts without one.
    pub token: String,
}

/// What its connections share.
struct Shared {
    state: Mutex<State>,
}

struct State {
    door: Door,
    /// Of its own: refused logins are counted by cluster.
    cluster_id: String,
    resets: bool,
    misdeeds: HashMap<Ask, Misdeed>,
    dialect: Dialect,
    /// What it accepts in the place of its own pair.
    secrets: Option<Secrets>,
    tokens: HashSet<String>,
    asked: Vec<Ask>,
    /// The server that each request named.
    hosts: Vec<String>,
    connections: usize,
    handshakes: Vec<Handshake>,
    /// What was asked as the last of its connection.
    last: HashSet<Ask>,
    unexpected: Vec<String>,
}

// === impl FakeVault ===

impl FakeVault {
    /// One without TLS.
    pub async fn new() -> Self {
        Self::serving(
            TcpListener::bind("127.0.0.1:0").await.expect("there is a free port"),
            "http",
            Door::Plain,
        )
    }

    /// One without TLS at an address of the test's own.
    pub async fn at(address: SocketAddr) -> Self {
        Self::serving(TcpListener::bind(address).await.expect("the port is free there"), "http", Door::Plain)
    }

    /// One that shows a certificate.
    pub async fn with_tls(config: Arc<ServerConfig>) -> Self {
        Self::at_https(Door::Tls(config)).await
    }

    /// One at an `https` address that has no TLS.
    pub async fn not_tls() -> Self {
        Self::at_https(Door::Plain).await
    }

    /// One that knows no TLS from this century.
    pub async fn with_old_tls() -> Self {
        Self::at_https(Door::OldTls).await
    }

    async fn at_https(door: Door) -> Self {
        Self::serving(TcpListener::bind("127.0.0.1:0").await.expect("there is a free port"), "https", door)
    }

    fn serving(listener: TcpListener, scheme: &str, door: Door) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { state: Mutex::new(State::new(door)) });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&serving)));
            }
        });
        Self { url: format!("{scheme}://{address}"), address, shared }
    }

    /// Its URL, with another name for the host.
    pub fn url_at(&self, host: &str) -> String {
        self.url.replacen(&self.address.ip().to_string(), host, 1)
    }

    /// Does this from now on, whenever this is asked.
    pub fn misbehave(&self, ask: Ask, misdeed: Misdeed) {
        self.state().misdeeds.insert(ask, misdeed);
    }

    /// The same, for a fake in the making.
    pub fn that(self, ask: Ask, misdeed: Misdeed) -> Self {
        self.misbehave(ask, misdeed);
        self
    }

    /// Knows these credentials, for a fake in the making.
    pub fn that_knows(self, secrets: &Secrets) -> Self {
        {
            let mut state = self.state();
            state.tokens.extend([secrets.token.clone(), secrets.wrapping_token.clone()]);
            state.secrets = Some(secrets.clone());
        }
        self
    }

    /// Speaks like another server, for a fake in the making.
    pub fn that_speaks(self, dialect: Dialect) -> Self {
        self.state().dialect = dialect;
        self
    }

    /// Resets each connection before anything is asked.
    pub fn that_resets(self) -> Self {
        self.state().resets = true;
        self
    }

    /// Is a good Vault from now on.
    pub fn behave(&self) {
        let mut state = self.state();
        state.misdeeds.clear();
        state.resets = false;
    }

    /// Shows another certificate from now on, and lets in whom that configuration lets in.
    pub fn show(&self, config: Arc<ServerConfig>) {
        self.state().door = Door::Tls(config);
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The TLS handshakes that were begun with it, failed ones too.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.state().handshakes.clone()
    }

    /// The servers that requests named in `host`.
    pub fn hosts(&self) -> Vec<String> {
        self.state().hosts.clone()
    }

    /// How often anything was asked.
    pub fn asked_in_all(&self) -> usize {
        self.state().asked.len()
    }

    /// How often this was asked.
    pub fn asked(&self, ask: Ask) -> usize {
        self.state().asked.iter().filter(|asked| **asked == ask).count()
    }

    /// Whether this was asked as the last request of its connection.
    pub fn ends_with(&self, ask: Ask) -> bool {
        self.state().last.contains(&ask)
    }

    /// How many of the tokens that it issued live.
    pub fn sessions(&self) -> usize {
        self.state().tokens.len()
    }

    /// What it says of itself: a body for any status of `sys/health`.
    pub fn health_body(&self) -> Value {
        let state = self.state();
        state.dialect.health(&state.cluster_id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        let unexpected = &self.state().unexpected;
        assert!(
            unexpected.is_empty() || thread::panicking(),
            "nobody should ask a Vault this: {unexpected:?}"
        );
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn new(door: Door) -> Self {
        Self {
            door,
            cluster_id: unique("cluster"),
            resets: false,
            misdeeds: HashMap::new(),
            dialect: Dialect::default(),
            secrets: None,
            tokens: HashSet::new(),
            asked: Vec::new(),
            last: HashSet::new(),
            hosts: Vec::new(),
            connections: 0,
            handshakes: Vec::new(),
            unexpected: Vec::new(),
        }
    }

    fn misdeed(&mut self, request: &Request) -> Option<Misdeed> {
        self.hosts.push(request.host.clone().unwrap_or_default());
        let Some(ask) = Ask::of(request) else {
            self.unexpected.push(format!("{} {}", request.method, request.path));
            return None;
        };
        self.asked.push(ask);
        if request.is_last {
            self.last.insert(ask);
        }
        self.misdeeds.get(&ask).cloned()
    }

    /// Every credential that it knows, as a host name and a header may hold them.
    fn known(&self) -> String {
        let secrets = self.secrets.as_ref().expect("only a fake that knows credentials says them back");
        let Secrets { role_id, secret_id, wrapping_token, token } = secrets;
        [role_id, secret_id, wrapping_token, token].map(String::as_str).join(".")
    }

    /// What a good server answers.
    fn answer(&mut self, request: &Request) -> Answer {
        let token = request.token.clone().unwrap_or_default();
        let dialect = self.dialect;
        let denied = || dialect.unknown_token();
        match Ask::of(request) {
            Some(Ask::Health) => Answer::json(200, &dialect.health(&self.cluster_id)),
            Some(Ask::Login) => {
                let (role_id, secret_id) = (&request.body["role_id"], &request.body["secret_id"]);
                let known = self.secrets.as_ref();
                let pair = known.map_or((ROLE_ID, SECRET_ID), |it| (&it.role_id, &it.secret_id));
                if role_id != pair.0 || secret_id != pair.1 {
                    return Answer::error(400, "invalid role or secret ID");
                }
                let token = known.map_or_else(|| unique("s.fake"), |it| it.token.clone());
                self.tokens.insert(token.clone());
                dialect.success(openbao::login(&token))
            }
            Some(Ask::WrappingLookup) => dialect.success(openbao::wrapping()),
            Some(_) if !self.tokens.contains(&token) => denied(),
            Some(Ask::Unwrap) => {
                let secret_id = self.secrets.as_ref().map_or(SECRET_ID, |it| &it.secret_id);
                dialect.success(openbao::unwrapped(secret_id))
            }
            Some(Ask::LookupSelf) => dialect.success(openbao::lookup(&token)),
            Some(Ask::CapabilitiesSelf) => dialect.success(openbao::capabilities(&request.body["paths"])),
            Some(Ask::MountLookup) => {
                match request.path.strip_prefix("/v1/sys/internal/ui/mounts/demo_mount") {
                    Some(_) => dialect.success(openbao::engine()),
                    None => Answer::error(403, openbao::NO_ENGINE),
                }
            }
            Some(Ask::RevokeSelf) => {
                self.tokens.remove(&token);
                Answer::new(204, "").with("content-type: application/json")
            }
            None => denied(),
        }
    }
}
