//! The table of manifests, as `check` reads them: it takes what the API server takes, and refuses what that refuses.

use serde_json::{Value, json};

use super::{
    manifests::{InputError, Manifests},
    parse,
    sources::Source,
};
use crate::manifests::table;

/// Everything that `check` has against a manifest in a file.
fn refusals(manifest: &Value) -> Vec<String> {
    let source = Source { name: "file.yaml".to_owned(), text: manifest.to_string() };
    let mut manifests = Manifests::of(vec![Ok(source)]);
    let connections = std::mem::take(&mut manifests.connections);
    let parsed = connections.iter().filter_map(|(place, connection)| parse(connection, place.clone()).err());
    let errors = manifests.errors.into_iter().chain(parsed);
    let relevant =
        |error: &InputError| !matches!(error, InputError::NoConnection | InputError::Wrapped { .. });
    errors.filter(relevant).map(|error| error.to_string()).collect()
}

#[test]
fn check_accepts_and_refuses_what_the_schema_does() {
    for row in table::connections().into_iter().chain(table::gateways()) {
        let table::Row { name, created, updated, refused, only_schema, .. } = row;
        // A file has no history: what may not be changed is fine as it is.
        let refused = refused.is_some() && !(only_schema && updated.is_some());
        let found = refusals(&updated.unwrap_or(created));
        assert_eq!(!found.is_empty(), refused, "{name}: {found:?}");
    }
}

#[test]
fn what_kubectl_printed_can_be_checked() {
    let row = table::connections().into_iter().next().expect("the table has rows");
    let mut printed = row.created;
    printed["metadata"]["resourceVersion"] = json!("1");
    printed["metadata"]["managedFields"] =
        json!([{"manager": "kubectl", "operation": "Apply", "time": "2026-01-01T00:00:00Z"}]);
    printed["status"] = json!({"state": "OfAnotherVersion", "new": 1});
    assert_eq!(refusals(&printed), Vec::<String>::new());
}

#[test]
fn a_field_that_does_not_exist_is_named_by_its_path() {
    let row = table::connections().into_iter().next().expect("the table has rows");
    let mut manifest = row.created;
    manifest["spec"]["tls"] = json!({"caBundel": {}});
    manifest["spec"]["check"] = json!({"intervall": "1m"});
    manifest["spec"]["auth"]["appRole"]["secretID"] = json!("x");
    let said = refusals(&manifest).join("\n");
    for path in ["spec.tls.caBundel", "spec.check.intervall", "spec.auth.appRole.secretID"] {
        assert!(said.contains(path), "{path} is not in {said:?}");
    }
}
