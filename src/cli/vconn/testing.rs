//! Objects that the tests of the views start from.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{entry::Entry, kinds::Kind};
use crate::api::condition::{FailureClass, Reason};

/// Now, in seconds since 1970.
pub(super) const NOW: i64 = 1_800_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A connection whose Ready has a reason, or that was not checked yet.
pub(super) fn connection(name: &str, reason: Option<&str>) -> Entry {
    let spec = json!({
        "instanceUrl": "https://vault.example.com",
        "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}},
    });
    let status = reason.map(|reason| {
        let reason = known(reason);
        json!({
            "observedGeneration": 1, "state": reason.state().as_str(), "conditions": conditions(reason),
            "connection": {"method": "app-role", "mount": "approle"},
            "server": {"version": "1.20.4", "role": "Active"},
            "lastCheckTime": at(NOW - 52), "nextCheckTime": at(NOW + 60),
        })
    });
    entry(Kind::Connection, name, &spec, status.as_ref())
}

/// A gateway with two endpoints, of which some work.
pub(super) fn gateway(name: &str, healthy: u8) -> Entry {
    let url = |number: u8| format!("http://proxy-{number}.example.com:3128");
    let spec = json!({"endpoints": [{"url": url(1)}, {"url": url(2)}]});
    let reason = known(if healthy == 2 { "EndpointsHealthy" } else { "EndpointsDegraded" });
    let endpoint = |number: u8| {
        let works = number <= healthy;
        json!({"url": url(number), "healthy": works, "message": if works { "" } else { "refused" }})
    };
    let status = json!({
        "observedGeneration": 1, "healthyEndpoints": healthy, "conditions": conditions(reason),
        "endpoints": [endpoint(1), endpoint(2)], "lastCheckTime": at(NOW - 52),
    });
    entry(Kind::Gateway, name, &spec, Some(&status))
}

/// The same with a change.
pub(super) fn named(found: &Entry, change: impl FnOnce(&mut Value)) -> Entry {
    let mut object = found.value();
    change(&mut object);
    Entry::new(found.kind, serde_json::from_value(object).expect("an object"))
}

fn known(reason: &str) -> Reason {
    Reason::ALL.iter().copied().find(|it| it.as_str() == reason).expect("a reason")
}

fn conditions(reason: Reason) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "a message",
            "lastTransitionTime": at(NOW - 252),
        })
    };
    let ready = condition("Ready", reason.truth().as_str(), reason.as_str());
    match reason.failure_class() {
        FailureClass::None => json!([ready]),
        FailureClass::Terminal => json!([ready, condition("Stalled", "True", reason.as_str())]),
        FailureClass::Transient | FailureClass::Persistent => {
            json!([ready, condition("Reconciling", "True", "Retrying")])
        }
    }
}

fn entry(kind: Kind, name: &str, spec: &Value, status: Option<&Value>) -> Entry {
    let metadata = json!({
        "name": name, "namespace": "team-a", "generation": 1, "creationTimestamp": at(NOW - 3600),
    });
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    Entry::new(kind, serde_json::from_value(object).expect("an object"))
}
