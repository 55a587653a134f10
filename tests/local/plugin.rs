//! `kubectl vconn`, and how any command finds its cluster, against an API server that is a fake at the wire: what no real one
//! does on demand.

mod api;
mod completion;

use std::{
    fs,
    io::Read as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use axum::response::IntoResponse as _;
use serde_json::json;

use self::api::{Api, NAMESPACE, connection, failure, kubeconfig, list, written};
use crate::support::{
    check::text,
    fakes::{gateway::FakeGateway, pki::Ca},
    operator::run_to_end,
};

const BINARY: &str = env!("CARGO_BIN_EXE_vault-connection-operator");

/// What nobody may ever see.
const CANARY: &str = "canary-5d41";

/// A folder of this call's own.
fn unique_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("plugin-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("cargo's folder can be written");
    folder
}

/// The binary under the name of the plugin, with no environment.
fn plugin(arguments: &[&str]) -> Command {
    let link = unique_folder().join("kubectl-vconn");
    symlink(BINARY, &link).expect("the folder can be written");
    let mut command = Command::new(link);
    command.env_clear().env("HOME", "/nonexistent").args(arguments);
    command
}

/// Runs the plugin with a kubeconfig: its exit code, and all that it said.
fn said(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run_to_end(plugin(arguments).arg("--kubeconfig").arg(kubeconfig), "");
    (output.status.code(), all(&output))
}

fn all(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// One that has a connection and no gateway.
async fn api() -> Api {
    Api::that_answers(|path, _| match path {
        "/apis/appconnections.dev/v1alpha1/vaultconnections"
        | "/apis/appconnections.dev/v1alpha1/namespaces/team-a/vaultconnections" => {
            Some(list("VaultConnection", &[connection("orders")]))
        }
        "/apis/appconnections.dev/v1alpha1/vaultgateways"
        | "/apis/appconnections.dev/v1alpha1/namespaces/team-a/vaultgateways" => {
            Some(list("VaultGateway", &[]))
        }
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_holds_the_logs_and_nothing_that_looks_like_a_credential() {
    let log = [
        r#"{"level":"WARN","message":"failed","object":"team-a/orders","reason":"Sealed"}"#,
        r#"{"token":"canary-5d41","detail":"kept-1"}"#,
        "s.canary5d41canary5d41canar kept-2",
        "hvs.CAESIcanary-5d41canary-5d41 kept-3",
        "eyJhbGciOiJSUzI1NiJ9.canary-5d41.canary-5d41 kept-4",
        "Authorization: Bearer canary-5d41",
        "https://user:canary-5d41@proxy.example.com:3128 kept-5",
        "5d41ca4a-0000-4000-8000-00000000b002 kept-6",
    ];
    let api = Api::that_answers(move |path, query| {
        let operator = json!({
            "metadata": {
                "name": "operator-1", "namespace": "system",
                "annotations": {"x/last-applied-configuration": CANARY, "vault.example.com/token": format!("token={CANARY}")},
            },
            "spec": {"containers": [{
                "name": "operator", "image": "registry.example.com/operator:1",
                "env": [{"name": "HTTPS_PROXY", "value": CANARY}], "args": ["run", format!("--password={CANARY}")],
            }]},
        });
        Some(match path {
            "/apis/appconnections.dev/v1alpha1/vaultconnections" => {
                let mut described = connection("orders");
                described["spec"]["description"] = format!("password={CANARY}").into();
                list("VaultConnection", &[described])
            }
            "/apis/appconnections.dev/v1alpha1/vaultgateways" => list("VaultGateway", &[]),
            "/apis/events.k8s.io/v1/events" => {
                let note = format!("see http://me:{CANARY}@vault.example.com");
                list("Event", &[json!({"metadata": {"name": "e", "namespace": NAMESPACE}, "note": note})])
            }
            "/apis/apps/v1/deployments" => list("Deployment", &[operator]),
            "/apis/coordination.k8s.io/v1/namespaces/system/leases" => list("Lease", &[]),
            "/api/v1/namespaces/system/pods" => list("Pod", &[operator]),
            "/api/v1/namespaces/system/pods/operator-1/log" if query.contains("previous=true") => {
                failure(400, "previous terminated container not found")
            }
            "/api/v1/namespaces/system/pods/operator-1/log" => {
                assert!(query.contains("container=operator") && query.contains("tailLines="), "{query}");
                log.join("\n").into_response()
            }
            _ => return None,
        })
    })
    .await;
    let file = unique_folder().join("bundle.tar.gz");
    let (code, told) = said(&api.kubeconfig(), &["bundle", "--file", file.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{told}");
    api.was_asked_nothing_else();
    let content = run_to_end(Command::new("tar").arg("-xzOf").arg(&file), "");
    let content = text(&content.stdout).to_lowercase();
    let names = run_to_end(Command::new("tar").arg("-tzf").arg(&file), "");
    assert!(text(&names.stdout).contains("operator/system/operator-1.log\n"), "{}", text(&names.stdout));
    for kept in
        ["kept-1", "kept-2", "kept-3", "kept-4", "kept-5", "kept-6", "\"reason\":\"sealed\"", "https_proxy"]
    {
        assert!(content.contains(kept), "{kept}: {content}");
    }
    for hidden in [CANARY, "canary", "5d41ca4a"] {
        assert!(!content.contains(hidden), "{hidden}: {content}");
    }
}

/// Kubeconfigs that cannot be used: what is wrong, the file, and what is said of it.
fn unusable() -> Vec<(&'static str, PathBuf, &'static str)> {
    let server = json!({"server": "http://127.0.0.1:9"});
    let token = json!({"token": CANARY});
    let exec = |arguments: &[&str]| {
        json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": arguments,
            "interactiveMode": "Never",
        }})
    };
    let good = fs::read_to_string(kubeconfig(&server, &token)).expect("it was written");
    let prints = format!("echo {CANARY}; exit 3");
    let prints_text = format!("echo '{{token: [{CANARY}'");
    vec![
        ("no YAML", written(&good.replace("\"users\":", "}\"users\":")), "failed to parse the kubeconfig"),
        (
            "a field of another type",
            written(&good.replace(&format!("\"{CANARY}\""), &format!("[\"{CANARY}\"]"))),
            "line 1, column",
        ),
        (
            "no file",
            PathBuf::from("/nonexistent/config"),
            "failed to read the kubeconfig /nonexistent/config: No such file",
        ),
        (
            "no context",
            written(&good.replace("\"current-context\":\"here\"", "\"current-context\":\"\"")),
            "kubectl config use-context",
        ),
        (
            "no such context",
            written(&good.replace("\"current-context\":\"here\"", "\"current-context\":\"prod\"")),
            "context \"prod\" in the kubeconfig, which has \"here\"",
        ),
        ("no server", kubeconfig(&json!({"server": "127.0.0.1"}), &token), "has no valid server"),
        (
            "no CA",
            kubeconfig(
                &json!({"server": "https://127.0.0.1:9", "certificate-authority-data": format!("!{CANARY}")}),
                &token,
            ),
            "certificate-authority-data is not base64",
        ),
        (
            "no PEM",
            kubeconfig(
                &json!({"server": "https://127.0.0.1:9", "certificate-authority-data": "YWJj"}),
                &token,
            ),
            "not PEM certificates",
        ),
        (
            "a plugin that fails",
            kubeconfig(&server, &exec(&["-c", &prints])),
            "the credential plugin failed (exit status: 3)",
        ),
        (
            "a plugin that prints nonsense",
            kubeconfig(&server, &exec(&["-c", &prints_text])),
            "did not print an ExecCredential",
        ),
        (
            "a plugin that is missing",
            kubeconfig(
                &server,
                &json!({"exec": {"command": "no-such-plugin", "args": [CANARY], "installHint": "install\nit"}}),
            ),
            "failed to run the credential plugin \"no-such-plugin\", which the kubeconfig needs (install it): No such file",
        ),
        (
            "a provider of old",
            kubeconfig(
                &server,
                &json!({"auth-provider": {"name": "azure", "config": {"access-token": CANARY}}}),
            ),
            "azure",
        ),
        (
            "a proxy of another kind",
            kubeconfig(
                &json!({"server": "http://127.0.0.1:9", "proxy-url": format!("ftp://me:{CANARY}@proxy")}),
                &token,
            ),
            "failed to use the proxy in cluster \"bed\" of the kubeconfig (proxy-url): write http://",
        ),
        ("nobody there", kubeconfig(&server, &token), "cannot reach the API server 127.0.0.1:9: "),
    ]
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_explained_and_never_quoted() {
    for (name, path, expected) in unusable() {
        let (code, told) = said(&path, &["list"]);
        assert!(code == Some(2) && told.contains(expected), "{name}: {code:?} {told}");
        assert!(!told.contains(CANARY) && !told.contains("\\u{a}"), "{name}: {told}");
        assert_eq!(told.lines().count(), 1, "{name}: {told}");
        if name == "nobody there" {
            continue;
        }
        let mut run = Command::new(BINARY);
        let run = run.env_clear().env("KUBECONFIG", &path).args(["run", "--listen-address", "127.0.0.1:0"]);
        let output = run_to_end(run, "");
        assert!(
            output.status.code() == Some(1) && !all(&output).contains(CANARY),
            "{name}: {}",
            all(&output)
        );
    }
    let path = kubeconfig(&json!({"server": "http://127.0.0.1:9"}), &json!({"token": CANARY}));
    let (_, told) = said(&path, &["list", "--user", "other"]);
    assert!(told.contains("failed to find user \"other\" in the kubeconfig, which has \"me\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_reached_through_the_proxy_that_is_configured() {
    let api = api().await;
    let name = "api.example.com";
    let server = format!("http://{name}:{}", api.address.port());
    for (gateway, scheme) in [(FakeGateway::http().await, "http"), (FakeGateway::socks5().await, "socks5h")] {
        gateway.resolve(name, api.address);
        let url = format!("{scheme}://{}", gateway.address);
        let path = kubeconfig(&json!({"server": server, "proxy-url": url}), &json!({"token": "t"}));
        let (code, told) = said(&path, &["list"]);
        assert!(code == Some(0) && told.contains("orders"), "{scheme}: {told}");
        let path = kubeconfig(&json!({"server": server}), &json!({"token": "t"}));
        let list = |variables: &[(&str, &str)]| {
            let mut command = plugin(&["list", "--kubeconfig"]);
            all(&run_to_end(command.arg(&path).envs(variables.iter().copied()), ""))
        };
        assert!(list(&[("HTTP_PROXY", &url)]).contains("orders"));
        let told = list(&[("HTTP_PROXY", &url), ("NO_PROXY", "a,,example.com")]);
        assert!(told.contains(&format!("cannot reach the API server {name}:")), "{told}");
        // It is not for what is on this machine.
        let path = api.kubeconfig();
        let mut command = plugin(&["list", "--kubeconfig"]);
        let told = all(&run_to_end(command.arg(&path).env("HTTP_PROXY", "http://127.0.0.1:9"), ""));
        assert!(told.contains("orders"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_behind_tls_is_verified_with_the_authorities_of_the_cluster_as_kubectl_does() {
    let (api, ca, password) = (api().await, Ca::new(), "canary-5d41");
    let gateway = FakeGateway::https(ca.serving()).await;
    gateway.resolve("api.example.com", api.address);
    gateway.demand("me", password);
    let url = format!("https://me:{password}@{}", gateway.address);
    let listed = |authorities: &str| {
        let server = format!("http://api.example.com:{}", api.address.port());
        let authorities = written(authorities);
        let cluster = json!({"server": server, "proxy-url": url, "certificate-authority": authorities});
        said(&kubeconfig(&cluster, &json!({"token": "t"})), &["list"])
    };
    let (code, told) = listed(&ca.pem);
    assert!(code == Some(0) && told.contains("orders"), "{told}");
    assert_eq!(gateway.targets().len(), gateway.connections(), "each went on to the API server");
    let before = gateway.targets().len();
    let (code, told) = listed(&Ca::new().pem);
    assert!(code == Some(2) && told.contains("certificate") && !told.contains(password), "{told}");
    assert_eq!(gateway.targets().len(), before, "nothing is sent to a proxy that is not verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_reported_with_what_to_do() {
    let refusing = |code: u16, message: &'static str| async move {
        Api::that_answers(move |_, _| Some(failure(code, message))).await.kubeconfig()
    };
    let (_, told) = said(&refusing(401, "Unauthorized").await, &["list"]);
    assert!(told.contains("rejected your credentials; log in to the cluster again"), "{told}");
    for words in ["the server could not find the requested resource", "404 page not found"] {
        let missing = refusing(404, words).await;
        for command in [&["list"][..], &["status", "a"], &["refresh", "a"], &["suspend", "a"], &["watch"]] {
            let (_, told) = said(&missing, command);
            assert!(told.contains("the CRD of VaultConnection is not installed"), "{command:?}: {told}");
        }
    }
    let (_, told) = said(&refusing(403, "you shall not pass").await, &["list", "-A"]);
    assert!(told.contains("failed to list VaultConnections: you shall not pass"), "{told}");

    let api = Api::that_answers(|path, _| match path.rsplit_once('/')? {
        (plural, "edge") if plural.ends_with("vaultgateways") => {
            Some(json!({"metadata": {"name": "edge", "namespace": NAMESPACE}}).to_string().into_response())
        }
        (plural, name) => {
            let plural = plural.rsplit('/').next()?;
            Some(failure(404, &format!("{plural}.appconnections.dev {name:?} not found")))
        }
    })
    .await;
    let table = [
        ("edge", "there is a VaultGateway of this name: write gateway/edge"),
        ("orders", "does not exist in namespace \"team-a\"; -n selects another namespace"),
        ("5m", "--wait=5m"),
    ];
    for (name, hint) in table {
        let (code, told) = said(&api.kubeconfig(), &["status", name]);
        assert!(code == Some(2) && told.contains(hint), "{name}: {told}");
    }
    let (code, told) = said(&api.kubeconfig(), &["refresh", "edge", "--wait", "5m"]);
    assert!(
        code == Some(2) && told.contains("--wait=5m") && told.lines().count() == 1,
        "nothing was asked for: {told}"
    );
}

/// The writing end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_nobody_reads_is_no_failure_of_the_program() {
    let manifest = json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection", "metadata": {"name": "a"},
        "spec": {"instanceUrl": "https://vault.example.com", "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}}},
    });
    let file = written(&manifest.to_string());
    let path = api().await.kubeconfig();
    let file = file.to_str().expect("UTF-8");
    let run = |arguments: &[&str], stdout: Stdio, stderr: Stdio| {
        let mut command = plugin(arguments);
        let command = command.env("KUBECONFIG", &path).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().expect("it starts");
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).expect("text");
        }
        (child.wait().expect("it ends").code(), said)
    };
    for arguments in [&["list"][..], &["version"], &["check", "-f", file, "--no-state-file"]] {
        // As SIGPIPE ends others.
        assert_eq!(run(arguments, unread(), Stdio::piped()), (Some(141), String::new()), "{arguments:?}");
    }
    for (arguments, code) in [
        (&["status", "x/y"][..], 2),
        (&["list", "--context", "x"], 2),
        (&["check", "-f", "no-such-file", "--no-state-file"], 2),
    ] {
        assert_eq!(run(arguments, Stdio::null(), unread()).0, Some(code), "{arguments:?}");
    }
    let mut operator = Command::new(BINARY);
    operator.env_clear().env("KUBECONFIG", "/nonexistent").args(["run", "--listen-address", "127.0.0.1:0"]);
    let status =
        operator.stdin(Stdio::null()).stdout(Stdio::null()).stderr(unread()).status().expect("it ends");
    assert_eq!(status.code(), Some(1), "a log that nobody reads does not end the operator otherwise");
}
