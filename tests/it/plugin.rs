//! `kubectl vconn`: the binary under the name of the plugin, with the rights that the chart's roles give to users.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    access::{apply, grant, kubeconfig_with},
    bed::{self, program, unique, variable},
    check::text,
    cluster::{Cluster, RELEASE},
    operator::{Operator, run_to_end},
    specs,
    vault::Vault,
    verdict::is_ready,
    wait::PATIENCE,
};

/// What no Vault accepts, and nobody may see.
const WRONG: &str = "no-such-token";

/// A user with one of the chart's roles in the namespace of a test.
struct User {
    plugin: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

// === impl User ===

impl User {
    fn with(role: &str, cluster: &Cluster) -> Self {
        let namespace = cluster.namespace.clone();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "user", "namespace": namespace},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{RELEASE}-{role}"),
            },
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
        });
        let server = json!({
            "server": variable("BED_APISERVER"), "certificate-authority": variable("BED_APISERVER_CA"),
        });
        let kubeconfig = kubeconfig_with(Path::new(&variable("KUBECONFIG")), &namespace, &server, &[binding]);
        Self { plugin: linked("kubectl-vconn"), kubeconfig, namespace }
    }

    /// Runs a command in the namespace of the test: its exit code, and all that it said.
    fn said(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(&[&["-n", &self.namespace], arguments].concat());
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!all.contains(WRONG) && !all.contains('\u{1b}'), "{arguments:?}: {all}");
        (output.status.code(), all)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.plugin);
        let command = command.env_clear().env("HOME", "/nonexistent").args(arguments);
        run_to_end(command.arg("--kubeconfig").arg(&self.kubeconfig), "")
    }
}

/// The binary under another name.
fn linked(name: &str) -> PathBuf {
    let path = bed::folder(&unique("plugin")).join(name);
    symlink(env!("CARGO_BIN_EXE_vault-connection-operator"), &path).expect("the bed's folder can be written");
    path
}

