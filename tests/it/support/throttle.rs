//! A door before the API server that reads what is asked, and answers status writes itself when it is told to.
//!
//! ```text
//!   operator ──TLS──▶ Throttle ──TLS──▶ API server
//!                        429 with Retry-After to PATCH .../status
//! ```
//!
//! It takes one request a connection, or one watch: each answer says that the connection ends.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    bed::{self, unique, variable},
    fakes::{http::Answer, pki::Ca},
};

/// How long it asks a writer to wait.
pub const RETRY_AFTER: u64 = 7;

/// The door. Its tasks live as long as the test's runtime.
pub struct Throttle {
    pub address: String,
    /// A file with the certificate of the CA that its own is signed by.
    pub ca: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    refuses: AtomicBool,
    refused: AtomicUsize,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server: String,
}

// === impl Throttle ===

impl Throttle {
    pub async fn new() -> Self {
        let (ca, listener) =
            (Ca::new(), TcpListener::bind("127.0.0.1:0").await.expect("there is a free port"));
        let file = bed::folder("it").join(unique("throttle-ca"));
        fs::write(&file, &ca.pem).expect("the bed's folder can be written");
        let server = variable("BED_APISERVER").rsplit('/').next().expect("it is a URL").to_owned();
        let shared = Arc::new(Shared {
            refuses: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            acceptor: TlsAcceptor::from(ca.serving() as Arc<ServerConfig>),
            connector: TlsConnector::from(Arc::new(trusting_the_bed())),
            server,
        });
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, ca: file, shared }
    }

    /// Answers 429 to each status write from now on, or no longer.
    pub fn refuse_writes(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many writes were refused.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

fn trusting_the_bed() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::from_pem_file(variable("BED_APISERVER_CA")).expect("the bed has a CA");
    roots.add(pem).expect("it is a CA");
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, Arc::clone(&shared)));
    }
}

/// Serves one request. A client that goes away has nothing to be told.
async fn connect(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut client = shared.acceptor.accept(client).await?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let first = String::from_utf8_lossy(&head[..end]).lines().next().unwrap_or_default().to_owned();
    let is_status_write = first.starts_with("PATCH ") && first.contains("/status?");
    if is_status_write && shared.refuses.load(Ordering::SeqCst) {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        let answer = Answer::new(429, "too many requests").with(&format!("retry-after: {RETRY_AFTER}"));
        client.write_all(&answer.bytes()).await?;
        return client.shutdown().await;
    }
    // The server ends the connection after its answer, so that the next request comes by this door again.
    let line_end = head.windows(2).position(|bytes| bytes == b"\r\n").expect("the head has a first line");
    let head = [&head[..line_end], b"\r\nconnection: close", &head[line_end..]].concat();
    let server = TcpStream::connect(&shared.server).await?;
    let name = ServerName::try_from("127.0.0.1").expect("it is an address");
    let mut server = shared.connector.connect(name, server).await?;
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
