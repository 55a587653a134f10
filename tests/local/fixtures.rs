//! Good values that tests change in one place.

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use vault_connection_operator::{
    api::connection::VaultConnectionSpec,
    names::ObjectName,
    references::{Version, Versions},
    spec::Desired,
    vault::answer::Answer,
};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A connection that logs in with an AppRole, as its defaults have it.
pub(crate) fn app_role() -> Desired {
    let spec = json!({
        "instanceUrl": "https://vault.example.com",
        "auth": {"appRole": {
            "roleId": {"value": "role"},
            "secretId": {"secretRef": {"name": "vault", "key": "secret"}},
        }},
    });
    let spec: VaultConnectionSpec = serde_json::from_value(spec).expect("a spec");
    Desired::parse(&spec).expect("a good one")
}

/// The one Secret of it in a state.
pub(crate) fn versions(resource_version: &str) -> Versions {
    let version = Version { uid: "u".into(), resource_version: resource_version.to_owned() };
    Versions::from([(ObjectName::secret("vault"), Some(version))])
}

/// An answer with a JSON body.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        location: None,
        certificate_end: None,
        body: body.as_bytes().to_vec().into(),
    }
}
