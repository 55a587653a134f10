//! `sys/health`: is this a Vault, and can it serve us?
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/health>

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    fields::{Count, Label, fields},
};
use crate::api::status::ServerRole;

/// What a usable instance tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    /// The part that the node plays; none if something keeps `sys/health` from us.
    pub role: Option<ServerRole>,
    /// Version of Vault or OpenBao.
    pub version: Option<String>,
    /// Name of the cluster.
    pub cluster_name: Option<String>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// The server's clock, in seconds since the epoch.
    pub server_time: Option<i64>,
    /// Whether it is HashiCorp's Enterprise edition, if it says so: OpenBao and older versions of Vault do not.
    pub enterprise: Option<bool>,
}

fields! {
    /// `HealthResponse` of HashiCorp's `http`. Vault answers with it whatever the status code is, and nobody else does.
    struct Body {
        initialized: Option<bool> = "initialized",
        sealed: Option<bool> = "sealed",
        version: Label = "version",
        cluster_name: Label = "cluster_name",
        cluster_id: Label = "cluster_id",
        server_time_utc: Option<Count> = "server_time_utc",
        enterprise: Option<bool> = "enterprise",
    }
}

/// Asks the instance how it is.
pub fn request() -> Request {
    Request { operation: Operation::Health, path: "sys/health".to_owned(), body: None }
}

/// Asks the instance for something that needs no right and holds no credential, where `sys/health` is kept from us: only
/// Vault refuses it in Vault's words.
pub fn probe() -> Request {
    Request { operation: Operation::Probe, path: "auth/token/lookup-self".to_owned(), body: None }
}

/// Reads the answer to [`request`]. A node that can serve logins, if only by forwarding them, is healthy.
pub fn read(answer: &Answer) -> Result<Health, ServerFault> {
    let body = answer.json::<Body>();
    let Some((initialized, sealed, body)) =
        body.and_then(|body| Some((body.initialized?, body.sealed?, body)))
    else {
        return Err(without_body(answer));
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
        _ if !initialized => return Err(ServerFault::NotInitialized),
        _ if sealed => return Err(ServerFault::Sealed),
        _ => return Err(without_body(answer)),
    };
    Ok(Health {
        role: Some(role),
        version: body.version.0,
        cluster_name: body.cluster_name.0,
        cluster_id: body.cluster_id.0,
        server_time: body.server_time_utc.map(|time| time.0),
        enterprise: body.enterprise,
    })
}

/// The fault of an answer that tells no health. No Vault redirects `sys/health`: whoever does stands before it.
fn without_body(answer: &Answer) -> ServerFault {
    match answer.server_fault() {
        Some(ServerFault::NoActiveNode { host }) if (300..=399).contains(&answer.status) => {
            ServerFault::Redirected { host }
        }
        Some(fault) => fault,
        None => ServerFault::NotVault { status: answer.status },
    }
}

/// Whether `sys/health` may be kept from us by something that lets other requests through, such as a firewall.
pub fn is_withheld(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403 | 404) && answer.json::<Body>().is_none_or(|body| body.sealed.is_none())
}

/// Reads the answer to [`probe`]: whether Vault serves, of which nothing else is known then.
pub fn read_probe(answer: &Answer) -> Result<Health, ServerFault> {
    match answer.server_fault() {
        Some(fault) => Err(fault),
        None if matches!(answer.status, 400 | 403) => Ok(Health::default()),
        None => Err(ServerFault::NotVault { status: answer.status }),
    }
}

// === impl Health ===

impl Health {
    /// Whether the instance surely has no Vault namespaces: HashiCorp's Community Edition, which ignores the header that
    /// names one. Versions that do not say which edition they are say it in the version: Enterprise ends in `+ent`.
    pub fn has_no_namespaces(&self) -> bool {
        let by_version = |version: &str| {
            (version.starts_with("0.") || version.starts_with("1.")) && !version.contains("+ent")
        };
        match self.enterprise {
            Some(enterprise) => !enterprise,
            None => self.version.as_deref().is_some_and(by_version),
        }
    }
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
            (503, "<html>", Err(ServerFault::ProxyError { status: 503, retry_after: None })),
            (307, "", Err(ServerFault::Redirected { host: None })),
            (200, "<html>", Err(ServerFault::NotVault { status: 200 })),
            (200, r#"{"hello":"world"}"#, Err(ServerFault::NotVault { status: 200 })),
            (429, r#"{"errors":["quota"]}"#, Err(ServerFault::RateLimited { retry_after: None })),
            (302, "", Err(ServerFault::Redirected { host: None })),
        ];
        for (status, body, expected) in table {
            let expected = expected.clone().map(Some);
            assert_eq!(read(&json(*status, body)).map(|health| health.role), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_server_tells_its_version_and_clock() {
        let health = read(&json(200, BODY)).expect("healthy");
        assert_eq!(health.version.as_deref(), Some("2.7.2"));
        assert_eq!(health.server_time, Some(1_795_488_343));
    }

    #[test]
    fn what_is_redacted_is_absent() {
        let body = r#"{"initialized":true,"sealed":false,"version":"","cluster_name":"","cluster_id":null}"#;
        let health = read(&json(200, body)).expect("healthy");
        assert_eq!((health.version, health.cluster_name, health.cluster_id), (None, None, None));
    }

    #[test]
    fn only_vault_refuses_the_probe_in_its_words() {
        let table: &[(u16, &str, bool)] = &[
            (403, r#"{"errors":["permission denied"]}"#, true),
            (400, r#"{"errors":["missing client token"]}"#, true),
            (403, "<html>forbidden</html>", false),
            (404, r#"{"errors":[]}"#, false),
            (200, "{}", false),
            (503, r#"{"errors":["Vault is sealed"]}"#, false),
        ];
        for (status, body, is_vault) in table {
            assert_eq!(read_probe(&json(*status, body)).is_ok(), *is_vault, "{status} {body}");
        }
    }

    #[test]
    fn a_vault_without_namespaces_is_known_by_its_edition_or_version() {
        let health = |enterprise: Option<bool>, version: &str| Health {
            enterprise,
            version: Some(version.to_owned()),
            ..Health::default()
        };
        let table = [
            (Some(false), "1.21.3", true),
            (Some(true), "1.21.3+ent", false),
            (None, "1.14.10", true),
            (None, "1.14.10+ent.hsm", false),
            (None, "2.7.2", false),
        ];
        for (enterprise, version, without) in table {
            assert_eq!(health(enterprise, version).has_no_namespaces(), without, "{version}");
        }
        assert!(!Health::default().has_no_namespaces(), "of what is redacted nothing is known");
    }
}
