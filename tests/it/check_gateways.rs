//! `check` of a connection through a gateway, all from files.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use crate::support::{
    fakes::{
        gateway::FakeGateway,
        openbao::MOUNT,
        pki::Ca,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    operator::{bare_command, run_to_end},
    scene::HOST,
    specs::app_role,
};

/// Runs `check` on these documents, with nothing that could name a cluster.
fn check(manifests: &[&Value]) -> Output {
    let mut command = bare_command(Path::new("no-such-kubeconfig"));
    command.env_remove("KUBECONFIG").args([
        "check",
        "--allow-address",
        "127.0.0.1",
        "--allow-address",
        "*.private.example",
        "-f",
        "-",
        "-o",
        "json",
    ]);
    // JSON is YAML.
    let input = manifests.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n");
    run_to_end(&mut command, &input)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "team-a"}, "spec": spec,
    })
}

fn secret(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": name, "namespace": "team-a", "labels": {"appconnections.dev/credentials": "true"}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_from_files_goes_through_the_gateway_in_them_or_nowhere() {
    let (vault_ca, proxy_ca) = (Ca::new(), Ca::new());
    let vault = FakeVault::with_tls(vault_ca.serving_as(&[HOST]).config()).await;
    let proxy = FakeGateway::https(proxy_ca.serving()).await;
    proxy.resolve(HOST, vault.address);
    proxy.demand("team-a", "canary-password");
    let mut spec = app_role(&vault.url_at(HOST), MOUNT, "approle");
    spec["gatewayRef"] = json!({"name": "private"});
    spec["tls"] = json!({"caBundle": {"inline": vault_ca.pem}});
    let connection = object("VaultConnection", "mine", &spec);
    let endpoint = json!({
        "url": proxy.url(),
        "credentials": {"secretRef": {"name": "login"}},
        "tls": {"caBundle": {"inline": proxy_ca.pem}},
    });
    let gateway = object("VaultGateway", "private", &json!({"endpoints": [endpoint]}));
    let pair = secret("approle", &json!({"roleId": ROLE_ID, "secretId": SECRET_ID}));
    let login = secret("login", &json!({"username": "team-a", "password": "canary-password"}));

    let missing = check(&[&connection, &pair, &login]);
    assert_eq!(told(&missing), (Some(1), "GatewayNotFound".to_owned()));
    let no_login = check(&[&connection, &gateway, &pair]);
    assert_eq!(told(&no_login), (Some(1), "SecretNotFound".to_owned()));
    let mut elsewhere = gateway.clone();
    elsewhere["metadata"]["namespace"] = json!("team-b");
    let of_others = check(&[&connection, &elsewhere, &pair, &login]);
    assert_eq!(told(&of_others), (Some(1), "GatewayNotFound".to_owned()));
    assert_eq!((vault.connections(), proxy.connections()), (0, 0));

    let good = check(&[&connection, &gateway, &pair, &login]);
    assert_eq!(told(&good), (Some(0), "Connected".to_owned()));
    assert_eq!(proxy.targets().len(), vault.connections(), "nobody dialled directly");
    assert!(vault.connections() > 0);
    assert_eq!(vault.sessions(), 0, "its login is ended");
    let printed = [good.stdout, good.stderr].concat();
    assert!(!String::from_utf8_lossy(&printed).contains("canary"));
}

#[test]
fn a_gateway_that_makes_no_sense_is_bad_input() {
    let mut spec = app_role("https://vault.example.com", MOUNT, "approle");
    spec["gatewayRef"] = json!({"name": "private"});
    let connection = object("VaultConnection", "mine", &spec);
    let good = json!({"url": "http://proxy.example.com"});
    let typo = json!({"url": "http://other.example.com", "credential": {"secretRef": {"name": "login"}}});
    let rows = [
        ("a typo", json!({"endpoints": [good], "chek": {}}), "spec.chek"),
        ("a typo in the only field", json!({"endpoint": [good]}), "endpoints"),
        ("a typo in an endpoint", json!({"endpoints": [good, typo]}), "spec.endpoints.1.credential"),
        (
            "a typo in an address",
            json!({"endpoints": [{"uri": "http://proxy.example.com"}]}),
            "spec.endpoints[0].url is missing",
        ),
        ("no endpoint", json!({"endpoints": []}), "spec.endpoints"),
        ("another scheme", json!({"endpoints": [{"url": "ftp://proxy.example.com"}]}), "spec.endpoints"),
    ];
    for (name, spec, expected) in rows {
        let output = check(&[&connection, &object("VaultGateway", "private", &spec)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}

/// The exit status, and the reason of Ready.
fn told(output: &Output) -> (Option<i32>, String) {
    let printed: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let conditions = printed["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let reason = ready.and_then(|ready| ready["reason"].as_str()).unwrap_or_default();
    (output.status.code(), reason.to_owned())
}
