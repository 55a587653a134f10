//! Other ways for an operator into a cluster: by a proxy, with fewer rights, or into another cluster.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    bed::{self, hack_bed, program, run, unique, variable},
    cluster::{kubeconfig_text, operator_kubeconfig},
    proxy::Proxy,
    throttle::Throttle,
};

/// A bed of a test's own, whose cluster nobody else uses.
pub struct OtherBed {
    folder: PathBuf,
    variables: HashMap<String, String>,
}

/// The operator's kubeconfig, by way of a proxy to the API server.
pub fn kubeconfig_through(proxy: &Proxy) -> PathBuf {
    let text = fs::read_to_string(operator_kubeconfig()).expect("the operator's kubeconfig can be read");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", proxy.address));
    write(&config.to_string())
}

/// The operator's kubeconfig, by way of a door that may refuse writes.
pub fn kubeconfig_through_throttle(door: &Throttle) -> PathBuf {
    let text = fs::read_to_string(operator_kubeconfig()).expect("the operator's kubeconfig can be read");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["clusters"][0]["cluster"] =
        json!({"server": format!("https://{}", door.address), "certificate-authority": door.ca});
    write(&config.to_string())
}

/// A kubeconfig that names a file with a token, as that of a pod's ServiceAccount is one.
pub fn kubeconfig_by_token_file(token: &Path) -> PathBuf {
    let cluster =
        json!({"server": variable("BED_APISERVER"), "certificate-authority": variable("BED_APISERVER_CA")});
    let mut config: Value = serde_json::from_str(&kubeconfig_text(&cluster, "")).expect("it is JSON");
    config["users"][0]["user"] = json!({"tokenFile": token});
    write(&config.to_string())
}

/// A kubeconfig of a new `ServiceAccount`, for which `grants` names roles. `admin` is who makes it.
pub fn kubeconfig_with(admin: &Path, namespace: &str, cluster: &Value, grants: &[Value]) -> PathBuf {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "operator", "namespace": namespace},
    });
    apply(admin, &[&[account], grants].concat());
    let token = run(program("kubectl").arg("--kubeconfig").arg(admin).args([
        "create",
        "token",
        "operator",
        "--namespace",
        namespace,
    ]));
    write(&kubeconfig_text(cluster, token.trim()))
}

/// A role with these rules, and its binding to the account of [`kubeconfig_with`] in `account_namespace`. Without a
/// namespace of its own it holds for the whole cluster.
pub fn grant(name: &str, namespace: Option<&str>, rules: &Value, account_namespace: &str) -> [Value; 2] {
    let prefix = if namespace.is_some() { "" } else { "Cluster" };
    let (role, binding) = (format!("{prefix}Role"), format!("{prefix}RoleBinding"));
    let metadata = json!({"name": name, "namespace": namespace});
    let api = "rbac.authorization.k8s.io/v1";
    [
        json!({"apiVersion": api, "kind": role, "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": api, "kind": binding, "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": account_namespace}],
        }),
    ]
}

/// Applies objects of any kind.
pub fn apply(admin: &Path, objects: &[Value]) {
    let file = write(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    run(program("kubectl")
        .arg("--kubeconfig")
        .arg(admin)
        .args(["apply", "--server-side", "--filename"])
        .arg(file));
}

/// A file of the bed with this text.
pub fn write(text: &str) -> PathBuf {
    let file = bed::folder("it").join(unique("access"));
    fs::write(&file, text).expect("the bed's folder can be written");
    file
}

// === impl OtherBed ===

impl OtherBed {
    /// Starts it inside the bed that is there, so that it ends with that at the latest.
    pub fn up(prefix: &str) -> Self {
        let folder = bed::folder("it").join(unique(prefix));
        hack_bed(&["up", folder.to_str().expect("the bed's folder has a name in UTF-8")]);
        let text = fs::read_to_string(folder.join("env")).expect("hack/bed wrote an env file");
        let pair = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self { folder, variables: text.lines().filter_map(pair).collect() }
    }

    /// A variable that it sets.
    pub fn variable(&self, name: &str) -> &str {
        &self.variables[name]
    }
}

impl Drop for OtherBed {
    fn drop(&mut self) {
        hack_bed(&["down", self.folder.to_str().expect("the bed's folder has a name in UTF-8")]);
    }
}
