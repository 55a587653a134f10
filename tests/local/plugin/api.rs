//! A Kubernetes API at the wire, as far as the plugin asks for it. Whatever else is asked fails the test.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::unique_folder;

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "team-a";

/// What it answers to a path; none to what it does not expect.
type Answers = dyn Fn(&str, &str) -> Option<Response> + Send + Sync;

/// The API server. It lives as long as the test's runtime.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    unexpected: Arc<Mutex<Vec<String>>>,
}

// === impl Api ===

impl Api {
    /// One that answers these, by path and query.
    pub(super) async fn that_answers(
        answers: impl Fn(&str, &str) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let unexpected: Arc<Mutex<Vec<String>>> = Arc::default();
        let (answers, seen): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&unexpected));
        let serve = move |uri: Uri| {
            let answer = answers(uri.path(), uri.query().unwrap_or_default()).unwrap_or_else(|| {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(uri.to_string());
                failure(500, "unexpected")
            });
            async move { answer }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        Self { address, unexpected }
    }

    /// A kubeconfig that names it, with a token.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&json!({"server": format!("http://{}", self.address)}), &json!({"token": "t"}))
    }

    /// Fails if anything was asked that it does not know.
    pub(super) fn was_asked_nothing_else(&self) {
        let unexpected = self.unexpected.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }
}

/// A kubeconfig with one context.
pub(super) fn kubeconfig(cluster: &Value, user: &Value) -> PathBuf {
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "bed", "user": "me", "namespace": NAMESPACE}}],
        "clusters": [{"name": "bed", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
    });
    written(&text.to_string())
}

/// A file with a text.
pub(super) fn written(text: &str) -> PathBuf {
    let path = unique_folder().join("config");
    fs::write(&path, text).expect("the folder can be written");
    path
}

/// A list of these.
pub(super) fn list(kind: &str, items: &[Value]) -> Response {
    let body = json!({
        "apiVersion": "v1", "kind": format!("{kind}List"), "metadata": {"resourceVersion": "1"}, "items": items,
    });
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A refusal, as the API server words it.
pub(super) fn failure(code: u16, message: &str) -> Response {
    let reason = if code == 404 { "NotFound" } else { "Unknown" };
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": message,
    });
    let code = StatusCode::from_u16(code).expect("a status code");
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A connection that works.
pub(super) fn connection(name: &str) -> Value {
    json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "uid": "u", "resourceVersion": "1"},
        "spec": {"instanceUrl": "https://vault.example.com", "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}}},
        "status": {
            "observedGeneration": 1, "state": "Connected",
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Connected", "message": "it works",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    })
}
