//! Serves `/metrics`, `/healthz`, `/readyz` and the status page to whoever reaches the port, within fixed bounds.
//!
//! ```text
//!   accept ─▶ too many open? drop the oldest of whoever has most ─▶ one request ─▶ close
//! ```
//!
//! Nobody logs in here, so nobody may cost more than little: a connection serves one request, has its deadlines and small
//! buffers, and there are few of them. A probe comes in whatever others hold open.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST, VARY},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    metrics::{Metrics, exposition::Format},
    page::{self, Around, board::Board},
};

/// How many connections are open at most: probes and scrapers come one at a time, so this is room for dozens of them.
pub const MAX_CONNECTIONS: usize = 64;

/// Longest time for the head of a request: the kubelet and Prometheus send it at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for a whole connection, the reading of the answer included: as long as Prometheus waits by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, the smallest that the HTTP library takes. That of Prometheus has less than 1 KiB.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// How many headers a request may have.
const MAX_HEADERS: usize = 32;

/// How long to wait when no connection can be accepted, such as when files have run out.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What the other pages are.
const TEXT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How far the operator has come, as `/readyz` tells.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// How far the operator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does not know yet whether it works or stands by, or has not seen every connection once.
    Starting,
    /// Another replica holds the Lease, and this one could take over.
    Standby,
    /// It has seen every connection once, and looks after them.
    Working,
}

/// What is served.
struct Pages {
    metrics: Metrics,
    readiness: Readiness,
    board: Board,
}

/// The connections that are open, the oldest first. They end when this is dropped.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    peers: Vec<(IpAddr, AbortHandle)>,
}

/// Takes the address, so that a bad one is known before anything else begins.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    board: Board,
) -> Infallible {
    let pages = Arc::new(Pages { metrics, readiness, board });
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => open.admit(peer.ip().to_canonical(), stream, &pages),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection to the port of metrics and probes");
                sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

// === impl Readiness ===

impl Readiness {
    /// Says so.
    pub fn set(&self, stage: Stage) {
        let number = match stage {
            Stage::Starting => 0,
            Stage::Standby => 1,
            Stage::Working => 2,
        };
        self.0.store(number, Ordering::Release);
    }

    fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            1 => Stage::Standby,
            2 => Stage::Working,
            _ => Stage::Starting,
        }
    }
}

// === impl Pages ===

impl Pages {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<String> {
        let (status, kind, text) = match uri.path() {
            _ if !matches!(*method, Method::GET | Method::HEAD) => {
                (StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "only GET is answered".to_owned())
            }
            "/metrics" => {
                let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = Format::negotiate(accept);
                (StatusCode::OK, format.content_type(), self.metrics.text(format))
            }
            "/healthz" => (StatusCode::OK, TEXT_TYPE, "ok".to_owned()),
            "/readyz" => {
                let (status, text) = match self.readiness.stage() {
                    Stage::Starting => {
                        (StatusCode::SERVICE_UNAVAILABLE, "starting: not every connection was listed yet")
                    }
                    Stage::Standby => (StatusCode::OK, "ok (standby: another replica holds the Lease)"),
                    Stage::Working => (StatusCode::OK, "ok"),
                };
                (status, TEXT_TYPE, text.to_owned())
            }
            "/status" if self.board.is_kept() => return self.status_page(uri, headers),
            _ => (StatusCode::NOT_FOUND, TEXT_TYPE, "not found".to_owned()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    fn status_page(&self, uri: &Uri, headers: &HeaderMap) -> Response<String> {
        let around = Around {
            stage: self.readiness.stage(),
            unlisted: self.metrics.unlisted(),
            now: Timestamp::now(),
        };
        // A name that is no text is nobody's.
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        page::respond(&self.board, &around, host, uri.query())
    }
}

// === impl Open ===

impl Open {
    /// Serves a new connection, if need be in the place of another.
    fn admit(&mut self, peer: IpAddr, stream: TcpStream, pages: &Arc<Pages>) {
        while self.tasks.try_join_next().is_some() {}
        self.peers.retain(|(_, task)| !task.is_finished());
        if self.peers.len() >= MAX_CONNECTIONS {
            let peers: Vec<_> = self.peers.iter().map(|(peer, _)| *peer).collect();
            let (_, task) = self.peers.remove(least_welcome(&peers));
            task.abort();
        }
        let task = self.tasks.spawn(serve_one(stream, Arc::clone(pages)));
        self.peers.push((peer, task));
    }
}

/// Which of the open connections, the oldest first, has to go: the oldest of the peer that has most of them. So nobody
/// can drive out a peer with fewer connections.
fn least_welcome(peers: &[IpAddr]) -> usize {
    let mut counts = BTreeMap::<_, usize>::new();
    for peer in peers {
        *counts.entry(peer).or_default() += 1;
    }
    let most = counts.values().max();
    peers.iter().position(|peer| counts.get(peer) == most).unwrap_or(0)
}

/// Answers one request. Who is slow, or says nonsense, is not told so.
async fn serve_one(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = pages.answer(request.method(), request.uri(), request.headers());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What the tests open at once.
    const MANY: usize = 500;

    /// Serves on an address of loopback.
    async fn served() -> (SocketAddr, AbortHandle) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(serve(listener, Metrics::new(true), Readiness::default(), Board::default()));
        (address, task.abort_handle())
    }

    async fn connected(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // It may be gone at once.
        let _ = stream.write_all(request.as_bytes()).await;
        stream
    }

    /// All that comes until the connection ends.
    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        // A connection that is reset has ended, too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn asked(address: SocketAddr, request: &str) -> String {
        rest(connected(address, request).await).await
    }

