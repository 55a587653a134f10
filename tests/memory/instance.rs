//! An instance that gives everybody the same token, and so remembers nobody. It can be sealed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::openbao;

const TOKEN: &str =
    "s.0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFG";

/// The instance.
pub(crate) struct Instance {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    is_sealed: Arc<AtomicBool>,
}

// === impl Instance ===

impl Instance {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it listens");
        let is_sealed = Arc::<AtomicBool>::default();
        let seal = middleware::from_fn_with_state(Arc::clone(&is_sealed), refuse_while_sealed);
        tokio::spawn(async move { axum::serve(listener, router().layer(seal)).await });
        Self { address, is_sealed }
    }

    /// Seals it, or unseals it.
    pub(crate) fn seal(&self, is_sealed: bool) {
        self.is_sealed.store(is_sealed, Ordering::Release);
    }
}

fn router() -> Router {
    Router::new()
        .route("/v1/sys/health", get(async || openbao::health("fake").to_string()))
        .route("/v1/auth/approle/login", post(async || openbao::login(TOKEN).to_string()))
        .route("/v1/auth/token/lookup-self", get(async || openbao::lookup(TOKEN).to_string()))
        .route("/v1/auth/token/revoke-self", post(async || StatusCode::NO_CONTENT))
}

async fn refuse_while_sealed(
    State(is_sealed): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    if !is_sealed.load(Ordering::Acquire) {
        return next.run(request).await;
    }
    let answer = if request.uri().path() == "/v1/sys/health" {
        let mut health = openbao::health("fake");
        health["sealed"] = json!(true);
        health
    } else {
        json!({"errors": ["Vault is sealed"]})
    };
    (StatusCode::SERVICE_UNAVAILABLE, answer.to_string()).into_response()
}