/// A cluster with a connection that works and one that does not, a gateway, and their operator.
async fn scene() -> (Cluster, Operator) {
    let (cluster, vault) = (Cluster::new("plugin").await, Vault::shared());
    let token = vault.issue_token(&json!({"policies": ["default"], "ttl": "1h"})).await;
    cluster.secret("good", &[("token", &token)]).await;
    cluster.secret("bad", &[("token", WRONG)]).await;
    let operator = Operator::start(&cluster).await;
    for name in ["good", "bad"] {
        cluster.connect(name, &specs::token(&vault.address, name)).await;
    }
    let gateway = json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
        "metadata": {"name": "way", "namespace": cluster.namespace},
        "spec": {"endpoints": [{"url": "http://127.0.0.1:9"}]},
    });
    apply(Path::new(&variable("KUBECONFIG")), &[gateway]);
    cluster.wait("good", "Ready", PATIENCE, is_ready).await;
    cluster.wait_reason("bad", Reason::TokenRejected).await;
    (cluster, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_everything_and_changes_nothing() {
    let (cluster, _operator) = scene().await;
    let viewer = User::with("view", &cluster);
    let ok = Some(0);
    let (code, list) = viewer.said(&["list"]);
    assert_eq!(code, ok, "{list}");
    let names: Vec<_> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names.last(), Some(&"good"), "the worst comes first:\n{list}");
    assert!(names.contains(&"bad") && names.contains(&"gateway/way"), "{list}");
    let (_, json) = viewer.said(&["list", "-o", "json"]);
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!((&json["kind"], json["items"].as_array().map(Vec::len)), (&json!("List"), Some(3)));
    let (_, names) = viewer.said(&["list", "--not-ready", "-o", "name"]);
    assert!(
        names.contains("vaultconnection.appconnections.dev/bad\n") && !names.contains("/good"),
        "{names}"
    );

    let fallback = viewer.run(&["list"]);
    assert!(
        text(&fallback.stderr).contains("because you cannot list VaultConnections in all namespaces"),
        "{}",
        text(&fallback.stderr)
    );
    let everywhere = viewer.run(&["list", "-A"]);
    assert_eq!(everywhere.status.code(), Some(2));
    assert!(text(&everywhere.stderr).contains("forbidden"), "{}", text(&everywhere.stderr));

    let (code, status) = viewer.said(&["status", "bad"]);
    assert_eq!(code, Some(1), "{status}");
    assert!(
        status.contains(Reason::TokenRejected.meaning().trim()) && status.contains("  Fix: "),
        "{status}"
    );
    let (code, status) = viewer.said(&["status", "good", "-o", "yaml"]);
    assert!(code == ok && status.contains("state: Connected"), "{status}");
    let (code, status) = viewer.said(&["status", "gateway/way"]);
    assert!(code == Some(1) && status.contains("http://127.0.0.1:9"), "{status}");
    let (code, missing) = viewer.said(&["status", "nobody"]);
    assert!(code == Some(2) && missing.contains("VaultConnection \"nobody\" does not exist"), "{missing}");
    let (code, events) = viewer.said(&["events", "bad"]);
    assert!(code == ok && events.contains("TokenRejected"), "{events}");

    for command in [&["refresh", "good"][..], &["suspend", "good"], &["refresh", "--all"]] {
        let (code, refused) = viewer.said(command);
        assert!(code == Some(2) && refused.contains("cannot patch resource"), "{command:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_asks_for_checks_suspends_and_resumes() {
    let (cluster, _operator) = scene().await;
    // Whoever edits sees: in a cluster with Kubernetes' own roles, `edit` has both.
    let editor = User::with("edit", &cluster);
    let (code, refused) = editor.said(&["list"]);
    assert!(
        code == Some(2) && refused.contains("forbidden"),
        "the role of the chart adds to that of a viewer: {refused}"
    );
    let editor = {
        let admin = PathBuf::from(variable("KUBECONFIG"));
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "viewer", "namespace": cluster.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{RELEASE}-view")},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": cluster.namespace}],
        });
        apply(&admin, &[binding]);
        editor
    };
    let (ok, wait) = (Some(0), "--wait=20s");
    let (code, good) = editor.said(&["refresh", "good", wait]);
    assert!(code == ok && good.contains("Connected"), "{good}");
    let (code, bad) = editor.said(&["refresh", "bad", "gateway/way", wait]);
    assert!(code == Some(1) && bad.contains("TokenRejected") && bad.contains("0/1 healthy"), "{bad}");
    let (code, all) = editor.said(&["refresh", "--all", wait]);
    assert!(code == Some(1) && all.lines().count() == 3, "{all}");
    let (code, missing) = editor.said(&["refresh", "nobody", wait]);
    assert!(code == Some(2) && missing.contains("does not exist"), "{missing}");

    assert_eq!(editor.said(&["suspend", "good"]).1, "vaultconnection.appconnections.dev/good suspended\n");
    cluster.wait_reason("good", Reason::Suspended).await;
    assert!(editor.said(&["suspend", "good"]).1.contains("already suspended"));
    let (code, refresh) = editor.said(&["refresh", "good", wait]);
    assert!(code == Some(1) && refresh.contains("until it is resumed"), "{refresh}");
    assert_eq!(editor.said(&["resume", "good"]).0, ok);
    cluster.wait("good", "Ready", PATIENCE, is_ready).await;
    let (code, refused) = editor.said(&["suspend", "gateway/way"]);
    assert!(code == Some(2) && refused.contains("a VaultGateway cannot be suspended"), "{refused}");
    let (code, events) = editor.said(&["events", "good"]);
    assert!(code == ok && events.contains("Suspended"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_from_here_reads_what_its_user_may_read() {
    let (cluster, _operator) = scene().await;
    let viewer = User::with("view", &cluster);
    let open = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--no-state-file"];
    let (code, refused) = viewer.said(&[&["check", "good"][..], &open].concat());
    assert!(
        code == Some(1) && refused.contains("ReadForbidden") && refused.contains("with your permissions"),
        "{refused}"
    );
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]);
    apply(
        Path::new(&variable("KUBECONFIG")),
        &grant("secrets", Some(&cluster.namespace), &secrets, &cluster.namespace),
    );
    let (code, good) = viewer.said(&[&["check", "good"][..], &open].concat());
    assert!(code == Some(0) && good.contains("/good: Connected, "), "{good}");
    let (code, both) = viewer.said(&[&["check", "good", "bad", "-o", "github"][..], &open].concat());
    assert!(
        code == Some(1) && both.contains("::error title=") && both.contains("1 of 2 connections"),
        "{both}"
    );
    let (code, refused) = viewer.said(&["check", "good"]);
    assert!(
        code == Some(1) && refused.contains("NotAllowed"),
        "the address policy is for everybody: {refused}"
    );
    let (code, missing) = viewer.said(&[&["check", "nobody"][..], &open].concat());
    assert!(code == Some(2) && missing.contains("does not exist"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_holds_no_credential() {
    let (cluster, _operator) = scene().await;
    let operator = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "operator", "namespace": cluster.namespace,
            "labels": {"app.kubernetes.io/name": "vault-connection-operator"},
        },
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{
                    "name": "operator", "image": "x", "env": [{"name": "HTTPS_PROXY", "value": WRONG}],
                }]},
            },
        },
    });
    apply(Path::new(&variable("KUBECONFIG")), &[operator]);
    let folder = bed::folder(&unique("bundle"));
    let unpacked = |user: &User, name: &str, kubeconfig: &Path| {
        let file = folder.join(name);
        let mut command = Command::new(&user.plugin);
        command.env_clear().arg("--kubeconfig").arg(kubeconfig);
        command
            .args(["bundle", "-n", &user.namespace, "--operator-namespace", &user.namespace, "--file"])
            .arg(&file);
        let output = run_to_end(&mut command, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let content = run_to_end(Command::new("tar").arg("-xzOf").arg(&file), "");
        assert!(content.status.success(), "{}", text(&content.stderr));
        text(&content.stdout).to_owned()
    };
    let viewer = User::with("view", &cluster);
    let seen = unpacked(&viewer, "viewer.tar.gz", &viewer.kubeconfig);
    assert!(seen.contains("TokenRejected") && seen.contains("kind: Event"), "{seen}");
    assert!(seen.contains("Deployments of the operator: "), "what is missing is told: {seen}");
    let all = unpacked(&viewer, "admin.tar.gz", Path::new(&variable("KUBECONFIG")));
    assert!(all.contains("HTTPS_PROXY") && all.contains("REDACTED"), "{all}");
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let data = secrets.get("good").await.expect("it is there").data.unwrap_or_default();
    let token = String::from_utf8(data["token"].0.clone()).expect("it is text");
    for (name, content) in [("viewer", seen), ("admin", all)] {
        assert!(!content.contains(WRONG) && !content.contains(&token), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_plugin_and_completes_it() {
    let (cluster, operator) = scene().await;
    operator.stop();
    let folder = bed::folder(&unique("plugins"));
    for name in ["kubectl-vconn", "kubectl_complete-vconn"] {
        symlink(env!("CARGO_BIN_EXE_vault-connection-operator"), folder.join(name)).expect("it is linked");
    }
    let kubectl = fs::canonicalize(program("kubectl").get_program()).expect("the bed has it");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new(&kubectl);
        command.env("PATH", &path).env("KUBECONFIG", variable("KUBECONFIG")).args(arguments);
        let output = run_to_end(&mut command, "");
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    let listed = kubectl(&["vconn", "list", "-n", &cluster.namespace, "-o", "name"]);
    assert!(listed.contains("vaultconnection.appconnections.dev/bad"), "{listed}");
    let completed = kubectl(&["__complete", "vconn", "status", "-n", &cluster.namespace, ""]);
    for name in ["bad\n", "good\n", "gateway/way\n", ":4\n"] {
        assert!(completed.contains(name), "{name:?}: {completed}");
    }
    let completed = kubectl(&["__complete", "vconn", "ref"]);
    assert!(completed.starts_with("refresh\n"), "{completed}");
}

#[test]
fn what_needs_no_cluster_asks_none() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(linked("kubectl-vconn"));
        run_to_end(command.env_clear().args(arguments), "")
    };
    let version: Value = serde_json::from_slice(&run(&["version", "-o", "json"]).stdout).expect("it is JSON");
    assert_eq!(version["apiVersion"], "appconnections.dev/v1alpha1");
    assert!(text(&run(&["completion", "bash"]).stdout).contains("kubectl-vconn"));
    let folder = bed::folder(&unique("man"));
    assert!(run(&["man", folder.to_str().expect("UTF-8")]).status.success());
    let page = fs::read_to_string(folder.join("kubectl-vconn-status.1")).expect("it is written");
    assert!(page.contains("what it means"), "{page}");
    let no_cluster = run(&["list"]);
    assert!(
        no_cluster.status.code() == Some(2) && text(&no_cluster.stderr).contains("failed to find a cluster")
    );
    let bad = run(&["status", "team-a/orders"]);
    assert!(bad.status.code() == Some(2) && text(&bad.stderr).contains("write the namespace with -n"));
}
