//! Sequences after which a Ready would be a lie, on a real OpenBao.
//!
//! ```text
//!   Ready ─▶ the credential in the Secret is wrong ─▶ not Ready ─▶ asked, changed, left alone, restarted ─▶ still not Ready
//!              while the session or the token from before lives on
//! ```
//!
//! What is proven is proven of the credential that was logged in with, and of no other.

mod stage;

use futures::future::join_all;
use serde_json::json;
use vault_connection_operator::api::condition::Reason;

use self::stage::{Stage, TWO_CHECKS, policies};
use crate::{
    faults_table::check_now,
    support::{
        audit, specs,
        vault::{AppRole, Vault},
        verdict::{is_current, is_ready, ready},
        wait::{PATIENCE, eventually},
    },
};

/// A secret id that no role has.
const WRONG: &str = "00000000-0000-0000-0000-000000000000";

/// How many connections share one Secret.
const SHARING: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_stays_rejected_while_the_one_before_lives() {
    let mut stage = Stage::new("truth-token", Vault::shared()).await;
    let (names, mut old) = (["itself", "nudged"], Vec::new());
    for name in names {
        old.push(stage.by_token(name, &policies()).await);
    }
    let mut wrong = Vec::new();
    for name in names {
        wrong.push(stage.change(name, &[("token", WRONG)]).await);
        stage.cluster.wait_reason(name, Reason::TokenRejected).await;
    }
    stage.nudge("nudged").await;
    stage.await_checks("a wrong token", 4).await;
    stage.restart(2).await;
    for (name, wrong) in names.iter().zip(&wrong) {
        stage.history.assert_never_ready_on("a wrong token", wrong, stage.start);
        stage.assert_not_ready("after a restart", name).await;
    }
    stage.history.assert_none_came_back("a wrong token", stage.start);
    for (name, old) in names.iter().zip(&old) {
        assert!(stage.vault.accepts(old).await, "{name}: a user's token is left alone");
        stage.change(name, &[("token", old)]).await;
        stage.cluster.wait(name, "Ready by the token from before", PATIENCE, is_ready).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_id_stays_refused_while_the_session_from_before_lives() {
    let mut stage = Stage::new("truth-secret-id", Vault::shared()).await;
    let names = ["truth-asked", "truth-nudged", "truth-role-id"];
    let (mut roles, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        roles.push(stage.by_role(name).await);
    }
    for (name, role) in names.iter().zip(&roles) {
        let right = stage.vault.secret_id(role).await;
        let pair = match *name {
            "truth-role-id" => [("roleId", WRONG), ("secretId", right.as_str())],
            _ => specs::pair(role, WRONG),
        };
        wrong.push(stage.change(name, &pair).await);
        stage.cluster.wait_reason(name, Reason::InvalidCredentials).await;
    }
    check_now(&stage.cluster, "truth-asked").await;
    stage.nudge("truth-nudged").await;
    stage.nudge("truth-role-id").await;
    stage.restart(3).await;
    for (name, wrong) in names.iter().zip(&wrong) {
        check_now(&stage.cluster, name).await;
        stage.history.assert_never_ready_on("a wrong secret id", wrong, stage.start);
        stage.assert_not_ready("after a restart", name).await;
    }
    stage.history.assert_none_came_back("a wrong secret id", stage.start);
    for (name, role) in names.iter().zip(&roles) {
        assert!(stage.vault.lets_in(role).await, "{name}: the role is not locked");
        let right = stage.vault.secret_id(role).await;
        stage.change(name, &specs::pair(role, &right)).await;
        stage.cluster.wait(name, "Ready with a right one", PATIENCE, is_ready).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_share_a_wrong_secret_id_none_is_ready_on_it() {
    let mut stage = Stage::new("truth-shared", Vault::shared()).await;
    let role = stage.vault.app_role("truth-shared", json!({"token_ttl": "1h"})).await;
    let right = stage.vault.secret_id(&role).await;
    stage.cluster.secret("shared", &specs::pair(&role, &right)).await;
    let names: Vec<_> = (0..SHARING).map(|number| format!("shared-{number}")).collect();
    let spec = specs::app_role(&stage.vault.address, &role.mount, "shared");
    join_all(names.iter().map(|name| stage.cluster.connect(name, &spec))).await;
    for name in &names {
        stage.cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    let login = format!("auth/{}/login", role.mount);
    let before = audit::count(&audit::vault_paths(&stage.vault).await, &login);
    let wrong = stage.change("shared", &specs::pair(&role, WRONG)).await;
    for name in &names {
        stage.cluster.wait(name, "told that nobody proved it", PATIENCE, |it| !is_ready(it)).await;
    }
    stage.restart(SHARING as u64).await;
    for name in &names {
        stage.assert_not_ready("after a restart", name).await;
    }
    stage.history.assert_never_ready_on("a shared wrong secret id", &wrong, stage.start);
    stage.history.assert_none_came_back("a shared wrong secret id", stage.start);
    let tried = audit::count(&audit::vault_paths(&stage.vault).await, &login) - before;
    assert!(tried <= 4, "{tried} logins with a secret id that is refused");
    assert!(stage.vault.lets_in(&role).await, "the role is not locked");
    stage.change("shared", &specs::pair(&role, &right)).await;
    for name in &names {
        stage.cluster.wait(name, "Ready with a right one", PATIENCE, is_ready).await;
    }
}

/// Four connections whose credentials change while the instance does not serve: two to wrong ones, two to right ones.
struct Four {
    by_role: [AppRole; 2],
    /// What a status that rests on a wrong one names.
    wrong: Vec<String>,
    right: Vec<(&'static str, String)>,
}

const WRONG_TOKEN: &str = "token-wrong";
const RIGHT_TOKEN: &str = "token-right";
const WRONG_ROLE: &str = "role-wrong";
const RIGHT_ROLE: &str = "role-right";

// === impl Four ===

impl Four {
    /// Four that are Ready, with the values that they are to change to.
    async fn ready(stage: &Stage) -> (Self, [String; 2]) {
        for name in [WRONG_TOKEN, RIGHT_TOKEN] {
            stage.by_token(name, &policies()).await;
        }
        let by_role = [stage.by_role(WRONG_ROLE).await, stage.by_role(RIGHT_ROLE).await];
        let token = stage.vault.issue_token(&policies()).await;
        let secret_id = stage.vault.secret_id(&by_role[1]).await;
        (Self { by_role, wrong: Vec::new(), right: Vec::new() }, [token, secret_id])
    }

    async fn change(&mut self, stage: &Stage, [token, secret_id]: &[String; 2]) {
        self.wrong.push(stage.change(WRONG_TOKEN, &[("token", WRONG)]).await);
        self.wrong.push(stage.change(WRONG_ROLE, &specs::pair(&self.by_role[0], WRONG)).await);
        self.right.push((RIGHT_TOKEN, stage.change(RIGHT_TOKEN, &[("token", token)]).await));
        let pair = specs::pair(&self.by_role[1], secret_id);
        self.right.push((RIGHT_ROLE, stage.change(RIGHT_ROLE, &pair).await));
    }

    /// The new ones were tried first: those that are wrong are told, those that are right are Ready.
    async fn assert_tried(&self, stage: &Stage) {
        stage.cluster.wait_reason(WRONG_TOKEN, Reason::TokenRejected).await;
        stage.cluster.wait_reason(WRONG_ROLE, Reason::InvalidCredentials).await;
        for (name, version) in &self.right {
            let rests_on = |it: &vault_connection_operator::api::connection::VaultConnection| {
                let mut objects = it.status.iter().flat_map(|status| &status.credentials);
                is_ready(it) && objects.any(|it| format!("{}@{}", it.name, it.resource_version) == *version)
            };
            stage.cluster.wait(name, "Ready with the new one", PATIENCE, rests_on).await;
        }
        let login = format!("auth/{}/login", self.by_role[1].mount);
        let logins = audit::count(&audit::vault_paths(&stage.vault).await, &login);
        assert_eq!(logins, 2, "{RIGHT_ROLE}: one with the old pair, one with the new");
        for wrong in &self.wrong {
            stage.history.assert_never_ready_on("changed while nobody answered", wrong, stage.start);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_changes_while_vault_is_sealed_is_tried_first_after_it() {
    let stage = Stage::new("truth-sealed", Vault::own("truth-sealed", "")).await;
    let (mut four, values) = Four::ready(&stage).await;
    stage.vault.seal().await;
    four.change(&stage, &values).await;
    for name in [WRONG_TOKEN, WRONG_ROLE, RIGHT_TOKEN, RIGHT_ROLE] {
        check_now(&stage.cluster, name).await;
        stage.cluster.wait_reason(name, Reason::Sealed).await;
    }
    stage.vault.unseal().await;
    four.assert_tried(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_changes_while_vault_is_down_is_tried_first_after_it() {
    let stage = Stage::new("truth-down", Vault::own("truth-down", "")).await;
    let (mut four, values) = Four::ready(&stage).await;
    stage.vault.stop();
    four.change(&stage, &values).await;
    for name in [WRONG_TOKEN, WRONG_ROLE, RIGHT_TOKEN, RIGHT_ROLE] {
        check_now(&stage.cluster, name).await;
        stage.cluster.wait_reason(name, Reason::ConnectionRefused).await;
    }
    stage.vault.start();
    four.assert_tried(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_changes_while_logins_are_limited_is_tried_first_after_it() {
    let stage = Stage::new("truth-limited", Vault::own("truth-limited", "")).await;
    let role = stage.by_role("limited").await;
    let path = format!("auth/{}", role.mount);
    let quota = json!({"path": path, "rate": 1, "interval": "10m"});
    stage.vault.write("sys/quotas/rate-limit/logins", &quota).await;
    // Somebody else takes the one request to the mount that there is.
    stage.vault.secret_id(&role).await;
    let wrong = stage.change("limited", &specs::pair(&role, WRONG)).await;
    stage.cluster.wait_reason("limited", Reason::RateLimited).await;
    check_now(&stage.cluster, "limited").await;
    let quota = json!({"path": path, "rate": 1000, "interval": "1s"});
    stage.vault.write("sys/quotas/rate-limit/logins", &quota).await;
    stage.cluster.wait_reason("limited", Reason::InvalidCredentials).await;
    stage.history.assert_never_ready_on("changed while logins were limited", &wrong, stage.start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_limited_uses_is_not_ready_after_its_end() {
    let mut stage = Stage::new("truth-uses", Vault::shared()).await;
    let limited = |ttl: &str| json!({"policies": ["vault-connection"], "ttl": ttl, "num_uses": 8});
    let revoked = stage.by_token("revoked", &limited("1h")).await;
    stage.by_token("ended", &limited("12s")).await;
    stage.cluster.change("ended", &json!({"spec": {"check": {"interval": "10s"}}})).await;
    stage.cluster.wait("ended", "Ready for its new spec", PATIENCE, is_ready).await;
    stage.vault.write("auth/token/revoke", &json!({"token": revoked})).await;
    let seen =
        stage.cluster.wait("ended", "not Ready once its life is over", TWO_CHECKS, |it| !is_ready(it)).await;
    assert!(is_current(&seen), "{:?}", ready(&seen));
    stage.restart(2).await;
    stage.cluster.wait_reason("revoked", Reason::TokenRejected).await;
    for name in ["revoked", "ended"] {
        check_now(&stage.cluster, name).await;
        stage.assert_not_ready("after a restart", name).await;
    }
    stage.history.assert_none_came_back("a token with limited uses", stage.start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_a_single_use_is_reported() {
    let mut stage = Stage::new("truth-single", Vault::shared()).await;
    let settings = json!({"policies": ["vault-connection"], "ttl": "1h", "num_uses": 1});
    let token = stage.vault.issue_token(&settings).await;
    stage.cluster.secret("single", &[("token", &token)]).await;
    stage.cluster.connect("single", &specs::token(&stage.vault.address, "single")).await;
    stage.cluster.wait_reason("single", Reason::TokenUsesSpent).await;
    stage.restart(1).await;
    stage.cluster.wait_reason("single", Reason::TokenUsesSpent).await;
    check_now(&stage.cluster, "single").await;
    stage.assert_not_ready("its use is gone", "single").await;
    let history = stage.history.of_connection("single");
    assert!(history.iter().all(|seen| !seen.is_ready()), "{history:?}");
}

/// What happens to a login, and what asking for a check tells of it then.
async fn assert_login_reported(
    stage: &Stage,
    name: &str,
    role: &AppRole,
    (reason, sessions): (Reason, usize),
) {
    let seen = check_now(&stage.cluster, name).await;
    let ready = ready(&seen).expect("it was judged");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", reason.as_str()),
        "{name}: {}",
        ready.message
    );
    // What is no longer needed is revoked once the status is written.
    let left = async || (stage.vault.sessions(&role.mount).await == sessions).then_some(());
    eventually(&format!("{name}: {sessions} sessions live"), PATIENCE, left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_is_reported_when_asked_although_its_session_lives() {
    let stage = Stage::new("truth-login", Vault::shared()).await;

    let role = stage.by_role("destroyed").await;
    stage.vault.destroy_secret_ids(&role).await;
    assert_login_reported(&stage, "destroyed", &role, (Reason::InvalidCredentials, 1)).await;
    let right = stage.vault.secret_id(&role).await;
    stage.change("destroyed", &specs::pair(&role, &right)).await;
    stage.cluster.wait("destroyed", "Ready with a new one", PATIENCE, is_ready).await;

    let role = stage.by_role("locked").await;
    stage.vault.lock(&role).await;
    assert_login_reported(&stage, "locked", &role, (Reason::LoginDenied, 1)).await;
    stage.vault.unlock(&role).await;
    let seen = check_now(&stage.cluster, "locked").await;
    assert!(is_ready(&seen), "a person need not wait: {:?}", ready(&seen));

    let role = stage.by_role("powerless").await;
    let require = json!({"spec": {"require": {"secretSync": {"mount": "demo_mount"}}}});
    stage.cluster.change("powerless", &require).await;
    stage.cluster.wait("powerless", "Ready with all it needs", PATIENCE, is_ready).await;
    stage.vault.role(&role.mount, "role", json!({"token_policies": "default", "token_ttl": "1h"})).await;
    assert_login_reported(&stage, "powerless", &role, (Reason::MissingCapabilities, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_after_a_refusal_are_reported_without_a_person() {
    let stage = Stage::new("truth-again", Vault::shared()).await;
    let role = stage.by_role("again").await;
    stage
        .cluster
        .change("again", &json!({"spec": {"check": {"interval": "10s", "loginInterval": "10s"}}}))
        .await;
    stage.cluster.wait("again", "Ready for its new spec", PATIENCE, is_ready).await;
    stage.vault.destroy_secret_ids(&role).await;
    let told = eventually("a login is proved anew", TWO_CHECKS, async || {
        let found = stage.cluster.connections().get("again").await.expect("it is there");
        (!is_ready(&found)).then_some(found)
    })
    .await;
    assert_eq!(ready(&told).map(|it| it.reason.as_str()), Some(Reason::InvalidCredentials.as_str()));
    assert_eq!(stage.vault.sessions(&role.mount).await, 1, "the living session is kept");
}
