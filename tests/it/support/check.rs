//! `check`, run on manifests, with nothing that could name a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};

use super::{
    bed::{self, unique},
    operator::{bare_command, run_to_end},
};

/// Runs `check`. It remembers nothing between runs.
pub fn check(arguments: &[&str], input: &str) -> Output {
    check_with(&[], &[&["--no-state-file"], arguments].concat(), input)
}

/// The same, with variables in its environment, and it remembers what they let it.
pub fn check_with(variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let mut command = bare_command(Path::new("no-such-kubeconfig"));
    command.envs(variables.iter().copied());
    command.env_remove("KUBECONFIG").arg("check").args([
        "--allow-address",
        "127.0.0.1",
        "--allow-plain-http",
    ]);
    run_to_end(command.args(arguments), input)
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

pub fn connection(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": name, "namespace": "team-a"}, "spec": spec,
    })
}

pub fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": name, "namespace": "team-a", "labels": {"appconnections.dev/credentials": "true"}},
    })
}

/// Several documents in one text; JSON is YAML.
pub fn documents(manifests: &[Value]) -> String {
    manifests.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// A new folder of this test's own.
pub fn folder() -> PathBuf {
    let folder = bed::folder("it").join(unique("check"));
    fs::create_dir(&folder).expect("the bed's folder can be written");
    folder
}

/// The reason of Ready of each connection that was printed as JSON.
pub fn reasons(output: &Output) -> Vec<String> {
    let printed: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let objects = printed["items"].as_array().cloned().unwrap_or_else(|| vec![printed]);
    let reason = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        ready.and_then(|ready| ready["reason"].as_str()).unwrap_or_default().to_owned()
    };
    objects.iter().map(reason).collect()
}
