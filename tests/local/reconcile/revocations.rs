//! Tokens that no check needs any more: when they are revoked, and that none is forgotten.

use std::sync::Arc;

use serde_json::json;
use vault_connection_operator::controller::{
    engine::Reconciler,
    shutdown::{Revoked, revoke_all},
};

use super::{Stage, delete, key, suspend};
use crate::support::{
    fakes::{
        http::Answer,
        vault::{Ask, Misdeed, SECRET_ID},
    },
    wait::{PATIENCE, eventually},
};

/// One whose token does not live until the next check, and waits for its revocation.
async fn leaves_a_token() -> Stage {
    let stage = Stage::new().await;
    stage.api.change(|connection| connection["spec"]["check"] = json!({"interval": "12h"}));
    stage.reconcile().await;
    assert_eq!((stage.ready_is().0.as_str(), stage.vault.sessions()), ("True", 1));
    stage
}

#[tokio::test]
async fn the_former_session_is_revoked_after_the_run_that_replaced_it() {
    let stage = Stage::ready().await;
    assert!(!stage.clean_up().await, "it is kept");
    stage.rotate(SECRET_ID);
    stage.vault.misbehave(Ask::RevokeSelf, Misdeed::Silence);
    stage.reconcile().await;
    assert_eq!((stage.logins(), stage.vault.asked(Ask::RevokeSelf)), (2, 0), "no check waits for that");
    stage.vault.behave();
    assert!(stage.clean_up().await);
    assert_eq!((stage.vault.asked(Ask::RevokeSelf), stage.vault.sessions()), (1, 1));
    assert!(!stage.clean_up().await, "nothing is left");
}

#[tokio::test]
async fn a_token_that_an_instance_cannot_revoke_now_is_revoked_when_it_serves_again() {
    let stage = Stage::ready().await;
    stage.rotate(SECRET_ID);
    stage.reconcile().await;
    let mut health = stage.vault.health_body();
    health["sealed"] = json!(true);
    stage.vault.misbehave(Ask::Health, Misdeed::Answer(Answer::json(503, &health)));
    for ask in [Ask::LookupSelf, Ask::RevokeSelf] {
        stage.vault.misbehave(ask, Misdeed::Answer(Answer::error(503, "Vault is sealed")));
    }
    assert!(stage.clean_up().await, "nobody has noticed yet");
    let look_again = async || {
        stage.context.connections.trigger(key());
        stage.reconcile().await;
    };
    look_again().await;
    look_again().await;
    assert!(!stage.clean_up().await, "an instance that fails is not asked");
    assert_eq!((stage.vault.asked(Ask::RevokeSelf), stage.vault.sessions()), (1, 2));
    stage.vault.behave();
    // It is asked again after five seconds.
    eventually("the token is revoked", PATIENCE, async || {
        look_again().await;
        stage.clean_up().await.then_some(())
    })
    .await;
    assert_eq!((stage.vault.asked(Ask::RevokeSelf), stage.vault.sessions()), (2, 1));
}

#[tokio::test]
async fn where_revocations_cannot_keep_up_the_next_check_waits_for_them() {
    let stage = leaves_a_token().await;
    for (checks, waiting) in [(2, 0), (3, 1), (4, 0)] {
        stage.context.connections.trigger(key());
        stage.reconcile().await;
        assert_eq!((stage.logins(), stage.vault.sessions()), (checks, waiting));
    }
}

#[tokio::test]
async fn a_token_that_waits_for_its_revocation_is_revoked_however_its_connection_ends() {
    for change in [suspend, delete] {
        let stage = leaves_a_token().await;
        stage.api.change(change);
        stage.reconcile().await;
        assert_eq!((stage.vault.asked(Ask::RevokeSelf), stage.vault.sessions()), (1, 0));
    }
    let stage = leaves_a_token().await;
    Arc::clone(&stage.connections).forget(key()).await;
    assert_eq!(stage.vault.sessions(), 0, "it is gone");
    let stage = leaves_a_token().await;
    stage.hand_over().await;
    assert_eq!(stage.vault.sessions(), 0, "another replica looks after it");
    let stage = leaves_a_token().await;
    let revoked = revoke_all(&stage.context, PATIENCE).await;
    assert_eq!((revoked, stage.vault.sessions()), (Revoked { revoked: 1, left: 0 }, 0), "the operator stops");
}
