//! `sys/health`: is this a Vault, and can it serve us?
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/health>

use serde::Deserialize;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
};
use crate::api::status::ServerRole;

/// What a usable instance tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The part that the node plays.
    pub role: ServerRole,
    /// Version of Vault or OpenBao.
    pub version: Option<String>,
    /// Name of the cluster.
    pub cluster_name: Option<String>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// The server's clock, in seconds since the epoch.
    pub server_time: Option<i64>,
}

/// The body. Vault answers with it whatever the status code is, and nobody else does.
#[derive(Deserialize)]
struct Body {
    initialized: bool,
    sealed: bool,
    version: Option<String>,
    cluster_name: Option<String>,
    cluster_id: Option<String>,
    server_time_utc: Option<i64>,
}

/// Asks the instance how it is.
pub fn request() -> Request {
    Request { operation: Operation::Health, path: "sys/health".to_owned(), body: None }
}

/// Reads the answer. A node that can serve logins, if only by forwarding them, is healthy.
pub fn read(answer: &Answer) -> Result<Health, ServerFault> {
    let Some(body) = answer.json::<Body>() else {
        return Err(answer.server_fault().unwrap_or(ServerFault::NotVault { status: answer.status }));
    };
    let role = match answer.status {
        200 => ServerRole::Active,
        429 => ServerRole::Standby,
        473 => ServerRole::PerformanceStandby,
        472 => return Err(ServerFault::DisasterRecoverySecondary),
        474 => return Err(ServerFault::StandbyDisconnected),
        530 => return Err(ServerFault::NodeRemoved),
        // Vault has answered 501 since it is documented; the flag is what it means.
        501 => return Err(ServerFault::NotInitialized),
        _ if !body.initialized => return Err(ServerFault::NotInitialized),
        _ if body.sealed => return Err(ServerFault::Sealed),
        status => {
            return Err(answer.server_fault().unwrap_or(ServerFault::NotVault { status }));
        }
    };
    Ok(Health {
        role,
        version: body.version,
        cluster_name: body.cluster_name,
        cluster_id: body.cluster_id,
        server_time: body.server_time_utc,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    const BODY: &str = r#"{"initialized":true,"sealed":false,"standby":false,"server_time_utc":1795488343,
        "version":"2.7.2","cluster_name":"c","cluster_id":"i"}"#;

    #[test]
    fn every_documented_status_code_has_its_meaning() {
        let uninitialized = BODY.replace(r#""initialized":true"#, r#""initialized":false"#);
        let sealed = BODY.replace(r#""sealed":false"#, r#""sealed":true"#);
        let table: &[(u16, &str, Result<ServerRole, ServerFault>)] = &[
            (200, BODY, Ok(ServerRole::Active)),
            (429, BODY, Ok(ServerRole::Standby)),
            (473, BODY, Ok(ServerRole::PerformanceStandby)),
            (472, BODY, Err(ServerFault::DisasterRecoverySecondary)),
            (474, BODY, Err(ServerFault::StandbyDisconnected)),
            (530, BODY, Err(ServerFault::NodeRemoved)),
            (501, &uninitialized, Err(ServerFault::NotInitialized)),
            (503, &sealed, Err(ServerFault::Sealed)),
            (503, "<html>", Err(ServerFault::ServerError { status: 503, retry_after: None })),
            (200, "<html>", Err(ServerFault::NotVault { status: 200 })),
            (200, r#"{"hello":"world"}"#, Err(ServerFault::NotVault { status: 200 })),
            (429, r#"{"errors":["quota"]}"#, Err(ServerFault::RateLimited { retry_after: None })),
            (302, "", Err(ServerFault::Redirected { host: None })),
        ];
        for (status, body, expected) in table {
            assert_eq!(read(&json(*status, body)).map(|health| health.role), *expected, "{status} {body}");
        }
    }

    #[test]
    fn the_server_tells_its_version_and_clock() {
        let health = read(&json(200, BODY)).expect("healthy");
        assert_eq!(health.version.as_deref(), Some("2.7.2"));
        assert_eq!(health.server_time, Some(1_795_488_343));
    }
}
