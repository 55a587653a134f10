//! The cluster, as its administrator sees it: the chart is in it, and each test has a namespace.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use vault_connection_operator::api::{
    CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE, REQUESTED_AT, condition::Reason, connection::VaultConnection,
};

use super::{
    bed::{self, program, run, unique, variable},
    verdict::{is_current, ready},
    wait::PATIENCE,
};

/// The chart's release, its ServiceAccount, its Deployment and its Lease.
pub const RELEASE: &str = "vault-connection-operator";

/// Where the chart is installed.
pub const RELEASE_NAMESPACE: &str = "vault-connection-operator-system";

/// Who writes what a user would write.
const USER: &str = "user";

/// The cluster, and a namespace in it for one test.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

// === impl Cluster ===

impl Cluster {
    /// A new namespace in the cluster. It stays: nothing in a bed would finish its deletion.
    pub async fn new(prefix: &str) -> Self {
        operator_kubeconfig();
        let kubeconfig =
            Kubeconfig::read_from(variable("KUBECONFIG")).expect("the bed's kubeconfig can be read");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("the bed's kubeconfig names a cluster");
        // A proxy of the environment is not for loopback.
        config.proxy_url = None;
        let client = Client::try_from(config).expect("the cluster's configuration can be used");
        let namespace = unique(prefix);
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..<_>::default() },
            ..<_>::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.expect("a namespace is created");
        Self { client, namespace }
    }

    pub fn connections(&self) -> Api<VaultConnection> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a connection.
    pub async fn connect(&self, name: &str, spec: &Value) -> VaultConnection {
        let manifest = json!({
            "apiVersion": "appconnections.dev/v1alpha1",
            "kind": "VaultConnection",
            "metadata": { "name": name },
            "spec": spec,
        });
        let (connections, params) = (self.connections(), PatchParams::apply(USER).force());
        let applied = connections.patch(name, &params, &Patch::Apply(manifest)).await;
        applied.unwrap_or_else(|error| panic!("{name} is not accepted: {error}"))
    }

    /// Changes a connection by a merge patch.
    pub async fn change(&self, name: &str, patch: &Value) {
        let connections = self.connections();
        let changed = connections.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        changed.unwrap_or_else(|error| panic!("{name} cannot be changed: {error}"));
    }

    /// Asks for a check by the annotation.
    pub async fn request_check(&self, name: &str, value: &str) {
        self.change(name, &json!({"metadata": {"annotations": {REQUESTED_AT: value}}})).await;
    }

    pub async fn delete(&self, name: &str) {
        self.connections().delete(name, &DeleteParams::default()).await.expect("it is deleted");
    }

    /// Applies a Secret that connections may use.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: Vec<_> = data.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        self.raw_secret(name, &data, true).await;
    }

    /// Applies a Secret of any bytes, with or without the label.
    pub async fn raw_secret(&self, name: &str, data: &[(&str, &[u8])], labelled: bool) {
        let label = (CREDENTIALS_LABEL.to_owned(), CREDENTIALS_LABEL_VALUE.to_owned());
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: labelled.then(|| BTreeMap::from([label])),
                ..<_>::default()
            },
            data: Some(data.collect()),
            ..<_>::default()
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let applied = secrets.patch(name, &PatchParams::apply(USER).force(), &Patch::Apply(secret)).await;
        // The error of a refused Secret could show the Secret.
        assert!(applied.is_ok(), "Secret {name} is not accepted");
    }

    /// Waits until a connection looks as wanted.
    pub async fn wait(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(&VaultConnection) -> bool,
    ) -> VaultConnection {
        let wanted = |connection: Option<&VaultConnection>| connection.is_some_and(&wanted);
        match tokio::time::timeout(within, await_condition(self.connections(), name, wanted)).await {
            Ok(Ok(Some(connection))) => connection,
            Ok(outcome) => panic!("the watch of {name} failed: {outcome:?}"),
            Err(_) => {
                let found = self.connections().get_opt(name).await.expect("the API server answers");
                let status = found.map(|found| json!(found.status));
                panic!("{name} is not {what} within {within:?}; its status: {:#}", json!(status));
            }
        }
    }

    /// Waits until the status of a connection is about its spec and gives this reason.
    pub async fn wait_reason(&self, name: &str, reason: Reason) -> VaultConnection {
        self.wait(name, reason.as_str(), PATIENCE, |connection| {
            is_current(connection) && ready(connection).is_some_and(|ready| ready.reason == reason.as_str())
        })
        .await
    }
}

/// The user that the operator is.
pub fn operator_user() -> String {
    format!("system:serviceaccount:{RELEASE_NAMESPACE}:{RELEASE}")
}

/// A kubeconfig with a token of the chart's ServiceAccount. The chart is installed once in each process.
pub fn operator_kubeconfig() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(install).clone()
}

fn install() -> PathBuf {
    let folder = bed::folder("it");
    let chart = folder.join(unique("chart.json"));
    fs::write(&chart, rendered_chart()).expect("the bed's folder can be written");
    // There is no node to run a Deployment on: the operator of each test is a process.
    run(kubectl()
        .args(["apply", "--server-side", "--namespace", RELEASE_NAMESPACE, "--filename"])
        .arg(&chart));
    run(kubectl()
        .args(["wait", "--for=condition=Established", "--timeout=20s"])
        .arg("crd/vaultconnections.appconnections.dev"));
    let token =
        run(kubectl().args(["create", "token", RELEASE, "--duration=24h", "--namespace", RELEASE_NAMESPACE]));
    let kubeconfig = folder.join(unique("operator.kubeconfig"));
    let text = kubeconfig_text(
        &json!({"server": variable("BED_APISERVER"), "certificate-authority": variable("BED_APISERVER_CA")}),
        token.trim(),
    );
    fs::write(&kubeconfig, text).expect("the bed's folder can be written");
    kubeconfig
}

/// A kubeconfig in JSON, which is YAML.
pub fn kubeconfig_text(cluster: &Value, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "operator", "namespace": RELEASE_NAMESPACE}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "operator", "user": {"token": token}}],
    })
    .to_string()
}

/// What the chart holds but its Deployment, and its namespace before it.
fn rendered_chart() -> String {
    let chart = bed::package().join("charts/vault-connection-operator");
    let yaml = run(program("helm4").args(["template", RELEASE]).arg(chart).args([
        "--namespace",
        RELEASE_NAMESPACE,
        "--skip-tests",
    ]));
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("helm prints YAML");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE_NAMESPACE}});
    let kept = rendered.into_iter().filter(|object| object["kind"] != "Deployment" && !object.is_null());
    let items: Vec<_> = std::iter::once(namespace).chain(kept).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn kubectl() -> Command {
    program("kubectl")
}
