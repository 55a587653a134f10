//! The TLS end of a fake: what a client said in a handshake is kept, however that ends.
//!
//! A client gets TLS as the test has configured it, no TLS at all, or a TLS too old to be spoken.

use std::{io, sync::Arc};

use rustls::{ProtocolVersion, ServerConfig, pki_types::CertificateDer, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// The first byte of every TLS connection: a record of a handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// The alert `protocol_version`, as a server of TLS 1.0 sends it.
const PROTOCOL_VERSION_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

/// What Go's server without TLS, and so Vault's, answers to one who begins with TLS.
const NOT_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    400 Bad Request";

/// Longer than what a client begins with.
const MAX_HELLO_BYTES: usize = 16 * 1024;

/// How a server is entered.
#[derive(Clone)]
pub enum Door {
    Plain,
    Tls(Arc<ServerConfig>),
    OldTls,
}

/// What a client said in a handshake, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The server name that it sent. None: it sent none, as clients do that dial an address.
    pub server_name: Option<String>,
    /// The protocols that it offered by ALPN.
    pub offered: Vec<String>,
    /// None: the handshake failed.
    pub version: Option<ProtocolVersion>,
    /// Its certificate, which [`Identity::der`](super::pki::Identity::der) is to be compared with.
    pub client: Option<CertificateDer<'static>>,
    /// Why the handshake failed, on either side.
    pub failure: Option<String>,
}

/// Shakes hands. There is no handshake to tell when what came is no TLS.
pub async fn accept<S>(stream: S, config: Arc<ServerConfig>) -> (Option<Handshake>, io::Result<TlsStream<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = match LazyConfigAcceptor::new(Acceptor::default(), stream).await {
        Ok(begun) => begun,
        Err(error) => return (None, Err(error)),
    };
    let hello = begun.client_hello();
    let offered = hello.alpn().into_iter().flatten();
    let mut handshake = Handshake {
        server_name: hello.server_name().map(str::to_owned),
        offered: offered.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        version: None,
        client: None,
        failure: None,
    };
    let stream = begun.into_stream(config).await;
    match &stream {
        Err(error) => handshake.failure = Some(error.to_string()),
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            handshake.version = session.protocol_version();
            let shown = session.peer_certificates().and_then(<[_]>::first);
            handshake.client = shown.map(|certificate| certificate.clone().into_owned());
        }
    }
    (Some(handshake), stream)
}

/// Whether a client begins with TLS.
pub async fn is_offered(stream: &TcpStream) -> bool {
    let mut first = [0];
    stream.peek(&mut first).await.is_ok() && first == [HANDSHAKE_RECORD]
}

/// Answers one who begins with TLS as a server that has none.
pub async fn answer_without(stream: TcpStream) {
    answer_hello(stream, NOT_HTTP).await;
}

/// Answers one who begins with TLS as a server that knows only versions from before TLS 1.2.
pub async fn refuse_version(stream: TcpStream) {
    answer_hello(stream, &PROTOCOL_VERSION_ALERT).await;
}

/// What was not read would turn the end of the connection into a reset. Who goes away early is not missed.
async fn answer_hello(mut stream: TcpStream, answer: &[u8]) {
    let _ = stream.read(&mut vec![0; MAX_HELLO_BYTES]).await;
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}
