//! Holds the values of the charts to their schemas.
//!
//! Helm takes null for a value that is not there, and does not show it to the schema. So what would switch something off without a word
//! must be required, and a value whose default is empty may be null: `tests/chart/values/nulls.yaml` has all of these.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

const CHARTS: [&str; 2] = ["vault-connection-operator", "vault-connection-operator-crds"];

/// Values that null removes although their default is not empty: the field is then not in the object.
const REMOVABLE: &[&str] = &[
    "livenessProbe",
    "metrics.dashboard.labels",
    "metrics.podMonitor.jobLabel",
    "metrics.serviceMonitor.jobLabel",
    "nodeSelector",
    "podDisruptionBudget.maxUnavailable",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
];

fn read(path: &str) -> String {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where");
    fs::read_to_string(Path::new(&root).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// What is behind a reference of a schema.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/definitions/"));
    name.map_or(schema, |name| &root["definitions"][name])
}

/// Sorts the values: those that may be null, and those that the schema should require and does not.
fn sort(
    (values, schema): (&Value, &Value),
    root: &Value,
    path: &str,
    (nullable, faults): (&mut BTreeSet<String>, &mut Vec<String>),
) {
    let schema = resolved(root, schema);
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, value) in values.as_object().expect("a map") {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if is_empty(value) || REMOVABLE.contains(&path.as_str()) {
            nullable.insert(path);
            continue;
        }
        if !required.contains(&&Value::from(name.as_str())) {
            faults.push(path.clone());
        }
        if value.is_object() {
            sort((value, &schema["properties"][name]), root, &path, (nullable, faults));
        }
    }
}

fn sorted(chart: &str) -> (BTreeSet<String>, Vec<String>) {
    let values: Value = serde_saphyr::from_str(&read(&format!("charts/{chart}/values.yaml"))).expect("YAML");
    let schema: Value =
        serde_json::from_str(&read(&format!("charts/{chart}/values.schema.json"))).expect("JSON");
    let (mut nullable, mut faults) = (BTreeSet::new(), Vec::new());
    sort((&values, &schema), &schema, "", (&mut nullable, &mut faults));
    (nullable, faults)
}

#[test]
fn null_switches_nothing_off() {
    for chart in CHARTS {
        let (nullable, faults) = sorted(chart);
        assert!(faults.is_empty(), "values.schema.json of {chart} does not require {faults:?}");
        assert!(!nullable.is_empty(), "{chart}");
    }
}

#[test]
fn every_value_that_may_be_null_is_rendered_so() {
    let nulls: Value = serde_saphyr::from_str(&read("tests/chart/values/nulls.yaml")).expect("YAML");
    let (nullable, _) = sorted(CHARTS[0]);
    // Without these there would be nothing of what is below them, or of the budget.
    let is_needed = |path: &str| path.ends_with(".enabled") || path == "podDisruptionBudget.maxUnavailable";
    for path in nullable.iter().filter(|path| !is_needed(path)) {
        let value = path.split('.').try_fold(&nulls, |value, name| value.get(name));
        assert_eq!(value, Some(&Value::Null), "tests/chart/values/nulls.yaml: {path}");
    }
}
