//! A connection that another replica has looked after, and one that is handed over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vault_connection_operator::controller::engine::Reconciler;

use super::{Stage, key};

/// As another replica writes that the secret id was refused.
fn call_rejected(connection: &mut Value) {
    let conditions = connection["status"]["conditions"].as_array_mut().expect("there are conditions");
    let ready = conditions.iter_mut().find(|it| it["type"] == "Ready").expect("it is there");
    (ready["status"], ready["reason"]) = (json!("False"), json!("InvalidCredentials"));
}

#[tokio::test]
async fn what_is_handed_over_leaves_no_session_and_what_comes_back_is_checked_anew() {
    let stage = Stage::new().await;
    stage.api.change(|connection| connection["spec"]["check"] = json!({"interval": "10s"}));
    stage.reconcile().await;
    assert_eq!((stage.ready_is().0.as_str(), stage.vault.sessions()), ("True", 1));
    stage.hand_over().await;
    assert_eq!(stage.vault.sessions(), 0);
    assert!(stage.context.connections.get(&key()).is_none(), "nothing of it is remembered");
    assert_eq!((stage.ready_is().0.as_str(), stage.api.counts().1), ("True", 1), "its status is left alone");

    stage.api.change(call_rejected);
    let object = stage.gained();
    let is_ready = stage.context.connections.get(&key()).is_some_and(|entry| entry.snapshot().is_ready());
    assert!(!is_ready, "what the other replica wrote counts");
    Arc::clone(&stage.connections).reconcile(object).await.expect("the API server answers");
    assert_eq!((stage.ready_is().0.as_str(), stage.api.counts().1), ("True", 2));
    assert_eq!((stage.logins(), stage.vault.sessions()), (2, 1));
}

#[tokio::test]
async fn a_ready_that_is_taken_over_ends_in_time_although_nothing_checks_it() {
    let stage = Stage::new().await;
    stage.api.change(|connection| connection["spec"]["check"] = json!({"interval": "10s"}));
    stage.reconcile().await;
    stage.hand_over().await;
    let began = Instant::now();
    stage.gained();
    let expires = stage.connections.expires(&key()).expect("it is Ready");
    assert!(expires >= began && expires <= Instant::now() + Duration::from_secs(20));
    stage.seen();
    assert_eq!(stage.connections.expires(&key()), Some(expires), "to see it again says nothing new");
}

#[tokio::test]
async fn the_last_status_of_the_former_replica_is_not_replaced_by_the_one_before_it() {
    let stage = Stage::ready().await;
    stage.hand_over().await;
    let object = stage.gained();
    stage.expire(object).await;
    stage.api.change(call_rejected);
    // The watch is late.
    let object = stage.seen();
    assert_eq!(stage.connections.expires(&key()), None);
    stage.expire(object).await;
    assert_eq!(stage.ready_is(), ("False".to_owned(), "InvalidCredentials".to_owned()));
    assert_eq!(stage.api.counts().1, 1, "only the first check has written");
    stage.reconcile().await;
    assert_eq!(stage.ready_is(), ("True".to_owned(), "Connected".to_owned()));
}
