//! The table of manifests, as `check` reads them: it takes what the API server takes, and refuses what that refuses.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::table;

/// Everything that `check` has against a manifest: one that it takes leads to a status, and to no request.
fn refusals(manifest: &Value) -> Vec<String> {
    let mut check = Command::new(env!("CARGO_BIN_EXE_vault-connection-operator"))
        .args(["check", "--no-state-file", "--allow-address", "192.0.2.1", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = check.stdin.take().expect("it has an input");
    input.write_all(manifest.to_string().as_bytes()).expect("it reads");
    drop(input);
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stderr).expect("text");
    // The table has gateways alone, wrapped secret ids, which only the operator opens, and
    // ServiceAccounts, which need their cluster.
    let is_beside_the_point = |line: &&str| {
        line.contains("failed to find a VaultConnection in the files given")
            || line.contains("wrapping token")
            || line.contains("only the cluster can issue")
    };
    let errors = said.lines().filter(|line| line.starts_with("error:") && !is_beside_the_point(line));
    errors.map(str::to_owned).collect()
}

#[test]
fn check_accepts_and_refuses_what_the_schema_does() {
    for row in table::connections().into_iter().chain(table::gateways()) {
        let table::Row { name, created, updated, refused, only_schema, .. } = row;
        // A file has no history: what may not be changed is fine as it is.
        let refused = refused.is_some() && !(only_schema && updated.is_some());
        let found = refusals(&updated.unwrap_or(created));
        assert_eq!(!found.is_empty(), refused, "{name}: {found:?}");
    }
}

#[test]
fn what_kubectl_printed_can_be_checked() {
    let row = table::connections().into_iter().next().expect("the table has rows");
    let mut printed = row.created;
    printed["metadata"]["resourceVersion"] = json!("1");
    printed["metadata"]["managedFields"] =
        json!([{"manager": "kubectl", "operation": "Apply", "time": "2026-01-01T00:00:00Z"}]);
    printed["status"] = json!({"state": "OfAnotherVersion", "new": 1});
    assert_eq!(refusals(&printed), Vec::<String>::new());
}

#[test]
fn a_field_that_does_not_exist_is_named_by_its_path() {
    let row = table::connections().into_iter().next().expect("the table has rows");
    let mut manifest = row.created;
    manifest["spec"]["tls"] = json!({"caBundel": {}});
    manifest["spec"]["check"] = json!({"intervall": "1m"});
    manifest["spec"]["auth"]["appRole"]["secretID"] = json!("x");
    let said = refusals(&manifest).join("\n");
    for path in ["spec.tls.caBundel", "spec.check.intervall", "spec.auth.appRole.secretID"] {
        assert!(said.contains(path), "{path} is not in {said:?}");
    }
}
