//! A Kubernetes API with as many connections as it is told to show. It answers without keeping anything; a status that is written goes
//! out by the watch.

use std::{
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures::{
    StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    stream,
};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;

const NAMESPACE: &str = "team-a";
const SECRET: &str = "vault-approle";

/// The API.
#[derive(Clone)]
pub(crate) struct ApiServer {
    instance: SocketAddr,
    state: Arc<Mutex<State>>,
    /// A status was.
    written: Arc<Notify>,
}

struct State {
    shown: usize,
    version: usize,
    events: UnboundedSender<Value>,
    /// None once somebody watches.
    watch: Option<UnboundedReceiver<Value>>,
    /// How many events were created.
    created: usize,
}

// === impl ApiServer ===

impl ApiServer {
    /// It has no connection yet. Those that come are for this instance.
    pub(crate) fn new(instance: SocketAddr) -> Self {
        let (events, watch) = unbounded();
        let state = State { shown: 0, version: 1, events, watch: Some(watch), created: 0 };
        Self { instance, state: Arc::new(Mutex::new(state)), written: Arc::default() }
    }

    /// Creates connections until there are so many, each when the status of the one before is written: what waits in some buffer is
    /// nothing that a connection takes at rest.
    pub(crate) async fn show(&self, connections: usize) {
        let before = mem::replace(&mut self.state().shown, connections);
        for number in before..connections {
            {
                let mut state = self.state();
                let object = self.connection(&format!("connection-{number:04}"), state.next_version());
                state.send("ADDED", &object);
            }
            self.written.notified().await;
        }
    }

    /// How many events were created.
    pub(crate) fn events(&self) -> usize {
        self.state().created
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("it was sent whole");
                server.answer(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &body)
            }
        };
        Client::new(Router::new().fallback(answer), NAMESPACE)
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Response {
        let is_watch = query.contains("watch=true");
        let (_, resource) = path.rsplit_once('/').expect("it is absolute");
        match (method, resource) {
            (&Method::GET, "vaultconnections") if is_watch => self.watch(),
            (&Method::GET, _) if is_watch => (StatusCode::OK, Body::from_stream(nothing())).into_response(),
            (&Method::GET, "secrets") => answer(&list(&[secret()])),
            (&Method::GET, SECRET) => answer(&json!({"metadata": secret()["metadata"]})),
            (&Method::GET, "vaultconnections" | "vaultgateways" | "configmaps") => answer(&list(&[])),
            (&Method::PATCH, "status") => self.write_status(path, body),
            (&Method::POST, "events") => {
                self.state().created += 1;
                answer(&json!({"metadata": {}}))
            }
            _ => panic!("unexpected: {method} {path}?{query}"),
        }
    }

    fn watch(&self) -> Response {
        let events = self.state().watch.take();
        let line = |event: Value| Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n")));
        match events {
            Some(events) => (StatusCode::OK, Body::from_stream(events.map(line))).into_response(),
            None => panic!("the first watch does not end"),
        }
    }

    fn write_status(&self, path: &str, body: &[u8]) -> Response {
        let applied: Value = serde_json::from_slice(body).expect("a patch is JSON");
        let name = path.rsplit('/').nth(1).expect("it names the object");
        let mut state = self.state();
        let mut object = self.connection(name, state.next_version());
        object["status"] = applied["status"].clone();
        state.send("MODIFIED", &object);
        self.written.notify_one();
        answer(&object)
    }

    fn connection(&self, name: &str, version: usize) -> Value {
        let key = |key: &str| json!({"secretRef": {"name": SECRET, "key": key}});
        json!({
            "apiVersion": "appconnections.dev/v1alpha1",
            "kind": "VaultConnection",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": format!("7d3b6a4e-0000-4000-8000-{name:.>12}"),
                "generation": 1, "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {
                "instanceUrl": format!("http://{}", self.instance),
                "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}},
                "check": {"interval": "30m"},
            },
            "status": {"observedGeneration": -1},
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panicked here")
    }
}

// === impl State ===

impl State {
    fn next_version(&mut self) -> usize {
        self.version += 1;
        // As long as those of a real cluster.
        10_000_000 + self.version
    }

    fn send(&self, kind: &str, object: &Value) {
        self.events.unbounded_send(json!({"type": kind, "object": object})).expect("the watch is there");
    }
}

fn secret() -> Value {
    let data = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": SECRET, "namespace": NAMESPACE, "uid": "7d3b6a4e-0000-4000-8000-00000000a001", "resourceVersion": "10000001",
            "labels": {"appconnections.dev/credentials": "true"},
        },
        "data": {
            "roleId": data("7d3b6a4e-0000-4000-8000-00000000b002"),
            "secretId": data("7d3b6a4e-0000-4000-8000-00000000c003"),
        },
    })
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "10000001"}, "items": items})
}

fn answer(body: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A watch of what does not change.
fn nothing() -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::pending()
}
