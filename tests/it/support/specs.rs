//! Good specs, to be mutated.

use serde_json::{Value, json};

use super::vault::AppRole;

/// A connection by an AppRole, whose role id and secret id are in one Secret.
pub fn app_role(instance: &str, mount: &str, secret: &str) -> Value {
    json!({
        "instanceUrl": instance,
        "auth": {"appRole": {
            "mount": mount,
            "roleId": {"secretRef": {"name": secret, "key": "roleId"}},
            "secretId": {"secretRef": {"name": secret, "key": "secretId"}},
        }},
    })
}

/// A connection by a token.
pub fn token(instance: &str, secret: &str) -> Value {
    json!({"instanceUrl": instance, "auth": {"token": {"secretRef": {"name": secret, "key": "token"}}}})
}

/// A spec that is checked as often as the CRD allows.
pub fn every_ten_seconds(mut spec: Value) -> Value {
    spec["check"] = json!({"interval": "10s", "timeout": "10s"});
    spec
}

/// The data of the Secret that [`app_role`] names.
pub fn pair<'a>(role: &'a AppRole, secret_id: &'a str) -> [(&'static str, &'a str); 2] {
    [("roleId", role.role_id.as_str()), ("secretId", secret_id)]
}
