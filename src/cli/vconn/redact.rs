//! What of an object or a log may go into an archive that is sent to others. Pure.
//!
//! Secrets are never read. What may still hold a credential goes: values of environment variables, role IDs in a spec, annotations that
//! repeat an object, and, in every text, what looks like a credential ([`text`](super::redact_text)).

use serde_json::Value;

use super::redact_text::{REDACTED, text};

/// Keys whose text may be a credential, or half of one.
const HIDDEN_KEYS: [&str; 5] = ["roleId", "password", "token", "secretId", "httpHeaders"];

/// Keys whose UUID is none of a credential.
const PUBLIC_IDS: [&str; 3] = ["uid", "clusterId", "resourceVersion"];

/// A longer annotation is more than a setting: tools keep whole objects in them, packed and encoded.
const MAX_ANNOTATION_BYTES: usize = 256;

/// Takes out of an object what nobody else should see.
pub(super) fn redact(object: &mut Value) {
    walk(object);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match (key.as_str(), &mut *field) {
                    ("metadata", Value::Object(metadata)) => {
                        metadata.remove("managedFields");
                        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                            annotations.retain(|name, _| !name.ends_with("/last-applied-configuration"));
                            annotations.values_mut().for_each(redact_long);
                        }
                        walk(field);
                    }
                    ("env" | "httpHeaders", Value::Array(variables)) => {
                        variables.iter_mut().for_each(redact_value);
                    }
                    (key, Value::String(_)) if PUBLIC_IDS.contains(&key) => {}
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
        Value::String(found) => *found = text(found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn redact_value(holder: &mut Value) {
    if let Some(value) = holder.get_mut("value") {
        *value = REDACTED.into();
    }
}

fn redact_long(annotation: &mut Value) {
    if annotation.as_str().is_some_and(|text| text.len() > MAX_ANNOTATION_BYTES) {
        *annotation = REDACTED.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_credential_goes_and_the_rest_stays() {
        let mut object = json!({
            "metadata": {
                "name": "a", "managedFields": [{"manager": "x"}], "uid": "0f3e4e0a-93f6-4b1a-a4a5-1c1f6c7f0b3e",
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "canary", "b": "kept",
                    "objectset.example.com/applied": "canary".repeat(50),
                },
            },
            "spec": {
                "description": "the token is hvs.CAESICANARYcanary0123456789",
                "auth": {"appRole": {
                    "roleId": {"value": "canary"},
                    "secretId": {"secretRef": {"name": "kept", "key": "secretId"}},
                }},
                "template": {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}}},
                "containers": [{
                    "env": [{"name": "HTTPS_PROXY", "value": "http://canary@proxy"}, {"name": "P", "valueFrom": {}}],
                    "args": ["--x=http://user:canary@proxy:3128/p", "--lease=kept", "http://a,http://b:canary@c"],
                    "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "canary"}]}},
                }],
            },
            "status": {
                "connection": {"roleId": "canary", "instanceUrl": "https://kept.example.com/a@b"},
                "server": {"clusterId": "1c1f6c7f-93f6-4b1a-a4a5-0f3e4e0a0b3e"},
            },
        });
        redact(&mut object);
        let text = object.to_string();
        assert!(!text.to_lowercase().contains("canary") && !text.contains("managedFields"), "{text}");
        assert_eq!(object["spec"]["auth"]["appRole"]["secretId"]["secretRef"]["name"], "kept");
        assert_eq!(object["spec"]["containers"][0]["args"][0], "--x=http://REDACTED@proxy:3128/p");
        assert_eq!(object["status"]["connection"]["instanceUrl"], "https://kept.example.com/a@b");
        assert_eq!(object["metadata"]["uid"], "0f3e4e0a-93f6-4b1a-a4a5-1c1f6c7f0b3e");
        assert_eq!(text.matches("kept").count(), 4, "{text}");
    }
}
