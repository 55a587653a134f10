//! What of an object may go into an archive that is sent to others. Pure.
//!
//! Secrets are never read. What may still hold a credential goes: values of environment variables, role IDs in a spec, annotations that
//! repeat an object, and user information in URLs.

use serde_json::Value;

/// What stands in the place of a value.
const REDACTED: &str = "REDACTED";

/// Keys whose text may be a credential, or half of one.
const HIDDEN_KEYS: [&str; 4] = ["roleId", "password", "token", "secretId"];

/// Takes out of an object what nobody else should see.
pub(super) fn redact(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    walk(object);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match (key.as_str(), &mut *field) {
                    ("env", Value::Array(variables)) => variables.iter_mut().for_each(redact_value),
                    (key, Value::String(text)) if HIDDEN_KEYS.contains(&key) => REDACTED.clone_into(text),
                    // As in roleId: {value: ...}.
                    (key, Value::Object(_)) if HIDDEN_KEYS.contains(&key) => {
                        redact_value(field);
                        walk(field);
                    }
                    _ => walk(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(text) => {
            if let Some(without) = without_user(text) {
                *text = without;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn redact_value(holder: &mut Value) {
    if let Some(value) = holder.get_mut("value") {
        *value = REDACTED.into();
    }
}

/// A text with a URL in it without the user information of that.
fn without_user(text: &str) -> Option<String> {
    let (before, after) = text.split_once("://")?;
    let end = after.find(['/', '?', '#', ' ', ',']).unwrap_or(after.len());
    let at = after[..end].rfind('@')?;
    Some(format!("{before}://{REDACTED}{}", &after[at..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_credential_goes_and_the_rest_stays() {
        let mut object = json!({
            "metadata": {
                "name": "a", "managedFields": [{"manager": "x"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary", "b": "kept"},
            },
            "spec": {
                "auth": {"appRole": {
                    "roleId": {"value": "canary"},
                    "secretId": {"secretRef": {"name": "kept", "key": "secretId"}},
                }},
                "containers": [{
                    "env": [{"name": "HTTPS_PROXY", "value": "http://canary@proxy"}, {"name": "P", "valueFrom": {}}],
                    "args": ["--x=http://user:canary@proxy:3128/p", "--lease=kept"],
                }],
            },
            "status": {"connection": {"roleId": "canary", "instanceUrl": "https://kept.example.com/a@b"}},
        });
        redact(&mut object);
        let text = object.to_string();
        assert!(!text.contains("canary") && !text.contains("managedFields"), "{text}");
        assert_eq!(object["spec"]["auth"]["appRole"]["secretId"]["secretRef"]["name"], "kept");
        assert_eq!(object["spec"]["containers"][0]["args"][0], "--x=http://REDACTED@proxy:3128/p");
        assert_eq!(object["status"]["connection"]["instanceUrl"], "https://kept.example.com/a@b");
        assert_eq!(text.matches("kept").count(), 4, "{text}");
    }
}
