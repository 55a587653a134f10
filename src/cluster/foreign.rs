//! What somebody else has left in a status of ours.
//!
//! A server-side apply sets our fields and leaves those of others. But a status is ours as a whole: a `server.version` or a
//! `Stalled` that we did not write would be believed to be ours. Conditions of types that are not ours stay.

use serde_json::{Map, Value};

use crate::api::condition::ConditionType;

/// The merge patch that takes out of the status `found` what is not in ours. None: there is nothing to take out.
pub(super) fn removal(ours: &Value, found: &Value) -> Option<Value> {
    let (Value::Object(ours), Value::Object(found)) = (ours, found) else { return None };
    let mut patch = Map::new();
    for (key, value) in found {
        let change = match (ours.get(key), value) {
            (own, Value::Array(conditions)) if key == "conditions" => {
                without_foreign(own.and_then(Value::as_array).map(Vec::as_slice), conditions)
            }
            (None, _) => Some(Value::Null),
            // Fields that are lists or plain values were applied whole.
            (Some(own), value) => removal(own, value),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The conditions without those of our types that we did not write. None: there are none of these.
fn without_foreign(ours: Option<&[Value]>, found: &[Value]) -> Option<Value> {
    let type_of = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
    let own: Vec<_> = ours.unwrap_or_default().iter().map(type_of).collect();
    let stays = |condition: &&Value| {
        own.contains(&type_of(condition)) || !ConditionType::is_ours(&type_of(condition))
    };
    let kept: Vec<_> = found.iter().filter(stays).cloned().collect();
    (kept.len() < found.len()).then_some(Value::Array(kept))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_have_added_is_taken_out() {
        let ours = json!({
            "state": "Rejected", "connection": {"app": "vault"}, "credentials": [{"name": "a"}],
            "conditions": [{"type": "Ready"}],
        });
        let with = |change: fn(&mut Value)| {
            let mut found = ours.clone();
            change(&mut found);
            removal(&ours, &found)
        };
        assert_eq!(with(|_| ()), None);
        assert_eq!(with(|it| it["server"] = json!({"version": "9"})), Some(json!({"server": null})));
        assert_eq!(
            with(|it| it["connection"]["mount"] = json!("m")),
            Some(json!({"connection": {"mount": null}}))
        );
        let theirs = json!([{"type": "Theirs"}, {"type": "Ready"}]);
        let found = json!({"conditions": theirs});
        assert_eq!(removal(&ours, &found), None, "of another type");
        let forged = json!({"conditions": [{"type": "Theirs"}, {"type": "Stalled"}, {"type": "Ready"}]});
        assert_eq!(removal(&ours, &forged), Some(json!({"conditions": theirs})));
        assert_eq!(
            removal(&json!({}), &json!({"conditions": [{"type": "Stalled"}]})),
            Some(json!({"conditions": []}))
        );
    }
}
