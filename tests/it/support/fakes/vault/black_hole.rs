//! A port that takes no connection, until a fake Vault opens it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::{super::tls::Door, FakeVault};

/// When a connection on this machine that is not made by then is never made.
const NOT_ACCEPTED: Duration = Duration::from_millis(200);

/// A port that takes no connection: what is sent there is lost, as behind a firewall that drops.
pub struct BlackHole {
    listener: TcpListener,
    /// They fill the queue of connections that nobody accepts.
    _queued: Vec<TcpStream>,
}

// === impl BlackHole ===

impl BlackHole {
    pub async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("there is a free port");
        let listener = socket.listen(1).expect("it is bound");
        let address = listener.local_addr().expect("it is bound");
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(NOT_ACCEPTED, TcpStream::connect(address)).await {
            queued.push(stream.expect("the queue is not yet full"));
        }
        Self { listener, _queued: queued }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Lets everybody in.
    pub fn open(self) -> FakeVault {
        FakeVault::serving(self.listener, "http", Door::Plain)
    }
}
