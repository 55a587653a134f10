//! Gives the HTTP client connections that we made ourselves.
//!
//! reqwest dials by itself, or connects to a Unix socket; it takes no stream from outside. So each client has such a
//! socket, in the abstract namespace of Linux and under a random name, and for each connection a task joins what comes
//! in there with a stream that was dialled before. Of the URL only the TLS name is left to the client.
//!
//! ```text
//!   reqwest ── layer: dial ──▶ stream ──┐
//!      └──── connect ──▶ Unix socket ───┴─▶ a task copies
//! ```

use std::{
    ffi::OsString, future::pending, io, os::unix::ffi::OsStringExt, path::PathBuf, process, sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink, split},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// A connection that was dialled: to a server, or through a proxy.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How long a dialled stream waits to be taken. The client takes it at once; one that was given up does not.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// A socket at which the client of one way takes its connections.
#[derive(Clone)]
pub(super) struct HandOver {
    listener: Arc<UnixListener>,
    path: PathBuf,
}

// === impl HandOver ===

impl HandOver {
    /// A socket of a name that nobody can guess. It has no file, and ends with the last copy of this.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("\0vault-connection-operator/{:032x}", fastrand::u128(..));
        let path = PathBuf::from(OsString::from_vec(name.into_bytes()));
        Ok(Self { listener: Arc::new(UnixListener::bind(&path)?), path })
    }

    /// Where the client connects.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Joins a stream with the next connection to the socket.
    pub(super) fn offer(&self, stream: Box<dyn Stream>) {
        let listener = Arc::clone(&self.listener);
        tokio::spawn(async move {
            match timeout(TAKEN_WITHIN, accept(&listener)).await {
                Ok(Ok(local)) => join(local, stream).await,
                Ok(Err(error)) => tracing::warn!(%error, "a connection could not be handed over"),
                // The request was given up meanwhile.
                Err(_) => {}
            }
        });
    }
}

/// The next connection of this process. Others cannot know the name; they get nothing if they do.
async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (local, _) = listener.accept().await?;
        if local.peer_cred()?.pid().is_some_and(|pid| u32::try_from(pid) == Ok(process::id())) {
            return Ok(local);
        }
    }
}

/// Copies both ways until the client closes its end, which it does when the server's has ended. Until then it is read
/// from, also when the server takes no more: else the client would see that it cannot write, and never what the server
/// said as its last word, such as why it does not accept a certificate.
async fn join(local: UnixStream, remote: Box<dyn Stream>) {
    let (mut from_client, mut to_client) = split(local);
    let (mut from_server, mut to_server) = split(remote);
    // Which end broke is of no interest: the client sees that its connection ends.
    let answers = async {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let requests = async {
        if copy(&mut from_client, &mut to_server).await.is_err() {
            let _ = copy(&mut from_client, &mut sink()).await;
        }
        let _ = to_server.shutdown().await;
    };
    tokio::select! {
        () = requests => {}
        () = async { answers.await; pending().await } => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::Read as _,
        os::{
            linux::net::SocketAddrExt as _,
            unix::{ffi::OsStrExt as _, net},
        },
        process::Command,
    };

    use super::*;

    /// Set in the process that plays the stranger: where it is to connect.
    const SOCKET: &str = "HANDOVER_SOCKET";

    /// The prefix of what the stranger says that it got.
    const GOT: &str = "the stranger got ";

    fn abstract_name(path: &std::path::Path) -> String {
        String::from_utf8(path.as_os_str().as_bytes()[1..].to_vec()).expect("it is text")
    }

    /// Connects to the socket as another process, and tells how many bytes came before the end.
    fn play_the_stranger(name: &str) {
        let address = net::SocketAddr::from_abstract_name(name).expect("a name");
        let mut socket = net::UnixStream::connect_addr(&address).expect("somebody listens");
        let read = socket.read_to_end(&mut Vec::new()).expect("it is closed in order");
        eprintln!("{GOT}{read} bytes");
    }

    #[tokio::test]
    async fn another_process_that_connects_to_the_socket_gets_nothing() {
        if let Ok(name) = env::var(SOCKET) {
            return play_the_stranger(&name);
        }
        let hand_over = HandOver::new().expect("a socket");
        let accepted = async {
            let local = accept(&hand_over.listener).await.expect("it accepts");
            local.peer_cred().expect("it is a Unix socket").pid()
        };
        let mut stranger = Command::new(env::current_exe().expect("it runs"));
        stranger
            .args([
                "--exact",
                "gateway::handover::tests::another_process_that_connects_to_the_socket_gets_nothing",
            ])
            .args(["--nocapture"])
            .env(SOCKET, abstract_name(&hand_over.path));
        let connect = async {
            let said =
                tokio::task::spawn_blocking(move || stranger.output()).await.expect("it does not panic");
            let said = String::from_utf8(said.expect("it starts").stderr).expect("it is text");
            assert!(said.contains(&format!("{GOT}0 bytes")), "{said}");
            UnixStream::connect(&hand_over.path).await.expect("we connect")
        };
        let (pid, _ours) = tokio::join!(accepted, connect);
        assert_eq!(pid.map(i32::cast_unsigned), Some(process::id()), "the stranger was taken for us");
    }
}
