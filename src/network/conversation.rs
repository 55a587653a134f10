//! One HTTP/1.1 connection to an instance.
//!
//! Nobody but the one who asks drives it: when that ends, for whatever reason, the connection ends with all its buffers.
//! No task is left that could hold what was to be sent.

use std::{future::Future, pin::Pin, pin::pin, task::Poll};

use futures::{FutureExt, future::poll_fn};
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use secrecy::zeroize::Zeroizing;

use super::stream::Stream;
use crate::network::{chain::CertificateEnd, faults::TransportFault, wire};

/// Longest head of an answer, and the size of the buffer that it is read with.
const MAX_HEAD_BYTES: usize = 64 << 10;

type Driver = Pin<Box<http1::Connection<TokioIo<Box<dyn Stream>>, String>>>;

/// A connection over which requests are sent, one after the other.
pub(super) struct Conversation {
    sender: SendRequest<String>,
    /// What moves the bytes; none after the connection has ended.
    driver: Option<Driver>,
    /// Which certificate that it rests on ends first; none for plain http.
    pub(super) certificate_end: Option<CertificateEnd>,
}

/// A request got no answer.
pub(super) struct Unanswered {
    pub(super) fault: TransportFault,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Request<String>>,
}

// === impl Conversation ===

impl Conversation {
    pub(super) async fn begin(
        stream: Box<dyn Stream>,
        certificate_end: Option<CertificateEnd>,
    ) -> Result<Self, TransportFault> {
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(|error| fault(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), certificate_end })
    }

    /// Whether another request can be sent, as far as can be seen without waiting.
    pub(super) fn is_open(&mut self) -> bool {
        let ready = poll_fn(|context| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(context).is_ready()
            {
                self.driver = None;
            }
            Poll::Ready(())
        });
        let _ = ready.now_or_never();
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn ask(&mut self, request: Request<String>) -> Result<Response<Incoming>, Unanswered> {
        let answer = self.sender.try_send_request(request);
        let (outcome, ended) = drive(&mut self.driver, answer).await;
        outcome.map_err(|mut error| {
            let unsent = error.take_message();
            // Why it broke before the request was sent, such as by an alert that tells what a server thinks of our
            // certificate, only the connection knows.
            let fault = ended.as_ref().and_then(cause).unwrap_or_else(|| fault(error.error()));
            Unanswered { fault, unsent }
        })
    }

    /// Reads a body whole. One that is longer than `limit` is given up, and read as none.
    pub(super) async fn read(
        &mut self,
        mut body: Incoming,
        limit: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TransportFault> {
        let mut whole = Zeroizing::new(Vec::new());
        loop {
            let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let (frame, ended) = drive(&mut self.driver, next).await;
            let frame = match frame {
                None => return Ok(whole),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(ended.as_ref().and_then(cause).unwrap_or_else(|| fault(&error)));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if whole.len().saturating_add(data.len()) > limit {
                self.driver = None;
                return Ok(Zeroizing::default());
            }
            whole.extend_from_slice(&data);
        }
    }
}

/// Waits for what a connection gives, and moves the connection on meanwhile. Also gives why that ended, if it did.
async fn drive<T>(driver: &mut Option<Driver>, wanted: impl Future<Output = T>) -> (T, Option<hyper::Error>) {
    let mut wanted = pin!(wanted);
    let ended = poll_fn(|context| {
        if let Poll::Ready(outcome) = wanted.as_mut().poll(context) {
            return Poll::Ready(Ok(outcome));
        }
        match driver {
            Some(running) => running.as_mut().poll(context).map(Err),
            None => Poll::Ready(Err(Ok(()))),
        }
    });
    match ended.await {
        Ok(outcome) => (outcome, None),
        Err(ended) => {
            // Without its connection, what is wanted comes at once, or fails.
            *driver = None;
            (wanted.await, ended.err())
        }
    }
}

fn cause(error: &hyper::Error) -> Option<TransportFault> {
    wire::fault_of(error)
}

fn fault(error: &hyper::Error) -> TransportFault {
    cause(error).unwrap_or(TransportFault::Failed)
}
