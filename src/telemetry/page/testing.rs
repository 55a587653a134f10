//! Rows that the tests of the page start from.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::board::{Board, Key, Row, Seen, Summary};
use crate::{
    api::condition::{ConditionType, Reason},
    conditions::{Verdict, fold},
    names::{ConnectionRef, GatewayName},
    references::dependents::Owner,
};

/// Now, in seconds since 1970.
pub(super) const NOW: i64 = 1_800_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A connection whose Ready has a reason, or that was not checked yet.
pub(super) fn connection(namespace: &str, name: &str, reason: Option<&str>) -> (Key, Arc<Row>) {
    let name = ConnectionRef { namespace: namespace.into(), name: name.into() };
    row("VaultConnection", &name, "orders", reason.map(|reason| summary(reason, "a message")))
}

pub(super) fn gateway(namespace: &str, name: &str) -> (Key, Arc<Row>) {
    let name = GatewayName { namespace: namespace.into(), name: name.into() };
    let summary = Summary {
        state: "1 of 1 endpoints works".to_owned(),
        target: "http://proxy.example.com:3128".to_owned(),
        ..summary("EndpointsHealthy", "")
    };
    row("VaultGateway", &name, "orders", Some(summary))
}

/// So many connections, one of fifty of which fails.
pub(super) fn many(count: usize) -> Vec<(Key, Arc<Row>)> {
    let reason = |number: usize| if number.is_multiple_of(50) { "Sealed" } else { "Connected" };
    (0..count).map(|number| connection("team-a", &format!("{number:05}"), Some(reason(number)))).collect()
}

/// A row as the engine makes it.
pub(super) fn row(
    kind: &'static str,
    name: &impl Owner,
    description: &str,
    summary: Option<Summary>,
) -> (Key, Arc<Row>) {
    let board = Board::new(true);
    board.seen(kind, name, || Seen { generation: 1, is_ending: false, description: description.to_owned() });
    board.published(kind, name, || summary);
    board.rows().remove(0)
}

/// A status whose Ready has a reason and a message.
pub(super) fn summary(reason: &str, message: &str) -> Summary {
    let reason = Reason::ALL.iter().copied().find(|it| it.as_str() == reason).expect("a reason");
    let ready = Verdict {
        condition: ConditionType::Ready,
        truth: reason.truth(),
        reason,
        message: message.to_owned(),
    };
    Summary {
        generation: Some(1),
        state: reason.state().as_str().to_owned(),
        ready: fold(&[], &[ready], 1, at(NOW - 252)).pop(),
        checked: Some(at(NOW - 52)),
        next: Some(at(NOW + 8)),
        target: "https://vault.example.com".to_owned(),
        facts: vec![("Method", "app-role".to_owned())],
        ends: vec![("Certificate", at(NOW + 90 * 86_400))],
        ..Summary::default()
    }
}