    #[tokio::test]
    async fn readiness_says_what_the_operator_does() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let readiness = Readiness::default();
        tokio::spawn(serve(listener, Metrics::new(false), readiness.clone(), Board::new(true)));
        let table = [
            (Stage::Starting, "503 Service Unavailable", "starting: not every connection was listed yet"),
            (Stage::Standby, "200 OK", "ok (standby: another replica holds the Lease)"),
            (Stage::Working, "200 OK", "\r\n\r\nok"),
        ];
        for (stage, status, text) in table {
            readiness.set(stage);
            let answer = asked(address, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(answer.contains(status) && answer.ends_with(text), "{stage:?}: {answer}");
            let page = asked(address, "GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert!(
                page.contains("200 OK") && page.contains("content-security-policy: default-src 'none'"),
                "{page}"
            );
            assert_eq!(page.contains("This replica is on standby"), stage == Stage::Standby, "{page}");
        }
    }

    const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn each_page_is_served_and_nothing_else() {
        let (address, _task) = served().await;
        let table = [
            ("health", "GET /healthz", "200 OK"),
            ("with a query", "GET /healthz?verbose", "200 OK"),
            ("readiness", "GET /readyz", "503 Service Unavailable"),
            ("metrics for an old scraper", "GET /metrics", "text/plain; version=0.0.4"),
            ("the head of a page", "HEAD /metrics", "200 OK"),
            ("another page", "GET /", "404 Not Found"),
            ("the status page, which nobody asked for", "GET /status", "404 Not Found"),
            ("another method", "POST /metrics", "405 Method Not Allowed"),
        ];
        for (name, request, expected) in table {
            let answer = asked(address, &format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!(answer.contains(expected), "{name}: {answer}");
        }
        let open = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text\r\n\r\n";
        let answer = asked(address, open).await;
        assert!(answer.contains("application/openmetrics-text") && answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn probes_are_answered_while_others_hold_connections_open() {
        let (address, _task) = served().await;
        let mut held = Vec::new();
        for number in 0..MANY {
            let begun = if number % 2 == 0 { "" } else { "GET /metrics HTTP/1.1\r\nx: " };
            held.push(connected(address, begun).await);
            if number % 100 == 0 {
                assert!(asked(address, PROBE).await.ends_with("ok"), "{number}");
            }
        }
        assert!(asked(address, PROBE).await.ends_with("ok"));
        let mut open = 0;
        for stream in held {
            // The deadline is shorter than that of the server: one that has ended ends at once.
            open += usize::from(timeout(Duration::from_millis(1), rest(stream)).await.is_err());
        }
        assert!(open <= MAX_CONNECTIONS, "{open} are open");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_ask_ends_in_time() {
        let (address, _task) = served().await;
        let table = [
            ("nothing", "", HEADER_TIMEOUT),
            ("half a head", "GET /metr", HEADER_TIMEOUT),
            ("a header without an end", "GET /metrics HTTP/1.1\r\nx: y", HEADER_TIMEOUT),
            (
                "a body that does not come",
                "POST /x HTTP/1.1\r\ncontent-length: 9\r\n\r\n",
                CONNECTION_TIMEOUT,
            ),
        ];
        for (name, begun, within) in table {
            let stream = connected(address, begun).await;
            let end = timeout(within + Duration::from_secs(1), rest(stream)).await;
            assert!(end.is_ok(), "{name}: it is open after {within:?}");
        }
    }

    #[tokio::test]
    async fn a_large_head_is_refused() {
        let (address, _task) = served().await;
        let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEADER_BYTES));
        assert!(!asked(address, &long).await.contains("200 OK"));
        let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
        assert!(!asked(address, &many).await.contains("200 OK"));
    }

    #[test]
    fn whoever_has_most_connections_loses_the_oldest() {
        let (a, b, c) =
            (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
        let table: &[(&str, &[IpAddr], usize)] = &[
            ("one peer", &[a, a, a], 0),
            ("a flood after a probe", &[b, a, a, a], 1),
            ("a probe after a flood", &[a, a, a, b], 0),
            ("two floods", &[c, a, b, b, a], 1),
            ("all the same", &[a, b, c], 0),
        ];
        for (name, peers, expected) in table {
            assert_eq!(least_welcome(peers), *expected, "{name}");
        }
    }
}
