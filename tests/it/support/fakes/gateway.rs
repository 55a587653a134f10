//! A proxy that can misbehave, and that tells what it could read.
//!
//! ```text
//!   accept ─▶ close, silence? ─▶ [TLS] ─▶ CONNECT or SOCKS5: login, target ─▶ a misdeed? ─▶ tunnel ─▶ target
//!               every byte up to here is kept as `before`, every byte after it as `through`
//! ```
//!
//! It resolves names by a map that a test gives it, and nothing else: a name in no map is one that does not exist. It
//! connects to loopback only. What no proxy should be asked fails the test.

mod connect;
mod record;
mod socks;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{super::operator::free_address, tls};
use record::Tap;
pub use record::{Target, Visit};

/// A proxy that can misbehave. It lives as long as the test's runtime.
pub struct FakeGateway {
    /// It stays the same while the gateway is away.
    pub address: SocketAddr,
    speech: Speech,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT in TLS.
    Https,
    /// SOCKS 5, with or without a login.
    Socks5,
}

/// What it does with those who come.
#[derive(Clone)]
pub enum Behaviour {
    Forward,
    /// Accepts no login, whatever it is: 407, or a failed SOCKS login.
    RefuseCredentials,
    /// May not go there: 403, or 0x02.
    DenyTarget,
    /// Cannot go there: 502, or 0x04.
    TargetUnreachable,
    /// Is not let in there: 502, or 0x05.
    TargetRefuses,
    /// Takes the connection and says nothing.
    Silent,
    /// Closes the connection before anything is said.
    CloseAtOnce,
    /// Answers the first thing that is said with these bytes, and closes.
    Garbage(&'static [u8]),
    /// Says that the tunnel stands, and then is the server itself, with a certificate of its own.
    Evil(Arc<ServerConfig>),
    /// Sends the client elsewhere: 302. SOCKS has no such thing.
    Redirect(String),
}

/// A login page in the place of a tunnel.
pub const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n\
    <html><body><h1>canary of a captive portal</h1></body></html>";

/// Nothing that any protocol knows.
pub const NONSENSE: &[u8] = b"\x00\xff\xfecanary\x00\r\n\r\n";

struct Shared {
    state: Mutex<State>,
    /// Connections of an earlier era are closed.
    era: watch::Sender<u64>,
}

struct State {
    behaviour: Behaviour,
    tls: Option<Arc<ServerConfig>>,
    login: Option<(String, String)>,
    names: HashMap<String, SocketAddr>,
    visits: Vec<Visit>,
    unexpected: Vec<String>,
}

/// Where an admitted client gets to.
enum Reach {
    Target(TcpStream),
    Evil(Arc<ServerConfig>),
    Denied,
    Unreachable,
    Refused,
    Redirected(String),
}

/// A tunnel that stands, from the gateway on.
enum Tunnel {
    To(TcpStream),
    Evil(Arc<ServerConfig>),
}

// === impl FakeGateway ===

impl FakeGateway {
    pub async fn http() -> Self {
        Self::speaking(Speech::Http, None).await
    }

    /// One that is reached by TLS, as this configuration has it.
    pub async fn https(config: Arc<ServerConfig>) -> Self {
        Self::speaking(Speech::Https, Some(config)).await
    }

    pub async fn socks5() -> Self {
        Self::speaking(Speech::Socks5, None).await
    }

