//! A Kubernetes API in memory, as far as a reconcile of one connection needs it. Whatever else is asked fails the test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use kube::Client;
use serde_json::{Value, json};
use vault_connection_operator::{
    api::connection::VaultConnectionSpec,
    controller::{connection::Connections, engine::object::Object},
};

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "team-a";

/// The name of the connection.
pub(super) const NAME: &str = "vault";

/// The API.
#[derive(Clone)]
pub(super) struct ApiServer {
    state: Arc<Mutex<State>>,
}

struct State {
    connection: Value,
    secrets: BTreeMap<String, Value>,
    version: u64,
    requests: usize,
    writes: usize,
    events: Vec<Value>,
    refuses: bool,
}

// === impl ApiServer ===

impl ApiServer {
    /// It has a connection with this spec, and no Secret.
    pub(super) fn new(spec: &Value) -> Self {
        let connection = json!({
            "apiVersion": "appconnections.dev/v1alpha1",
            "kind": "VaultConnection",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": "uid-1", "generation": 1, "resourceVersion": "1",
            },
            "spec": spec,
            "status": {"observedGeneration": -1},
        });
        let secrets = BTreeMap::new();
        let state = State {
            connection,
            secrets,
            version: 1,
            requests: 0,
            writes: 0,
            events: Vec::new(),
            refuses: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A client of it.
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("it was sent whole");
                server.state().answer(&parts.method, &parts.uri, &body)
            }
        };
        Client::new(Router::new().fallback(answer), NAMESPACE)
    }

    /// The connection as a watch would bring it now.
    pub(super) fn connection(&self) -> Object<Connections> {
        Object::new(serde_json::from_value(self.state().connection.clone()).expect("it has metadata"))
    }

    /// Its spec.
    pub(super) fn spec(&self) -> VaultConnectionSpec {
        serde_json::from_value(self.state().connection["spec"].clone()).expect("it can be read")
    }

    /// Changes the connection as a user would, with `kubectl patch`.
    pub(super) fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let before = state.connection["spec"].clone();
        change(&mut state.connection);
        if state.connection["spec"] != before {
            let generation = state.connection["metadata"]["generation"].as_i64().unwrap_or_default();
            state.connection["metadata"]["generation"] = json!(generation + 1);
        }
        state.touch();
    }

    /// Writes a labelled Secret, and returns its `resourceVersion`.
    pub(super) fn write_secret(&self, name: &str, texts: &[(&str, &str)]) -> String {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let data: BTreeMap<_, _> = texts
            .iter()
            .map(|(key, text)| (*key, k8s_openapi::ByteString(text.as_bytes().to_vec())))
            .collect();
        let secret = json!({
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}"), "resourceVersion": version,
                "labels": {"appconnections.dev/credentials": "true"},
            },
            "data": data,
        });
        state.secrets.insert(name.to_owned(), secret);
        version
    }

    /// A condition of the connection: its status and its reason.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let state = self.state();
        let conditions = state.connection["status"]["conditions"].as_array().expect("there are conditions");
        let found = conditions.iter().find(|it| it["type"] == kind).expect("the condition is there");
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    /// The state of the Secret that the status rests on.
    pub(super) fn read_version(&self) -> String {
        let version = &self.state().connection["status"]["credentials"][0]["resourceVersion"];
        version.as_str().unwrap_or_default().to_owned()
    }

    /// Fails every write of a status from now on, or none.
    pub(super) fn refuse_writes(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// How many requests were answered, and how many of them wrote a status.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.requests, state.writes)
    }

    /// The events that were published.
    pub(super) fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Their reasons.
    pub(super) fn event_reasons(&self) -> Vec<String> {
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        self.state().events.iter().map(reason).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panicked here")
    }
}

// === impl State ===

impl State {
    fn answer(&mut self, method: &Method, uri: &Uri, body: &[u8]) -> Response {
        self.requests += 1;
        let path = uri.path();
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let status = format!(
            "/apis/appconnections.dev/v1alpha1/namespaces/{NAMESPACE}/vaultconnections/{NAME}/status"
        );
        let events = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
        if *method == Method::GET && path == secrets {
            return answer(StatusCode::OK, &self.list_secret(uri.query().unwrap_or_default()));
        }
        if let Some(name) = path.strip_prefix(&format!("{secrets}/")).filter(|_| *method == Method::GET) {
            return match self.secrets.get(name) {
                Some(secret) => answer(StatusCode::OK, &table(&secret["metadata"])),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        if *method == Method::PATCH && path == status {
            return self.write_status(&serde_json::from_slice(body).expect("a patch is JSON"));
        }
        if *method == Method::POST && path == events {
            let event: Value = serde_json::from_slice(body).expect("an event is JSON");
            self.events.push(event.clone());
            return answer(StatusCode::CREATED, &event);
        }
        panic!("unexpected: {method} {uri}");
    }

    fn list_secret(&self, query: &str) -> Value {
        let asked = |name: &&String| query.contains(&format!("metadata.name%3D{name}&"));
        let items: Vec<_> =
            self.secrets.keys().filter(asked).map(|name| self.secrets[name].clone()).collect();
        json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": items})
    }

    fn write_status(&mut self, patch: &Value) -> Response {
        if self.refuses {
            return failure(StatusCode::FORBIDDEN, "Forbidden");
        }
        if patch["metadata"]["resourceVersion"] != self.connection["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        self.writes += 1;
        self.connection["status"] = patch["status"].clone();
        self.touch();
        answer(StatusCode::OK, &self.connection)
    }

    fn touch(&mut self) {
        self.version += 1;
        self.connection["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }
}

/// An object as a row without the object.
fn table(metadata: &Value) -> Value {
    let metadata = json!({"resourceVersion": metadata["resourceVersion"]});
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": metadata, "rows": []})
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": reason,
    });
    answer(code, &status)
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
