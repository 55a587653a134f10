//! `check`: the same check without a cluster.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    check::{check, check_with, connection, documents, folder, secret, text},
    cluster::Cluster,
    fakes::Fake,
    operator::Operator,
    specs,
    vault::{AppRole, Vault},
    verdict::is_current,
    wait::PATIENCE,
};

async fn a_role(vault: &Vault) -> (AppRole, String) {
    let role = vault.app_role("check", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    (role, secret_id)
}

#[tokio::test]
async fn a_connection_that_works_is_printed_in_each_format_and_leaves_no_session() {
    let vault = Vault::shared();
    let (role, secret_id) = a_role(&vault).await;
    let folder = folder();
    let (connections, secrets) = (folder.join("connection.yaml"), folder.join("secret.yaml"));
    let spec = specs::app_role(&vault.address, &role.mount, "credentials");
    fs::write(&connections, documents(&[connection("mine", &spec)])).expect("a file is written");
    fs::write(&secrets, documents(&[secret("credentials", &specs::pair(&role, &secret_id))]))
        .expect("written");
    let files = [&connections, &secrets].map(|file| file.to_str().expect("a name in UTF-8"));

    for format in ["table", "yaml", "json"] {
        let output = check(&["-f", files[0], "-f", files[1], "-o", format], "");
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{format}: {printed}{}", text(&output.stderr));
        match format {
            "table" => assert!(printed.starts_with("team-a/mine: Connected, "), "{printed}"),
            "yaml" => assert_connected(&serde_saphyr::from_str(printed).expect("it prints YAML")),
            _ => assert_connected(&serde_json::from_str(printed).expect("it prints JSON")),
        }
        assert!(
            !printed.contains(&secret_id) && !printed.contains(&role.role_id),
            "no credential is printed"
        );
    }
    assert_eq!(vault.sessions(&role.mount).await, 0);
}

fn assert_connected(object: &Value) {
    assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!("VaultConnection"), &json!("mine")));
    assert_eq!(object["status"]["state"], "Connected", "{object:#}");
}

#[tokio::test]
async fn one_connection_of_several_that_is_not_ready_fails_the_check() {
    let vault = Vault::shared();
    let (role, secret_id) = a_role(&vault).await;
    let good = specs::app_role(&vault.address, &role.mount, "credentials");
    let bad = specs::app_role(&vault.address, &role.mount, "not-there");
    let credentials = secret("credentials", &specs::pair(&role, &secret_id));
    let input = documents(&[connection("good", &good), connection("bad", &bad), credentials]);
    let output = check(&["-f", "-", "-o", "json"], &input);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let list: Value = serde_json::from_str(text(&output.stdout)).expect("it prints JSON");
    let states: Vec<_> =
        list["items"].as_array().into_iter().flatten().map(|item| &item["status"]["state"]).collect();
    assert_eq!(states, ["Connected", "Misconfigured"], "{list:#}");
}

#[test]
fn bad_input_is_distinguished_from_a_bad_connection() {
    let spec = specs::token("https://vault.example.com", "token");
    let mut typo = spec.clone();
    typo["instanceURL"] = json!("https://vault.example.com");
    let mut no_method = spec.clone();
    no_method["auth"] = json!({});
    let mut no_url = spec.clone();
    no_url["instanceUrl"] = json!("vault.example.com");
    let one = |spec: &Value| documents(&[connection("mine", spec)]);
    let rows: [(&str, &[&str], String, &str); 7] = [
        ("no file named", &[], String::new(), "--filename"),
        ("no such file", &["-f", "no-such-file.yaml"], String::new(), "failed to read no-such-file.yaml"),
        ("no connection", &["-f", "-"], documents(&[secret("token", &[])]), "nothing to check"),
        ("not YAML", &["-f", "-"], "a: [b".to_owned(), "failed to parse standard input as YAML"),
        ("unknown field", &["-f", "-"], one(&typo), "spec.instanceURL"),
        ("no method", &["-f", "-"], one(&no_method), "\"mine\""),
        ("not a URL", &["-f", "-"], one(&no_url), "spec.instanceUrl"),
    ];
    for (name, arguments, input, expected) in rows {
        let output = check(arguments, &input);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn it_says_what_the_cluster_says() {
    let (cluster, vault) = (Cluster::new("check").await, Vault::shared());
    let (role, secret_id) = a_role(&vault).await;
    let other = vault.app_role("check-wrong", json!({})).await;
    let right = specs::pair(&role, &secret_id);
    let wrong = specs::pair(&other, "00000000-0000-0000-0000-000000000000");
    cluster.secret("right", &right).await;
    cluster.secret("wrong", &wrong).await;
    let mut denied = specs::app_role(&vault.address, &role.mount, "right");
    denied["require"] = json!({"capabilities": [{"path": "secret/data/other", "verbs": ["read"]}]});
    let rows = [
        ("connected", specs::app_role(&vault.address, &role.mount, "right")),
        ("denied", denied),
        ("missing", specs::app_role(&vault.address, &role.mount, "not-there")),
        ("rejected", specs::app_role(&vault.address, &other.mount, "wrong")),
    ];
    let mut manifests = vec![secret("right", &right), secret("wrong", &wrong)];
    manifests.extend(rows.iter().map(|(name, spec)| connection(name, spec)));
    let output = check(&["-f", "-", "-o", "yaml"], &documents(&manifests));
    let list: Value = serde_saphyr::from_str(text(&output.stdout)).expect("it prints YAML");

    let _operator = Operator::start(&cluster).await;
    for (index, (name, spec)) in rows.iter().enumerate() {
        cluster.connect(name, spec).await;
        let shown = cluster.wait(name, "judged", PATIENCE, is_current).await;
        let printed = &list["items"][index];
        assert_eq!(printed["metadata"]["name"], *name);
        assert_eq!(verdicts(&printed["status"]), verdicts(&json!(shown.status)), "{name}");
    }
}

/// What the conditions of a status say, without their times.
fn verdicts(status: &Value) -> Vec<[&Value; 4]> {
    let conditions = status["conditions"].as_array().expect("a status has conditions");
    let words = ["type", "status", "reason", "message"];
    let mut verdicts: Vec<_> =
        conditions.iter().map(|condition| words.map(|word| &condition[word])).collect();
    verdicts.sort_by_key(|verdict| verdict[0].as_str());
    verdicts
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_environment_reaches_a_login_or_its_way() {
    let (vault, elsewhere) = (Vault::shared(), Fake::silent().await);
    let token = vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await;
    let (url, other) = (elsewhere.url(), vault.issue_token(&json!({"policies": ["default"]})).await);
    let proxies = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let vaults = [
        ("VAULT_ADDR", url.as_str()),
        ("VAULT_AGENT_ADDR", url.as_str()),
        ("VAULT_NAMESPACE", "no-such-team"),
        ("VAULT_PROXY_ADDR", url.as_str()),
        ("VAULT_TOKEN", other.as_str()),
    ];
    let variables = [&proxies.map(|name| (name, url.as_str()))[..], &vaults].concat();
    let spec = specs::token(&vault.address, "token");
    let input = documents(&[connection("mine", &spec), secret("token", &[("token", &token)])]);
    let output = check_with(&variables, &["-f", "-", "-o", "json"], &input);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));

    let without = check_with(&variables, &["-f", "-"], &documents(&[connection("mine", &spec)]));
    let printed = text(&without.stdout);
    assert!(without.status.code() == Some(1) && printed.contains("SecretNotFound"), "{printed}");
    assert_eq!(elsewhere.connections(), 0);
}
