//! Secrets stay secret: whatever a server, the network or a user does, no credential is shown.
//!
//! Each credential is a canary, the operator logs all that it can, and the servers are hostile: they know the
//! credentials and say them back wherever an answer holds text.

use std::{fs, path::Path};

use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::support::{
    canary::{Canary, shown},
    cluster::{Cluster, operator_kubeconfig},
    fakes::{
        echo::Echo,
        openbao::MOUNT,
        pki::Ca,
        vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID, Secrets},
    },
    operator::{Operator, bare_command, run_to_end},
    specs,
    tamper::{Spoil, Tamper},
    verdict::{is_current, is_ready},
    wait::{PATIENCE, eventually},
};

/// The credentials of every connection of a test.
struct Canaries {
    role_id: Canary,
    secret_id: Canary,
    wrapping_token: Canary,
    token: Canary,
}

/// A hostile server, and a connection to it.
struct Row {
    name: String,
    fake: FakeVault,
    ask: Ask,
    misdeed: Misdeed,
    spec: Value,
}

/// How a connection logs in.
#[derive(Clone, Copy, Debug)]
enum Method {
    AppRole,
    Wrapped,
    Token,
}

// === impl Canaries ===

impl Canaries {
    fn new() -> Self {
        Self {
            role_id: Canary::new("role id", "role-"),
            secret_id: Canary::new("secret id", "secret-"),
            wrapping_token: Canary::new("wrapping token", "wrap-"),
            token: Canary::new("token", "token-"),
        }
    }

    fn all(&self) -> [&Canary; 4] {
        [&self.role_id, &self.secret_id, &self.wrapping_token, &self.token]
    }

    fn secrets(&self) -> Secrets {
        let [role_id, secret_id, wrapping_token, token] = self.all().map(|canary| canary.value.clone());
        Secrets { role_id, secret_id, wrapping_token, token }
    }

    /// The data of the one Secret that every connection names.
    fn data(&self) -> [(&'static str, &str); 4] {
        let [role_id, secret_id, wrapping_token, token] = self.all().map(|canary| canary.value.as_str());
        [("roleId", role_id), ("secretId", secret_id), ("wrapped", wrapping_token), ("token", token)]
    }

    fn assert_not_in(&self, what: &str, text: &[u8]) {
        let shown = shown(text, &self.all());
        assert!(shown.is_empty(), "{what} shows\n{shown}");
    }
}

// === impl Method ===

impl Method {
    fn spec(self, url: &str) -> Value {
        match self {
            Self::AppRole => specs::app_role(url, MOUNT, "credentials"),
            Self::Wrapped => {
                let mut spec = specs::app_role(url, MOUNT, "credentials");
                spec["auth"]["appRole"]["secretId"] =
                    json!({"secretRef": {"name": "credentials", "key": "wrapped"}, "wrapped": true});
                spec
            }
            Self::Token => specs::token(url, "credentials"),
        }
    }

    /// What a check of it asks, and where who answers badly says what.
    fn asks(self) -> &'static [(Ask, &'static [Echo])] {
        match self {
            Self::AppRole => &[
                (Ask::Health, &Echo::ALL),
                (Ask::Login, &Echo::ALL),
                (Ask::LookupSelf, &Echo::ALL),
                (Ask::RevokeSelf, &Echo::SOME),
            ],
            Self::Wrapped => &[(Ask::WrappingLookup, &Echo::SOME), (Ask::Unwrap, &Echo::SOME)],
            Self::Token => &[(Ask::LookupSelf, &Echo::SOME)],
        }
    }
}

/// Each method with a server for each place of each answer, and what breaks a connection.
async fn rows(canaries: &Canaries, methods: &[Method]) -> Vec<Row> {
    let mut rows = Vec::new();
    for method in methods {
        for (ask, echoes) in method.asks() {
            let echoes = echoes.iter().copied().map(Misdeed::Echo);
            for misdeed in echoes.chain([Misdeed::Reset, Misdeed::Cut]) {
                let fake = FakeVault::new().await.that_knows(&canaries.secrets()).that(*ask, misdeed.clone());
                let name = format!("row-{}", rows.len());
                rows.push(Row { name, spec: method.spec(&fake.url), ask: *ask, misdeed, fake });
            }
        }
    }
    rows
}

/// A server whose certificate is for a host that is called as the credentials are.
async fn named_as_secrets(canaries: &Canaries) -> Row {
    let ca = Ca::new();
    let host = format!("{}.{}", canaries.secret_id.value, canaries.token.value);
    let fake = FakeVault::with_tls(ca.serving_name(&host)).await;
    let mut spec = Method::AppRole.spec(&fake.url);
    spec["tls"] = json!({"caBundle": {"inline": ca.pem}});
    Row { name: "certificate".to_owned(), spec, ask: Ask::Health, misdeed: Misdeed::Reset, fake }
}

