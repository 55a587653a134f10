//! A proxy to the API server that reads along, and spoils the answers that hold a certain text.
//!
//! ```text
//!   operator ── TLS, with a certificate of the test ──▶ Tamper ── TLS ──▶ API server
//! ```

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{access, bed::variable, cluster::operator_kubeconfig, fakes::pki::Ca};

/// What is replaced in an answer, by as many bytes.
pub type Spoil = (&'static [u8], &'static [u8]);

/// The proxy. Its tasks live as long as the test's runtime.
pub struct Tamper {
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    holds: Vec<u8>,
    spoil: Mutex<Option<Spoil>>,
    spoiled: AtomicUsize,
    /// Reads of one Secret, and how many of them were the last request of their connection.
    reads: AtomicUsize,
    last: AtomicUsize,
}

// === impl Tamper ===

impl Tamper {
    /// A proxy that spoils answers with this text in them, once it is told to.
    pub async fn with(holds: &str) -> Self {
        let (ca, listener) =
            (Ca::new(), TcpListener::bind("127.0.0.1:0").await.expect("there is a free port"));
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            holds: holds.as_bytes().to_vec(),
            spoil: Mutex::default(),
            spoiled: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
        });
        let (acceptor, serving) = (TlsAcceptor::from(ca.serving()), Arc::clone(&shared));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(acceptor.clone(), client, Arc::clone(&serving)));
            }
        });
        let text = fs::read_to_string(operator_kubeconfig()).expect("the operator's kubeconfig can be read");
        let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
        let ca = json!(k8s_openapi::ByteString(ca.pem.into_bytes()));
        config["clusters"][0]["cluster"] =
            json!({"server": format!("https://{address}"), "certificate-authority-data": ca});
        Self { kubeconfig: access::write(&config.to_string()), shared }
    }

    /// Spoils in this way from now on, or not at all.
    pub fn spoil(&self, spoil: Option<Spoil>) {
        *self.shared.spoil.lock().unwrap_or_else(PoisonError::into_inner) = spoil;
    }

    /// How often one Secret was read, and how many of these requests were the last of their connection.
    pub fn reads(&self) -> (usize, usize) {
        (self.shared.reads.load(Ordering::SeqCst), self.shared.last.load(Ordering::SeqCst))
    }

    /// How many answers were spoiled.
    pub fn spoiled(&self) -> usize {
        self.shared.spoiled.load(Ordering::SeqCst)
    }
}

// === impl Shared ===

impl Shared {
    fn count(&self, request: &[u8]) {
        let holds = |part: &str| request.windows(part.len()).any(|bytes| bytes == part.as_bytes());
        if holds("/secrets?") && holds("fieldSelector=metadata.name") {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.last.fetch_add(usize::from(holds("connection: close")), Ordering::SeqCst);
        }
    }

    fn spoil(&self, answer: &mut [u8]) {
        let holds = |part: &[u8]| answer.windows(part.len()).position(|bytes| bytes == part);
        let Some((from, to)) = *self.spoil.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        let Some(at) = holds(&self.holds).and_then(|_| holds(from)) else { return };
        answer[at..at + to.len()].copy_from_slice(to);
        self.spoiled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Carries bytes both ways until one side ends.
async fn carry(acceptor: TlsAcceptor, client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let url = variable("BED_APISERVER");
    let server = TcpStream::connect(url.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let mut server = connector().connect(name, server).await?;
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read? {
                0 => return Ok(()),
                read => {
                    shared.count(&request[..read]);
                    server.write_all(&request[..read]).await?;
                }
            },
            read = server.read(&mut answer) => match read? {
                0 => return Ok(()),
                read => {
                    shared.spoil(&mut answer[..read]);
                    client.write_all(&answer[..read]).await?;
                }
            },
        }
        client.flush().await?;
        server.flush().await?;
    }
}

fn connector() -> TlsConnector {
    let pem = fs::read(variable("BED_APISERVER_CA")).expect("the bed has a CA");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.expect("a certificate")).expect("it is one of a CA");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
