//! What the status page shows of a gateway's status. Pure.

use crate::{
    api::{condition::ConditionType, gateway::VaultGatewayStatus, status::State},
    conditions,
    telemetry::page::board::Summary,
};

/// What the status page shows of a status.
pub(super) fn summary(status: &VaultGatewayStatus) -> Summary {
    let endpoints = &status.endpoints;
    let state = match status.healthy_endpoints {
        Some(healthy) => format!("{healthy} of {} endpoints", endpoints.len()),
        None => State::Pending.as_str().to_owned(),
    };
    let ready = conditions::find(&status.conditions, ConditionType::Ready);
    // What Ready says already is not said twice.
    let is_news = |message: &&String| {
        !message.is_empty() && ready.is_none_or(|ready| !ready.message.contains(message.as_str()))
    };
    let faults = endpoints.iter().filter(|endpoint| !endpoint.healthy).map(|endpoint| &endpoint.message);
    let urls: Vec<_> = endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
    Summary {
        generation: status.observed_generation,
        state,
        ready: ready.cloned(),
        warnings: Vec::new(),
        faults: faults.filter(is_news).cloned().collect(),
        checked: status.last_check_time.as_ref().map(|time| time.0),
        next: status.next_check_time.as_ref().map(|time| time.0),
        target: urls.join(", "),
        facts: status.connections.map(|count| ("Connections", count.to_string())).into_iter().collect(),
        ends: Vec::new(),
    }
}
