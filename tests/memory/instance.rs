//! An instance that gives everybody the same token, and so remembers nobody.

use std::net::SocketAddr;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use tokio::net::TcpListener;

use crate::openbao;

const TOKEN: &str =
    "s.0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFG";

/// Starts it, and tells its address.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it listens");
    let router = Router::new()
        .route("/v1/sys/health", get(async || openbao::health("fake").to_string()))
        .route("/v1/auth/approle/login", post(async || openbao::login(TOKEN).to_string()))
        .route("/v1/auth/token/lookup-self", get(async || openbao::lookup(TOKEN).to_string()))
        .route("/v1/auth/token/revoke-self", post(async || StatusCode::NO_CONTENT));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
