//! The table of manifests, held to the schema and to the operator's parser.

use std::fmt::Write as _;

use kube::core::cel::{Validator, compile_schema};
use serde_json::Value;
use vault_connection_operator::{
    api::{connection::VaultConnection, gateway::VaultGateway},
    spec::Desired,
};

use crate::{
    agreement::{self, admitted},
    table,
};

/// Holds the schema of a kind to the rows of its table.
fn judge(schema: &Value, rows: Vec<table::Row>) {
    let (bounds, rules) = (jsonschema::validator_for(schema).expect("a JSON schema"), compile_schema(schema));
    // Everything that the schema has against a manifest, as the API server would put it.
    let refusals = |new: &Value, old: Option<&Value>| {
        let (new, old) = (admitted(schema, new), old.map(|old| admitted(schema, old)));
        let mut text = String::new();
        for error in bounds.iter_errors(&new) {
            let path = error.instance_path().to_string().replace('/', ".");
            let _ = writeln!(text, "{}: {error}", path.trim_start_matches('.'));
        }
        if let Err(errors) = Validator::new().validate_compiled(&rules, &new, old.as_ref()) {
            let _ = writeln!(text, "{errors}");
        }
        text
    };
    for table::Row { name, created, updated, refused, only_operator, .. } in rows {
        let text = match &updated {
            None => refusals(&created, None),
            Some(updated) => refusals(updated, Some(&created)),
        };
        match refused.filter(|_| !only_operator) {
            None => assert_eq!(text, "", "{name} is refused"),
            Some(words) => assert!(text.contains(&words), "{name}: {words:?} is not in {text:?}"),
        }
    }
}

#[test]
fn the_schema_accepts_and_refuses_the_table_of_manifests() {
    judge(&agreement::schema::<VaultConnection>(), table::connections());
    judge(&agreement::schema::<VaultGateway>(), table::gateways());
}

#[test]
fn the_operator_accepts_and_refuses_what_the_schema_does() {
    let judge = |row: table::Row, accepts: fn(Value) -> bool| {
        let table::Row { name, created, updated, refused, only_schema, .. } = row;
        let accepted = accepts(updated.unwrap_or(created));
        assert_eq!(accepted, refused.is_none() || only_schema, "{name}");
    };
    for row in table::connections() {
        judge(row, agreement::connection_parses);
    }
    for row in table::gateways() {
        judge(row, agreement::gateway_parses);
    }
}

#[test]
fn what_only_the_operator_refuses_is_reported_in_the_words_of_the_table() {
    let rows = table::connections();
    let mut rows: Vec<_> = rows.into_iter().filter(|row| row.only_operator).collect();
    assert!(!rows.is_empty());
    for table::Row { name, created, refused, .. } in rows.drain(..) {
        let connection: VaultConnection = serde_json::from_value(created).expect("the schema accepts it");
        let error = Desired::parse(&connection.spec).expect_err("a row that only the operator refuses");
        let words = refused.expect("a refusal has words");
        assert!(error.to_string().contains(&words), "{name}: {words:?} is not in {error}");
    }
}

#[test]
fn every_text_list_and_map_of_the_spec_is_bounded() {
    fn look(path: &str, schema: &Value) {
        match schema["type"].as_str() {
            Some("string") => assert!(
                schema.get("maxLength").is_some() || schema.get("enum").is_some(),
                "{path} has no maxLength"
            ),
            Some("array") => {
                assert!(schema.get("maxItems").is_some(), "{path} has no maxItems");
                look(&format!("{path}[]"), &schema["items"]);
            }
            Some("object") => {
                assert!(schema.get("additionalProperties").is_none(), "{path} is an unbounded map");
                for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                    look(&format!("{path}.{name}"), field);
                }
            }
            _ => {}
        }
    }
    look("spec", &agreement::schema::<VaultConnection>()["properties"]["spec"]);
    look("spec", &agreement::schema::<VaultGateway>()["properties"]["spec"]);
}