    async fn speaking(speech: Speech, tls: Option<Arc<ServerConfig>>) -> Self {
        let state = State {
            behaviour: Behaviour::Forward,
            tls,
            login: None,
            names: HashMap::new(),
            visits: Vec::new(),
            unexpected: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), era: watch::Sender::default() });
        // From outside the range of outgoing connections, so that it is still free after a pause.
        let address = free_address().parse().expect("it is an address");
        let gateway = Self { address, speech, shared, listening: Mutex::default() };
        gateway.start().await;
        gateway
    }

    /// Its URL, as `spec.endpoints[].url` of a `VaultGateway` takes it. SOCKS carries names: socks5h.
    pub fn url(&self) -> String {
        let scheme = match self.speech {
            Speech::Http => "http",
            Speech::Https => "https",
            Speech::Socks5 => "socks5h",
        };
        format!("{scheme}://{}", self.address)
    }

    /// Knows a name, and what is there.
    pub fn resolve(&self, name: &str, address: SocketAddr) {
        self.state().names.insert(name.to_owned(), address);
    }

    /// Lets in only who logs in so, from now on.
    pub fn demand(&self, user: &str, password: &str) {
        self.state().login = Some((user.to_owned(), password.to_owned()));
    }

    /// Does this from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        let redirects = matches!(behaviour, Behaviour::Redirect(_));
        assert!(!redirects || self.speech != Speech::Socks5, "SOCKS knows no redirect");
        self.state().behaviour = behaviour;
    }

    /// Shows another certificate from now on, and lets in whom that configuration lets in.
    pub fn show(&self, config: Arc<ServerConfig>) {
        assert_eq!(self.speech, Speech::Https);
        self.state().tls = Some(config);
    }

    /// Goes away, as a process that is killed: what is open is closed, and nobody listens at its address.
    pub async fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listening = listening.expect("it is there");
        listening.abort();
        // The listener is closed once its task has ended, which a cancelled one does with an error.
        let _ = listening.await;
        self.cut();
    }

    /// Comes back at the same address.
    pub async fn start(&self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is free");
        let (shared, speech) = (Arc::clone(&self.shared), self.speech);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, speech, Arc::clone(&shared), shared.era.subscribe()));
            }
        });
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Closes every connection that is open; new ones are taken.
    pub fn cut(&self) {
        self.shared.era.send_modify(|era| *era += 1);
    }

    /// Who came, in that order.
    pub fn visits(&self) -> Vec<Visit> {
        self.state().visits.clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state().visits.len()
    }

    /// The targets of the tunnels that stood, as they were asked for.
    pub fn targets(&self) -> Vec<Target> {
        let state = self.state();
        let stood = state.visits.iter().filter(|visit| visit.stood);
        stood.filter_map(|visit| visit.target.clone()).collect()
    }

    /// Whether these bytes were among those that it could read: before a tunnel stood, inside its own TLS, or as the
    /// plain text of a tunnel.
    pub fn has_seen(&self, bytes: &[u8]) -> bool {
        self.state().visits.iter().any(|visit| visit.holds(bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        let unexpected = &self.state().unexpected;
        assert!(
            unexpected.is_empty() || thread::panicking(),
            "nobody should ask a gateway this: {unexpected:?}"
        );
    }
}

// === impl Behaviour ===

impl Behaviour {
    /// Whether it takes part in the talk at all.
    fn speaks(&self) -> bool {
        !matches!(self, Self::Silent | Self::CloseAtOnce)
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, visit: usize, note: impl FnOnce(&mut Visit)) {
        note(&mut self.state().visits[visit]);
    }

    fn is_unexpected(&self, what: String) {
        self.state().unexpected.push(what);
    }

    /// What it says in the place of an answer, if it does.
    fn garbage(&self) -> Option<&'static [u8]> {
        if let Behaviour::Garbage(bytes) = self.state().behaviour { Some(bytes) } else { None }
    }

    fn demands_login(&self) -> bool {
        let state = self.state();
        state.login.is_some() || matches!(state.behaviour, Behaviour::RefuseCredentials)
    }

    /// Whether somebody is let in; who is, is noted by name.
    fn admits(&self, visit: usize, login: Option<(&str, &str)>) -> bool {
        let mut state = self.state();
        let admitted = match (&state.behaviour, &state.login) {
            (Behaviour::RefuseCredentials, _) => false,
            (_, None) => true,
            (_, Some((user, password))) => login == Some((user, password)),
        };
        state.visits[visit].user = login.filter(|_| admitted).map(|(user, _)| user.to_owned());
        admitted
    }

    /// Goes to a target, if it is to.
    async fn reach(&self, visit: usize, target: Target) -> Reach {
        self.note(visit, |visit| visit.target = Some(target.clone()));
        let address = {
            let state = self.state();
            match &state.behaviour {
                Behaviour::DenyTarget => return Reach::Denied,
                Behaviour::TargetUnreachable => return Reach::Unreachable,
                Behaviour::TargetRefuses => return Reach::Refused,
                Behaviour::Redirect(to) => return Reach::Redirected(to.clone()),
                Behaviour::Evil(config) => return Reach::Evil(Arc::clone(config)),
                Behaviour::Forward
                | Behaviour::RefuseCredentials
                | Behaviour::Silent
                | Behaviour::CloseAtOnce
                | Behaviour::Garbage(_) => {}
            }
            let literal = target.host.trim_matches(['[', ']']).parse::<IpAddr>();
            match literal {
                Ok(ip) => Some(SocketAddr::new(ip, target.port)),
                Err(_) => state.names.get(&target.host).copied(),
            }
        };
        let Some(address) = address else { return Reach::Unreachable };
        if !address.ip().is_loopback() {
            self.is_unexpected(format!("a tunnel out of this machine, to {target}"));
            return Reach::Denied;
        }
        match TcpStream::connect(address).await {
            Ok(target) => {
                // As proxies do: a part of a handshake must not wait for the answer to another.
                let _ = target.set_nodelay(true);
                Reach::Target(target)
            }
            Err(_) => Reach::Refused,
        }
    }
}

