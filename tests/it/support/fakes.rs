//! Servers for what real ones do not do, on 127.0.0.1. They live as long as the test's runtime.

pub mod echo;
pub mod gateway;
pub mod http;
pub mod openbao;
pub mod pki;
pub mod tls;
pub mod vault;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server that answers every request alike, and counts who came.
pub struct Fake {
    pub address: String,
    connections: Arc<AtomicUsize>,
    /// Of those that it is silent to: how many the other side has not ended.
    open: Arc<AtomicUsize>,
}

// === impl Fake ===

impl Fake {
    /// Answers with a status line, header lines and a body.
    pub async fn answering(status: &str, header: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self::serving(Some(answer)).await
    }

    /// Takes connections and never says a word.
    pub async fn silent() -> Self {
        Self::serving(None).await
    }

    async fn serving(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let open = Arc::new(AtomicUsize::new(0));
        let still_open = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                match answer.clone() {
                    Some(answer) => drop(tokio::spawn(exchange(stream, answer))),
                    None => drop(tokio::spawn(hold(stream, Arc::clone(&still_open)))),
                }
            }
        });
        Self { address, connections, open }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of those that it is silent to are still open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Says nothing until the other side ends the connection.
async fn hold(mut stream: TcpStream, open: Arc<AtomicUsize>) {
    open.fetch_add(1, Ordering::SeqCst);
    let mut chunk = [0; 1024];
    while stream.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
    open.fetch_sub(1, Ordering::SeqCst);
}

/// Reads one request without a body, and answers it. Who goes away early is not missed.
async fn exchange(mut stream: TcpStream, answer: String) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
