//! The edge of a private network: a listener that refuses everybody but one process.
//!
//! ```text
//!   the private end of a tunnel ──▶ PrivateDoor ──▶ Vault
//!   anybody else ─────────────────▶ reset
//! ```
//!
//! On one machine, addresses tell nobody apart, since a client takes 127.0.0.1 for each of them. So the door asks the
//! kernel whose socket it is that has come, as a firewall does that goes by owner.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// A way to a server that only one process may go. It lives as long as the test's runtime.
pub struct PrivateDoor {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who may go through. None: nobody.
    process: Option<u32>,
    admitted: usize,
    refused: usize,
}

// === impl PrivateDoor ===

impl PrivateDoor {
    /// A door to a server, which is named by its URL or by host and port. It is closed.
    pub async fn to(server: &str) -> Self {
        let server = server.rsplit('/').next().unwrap_or(server).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { server, state: Mutex::default() });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared }
    }

    /// Lets this process through from now on, and nobody else.
    pub fn admit(&self, process: u32) {
        self.shared.state().process = Some(process);
    }

    /// How many connections were let through.
    pub fn admitted(&self) -> usize {
        self.shared.state().admitted
    }

    /// How many were refused.
    pub fn refused(&self) -> usize {
        self.shared.state().refused
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(mut client: TcpStream, shared: Arc<Shared>) {
    let admitted = {
        let mut state = shared.state();
        let admitted = state.process.is_some_and(|process| is_at_other_end(process, &client));
        state.admitted += usize::from(admitted);
        state.refused += usize::from(!admitted);
        admitted
    };
    if !admitted {
        // A socket that is closed without lingering sends a reset.
        let _ = client.set_zero_linger();
        return;
    }
    if let Ok(mut server) = TcpStream::connect(&shared.server).await {
        // Who goes away early is not missed.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Whether the other end of a connection on this machine is a socket of this process.
fn is_at_other_end(process: u32, stream: &TcpStream) -> bool {
    let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    let Some(inode) = inode(theirs, ours) else { return false };
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    files.into_iter().flatten().flatten().any(|file| {
        // Follows the link, to what the process has open.
        fs::metadata(file.path()).is_ok_and(|open| open.ino() == inode)
    })
}

/// The number of the socket that has this address and is connected to that one.
fn inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
    let wanted = [hex(local), hex(remote)];
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found =
        line.into_iter().find(|fields| fields.get(1..3) == Some(&wanted.each_ref().map(String::as_str)));
    found?.get(9)?.parse().ok()
}

/// An IPv4 address as the kernel writes it in that table: the address as a number in the order of this machine.
fn hex(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("the door is at an IPv4 address") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}
