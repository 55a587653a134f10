//! The fake Vault, held to the real one: what a test takes away from the fake is then the only difference.

use serde_json::{Value, json};
use vault_connection_operator::api::condition::Reason;

use crate::{
    faults_table::{Bench, check_now},
    support::{
        fakes::{
            openbao::MOUNT,
            vault::{FakeVault, ROLE_ID, SECRET_ID},
        },
        specs,
        vault::{Vault, http},
        verdict::is_ready,
        wait::PATIENCE,
    },
};

/// A role at a Vault, real or not.
struct Side {
    url: String,
    mount: String,
    role_id: String,
    secret_id: String,
}

const WRONG: &str = "00000000-0000-0000-0000-000000000000";

// === impl Side ===

impl Side {
    async fn real(vault: &Vault) -> Self {
        let role = vault.app_role("faults-fake", json!({"token_ttl": "1h"})).await;
        let secret_id = vault.secret_id(&role).await;
        Self { url: vault.address.clone(), mount: role.mount, role_id: role.role_id, secret_id }
    }

    fn fake(fake: &FakeVault) -> Self {
        let (role_id, secret_id) = (ROLE_ID.to_owned(), SECRET_ID.to_owned());
        Self { url: fake.url.clone(), mount: MOUNT.to_owned(), role_id, secret_id }
    }

    /// Asks for all that a check asks for, rightly and wrongly, and tells the answers.
    async fn answers(&self) -> Vec<(&'static str, u16, String, Value)> {
        let login = format!("auth/{}/login", self.mount);
        let pair = |secret_id: &str| Some(json!({"role_id": self.role_id, "secret_id": secret_id}));
        let issued = self.ask(&login, None, pair(&self.secret_id)).await.2;
        let token = issued["auth"]["client_token"].as_str().expect("a login gives a token").to_owned();
        let (right, wrong) = (Some(token.as_str()), Some("s.wrong"));
        let paths = json!({"paths": ["demo_mount/data/*", "sys/mounts", "secret/x"]});
        let (lookup, revoke) = ("auth/token/lookup-self", "auth/token/revoke-self");
        let rows = [
            ("health", "sys/health", None, None),
            ("a login", &login, None, pair(&self.secret_id)),
            ("a wrong login", &login, None, pair(WRONG)),
            ("a look", lookup, right, None),
            ("a look with a wrong token", lookup, wrong, None),
            ("a look without a token", lookup, None, None),
            ("capabilities", "sys/capabilities-self", right, Some(paths)),
            ("the engine", "sys/internal/ui/mounts/demo_mount", right, None),
            ("a path inside of it", "sys/internal/ui/mounts/demo_mount/data", right, None),
            ("no engine", "sys/internal/ui/mounts/nope", right, None),
            ("the end", revoke, right, Some(json!({}))),
            ("a second end", revoke, right, Some(json!({}))),
            ("a look after the end", lookup, right, None),
        ];
        let mut answers = Vec::new();
        for (name, path, token, body) in rows {
            let (status, kind, body) = self.ask(path, token, body).await;
            answers.push((name, status, kind, shape(&body)));
        }
        answers
    }

    async fn ask(&self, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, String, Value) {
        let url = format!("{}/v1/{path}", self.url);
        let client = http();
        let mut request = match body {
            Some(body) => client.post(url).body(body.to_string()),
            None => client.get(url),
        };
        if let Some(token) = token {
            request = request.header("x-vault-token", token);
        }
        let answer = request.send().await.expect("it answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let body = answer.bytes().await.expect("it answers whole");
        (status, kind.to_owned(), serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// A body without the values that differ from server to server: texts and numbers. Lists, such as errors, policies and
/// capabilities, stay as they are.
fn shape(body: &Value) -> Value {
    match body {
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Array(_) => body.clone(),
    }
}

#[tokio::test]
async fn the_fake_answers_in_the_form_of_the_real_server() {
    let (fake, vault) = (FakeVault::new().await, Vault::shared());
    let real = Side::real(&vault).await.answers().await;
    assert_eq!(Side::fake(&fake).answers().await, real);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_connection_looks_the_same_at_the_fake_and_at_the_real_server() {
    let bench = Bench::new("faults-fake").await;
    let (fake, vault) = (FakeVault::new().await, Vault::shared());
    let sides = [("real", Side::real(&vault).await), ("fake", Side::fake(&fake))];
    let mut seen = Vec::new();
    for (name, side) in &sides {
        let pair = [("roleId", side.role_id.as_str()), ("secretId", side.secret_id.as_str())];
        bench.cluster.secret(name, &pair).await;
        let mut spec = specs::app_role(&side.url, &side.mount, name);
        spec["require"] = json!({"secretSync": {"mount": "demo_mount"}});
        bench.cluster.connect(name, &spec).await;
        bench.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
        let good = check_now(&bench.cluster, name).await;
        bench.cluster.change(name, &json!({"spec": {"require": null}})).await;
        let looked_up = bench.cluster.wait(name, "Ready anew", PATIENCE, is_ready).await;
        bench.cluster.secret(name, &[pair[0], ("secretId", WRONG)]).await;
        let refused = bench.cluster.wait_reason(name, Reason::InvalidCredentials).await;
        seen.push([good, looked_up, refused].map(|found| comparable(&json!(found.status), name, side)));
    }
    assert_eq!(seen[0], seen[1]);
    let asked = "vault_requests_total";
    assert_eq!(bench.operator.count(&format!("{asked}{{operation=\"revoke_self\",answer=\"4xx\"")).await, 0);
    bench.operator.stop();
    assert_eq!((fake.sessions(), vault.sessions(&sides[0].1.mount).await), (0, 0));
}

/// A status without what differs from server to server and from moment to moment.
fn comparable(status: &Value, name: &str, side: &Side) -> Value {
    let text = status.to_string().replace(&side.url, "URL").replace(&side.mount, MOUNT);
    let mut status: Value = serde_json::from_str(&text.replace(&format!("\\\"{name}\\\""), "NAME"))
        .expect("a status is still JSON with other words in it");
    for gone in [
        "credentials",
        "lastCheckTime",
        "nextCheckTime",
        "nextLoginTime",
        "lastHandledReconcileAt",
        "lastLoginTime",
        "refusedLoginRole",
    ] {
        status[gone] = Value::Null;
    }
    for time in status["refusedLoginTimes"].as_array_mut().into_iter().flatten() {
        *time = Value::Null;
    }
    status["session"]["expireTime"] = Value::Null;
    for gone in ["clusterId", "clusterName", "clockSkewSeconds"] {
        status["server"][gone] = Value::Null;
    }
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
        let told = condition["message"].to_string().replace(&format!("Secret \\\"{name}\\\""), "Secret NAME");
        condition["message"] = json!(told);
    }
    status
}
