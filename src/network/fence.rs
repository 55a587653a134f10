//! Until when this process may send: the right of the holder of the Lease, as a time that goes on while the process stands
//! still.
//!
//! ```text
//!   lease ── renewed ─▶ fence ◀─ asked before each write ── every connection to an instance or a proxy
//!                             ◀─ asked before each request ── the client of the Kubernetes API
//! ```
//!
//! A process that was stopped and goes on, or a machine that was suspended, finds the fence closed before anything that
//! was due meanwhile is sent. No task has to notice that first.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The clock of the fence: it is never set, and goes on while the machine is suspended.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;

/// The clock of the fence: that of other systems goes on, too.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Until when this process may send. A clone is the same fence.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Milliseconds of the clock.
    until: Arc<AtomicU64>,
    /// The same of the fence around it.
    outer: Option<Arc<AtomicU64>>,
}

/// A connection over which nothing is sent once the fence is closed.
#[derive(Debug)]
pub struct Fenced<S> {
    stream: S,
    fence: Fence,
}

/// Nothing is sent: this process may no longer hold the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is sent, since this process does not hold the Lease")]
pub struct Closed;

/// The time of the fence's clock.
pub fn now() -> Duration {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

// === impl Fence ===

impl Fence {
    /// One that never closes: there is no Lease.
    pub fn open() -> Self {
        Self { until: Arc::new(AtomicU64::new(u64::MAX)), outer: None }
    }

    /// One that is closed until it is extended.
    pub fn closed() -> Self {
        Self { until: Arc::default(), outer: None }
    }

    /// One that is closed until it is extended, and open only while this one is open, too.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self { until: Arc::default(), outer: Some(Arc::clone(&self.until)) }
    }

    /// Lets this process send until a time of the clock.
    pub fn extend(&self, until: Duration) {
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(until, Ordering::SeqCst);
    }

    /// Ends the right to send.
    pub fn close(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Whether anything may be sent at this moment.
    pub fn check(&self) -> Result<(), Closed> {
        self.check_at(now())
    }

    fn check_at(&self, now: Duration) -> Result<(), Closed> {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let is_open = |until: &Arc<AtomicU64>| {
            let until = until.load(Ordering::SeqCst);
            until == u64::MAX || now < until
        };
        let are_open = is_open(&self.until) && self.outer.as_ref().is_none_or(is_open);
        if are_open { Ok(()) } else { Err(Closed) }
    }
}

// === impl Fenced ===

impl<S> Fenced<S> {
    /// A connection behind a fence.
    pub fn new(stream: S, fence: Fence) -> Self {
        Self { stream, fence }
    }

    /// The connection itself.
    #[cfg(test)]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fenced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fenced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fence.check().map_err(io::Error::other)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fence.check().map_err(io::Error::other)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_fence_is_open_until_its_time() {
        let fence = Fence::closed();
        let at = Duration::from_secs;
        assert_eq!(fence.check_at(at(0)), Err(Closed), "nobody has opened it");
        fence.extend(at(10));
        assert_eq!(fence.check_at(at(9)), Ok(()));
        assert_eq!(fence.check_at(at(10)), Err(Closed));
        fence.extend(at(5));
        assert_eq!(fence.check_at(at(9)), Ok(()), "a late answer takes nothing back");
        fence.close();
        assert_eq!(fence.check_at(at(1)), Err(Closed));
        assert_eq!(Fence::open().check_at(Duration::MAX), Ok(()));
    }

    #[test]
    fn an_inner_fence_is_open_only_while_both_are() {
        let (outer, at) = (Fence::closed(), Duration::from_secs);
        let inner = outer.inner();
        inner.extend(at(10));
        assert_eq!(inner.check_at(at(1)), Err(Closed));
        outer.extend(at(5));
        assert_eq!((inner.check_at(at(4)), inner.check_at(at(5))), (Ok(()), Err(Closed)));
        outer.extend(at(20));
        assert_eq!((inner.check_at(at(9)), inner.check_at(at(10))), (Ok(()), Err(Closed)));
        assert_eq!(outer.check_at(at(10)), Ok(()), "it does not depend on what is inside");
    }

    #[tokio::test]
    async fn nothing_is_written_behind_a_closed_fence_and_what_came_is_read() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let fence = Fence::open();
        let mut stream = Fenced::new(ours, fence.clone());
        stream.write_all(b"before").await.expect("it is open");
        theirs.write_all(b"answer").await.expect("it is open");
        fence.close();
        let error = stream.write_all(b"after").await.expect_err("it is closed");
        assert_eq!(error.to_string(), Closed.to_string());
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.expect("it has come");
        drop(stream);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.expect("it ends");
        assert_eq!((sent.as_slice(), &answer), (&b"before"[..], b"answer"));
    }
}
