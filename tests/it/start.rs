//! An operator that cannot start says why in one line.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{
    bed::{self, unique},
    cluster::{kubeconfig_text, operator_kubeconfig},
    fakes::Fake,
    operator::{bare_command, free_address, run_to_end},
};

/// Runs the operator, which is to end by itself; returns its exit code and what it said.
fn outcome(kubeconfig: &Path, flags: &[&str]) -> (Option<i32>, String) {
    outcome_as("text", kubeconfig, flags)
}

fn outcome_as(format: &str, kubeconfig: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = bare_command(kubeconfig);
    // A kubeconfig in the home of whoever runs the tests is not meant.
    command.env("HOME", bed::folder("it/empty-home")).arg("run").args(["--log-format", format]).args(flags);
    let output = run_to_end(&mut command, "");
    (output.status.code(), String::from_utf8(output.stderr).expect("messages are UTF-8"))
}

fn assert_one_line(outcome: &(Option<i32>, String), expected: &str) {
    let (code, text) = outcome;
    assert_eq!(*code, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: failed to ") && text.contains(expected), "{text}");
}

/// A kubeconfig for an API server that is not one.
fn kubeconfig(server: &str) -> PathBuf {
    let file = bed::folder("it").join(unique("kubeconfig"));
    fs::write(&file, kubeconfig_text(&json!({"server": server}), "token")).expect("the bed can be written");
    file
}

/// What an API server answers that refuses.
fn refusal(code: u16, reason: &str) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server says no", "reason": reason, "code": code,
    })
    .to_string()
}

#[test]
fn without_a_cluster_it_does_not_start() {
    let nowhere = bed::folder("it").join("no-such-kubeconfig");
    let flags = ["--listen-address", &free_address()];
    assert_one_line(&outcome(&nowhere, &flags), "find a cluster: KUBECONFIG names ");
}

#[test]
fn whoever_reads_its_log_as_json_can_read_its_last_line() {
    let nowhere = bed::folder("it").join("no-such-kubeconfig");
    let (code, text) = outcome_as("json", &nowhere, &["--listen-address", &free_address()]);
    let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((code, &line["level"]), (Some(1), &json!("ERROR")));
    let error = line["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("failed to find a cluster"), "{text}");
}

#[test]
fn without_an_api_server_it_does_not_start() {
    let url = format!("https://{}", free_address());
    let flags = ["--listen-address", &free_address()];
    assert_one_line(&outcome(&kubeconfig(&url), &flags), &format!("list VaultConnections at {url}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_crd_it_does_not_start() {
    let body = refusal(404, "NotFound");
    let server = Fake::answering("404 Not Found", "content-type: application/json", &body).await;
    let flags = ["--listen-address", &free_address()];
    assert_one_line(&outcome(&kubeconfig(&server.url()), &flags), "install the CRD");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_it_does_not_start() {
    let body = refusal(403, "Forbidden");
    let server = Fake::answering("403 Forbidden", "content-type: application/json", &body).await;
    let flags = ["--listen-address", &free_address(), "--watch-namespace", "team-a"];
    assert_one_line(&outcome(&kubeconfig(&server.url()), &flags), "the server says no");
}

#[test]
fn with_its_address_taken_it_does_not_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let flags = ["--listen-address", &address, "--watch-namespace", "nobodys"];
    let outcome = outcome(&operator_kubeconfig(), &flags);
    assert_one_line(&outcome, &format!("listen on {address} (--listen-address)"));
}

#[test]
fn with_a_bad_address_policy_it_does_not_start() {
    let folder = bed::folder("it");
    let missing = folder.join(unique("no-such-policy")).display().to_string();
    let bad = folder.join(unique("policy"));
    fs::write(&bad, "rules:\n- allow: [https://vault.example.com]\n").expect("the bed can be written");
    let bad = bad.display().to_string();
    for (file, words) in [(&missing, "failed to read it"), (&bad, "write a host")] {
        let (address, flag) = (free_address(), ["--address-policy-file", file]);
        let flags = [&["--listen-address", &address, "--watch-namespace", "nobodys"][..], &flag].concat();
        let outcome = outcome(&operator_kubeconfig(), &flags);
        assert_one_line(&outcome, &format!("use the address policy in {file} (--address-policy-file)"));
        assert!(outcome.1.contains(words), "{}", outcome.1);
    }
}

#[test]
fn a_bad_flag_is_bad_input() {
    let rows: [(&[&str], &str); 6] = [
        (&["--allow-adress", "127.0.0.1"], "--allow-address"),
        (&["--allow-address", "https://vault.example.com"], "--allow-address"),
        (&["--allow-address", "Team A=10.0.0.7"], "write a namespace or a pattern"),
        (&["--address-policy-contact", "a\nb"], "write whom to ask"),
        (&["--concurrency", "0"], "--concurrency"),
        (&["--heartbeat", "soon"], "must be a duration, such as 30m"),
    ];
    for (flags, expected) in rows {
        let (code, text) = outcome(&kubeconfig("https://127.0.0.1:1"), flags);
        assert_eq!(code, Some(2), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
}
