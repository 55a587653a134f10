//! A TCP proxy in front of a real server: what a network, or a moment of bad luck, does between two that work.
//!
//! ```text
//!   operator ──▶ Proxy ──▶ API server (TLS) or Vault (plain http)
//!                  cut, reset, hold back answers; count requests, kill the client at one of them
//! ```
//!
//! It knows nothing of TLS and HTTP, but that a client asks and a server answers, by turns. So it can count requests of
//! HTTP/1.1 without TLS. A test that uses one needs a runtime with several threads: the proxy must go on while the test
//! waits for a process.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::bed::signal;

/// A proxy. Its tasks live as long as the test's runtime.
pub struct Proxy {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    gate: watch::Sender<Gate>,
    open: AtomicUsize,
    requests: AtomicUsize,
    trap: Mutex<Option<Trap>>,
}

/// What the proxy lets through.
#[derive(Clone, Copy)]
struct Gate {
    /// Connections of an earlier era are reset.
    era: u64,
    accepts: bool,
    answers: bool,
}

/// The moment to kill a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its request has not reached the server.
    BeforeRequest,
    /// The server has answered, and the client has not seen that.
    AfterAnswer,
}

struct Trap {
    request: usize,
    moment: Moment,
    pid: u32,
}

/// The two ends of one connection, and what passed between them.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    /// The number of the request that the client waits for the answer to.
    asked: Option<usize>,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy to a server, which is named by its URL or by host and port.
    pub async fn to(server: &str) -> Self {
        let server = server.rsplit('/').next().unwrap_or(server).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            server,
            gate: watch::Sender::new(Gate { era: 0, accepts: true, answers: true }),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            trap: Mutex::default(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// Resets every connection, and those that are made from now on.
    pub fn cut(&self) {
        self.change(|gate| *gate = Gate { era: gate.era + 1, accepts: false, ..*gate });
    }

    /// Lets connections be made again.
    pub fn heal(&self) {
        self.change(|gate| gate.accepts = true);
    }

    /// Resets the connections that are open, and tells how many. New ones are let through.
    pub fn reset(&self) -> usize {
        let open = self.shared.open.load(Ordering::SeqCst);
        self.change(|gate| gate.era += 1);
        open
    }

    /// Holds every answer back.
    pub fn hold(&self) {
        self.change(|gate| gate.answers = false);
    }

    /// Lets the answers through that were held back.
    pub fn release(&self) {
        self.change(|gate| gate.answers = true);
    }

    /// How many requests were begun.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Kills the process `pid` at the `count`th request from now, which it is to make. Nobody else may ask meanwhile.
    pub fn kill_at(&self, count: usize, moment: Moment, pid: u32) {
        let trap = Trap { request: self.requests() + count, moment, pid };
        *self.shared.trap.lock().expect("nobody panicked") = Some(trap);
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) {
        self.shared.gate.send_modify(change);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, Arc::clone(&shared)));
    }
}

/// Serves one connection to its end. Both sides see an end as a reset.
async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut gate = shared.gate.subscribe();
    let Gate { era, accepts, .. } = *gate.borrow_and_update();
    // A client that went away has nothing to be told.
    let _ = client.set_zero_linger();
    if !accepts {
        return;
    }
    let Ok(server) = TcpStream::connect(&shared.server).await else { return };
    shared.open.fetch_add(1, Ordering::SeqCst);
    let mut pair = Pair { client, server, asked: None };
    tokio::select! {
        _ = pair.carry(&shared) => {}
        // The sender lives in `shared`.
        _ = gate.wait_for(|gate| gate.era != era) => {}
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

// === impl Pair ===

impl Pair {
    /// Carries bytes both ways until one side ends, or the client is killed.
    async fn carry(&mut self, shared: &Shared) -> io::Result<()> {
        let (mut request, mut answer) = ([0; 16 * 1024], [0; 16 * 1024]);
        let mut gate = shared.gate.subscribe();
        loop {
            tokio::select! {
                read = self.client.read(&mut request) => {
                    let read = read?;
                    if self.asked.is_none() && read > 0 {
                        let number = shared.requests.fetch_add(1, Ordering::SeqCst) + 1;
                        self.asked = Some(number);
                        if shared.springs(number, Moment::BeforeRequest) {
                            return Ok(());
                        }
                    }
                    if read == 0 {
                        return Ok(());
                    }
                    self.server.write_all(&request[..read]).await?;
                }
                read = self.server.read(&mut answer) => {
                    let read = read?;
                    let asked = self.asked.take();
                    if read == 0 || asked.is_some_and(|number| shared.springs(number, Moment::AfterAnswer)) {
                        return Ok(());
                    }
                    // The sender lives in `shared`.
                    let _ = gate.wait_for(|gate| gate.answers).await;
                    self.client.write_all(&answer[..read]).await?;
                }
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Kills the client if this is the moment for it, and tells whether it was.
    fn springs(&self, request: usize, moment: Moment) -> bool {
        let mut trap = self.trap.lock().expect("nobody panicked");
        let sprung = trap.take_if(|trap| trap.request == request && trap.moment == moment);
        if let Some(Trap { pid, .. }) = &sprung {
            signal(*pid, "KILL");
        }
        sprung.is_some()
    }
}
