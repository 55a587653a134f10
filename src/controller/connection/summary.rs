//! What the status page shows of a connection's status. Pure.

use crate::{
    api::{
        condition::ConditionType,
        status::{ServerRole, State, VaultConnectionStatus},
    },
    conditions,
    telemetry::page::board::Summary,
};

/// What the status page shows of a status.
pub(super) fn summary(status: &VaultConnectionStatus) -> Summary {
    let found = |condition| conditions::find(&status.conditions, condition).cloned();
    let connection = status.connection.as_ref();
    let server = status.server.as_ref();
    let method = connection.map(|it| match &it.mount {
        Some(mount) => format!("{} at auth/{mount}", it.method),
        None => it.method.clone(),
    });
    let role = server.and_then(|server| server.role).map(|role| match role {
        ServerRole::Active => "active",
        ServerRole::Standby => "standby",
        ServerRole::PerformanceStandby => "performance standby",
    });
    let version = server.and_then(|server| server.version.clone());
    let version = [version.as_deref(), role].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let facts = [
        ("Vault namespace", connection.and_then(|it| it.namespace.clone())),
        ("Gateway", connection.and_then(|it| it.gateway.clone())),
        ("Method", method),
        ("Server", Some(version)),
    ];
    let facts =
        facts.into_iter().filter_map(|(label, fact)| Some((label, fact.filter(|it| !it.is_empty())?)));
    let ends = [
        ("Token", status.session.as_ref().and_then(|session| session.expire_time.as_ref())),
        ("Certificate", server.and_then(|server| server.certificate_expire_time.as_ref())),
    ];
    let warnings = [ConditionType::CredentialsExpiring, ConditionType::CertificateExpiring];
    Summary {
        generation: status.observed_generation,
        state: status.state.unwrap_or(State::Pending).as_str().to_owned(),
        ready: found(ConditionType::Ready),
        warnings: warnings.into_iter().filter_map(found).collect(),
        faults: Vec::new(),
        checked: status.last_check_time.as_ref().map(|time| time.0),
        next: status.next_check_time.as_ref().map(|time| time.0),
        target: connection.map(|it| it.instance_url.clone()).unwrap_or_default(),
        facts: facts.collect(),
        ends: ends.into_iter().filter_map(|(label, end)| Some((label, end?.0))).collect(),
    }
}
