//! Logins with tokens of service accounts, against the bed's own API server and OpenBao.

use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::ClusterRoleBinding};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::support::{
    bed::{program, variable},
    login::{ACCOUNT, AUDIENCE, Stage, account_ref, issuer_key, reviewer_binding},
    operator::Operator,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// Mounts the method, which has tokens reviewed by the bed's API server, with a role; and makes the service accounts. Returns the
/// mount, and what lets it review.
async fn kubernetes(stage: &Stage) -> (String, ClusterRoleBinding) {
    let namespace = &stage.cluster.namespace;
    let mount = stage.mount("kubernetes").await;
    stage.account("reviewer", false).await;
    let binding = reviewer_binding(namespace);
    let bindings: Api<ClusterRoleBinding> = Api::all(stage.cluster.client.clone());
    bindings.create(&PostParams::default(), &binding).await.expect("it is created");
    let ca = std::fs::read_to_string(variable("BED_APISERVER_CA")).expect("the bed's CA");
    let config = json!({
        "kubernetes_host": variable("BED_APISERVER"), "kubernetes_ca_cert": ca, "disable_local_ca_jwt": true,
        "token_reviewer_jwt": stage.token_of("reviewer", None),
    });
    stage.vault.write(&format!("auth/{mount}/config"), &config).await;
    let role = json!({
        "bound_service_account_names": [ACCOUNT, "missing", "unlabelled", "not-granted"],
        "bound_service_account_namespaces": [namespace], "audience": AUDIENCE,
        "token_policies": "vault-connection", "token_ttl": "1h",
    });
    stage.vault.write(&format!("auth/{mount}/role/sync"), &role).await;
    for account in [ACCOUNT, "stranger", "not-granted"] {
        stage.account(account, true).await;
    }
    stage.account("unlabelled", false).await;
    for account in [ACCOUNT, "stranger", "missing", "unlabelled"] {
        stage.grant(account).await;
    }
    (mount, binding)
}

#[tokio::test]
async fn a_service_account_logs_in_by_the_kubernetes_method_and_each_refusal_is_distinguished() {
    let stage = Stage::new("kubernetes-login").await;
    let (mount, binding) = kubernetes(&stage).await;
    let namespace = &stage.cluster.namespace;
    let _operator = Operator::start(&stage.cluster).await;
    let auth = |mount: &str, role: &str, account: Value| json!({"kubernetes": {"mount": mount, "role": role, "serviceAccountRef": account}});
    stage.connect("right", auth(&mount, "sync", account_ref(ACCOUNT, AUDIENCE))).await;
    let found = stage.cluster.wait("right", "Ready", PATIENCE, is_ready).await;
    let status = found.status.expect("a status");
    assert_eq!(status.credentials.first().map(|it| it.kind.as_str()), Some("ServiceAccount"));
    assert_eq!(status.connection.expect("a connection").method, "kubernetes");

    let server = "https://kubernetes.default.svc";
    let rows = [
        ("no-role", auth(&mount, "nope", account_ref(ACCOUNT, AUDIENCE)), Reason::RoleNotFound, "role"),
        (
            "stranger",
            auth(&mount, "sync", account_ref("stranger", AUDIENCE)),
            Reason::IdentityNotAuthorized,
            "bound_service_account_names",
        ),
        (
            "audience",
            auth(&mount, "sync", account_ref(ACCOUNT, "other")),
            Reason::AudienceMismatch,
            "audience",
        ),
        (
            "no-mount",
            auth("not-there", "sync", account_ref(ACCOUNT, AUDIENCE)),
            Reason::LoginUnverified,
            "token_reviewer_jwt",
        ),
        (
            "unlabelled",
            auth(&mount, "sync", account_ref("unlabelled", AUDIENCE)),
            Reason::ServiceAccountNotLabelled,
            "appconnections.dev/credentials",
        ),
        (
            "missing",
            auth(&mount, "sync", account_ref("missing", AUDIENCE)),
            Reason::ServiceAccountNotFound,
            "Create it",
        ),
        (
            "not-granted",
            auth(&mount, "sync", account_ref("not-granted", AUDIENCE)),
            Reason::TokenForbidden,
            "serviceaccounts/token",
        ),
        (
            "api-server",
            auth(&mount, "sync", account_ref(ACCOUNT, server)),
            Reason::AudienceOfApiServer,
            server,
        ),
    ];
    for (name, auth, ..) in &rows {
        stage.connect(name, auth.clone()).await;
    }
    for (name, _, reason, words) in &rows {
        stage.fails(name, *reason, words).await;
    }

    assert_tried_again_without_review(
        &stage,
        &binding,
        &auth(&mount, "sync", account_ref(ACCOUNT, AUDIENCE)),
    )
    .await;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.cluster.client.clone(), namespace);
    accounts.delete(ACCOUNT, &DeleteParams::default()).await.expect("it is deleted");
    stage.cluster.request_check("right", "now").await;
    stage.fails("right", Reason::ServiceAccountNotFound, "Create it").await;
}

