//! Reading a connection's status as its users do, and holding it to the status contract.

use std::cmp::Ordering;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vault_connection_operator::api::{
    condition::{ConditionType, FailureClass, Reason, Truth},
    connection::VaultConnection,
    gateway::VaultGateway,
};

/// Longest message that the contract allows.
const LONGEST_MESSAGE: usize = 1024;

/// A condition of a connection.
pub fn condition<'a>(connection: &'a VaultConnection, kind: &str) -> Option<&'a Condition> {
    connection.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// The condition `Ready`.
pub fn ready(connection: &VaultConnection) -> Option<&Condition> {
    condition(connection, "Ready")
}

/// Whether a connection is Ready, for the spec that it has now.
pub fn is_ready(connection: &VaultConnection) -> bool {
    is_current(connection) && ready(connection).is_some_and(|ready| ready.status == "True")
}

/// Whether the status is about the spec.
pub fn is_current(connection: &VaultConnection) -> bool {
    let observed = connection.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed == connection.metadata.generation
}

/// The condition `Ready` of a gateway, if its status is about its spec.
pub fn gateway_ready(gateway: &VaultGateway) -> Option<&Condition> {
    let status = gateway.status.as_ref()?;
    let current = status.observed_generation == gateway.metadata.generation;
    status.conditions.iter().find(|condition| current && condition.type_ == "Ready")
}

/// Holds the status of a gateway to the contract, whatever it says: its Ready has `reason`, which the first step that is
/// not True has too, kstatus, generations and messages.
pub fn assert_gateway(row: &str, gateway: &VaultGateway, reason: Reason) {
    let status = gateway.status.as_ref().expect("there is a status");
    let find = |kind: ConditionType| status.conditions.iter().find(|found| found.type_ == kind.as_str());
    let told = |kind| find(kind).map(|found| (found.status.as_str(), found.reason.as_str()));
    let verdict = Some((reason.truth().as_str(), reason.as_str()));
    assert_eq!(told(ConditionType::Ready), verdict, "{row}");
    let works = reason.truth() == Truth::True;
    let (references, reachable) = match reason.condition() {
        ConditionType::ReferencesResolved => (verdict, Some(("Unknown", "NotChecked"))),
        ConditionType::Reachable => (Some(("True", "Resolved")), verdict),
        _ => (Some(("True", "Resolved")), Some(("True", "Answered"))),
    };
    assert_eq!(told(ConditionType::ReferencesResolved), references, "{row}");
    assert_eq!(told(ConditionType::Reachable), reachable, "{row}");
    let needs_person = reason.failure_class() == FailureClass::Terminal;
    assert_eq!(find(ConditionType::Stalled).is_some(), !works && needs_person, "{row}");
    assert_eq!(find(ConditionType::Reconciling).is_some(), !works && !needs_person, "{row}");
    let generation = gateway.metadata.generation;
    assert_eq!(status.observed_generation, generation, "{row}");
    for found in &status.conditions {
        assert_eq!(found.observed_generation, generation, "{row}: {}", found.type_);
        assert!(found.message.len() <= LONGEST_MESSAGE, "{row}: {}", found.message);
    }
    assert_eq!(status.healthy_endpoints.is_some_and(|count| count > 0), works, "{row}");
    for endpoint in &status.endpoints {
        assert_eq!(endpoint.healthy, endpoint.message.is_empty(), "{row}: {endpoint:?}");
        assert_eq!(endpoint.healthy, endpoint.latency_milliseconds.is_some(), "{row}: {endpoint:?}");
    }
}

/// Holds a status that fails with `reason` to the contract: the ladder of steps, kstatus, generations and the message.
pub fn assert_failed(row: &str, connection: &VaultConnection, reason: Reason, next_step: &str) {
    let status = connection.status.as_ref().expect("there is a status");
    let find = |kind: ConditionType| condition(connection, kind.as_str());
    let ready = ready(connection).expect("there is a Ready");
    assert_eq!(ready.reason, reason.as_str(), "{row}: {}", ready.message);
    assert_eq!(ready.status, reason.truth().as_str(), "{row}");
    assert!(ready.message.contains(next_step), "{row}: {next_step:?} is not in {:?}", ready.message);
    assert!(ready.message.len() <= LONGEST_MESSAGE, "{row}: {}", ready.message);
    let failed = failed_step(row, connection, reason);
    for step in ConditionType::STEPS {
        let found = find(step).unwrap_or_else(|| panic!("{row}: there is no {}", step.as_str()));
        let told = (found.status.as_str(), found.reason.as_str());
        match step.cmp(&failed) {
            Ordering::Less => {
                assert_eq!(found.status, Truth::True.as_str(), "{row}: {} passed", step.as_str());
            }
            Ordering::Equal => {
                assert_eq!(told, (reason.truth().as_str(), reason.as_str()), "{row}");
                assert_eq!(found.message, ready.message, "{row}");
            }
            Ordering::Greater => {
                assert_eq!(told, ("Unknown", "NotChecked"), "{row}: {} was not reached", step.as_str());
            }
        }
    }
    let (set, unset) = match reason.failure_class() {
        FailureClass::Terminal => (ConditionType::Stalled, ConditionType::Reconciling),
        FailureClass::None | FailureClass::Transient | FailureClass::Persistent => {
            (ConditionType::Reconciling, ConditionType::Stalled)
        }
    };
    assert!(find(set).is_some_and(|found| found.status == "True"), "{row}: {} is not set", set.as_str());
    assert!(find(unset).is_none(), "{row}: {} is set", unset.as_str());
    let generation = connection.metadata.generation;
    assert_eq!(status.observed_generation, generation, "{row}");
    assert!(status.conditions.iter().all(|found| found.observed_generation == generation), "{row}");
    assert_eq!(status.state, Some(reason.state()), "{row}");
}

/// The step that a reason failed: its own, or a later one if an answer of the same check has proved that one.
fn failed_step(row: &str, connection: &VaultConnection, reason: Reason) -> ConditionType {
    let own = reason.condition();
    let is_of_a_request = matches!(own, ConditionType::Reachable | ConditionType::ServerReady);
    let has_reason = |step: &ConditionType| {
        let found = condition(connection, step.as_str());
        (*step == own || is_of_a_request && *step > own)
            && found.is_some_and(|it| it.reason == reason.as_str())
    };
    ConditionType::STEPS.into_iter().find(has_reason).unwrap_or_else(|| panic!("{row}: no step failed"))
}
