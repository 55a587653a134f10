//! What a gateway could read of those who came.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{super::tls::Handshake, Shared};

/// One connection to a gateway.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// The handshake with a gateway that speaks TLS itself.
    pub handshake: Option<Handshake>,
    /// Who logged in. A password is only compared.
    pub user: Option<String>,
    /// Where it wanted to go.
    pub target: Option<Target>,
    /// Whether it was told that the tunnel stands.
    pub stood: bool,
    /// What it sent before that.
    pub before: Vec<u8>,
    /// What it sent after that, as the gateway saw it.
    pub through: Vec<u8>,
    /// What an evil gateway read inside the TLS that was not meant for it.
    pub plain: Vec<u8>,
}

/// The end of a tunnel, exactly as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address as it was written; an IPv6 address of CONNECT has its brackets.
    pub host: String,
    pub port: u16,
    /// Whether it was given as a name, for the gateway to resolve.
    pub is_name: bool,
}

/// A stream whose incoming bytes are noted.
pub struct Tap<S> {
    stream: S,
    visit: usize,
    shared: Arc<Shared>,
}

// === impl Visit ===

impl Visit {
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let holds = |text: &[u8]| text.windows(bytes.len()).any(|window| window == bytes);
        [&self.before, &self.through, &self.plain].into_iter().any(|text| holds(text))
    }

    fn reads(&mut self, bytes: &[u8]) {
        let part = if self.stood { &mut self.through } else { &mut self.before };
        part.extend_from_slice(bytes);
    }
}

// === impl Target ===

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

// === impl Tap ===

impl<S> Tap<S> {
    pub fn on(stream: S, visit: usize, shared: &Arc<Shared>) -> Self {
        Self { stream, visit, shared: Arc::clone(shared) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let known = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.shared.note(self.visit, |visit| visit.reads(&buffer.filled()[known..]));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