async fn assert_tried_again_without_review(stage: &Stage, binding: &ClusterRoleBinding, auth: &Value) {
    let namespace = &stage.cluster.namespace;
    let bindings: Api<ClusterRoleBinding> = Api::all(stage.cluster.client.clone());
    // The reviewer loses its right: Vault says no more than "permission denied", which may pass by itself.
    let name = binding.metadata.name.as_deref().expect("a name");
    bindings.delete(name, &DeleteParams::default()).await.expect("it is deleted");
    let reviewer = format!("system:serviceaccount:{namespace}:reviewer");
    eventually("the reviewer has lost its right", PATIENCE, async || {
        let mut command = program("kubectl");
        command.args(["auth", "can-i", "create", "tokenreviews.authentication.k8s.io", "--as", &reviewer]);
        let output = command.output().expect("kubectl starts");
        String::from_utf8_lossy(&output.stdout).trim().ends_with("no").then_some(())
    })
    .await;
    stage.connect("unreviewed", auth.clone()).await;
    stage.fails("unreviewed", Reason::LoginUnverified, "token_reviewer_jwt").await;
    bindings.create(&PostParams::default(), binding).await.expect("it is created");
    stage.cluster.wait("unreviewed", "Ready", PATIENCE, is_ready).await;
}

#[tokio::test]
async fn a_jwt_logs_in_and_each_refusal_is_distinguished() {
    let stage = Stage::new("jwt-login").await;
    let namespace = &stage.cluster.namespace;
    let (mount, bare) = (stage.mount("jwt").await, stage.mount("jwt").await);
    let config = json!({"jwt_validation_pubkeys": [issuer_key()]});
    stage.vault.write(&format!("auth/{mount}/config"), &config).await;
    let role = |subject: &str, claims: Value| {
        json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE],
            "bound_subject": format!("system:serviceaccount:{namespace}:{subject}"), "bound_claims": claims,
            "token_policies": "vault-connection", "token_ttl": "1h",
        })
    };
    stage.vault.write(&format!("auth/{mount}/role/sync"), &role(ACCOUNT, json!({}))).await;
    stage.vault.write(&format!("auth/{mount}/role/bound"), &role(ACCOUNT, json!({"team": "a"}))).await;
    for account in [ACCOUNT, "stranger"] {
        stage.account(account, true).await;
        stage.grant(account).await;
    }
    let token = stage.token_of(ACCOUNT, Some(AUDIENCE));
    let (head, _) = token.rsplit_once('.').expect("a JWT has a signature");
    let forged = format!("{head}.{}", "A".repeat(86));
    stage.cluster.secret("good", &[("jwt", &token)]).await;
    stage.cluster.secret("forged", &[("jwt", &forged)]).await;
    stage.cluster.secret("garbage", &[("jwt", "hvs.no-jwt")]).await;
    let _operator = Operator::start(&stage.cluster).await;
    let by_account = |mount: &str, role: &str, account: &str, audience: &str| json!({"jwt": {"mount": mount, "role": role, "serviceAccountRef": account_ref(account, audience)}});
    let by_secret = |secret: &str| json!({"jwt": {"mount": mount, "role": "sync", "secretRef": {"name": secret, "key": "jwt"}}});
    stage.connect("right", by_account(&mount, "sync", ACCOUNT, AUDIENCE)).await;
    stage.connect("secret", by_secret("good")).await;
    for name in ["right", "secret"] {
        stage.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    let rows = [
        ("no-role", by_account(&mount, "nope", ACCOUNT, AUDIENCE), Reason::RoleNotFound, "role"),
        (
            "stranger",
            by_account(&mount, "sync", "stranger", AUDIENCE),
            Reason::IdentityNotAuthorized,
            "bound_subject",
        ),
        (
            "claims",
            by_account(&mount, "bound", ACCOUNT, AUDIENCE),
            Reason::IdentityNotAuthorized,
            "bound_claims",
        ),
        (
            "audience",
            by_account(&mount, "sync", ACCOUNT, "other"),
            Reason::AudienceMismatch,
            "bound_audiences",
        ),
        ("forged", by_secret("forged"), Reason::JwtRejected, "signature"),
        ("garbage", by_secret("garbage"), Reason::MalformedCredential, "JWT"),
        (
            "no-config",
            by_account(&bare, "sync", ACCOUNT, AUDIENCE),
            Reason::AuthMethodNotConfigured,
            "config",
        ),
        ("no-mount", by_account("not-there", "sync", ACCOUNT, AUDIENCE), Reason::LoginDenied, "mount"),
    ];
    for (name, auth, ..) in &rows {
        stage.connect(name, auth.clone()).await;
    }
    for (name, _, reason, words) in &rows {
        stage.fails(name, *reason, words).await;
    }
}
