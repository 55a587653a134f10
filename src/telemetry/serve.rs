//! Serves `/metrics`, `/healthz` and `/readyz`.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// Whether the operator has seen every connection once.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// Takes the address, so that a bad one is known before anything else begins.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) -> io::Result<()> {
    let text = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let ready = move || async move {
        if readiness.is_set() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not yet") }
    };
    let routes = Router::new()
        .route("/metrics", get(move || async move { (text, metrics.text()) }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready));
    axum::serve(listener, routes).await
}

// === impl Readiness ===

impl Readiness {
    /// Says that it has.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