/// Everything of a kind in the namespace, whole.
async fn everything(cluster: &Cluster, group: &str, version: &str, kind: &str) -> String {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let list = api.list(&ListParams::default()).await.expect("the API server lists");
    json!(list.items).to_string()
}

/// Holds all that an operator shows of a namespace to the canaries.
async fn assert_nothing_shown(cluster: &Cluster, operator: Operator, canaries: &Canaries, with_events: bool) {
    let connections = everything(cluster, "appconnections.dev", "v1alpha1", "VaultConnection").await;
    assert!(connections.contains("managedFields"), "they are whole");
    canaries.assert_not_in("a VaultConnection", connections.as_bytes());
    let events = everything(cluster, "events.k8s.io", "v1", "Event").await;
    assert!(
        !with_events || events.contains("InvalidCredentials") && events.contains("Connected"),
        "there are events"
    );
    canaries.assert_not_in("an Event", events.as_bytes());
    canaries.assert_not_in("/metrics", operator.metrics().await.as_bytes());
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{file}", operator.pid)).expect("it runs");
        canaries.assert_not_in(file, &text);
    }
    let said = operator.said_at_end();
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("request to Vault"), "it logs what it does");
    canaries.assert_not_in("the log", &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_can_make_the_operator_show_a_credential() {
    let (cluster, canaries) = (Cluster::new("secrets").await, Canaries::new());
    cluster.secret("credentials", &canaries.data()).await;
    let mut rows = rows(&canaries, &[Method::AppRole, Method::Wrapped, Method::Token]).await;
    rows.push(named_as_secrets(&canaries).await);
    let operator = Operator::start_tracing(&cluster, &operator_kubeconfig()).await;
    side_by_side(&rows, async |row| {
        cluster.connect(&row.name, &row.spec).await;
        cluster.wait(&row.name, "judged", PATIENCE, is_current).await;
    })
    .await;
    // What events tell of a bad server is seen once the verdict changes; and by then the operator no longer holds the
    // secret id itself.
    for row in &rows {
        row.fake.behave();
    }
    check_all(&cluster, &rows, "good").await;
    for row in &rows {
        row.fake.misbehave(row.ask, row.misdeed.clone());
    }
    check_all(&cluster, &rows, "bad again").await;
    assert_nothing_shown(&cluster, operator, &canaries, true).await;
}

/// Asks for a check of each row now, and waits until they were made.
async fn check_all(cluster: &Cluster, rows: &[Row], request: &str) {
    side_by_side(rows, async |row| {
        cluster.request_check(&row.name, request).await;
        cluster.wait(&row.name, request, PATIENCE, |seen| is_handled(seen, request)).await;
    })
    .await;
}

/// Does something with each row, some of them at a time.
async fn side_by_side(rows: &[Row], visit: impl AsyncFn(&Row)) {
    const AT_ONCE: usize = 16;
    stream::iter(rows).for_each_concurrent(AT_ONCE, async |row| visit(row).await).await;
}

fn is_handled(connection: &VaultConnection, request: &str) -> bool {
    let handled = connection.status.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref());
    is_current(connection) && handled == Some(request)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_can_make_check_print_a_credential() {
    let canaries = Canaries::new();
    let mut rows = rows(&canaries, &[Method::AppRole, Method::Token]).await;
    rows.push(named_as_secrets(&canaries).await);
    let mut manifests =
        vec![manifest("Secret", "credentials", &json!({"stringData": object(&canaries.data())}))];
    manifests
        .extend(rows.iter().map(|row| manifest("VaultConnection", &row.name, &json!({"spec": row.spec}))));
    for format in ["table", "yaml", "json"] {
        let output = check(&documents(&manifests), format);
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains("row-1"), "it prints them");
        canaries.assert_not_in(&format!("check -o {format}"), &said);
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_not_shown() {
    let canaries = Canaries::new();
    let value = &canaries.secret_id.value;
    let connection =
        manifest("VaultConnection", "mine", &json!({"spec": Method::Token.spec("https://v.example.com")}));
    let secret = |fields: &Value| manifest("Secret", "credentials", fields).to_string();
    let rows = [
        ("not YAML", format!("kind: Secret\nstringData: {{token: \"{value}\"\n")),
        ("a tab", format!("kind: Secret\nstringData:\n\ttoken: {value}\n")),
        (
            "an anchor that is missing",
            format!("kind: Secret\nstringData:\n  a: {value}\n  token: *{value}\n"),
        ),
        ("a key twice", format!("kind: Secret\nstringData:\n  {value}: a\n  {value}: {value}\n")),
        ("no base64", secret(&json!({"data": {"token": format!("{value}!")}}))),
        ("a text for all data", secret(&json!({"data": value}))),
        ("a text for all texts", secret(&json!({"stringData": value}))),
        ("a list", secret(&json!({"stringData": {"token": [value]}}))),
        ("a field of that name", secret(&json!({"stringDate": {"token": value}}))),
    ];
    for (name, text) in rows {
        let output = check(&format!("{connection}\n---\n{text}"), "table");
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", String::from_utf8_lossy(&said));
        canaries.assert_not_in(name, &said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_an_answer_that_makes_no_sense_is_not_shown() {
    let (cluster, canaries, fake) = (Cluster::new("spoiled").await, Canaries::new(), FakeVault::new().await);
    let fake = fake.that_knows(&canaries.secrets());
    cluster.secret("credentials", &canaries.data()).await;
    let in_base64 = json!(ByteString(canaries.secret_id.value.clone().into_bytes()));
    let tamper = Tamper::with(in_base64.as_str().expect("it is a text")).await;
    let operator = Operator::start_tracing(&cluster, &tamper.kubeconfig).await;
    cluster.connect("connection", &Method::AppRole.spec(&fake.url)).await;
    cluster.wait("connection", "Ready", PATIENCE, is_ready).await;
    let rows: [(&str, Spoil); 6] = [
        ("no JSON", (b"\"items\":[", b"\"items\":{")),
        ("another kind of data", (b"\"data\":{\"", b"\"data\":\"{")),
        ("no base64", (b"\"secretId\":\"", b"\"secretId\":!")),
        ("a character that base64 lacks", (b"\"secretId\":\"c2", b"\"secretId\":\"!2")),
        ("not UTF-8", (b"\"kind\":\"", b"\"\xff\xfe\xfd\xfc\":\"")),
        ("an error", (b"HTTP/1.1 200", b"HTTP/1.1 500")),
    ];
    for (name, spoil) in &rows {
        let before = tamper.spoiled();
        tamper.spoil(Some(*spoil));
        // A changed Secret is read anew; its values are the same.
        cluster.secret("credentials", &[&canaries.data()[..], &[("round", name)]].concat()).await;
        eventually(name, PATIENCE, async || (tamper.spoiled() > before).then_some(())).await;
        tamper.spoil(None);
        cluster.request_check("connection", &format!("after {name}")).await;
        cluster
            .wait("connection", "Ready again", PATIENCE, |seen| is_handled(seen, &format!("after {name}")))
            .await;
    }
    let (reads, last) = tamper.reads();
    assert!(reads > rows.len() && reads == last, "{reads} reads of a Secret, {last} end their connection");
    assert_nothing_shown(&cluster, operator, &canaries, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_into_a_secret_hides_nothing_of_another_connection() {
    let (cluster, fake) = (Cluster::new("hiding").await, FakeVault::new().await);
    let body = fake.health_body();
    let name = body["cluster_name"].as_str().expect("it has a name").to_owned();
    cluster.secret("mine", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
    cluster.secret("yours", &[("roleId", &name), ("secretId", "7d3b6a4e-0000-4000-8000-00000000ffff")]).await;
    let _operator = Operator::start(&cluster).await;
    cluster.connect("yours", &specs::app_role(&fake.url, MOUNT, "yours")).await;
    cluster.wait_reason("yours", Reason::InvalidCredentials).await;
    cluster.connect("mine", &specs::app_role(&fake.url, MOUNT, "mine")).await;
    let mine = cluster.wait("mine", "Ready", PATIENCE, is_ready).await;
    let server = mine.status.and_then(|status| status.server).expect("the server is told");
    assert_eq!((server.cluster_name, server.version.as_deref()), (Some(name), Some("2.7.2")));
}

fn manifest(kind: &str, name: &str, fields: &Value) -> Value {
    let api = if kind == "Secret" { "v1" } else { "appconnections.dev/v1alpha1" };
    let mut manifest = json!({
        "apiVersion": api, "kind": kind,
        "metadata": {"name": name, "labels": {"appconnections.dev/credentials": "true"}},
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        manifest[field] = value.clone();
    }
    manifest
}

fn object(data: &[(&str, &str)]) -> Value {
    data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
}

fn documents(manifests: &[Value]) -> String {
    manifests.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Runs `check` with nothing that could name a cluster.
fn check(input: &str, format: &str) -> std::process::Output {
    let mut command = bare_command(Path::new("no-such-kubeconfig"));
    command.env_remove("KUBECONFIG").args(["check", "-f", "-", "-o", format]);
    run_to_end(command.args(["--allow-address", "127.0.0.1", "--allow-plain-http"]), input)
}
