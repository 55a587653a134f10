//! The table of manifests, as `check` reads them: it takes what the API server takes, and refuses what that refuses.

use std::{
    io::Write as _,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    support::{
        bed::signal,
        check::{connection, documents, secret, text},
        fakes::vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
        wait::{PATIENCE, eventually},
    },
    table,
};

/// Starts `check` with what it reads.
fn start(arguments: &[&str], input: &str) -> Child {
    let mut check = Command::new(env!("CARGO_BIN_EXE_vault-connection-operator"))
        .args(["check", "--no-state-file", "-f", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    check.stdin.take().expect("it has an input").write_all(input.as_bytes()).expect("it reads");
    check
}

/// Everything that `check` has against a manifest: one that it takes leads to a status, and to no request.
fn refusals(manifest: &Value) -> Vec<String> {
    let check = start(&["--allow-address", "192.0.2.1"], &manifest.to_string());
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

/// Whatever it waits for, the login that it has made does not outlive it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_check_and_its_login() {
    let vault = FakeVault::new().await;
    vault.misbehave(Ask::LookupSelf, Misdeed::Silence);
    let key = |key: &str| json!({"secretRef": {"name": "pair", "key": key}});
    let spec = json!({
        "instanceUrl": vault.url, "check": {"timeout": "60s", "interval": "2m"},
        "auth": {"appRole": {"roleId": key("roleId"), "secretId": key("secretId")}},
    });
    let manifests =
        documents(&[connection("a", &spec), secret("pair", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)])]);
    let check = start(&["--allow-address", "127.0.0.1", "--allow-plain-http"], &manifests);
    let asks = async || (vault.asked(Ask::LookupSelf) == 1).then_some(());
    eventually("it uses its login", PATIENCE, asks).await;
    signal(check.id(), "INT");
    let ended = spawn_blocking(move || check.wait_with_output()).await.expect("it does not panic");
    let Output { status, stdout, stderr } = ended.expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", text(&stderr));
    assert_eq!(text(&stderr).trim(), "error: interrupted before every connection was checked");
    assert!(stdout.is_empty(), "{}", text(&stdout));
    assert_eq!((vault.asked(Ask::RevokeSelf), vault.sessions()), (1, 0));
}
