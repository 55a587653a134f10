//! Connections that were dialled: to a server, or through a proxy.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that was dialled.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection of which only the reader sees that it broke. What cannot be written is dropped: else nobody would see
/// what the server said as its last word, such as why it does not accept a certificate.
pub(super) struct LastWord<S> {
    stream: S,
    broken: bool,
}

// === impl LastWord ===

impl<S> LastWord<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, broken: false }
    }
}

impl<S: Stream> AsyncRead for LastWord<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Stream> AsyncWrite for LastWord<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.broken {
            match ready!(Pin::new(&mut self.stream).poll_write(context, bytes)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(_) => self.broken = true,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.broken {
            self.broken = ready!(Pin::new(&mut self.stream).poll_flush(context)).is_err();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.broken {
            self.broken = ready!(Pin::new(&mut self.stream).poll_shutdown(context)).is_err();
        }
        Poll::Ready(Ok(()))
    }
}
