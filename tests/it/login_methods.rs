//! Logins with certificates, passwords and bare roles: against the bed's OpenBao, and for LDAP, which OpenBao has only as an
//! external plugin, against a fake that answers as HashiCorp Vault does.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Mutex};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    bed::{unique, variable},
    fakes::{
        http::{Answer, Request},
        openbao,
        pki::Ca,
    },
    login::Stage,
    operator::Operator,
    vault::http,
    verdict::{assert_failed, is_ready, ready},
    wait::{PATIENCE, eventually},
};

#[tokio::test]
async fn a_client_certificate_logs_in_and_a_rotated_one_logs_in_anew() {
    let stage = Stage::new("cert-login").await;
    let mount = stage.mount("cert").await;
    let (ca, other) = (Ca::new(), Ca::new());
    let role = json!({
        "certificate": ca.pem, "allowed_common_names": ["web"], "token_policies": "vault-connection",
        "token_ttl": "1h",
    });
    stage.vault.write(&format!("auth/{mount}/certs/web"), &role).await;
    let certificates = [
        ("right", ca.client("web")),
        ("another-name", ca.client("db")),
        ("another-ca", other.client("web")),
        ("expired", ca.client_expired("web")),
    ];
    for (name, identity) in &certificates {
        stage.cluster.secret(name, &[("tls.crt", &identity.pem), ("tls.key", &identity.key_pem)]).await;
    }
    let trusted = std::fs::read_to_string(variable("BED_VAULT_CA")).expect("the bed's CA");
    let spec = |secret: &str, role: &str| {
        json!({
            "instanceUrl": stage.vault.tls_address, "auth": {"cert": {"mount": mount, "role": role}},
            "tls": {"caBundle": {"inline": trusted}, "clientCertificate": {"secretRef": {"name": secret}}},
        })
    };
    let _operator = Operator::start(&stage.cluster).await;
    stage.cluster.connect("right", &spec("right", "web")).await;
    let first = stage.cluster.wait("right", "Ready", PATIENCE, is_ready).await;
    let first = first.status.expect("a status");
    let rows = [
        ("another-name", "web", Reason::IdentityNotAuthorized, "allowed_common_names"),
        ("another-ca", "web", Reason::InvalidCredentials, "CA"),
        ("expired", "web", Reason::ClientCertificateExpired, "Renew"),
    ];
    for (name, role, ..) in rows {
        stage.cluster.connect(name, &spec(name, role)).await;
    }
    stage.cluster.connect("no-role", &spec("right", "nope")).await;
    for (name, _, reason, words) in rows {
        stage.fails(name, reason, words).await;
    }
    stage.fails("no-role", Reason::InvalidCredentials, "spec.auth.cert.role").await;

    let next = ca.client("web");
    stage.cluster.secret("right", &[("tls.crt", &next.pem), ("tls.key", &next.key_pem)]).await;
    stage
        .cluster
        .wait("right", "logged in anew", PATIENCE, |connection| {
            is_ready(connection)
                && connection.status.as_ref().is_some_and(|status| status.credentials != first.credentials)
        })
        .await;
    eventually("the old session is revoked", PATIENCE, async || {
        (stage.vault.sessions(&mount).await == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_logs_in_by_a_password_and_is_not_locked_out_by_wrong_ones() {
    let stage = Stage::new("userpass-login").await;
    let mount = stage.mount("userpass").await;
    let user = json!({"password": "right", "token_policies": "vault-connection", "token_ttl": "1h"});
    stage.vault.write(&format!("auth/{mount}/users/alice"), &user).await;
    stage.vault.write(&format!("auth/{mount}/users/bob"), &user).await;
    stage.cluster.secret("right", &[("name", "ALICE"), ("password", "right")]).await;
    stage.cluster.secret("wrong", &[("name", "a/b"), ("password", "wrong")]).await;
    let auth = |mount: &str, name: Value, secret: &str| {
        json!({"userpass": {
            "mount": mount, "username": name, "password": {"secretRef": {"name": secret, "key": "password"}},
        }})
    };
    let written = |name: &str| json!({"value": name});
    let kept = |secret: &str| json!({"secretRef": {"name": secret, "key": "name"}});
    let _operator = Operator::start(&stage.cluster).await;
    stage.connect("written", auth(&mount, written("alice"), "right")).await;
    stage.connect("kept", auth(&mount, kept("right"), "right")).await;
    for name in ["written", "kept"] {
        stage.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    stage.connect("slash", auth(&mount, kept("wrong"), "right")).await;
    stage.fails("slash", Reason::MalformedCredential, "user name").await;
    stage.connect("no-mount", auth("not-there", written("alice"), "right")).await;
    stage.fails("no-mount", Reason::LoginDenied, "mount").await;

    // In each letter case it is the same user, whom the sixth would find locked.
    let names = ["bob", "Bob", "BOB", "bOb", "boB", "BoB", "bOB"];
    for name in names {
        let connection = format!("guess-{}", unique("n"));
        stage.connect(&connection, auth(&mount, written(name), "wrong")).await;
        let refused = |reason: &str| {
            [Reason::InvalidCredentials, Reason::LoginBudgetSpent].iter().any(|it| it.as_str() == reason)
        };
        let found = stage.cluster.wait(&connection, "refused", PATIENCE, |connection| {
            ready(connection).is_some_and(|ready| refused(&ready.reason))
        });
        found.await;
    }
    let url = format!("{}/v1/auth/{mount}/login/bob", stage.vault.address);
    let answer = http().post(url).body(r#"{"password":"right"}"#).send().await.expect("Vault answers");
    assert_eq!(answer.status().as_u16(), 200, "bob is not locked");
}

#[tokio::test]
async fn a_role_without_secret_id_logs_in_by_its_role_id() {
    let stage = Stage::new("bare-role").await;
    let mount = unique("approle");
    stage.vault.write(&format!("sys/auth/{mount}"), &json!({"type": "approle"})).await;
    let settings = json!({"bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"], "token_ttl": "1h"});
    let bare = stage.vault.role(&mount, "bare", settings).await;
    let bound = stage.vault.role(&mount, "bound", json!({"token_ttl": "1h"})).await;
    let auth = |role_id: &str| json!({"appRole": {"mount": mount, "roleId": {"value": role_id}}});
    let _operator = Operator::start(&stage.cluster).await;
    stage.connect("bare", auth(&bare)).await;
    stage.cluster.wait("bare", "Ready", PATIENCE, is_ready).await;
    stage.connect("bound", auth(&bound)).await;
    stage.fails("bound", Reason::InvalidCredentials, "bind_secret_id").await;
}

/// HashiCorp Vault's own answers, as they were recorded from 1.21.3 with its ldap method.
#[tokio::test]
async fn a_user_of_a_directory_logs_in() {
    let stage = Stage::new("ldap-login").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let Ok(request) = Request::read(&mut stream).await else { return };
                let answer = match request.path.split('?').next().unwrap_or_default() {
                    "/v1/sys/health" => Answer::json(200, &openbao::health("ldap")),
                    "/v1/auth/token/lookup-self" => Answer::json(200, &openbao::lookup("hvs.ldap")),
                    "/v1/auth/token/revoke-self" => Answer::new(204, ""),
                    "/v1/auth/ldap/login/down" => Answer::error(
                        500,
                        "ldap.(Client).Authenticate: failed to connect: dial tcp 10.1.2.3:389: connect: connection refused",
                    ),
                    "/v1/auth/ldap/login/Bob" if request.body["password"] == "right" => {
                        Answer::json(200, &openbao::login("hvs.ldap"))
                    }
                    path if path.starts_with("/v1/auth/ldap/login/") => {
                        Answer::error(400, "invalid credentials")
                    }
                    _ => Answer::error(404, "not asked by this test"),
                };
                log.lock().await.push(request.path);
                let _ = stream.write_all(&answer.bytes()).await;
            });
        }
    });
    stage.cluster.secret("right", &[("password", "right")]).await;
    stage.cluster.secret("wrong", &[("password", "wrong")]).await;
    let _operator = Operator::start(&stage.cluster).await;
    let connect = async |name: &str, user: &str, secret: &str| {
        let password = json!({"secretRef": {"name": secret, "key": "password"}});
        let auth = json!({"ldap": {"username": {"value": user}, "password": password}});
        stage.cluster.connect(name, &json!({"instanceUrl": url, "auth": auth})).await;
    };
    connect("right", "Bob", "right").await;
    stage.cluster.wait("right", "Ready", PATIENCE, is_ready).await;
    connect("down", "down", "right").await;
    let found = stage.cluster.wait_reason("down", Reason::DirectoryUnavailable).await;
    assert_failed("down", &found, Reason::DirectoryUnavailable, "directory");
    assert!(
        !serde_json::to_string(&found).expect("JSON").contains("10.1.2.3"),
        "an internal address is shown"
    );
    for name in ["eve", "Eve", "EVE", "eVe", "evE"] {
        let connection = format!("guess-{}", unique("n"));
        connect(&connection, name, "wrong").await;
        stage
            .cluster
            .wait(&connection, "refused", PATIENCE, |connection| {
                let reasons = [Reason::InvalidCredentials, Reason::LoginBudgetSpent];
                ready(connection).is_some_and(|ready| reasons.iter().any(|it| it.as_str() == ready.reason))
            })
            .await;
    }
    let refused = asked.lock().await.iter().filter(|path| path.to_lowercase().ends_with("/eve")).count();
    assert!(refused <= 2, "{refused} logins were refused");
}
