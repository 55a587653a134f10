//! Manifests that are accepted or refused: a good one, one change, and the message that says what to write instead.
//!
//! The same table runs against the schema in the unit tests and against a real API server.

use serde::Deserialize;
use serde_json::Value;

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    good: Value,
    rows: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    name: String,
    #[serde(default)]
    change: Value,
    /// Fields that are then set to null, as JSON pointers.
    #[serde(default)]
    nulls: Vec<String>,
    #[serde(default)]
    update: Option<Value>,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    only_schema: bool,
    #[serde(default)]
    only_operator: bool,
}

/// One manifest.
pub(crate) struct Row {
    /// What is special about it.
    pub(crate) name: String,
    /// The manifest that is created.
    pub(crate) created: Value,
    /// The manifest that is then written over it.
    pub(crate) updated: Option<Value>,
    /// Words of the refusal of the last of these two; none when it is accepted.
    pub(crate) refused: Option<String>,
    /// Whether the operator itself would accept what the schema refuses: it sees a spec, without a name and a history.
    pub(crate) only_schema: bool,
    /// Whether the API server accepts what the operator itself refuses.
    pub(crate) only_operator: bool,
}

/// Every row of the table of connections.
pub(crate) fn connections() -> Vec<Row> {
    rows(include_str!("connections.yaml"))
}

/// Every row of the table of gateways.
pub(crate) fn gateways() -> Vec<Row> {
    rows(include_str!("gateways.yaml"))
}

fn rows(text: &str) -> Vec<Row> {
    let table: Table = serde_saphyr::from_str(text).expect("the table is YAML");
    let row = |raw: RawRow| {
        let RawRow { name, change, nulls, update, refused, only_schema, only_operator } = raw;
        let mut created = merged(&table.good, &change);
        for pointer in nulls {
            set_null(&mut created, &pointer);
        }
        let updated = update.map(|change| merged(&created, &change));
        Row { name, created, updated, refused, only_schema, only_operator }
    };
    table.rows.into_iter().map(row).collect()
}

/// A JSON merge patch (RFC 7386): null removes a field.
fn merged(base: &Value, change: &Value) -> Value {
    let (Value::Object(base), Value::Object(change)) = (base, change) else {
        return if change.is_null() { base.clone() } else { change.clone() };
    };
    let mut result = base.clone();
    for (key, value) in change {
        if value.is_null() {
            result.remove(key);
        } else {
            let before = result.get(key).cloned().unwrap_or(Value::Object(serde_json::Map::new()));
            result.insert(key.clone(), merged(&before, value));
        }
    }
    Value::Object(result)
}

/// Sets a field, which may be absent, to null.
fn set_null(manifest: &mut Value, pointer: &str) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let parent = manifest.pointer_mut(parent).expect("what holds the field is there");
    parent[field] = Value::Null;
}