/// Serves one connection to its end, which comes early when the gateway goes away.
async fn receive(stream: TcpStream, speech: Speech, shared: Arc<Shared>, mut era: watch::Receiver<u64>) {
    let visit = {
        let mut state = shared.state();
        state.visits.push(Visit::default());
        state.visits.len() - 1
    };
    let _ = stream.set_nodelay(true);
    tokio::select! {
        // Who goes away early is not missed.
        _ = serve(stream, speech, visit, &shared) => {}
        // The sender lives in `shared`.
        _ = era.changed() => {}
    }
}

async fn serve(stream: TcpStream, speech: Speech, visit: usize, shared: &Arc<Shared>) -> io::Result<()> {
    let (behaviour, config) = {
        let state = shared.state();
        (state.behaviour.clone(), state.tls.clone())
    };
    if !behaviour.speaks() {
        let mut stream = Tap::on(stream, visit, shared);
        if matches!(behaviour, Behaviour::Silent) {
            stream.read_to_end(&mut Vec::new()).await?;
        }
        return stream.shutdown().await;
    }
    let Some(config) = config else {
        return speak(Tap::on(stream, visit, shared), speech, visit, shared).await;
    };
    let (handshake, stream) = tls::accept(stream, config).await;
    shared.note(visit, |visit| visit.handshake = handshake);
    speak(Tap::on(stream?, visit, shared), speech, visit, shared).await
}

async fn speak<S>(mut stream: Tap<S>, speech: Speech, visit: usize, shared: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tunnel = match speech {
        Speech::Http | Speech::Https => connect::negotiate(&mut stream, visit, shared).await?,
        Speech::Socks5 => socks::negotiate(&mut stream, visit, shared).await?,
    };
    match tunnel {
        None => {}
        Some(Tunnel::To(mut target)) => {
            copy_bidirectional(&mut stream, &mut target).await?;
        }
        Some(Tunnel::Evil(config)) => {
            let mut inside = TlsAcceptor::from(config).accept(&mut stream).await?;
            while let Ok(byte) = inside.read_u8().await {
                shared.note(visit, |visit| visit.plain.push(byte));
            }
        }
    }
    stream.shutdown().await
}
