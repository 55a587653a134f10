//! Where a manifest does not have the shape of its kind, by the path of the field.
//!
//! The parser says what it misses, but not where. Pure; nothing of what stands in a manifest is shown, which may be a secret.

use std::sync::LazyLock;

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::api::{connection::VaultConnection, gateway::VaultGateway};

/// Why a manifest cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path} must be {wanted}")]
    Type { path: String, wanted: &'static str },
    /// What the schema does not tell.
    #[error(transparent)]
    Parser(serde_json::Error),
}

/// A manifest of one of our kinds, which holds no secret; of other kinds, nothing.
pub(super) struct Shape {
    crd: Option<&'static LazyLock<Value>>,
    manifest: Value,
}

static CONNECTION: LazyLock<Value> = LazyLock::new(|| json!(VaultConnection::crd()));
static GATEWAY: LazyLock<Value> = LazyLock::new(|| json!(VaultGateway::crd()));

// === impl Shape ===

impl Shape {
    /// Keeps a copy of a manifest of ours.
    pub(super) fn of(kind: &str, manifest: &Value) -> Self {
        let crd = match kind {
            "VaultConnection" => &CONNECTION,
            "VaultGateway" => &GATEWAY,
            _ => return Self { crd: None, manifest: Value::Null },
        };
        Self { crd: Some(crd), manifest: manifest.clone() }
    }

    /// What is wrong with the manifest, if the parser refuses it: with the place, if the schema finds it.
    pub(super) fn fault(&self, error: serde_json::Error) -> Fault {
        let schema = self.crd.map(|crd| &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
        schema.and_then(|schema| first(schema, &self.manifest, "")).unwrap_or(Fault::Parser(error))
    }
}

/// The first field that is missing, or of another type. Null is the same as missing.
fn first(schema: &Value, value: &Value, path: &str) -> Option<Fault> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(wanted) = schema["type"].as_str().and_then(|wanted| mismatch(wanted, value)) {
        return Some(Fault::Type { path: path.to_owned(), wanted });
    }
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = required.find(|name| value[*name].is_null()) {
        return Some(Fault::Missing { path: below(name) });
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let in_fields = fields
        .filter(|(name, _)| !value[name.as_str()].is_null())
        .find_map(|(name, schema)| first(schema, &value[name.as_str()], &below(name)));
    let items = || value.as_array().into_iter().flatten().enumerate();
    in_fields.or_else(|| {
        items().find_map(|(number, item)| first(&schema["items"], item, &format!("{path}[{number}]")))
    })
}

/// What a value of another type must be.
fn mismatch(wanted: &str, value: &Value) -> Option<&'static str> {
    match wanted {
        "object" if !value.is_object() => Some("an object"),
        "array" if !value.is_array() => Some("a list"),
        "string" if !value.is_string() => Some("a string: put it in quotes"),
        "integer" if !value.is_i64() && !value.is_u64() => Some("a whole number"),
        "boolean" if !value.is_boolean() => Some("true or false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_fault_is_found() {
        let spec = |text: &str| format!("{{spec: {text}}}");
        let auth = |text: &str| spec(&format!("{{instanceUrl: 'https://v', auth: {text}}}"));
        let table = [
            ("nothing", "{metadata: {}}".to_owned(), "spec is missing"),
            ("null", spec("null"), "spec is missing"),
            ("a list", spec("[]"), "spec must be an object"),
            ("no address", spec("{}"), "spec.auth is missing"),
            (
                "an address that is a number",
                spec("{instanceUrl: 5, auth: {}}"),
                "spec.instanceUrl must be a string: put it in quotes",
            ),
            (
                "no key",
                auth("{token: {secretRef: {name: canary}}}"),
                "spec.auth.token.secretRef.key is missing",
            ),
            (
                "a key that is a number",
                auth("{token: {secretRef: {name: a, key: 7}}}"),
                "spec.auth.token.secretRef.key must be a string: put it in quotes",
            ),
            ("a name in place of a reference", auth("{token: canary}"), "spec.auth.token must be an object"),
            ("what only the parser knows", auth("{}"), "from the parser"),
        ];
        for (name, manifest, expected) in table {
            let manifest: Value = serde_saphyr::from_str(&manifest).expect("YAML");
            let error = serde::de::Error::custom("from the parser");
            assert_eq!(Shape::of("VaultConnection", &manifest).fault(error).to_string(), expected, "{name}");
        }
        let gateway = json!({"spec": {"endpoints": [{"url": "http://a"}, {"ulr": "canary"}]}});
        let error = serde::de::Error::custom("from the parser");
        assert_eq!(
            Shape::of("VaultGateway", &gateway).fault(error).to_string(),
            "spec.endpoints[1].url is missing"
        );
    }
}
