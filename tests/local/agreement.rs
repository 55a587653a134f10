//! Holds the schema with its CEL rules to the operator's parser: both accept the same specs.
//!
//! What the table of manifests says of single ones is said here of generated ones: each field of the schema with values of every
//! type, and each text with texts of its grammar, near it, and far from it.

mod kinds;
mod texts;

use jsonschema::Validator as Bounds;
use kube::{
    CustomResourceExt,
    core::cel::{CompiledSchema, Validator, compile_schema},
};
use proptest::{prelude::*, test_runner::TestCaseResult};
use serde_json::{Value, json};

use self::texts::{anything, around, duration, host, instance_url, is_exotic, name, path, url};
use vault_connection_operator::{
    api::{connection::VaultConnection, gateway::VaultGateway},
    manifests::crd,
    spec::{Desired, DesiredGateway},
};

/// What the API server makes of a manifest before it looks at it: nulls are absent, and defaults are there.
pub(crate) fn admitted(schema: &Value, manifest: &Value) -> Value {
    match manifest {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let absent = fields.get(name).is_none_or(Value::is_null);
                match field.get("default") {
                    Some(default) if absent => drop(fields.insert(name.clone(), default.clone())),
                    None if absent => drop(fields.remove(name)),
                    Some(_) | None => {}
                }
                if let Some(value) = fields.get_mut(name) {
                    *value = admitted(field, value);
                }
            }
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(|item| admitted(&schema["items"], item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => manifest.clone(),
    }
}

/// The schema of a kind of ours.
pub(super) fn schema<K: CustomResourceExt>() -> Value {
    crd::<K>()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Whether the operator would go on with a connection.
pub(super) fn connection_parses(manifest: Value) -> bool {
    let parsed = serde_json::from_value::<VaultConnection>(manifest);
    parsed.is_ok_and(|connection| Desired::parse(&connection.spec).is_ok())
}

/// Whether the operator would go on with a gateway.
pub(super) fn gateway_parses(manifest: Value) -> bool {
    let parsed = serde_json::from_value::<VaultGateway>(manifest);
    parsed.is_ok_and(|gateway| DesiredGateway::parse(&gateway.spec).is_ok())
}

/// A kind: a manifest that uses every field, its schema made ready, and its parser.
struct Kind {
    full: Value,
    schema: Value,
    bounds: Bounds,
    rules: CompiledSchema,
    parses: fn(Value) -> bool,
}

impl Kind {
    fn new<K: CustomResourceExt>(full: Value, parses: fn(Value) -> bool) -> Self {
        let schema = schema::<K>();
        let bounds = jsonschema::validator_for(&schema).expect("a JSON schema");
        let kind = Self { full, bounds, rules: compile_schema(&schema), schema, parses };
        assert!(!kind.rules.has_errors(), "{:?}", kind.rules.compilation_errors());
        assert!(kind.accepts(&kind.full) && (kind.parses)(kind.full.clone()), "the whole one is good");
        kind
    }

    /// Whether the API server would take it.
    fn accepts(&self, manifest: &Value) -> bool {
        let manifest = admitted(&self.schema, manifest);
        self.bounds.is_valid(&manifest)
            && Validator::new().validate_compiled(&self.rules, &manifest, None).is_ok()
    }

    /// Why the two verdicts on a manifest differ, if they do.
    fn difference(&self, manifest: &Value) -> Option<String> {
        let (accepted, parsed) = (self.accepts(manifest), (self.parses)(manifest.clone()));
        (accepted != parsed).then(|| format!("the schema says {accepted}, the parser {parsed}"))
    }

    /// The whole manifest with another value in one place.
    fn with(&self, pointer: &str, value: Value) -> Value {
        let mut manifest = self.full.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
        let parent = manifest.pointer_mut(parent).expect("what holds the field is there");
        match (parent, field.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => items[index] = value,
            (parent, _) => parent[field] = value,
        }
        manifest
    }

    /// The rules of one part of the manifest, for quick verdicts: what stands outside of it has to be good.
    fn part<'a>(&'a self, pointer: &'a str) -> Part<'a> {
        let schema = at(&self.schema, pointer);
        let bounds = jsonschema::validator_for(schema).expect("a JSON schema");
        Part { kind: self, pointer, bounds, rules: compile_schema(schema) }
    }
}

/// A part of a manifest.
struct Part<'a> {
    kind: &'a Kind,
    pointer: &'a str,
    bounds: Bounds,
    rules: CompiledSchema,
}

impl Part<'_> {
    /// Holds both verdicts on a text in this part to each other.
    fn agrees(&self, pointer: &str, text: &str) -> TestCaseResult {
        let manifest = self.kind.with(pointer, json!(text));
        let part = manifest.pointer(self.pointer).expect("the part is there");
        let part = admitted(at(&self.kind.schema, self.pointer), part);
        let accepted = self.bounds.is_valid(&part)
            && Validator::new().validate_compiled(&self.rules, &part, None).is_ok();
        let parsed = (self.kind.parses)(manifest);
        prop_assert_eq!(accepted, parsed, "the schema and the parser of {} {:?}", pointer, text);
        Ok(())
    }
}

/// Every place in a manifest, also of fields that the schema has and the manifest has not.
fn places(prefix: &str, value: &Value, schema: &Value, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let named = schema["properties"].as_object().into_iter().flat_map(|named| named.keys());
            named.map(|name| (name.clone(), fields.get(name).unwrap_or(&Value::Null))).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, child) in children {
        places(&format!("{prefix}/{name}"), child, at(schema, &format!("/{name}")), found);
        found.push(format!("{prefix}/{name}"));
    }
}

/// The subschema of a place.
fn at<'a>(schema: &'a Value, pointer: &str) -> &'a Value {
    pointer.split('/').skip(1).fold(schema, |schema, name| match name.parse::<usize>() {
        Ok(_) => &schema["items"],
        Err(_) => &schema["properties"][name],
    })
}

#[test]
fn every_field_of_the_schema_is_read_alike_with_values_of_every_type() {
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("a"),
        json!("true"),
        json!("\n"),
        json!([]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"name": "s"}),
        json!({"name": null, "key": null}),
    ];
    let mut wrong = Vec::new();
    for (kind, part) in Kind::all() {
        let mut found = Vec::new();
        let whole = kind.full.pointer(part).expect("it has that part");
        places(part, whole, at(&kind.schema, part), &mut found);
        found.push(part.to_owned());
        assert!(found.len() > if part == "/spec" { 20 } else { 2 }, "{found:?}");
        for place in &found {
            let long = match at(&kind.schema, place)["maxLength"].as_u64() {
                Some(most) => vec![json!("あ".repeat(usize::try_from(most).expect("it fits") + 1))],
                None => Vec::new(),
            };
            for value in odd.iter().chain(&long) {
                let manifest = kind.with(place, value.clone());
                wrong.extend(kind.difference(&manifest).map(|why| format!("{place} {value}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_null_is_read_as_if_it_were_absent() {
    for (kind, part) in Kind::all() {
        let mut found = Vec::new();
        let whole = kind.full.pointer(part).expect("it has that part");
        places(part, whole, at(&kind.schema, part), &mut found);
        for place in found.iter().filter(|place| !place.ends_with(|c: char| c.is_ascii_digit())) {
            let mut absent = kind.full.clone();
            let (parent, field) = place.rsplit_once('/').expect("a pointer");
            let parent = absent.pointer_mut(parent).and_then(Value::as_object_mut).expect("it is an object");
            parent.remove(field);
            let null = kind.with(place, Value::Null);
            assert_eq!(
                (kind.accepts(&null), (kind.parses)(null)),
                (kind.accepts(&absent), (kind.parses)(absent)),
                "{place}"
            );
        }
    }
}

#[test]
fn a_list_may_be_as_long_as_the_schema_says() {
    let kind = Kind::with_app_role();
    for (pointer, item) in [
        ("/spec/require/capabilities", json!({"path": "a", "verbs": ["read"]})),
        ("/spec/require/capabilities/0/verbs", json!("read")),
    ] {
        for length in 0..40 {
            let list = Value::from(vec![item.clone(); length]);
            assert_eq!(kind.difference(&kind.with(pointer, list)), None, "{pointer} {length}");
        }
    }
    let kind = Kind::gateway();
    for length in 0..12 {
        let list = (0..length).map(|number| json!({"url": format!("http://proxy{number}")})).collect();
        assert_eq!(kind.difference(&kind.with("/spec/endpoints", list)), None, "{length}");
    }
}

/// Runs a property over fields, each with the part of the manifest whose rules are about it.
fn check(cases: u32, texts: impl Strategy<Value = String>, kind: &Kind, fields: &[(&str, &str)]) {
    let parts: Vec<_> = fields.iter().map(|(part, field)| (kind.part(part), field)).collect();
    proptest!(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }, |(text in texts)| {
        for (part, field) in &parts {
            part.agrees(field, &text)?;
        }
    });
}

/// The same over fields whose rules are their own.
fn check_alone(cases: u32, texts: impl Strategy<Value = String>, kind: &Kind, fields: &[&str]) {
    let fields: Vec<_> = fields.iter().map(|field| (*field, *field)).collect();
    check(cases, texts, kind, &fields);
}

#[test]
fn instance_urls_are_read_alike() {
    check_alone(256, instance_url(), &Kind::with_token(), &["/spec/instanceUrl"]);
}

#[test]
fn endpoint_urls_are_read_alike() {
    let texts = prop_oneof![
        6 => url("(https?|HTTP|socks5h?|SOCKS5H|socks4|)", "/{0,2}[a-z?#]?"),
        1 => around(512, "http://"),
        1 => instance_url(),
    ];
    let texts = texts.prop_filter("only the operator knows IDNA", |text| !text.chars().any(is_exotic));
    check(128, texts, &Kind::gateway(), &[("/spec/endpoints", "/spec/endpoints/1/url")]);
}

#[test]
fn an_endpoint_is_the_same_for_both() {
    let kind = Kind::gateway();
    let url = "(http|https|HTTP|socks5|socks5h)://(a|A|b|10\\.0\\.0\\.7|\\[::1\\])(:80|:443|:1080|:8080|)/?";
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(one in url, other in url)| {
        let manifest = kind.with("/spec/endpoints", json!([{"url": one}, {"url": other}]));
        prop_assert_eq!(kind.difference(&manifest), None, "{} {}", one, other);
    });
}

#[test]
fn server_names_are_read_alike() {
    let texts = prop_oneof![3 => host(), 1 => around(253, ""), 1 => anything()]
        .prop_filter("only the operator knows IDNA", |text| !text.to_ascii_lowercase().contains("xn--"));
    check_alone(256, texts, &Kind::with_token(), &["/spec/tls/serverName"]);
}

#[test]
fn paths_are_read_alike() {
    let pointers = [
        "/spec/namespace",
        "/spec/auth/appRole/mount",
        "/spec/require/secretSync/mount",
        "/spec/require/secretSync/path",
        "/spec/require/capabilities/0/path",
    ];
    check_alone(256, path(), &Kind::with_app_role(), &pointers);
    let alone = |field: &'static str| (field, field);
    let fields = [
        alone("/spec/auth/kubernetes/role"),
        alone("/spec/auth/jwt/mount"),
        alone("/spec/auth/cert/role"),
        ("/spec/auth/userpass/username", "/spec/auth/userpass/username/value"),
        (
            "/spec/auth/kubernetes/serviceAccountRef/audiences",
            "/spec/auth/kubernetes/serviceAccountRef/audiences/0",
        ),
    ];
    for kind in Kind::with_other_methods() {
        let is_there = |(_, field): &(_, &str)| kind.full.pointer(field).is_some();
        let fields: Vec<_> = fields.into_iter().filter(is_there).collect();
        check(64, path(), &kind, &fields);
    }
}

#[test]
fn names_and_keys_are_read_alike() {
    let pointers = [
        "/spec/gatewayRef/name",
        "/spec/auth/appRole/secretId/secretRef/name",
        "/spec/auth/appRole/roleId/secretRef/key",
        "/spec/tls/caBundle/configMapRef/name",
        "/spec/tls/caBundle/configMapRef/key",
        "/spec/tls/clientCertificate/secretRef/name",
    ];
    check_alone(256, name(), &Kind::with_app_role(), &pointers);
}

#[test]
fn durations_are_read_alike() {
    let fields = [
        ("/spec/check", "/spec/check/interval"),
        ("/spec/check", "/spec/check/timeout"),
        ("/spec/check", "/spec/check/loginInterval"),
    ];
    check(256, duration(), &Kind::with_token(), &fields);
}

#[test]
fn free_texts_are_read_alike() {
    let texts = prop_oneof![3 => around(256, ""), 1 => anything()];
    check_alone(64, texts, &Kind::with_token(), &["/spec/description"]);
    let texts = prop_oneof![2 => around(4096, ""), 1 => anything()];
    let mut kind = Kind::with_app_role();
    kind.full["spec"]["auth"]["appRole"]["roleId"] = json!({"value": "role"});
    check_alone(64, texts, &kind, &["/spec/auth/appRole/roleId/value"]);
    let texts = prop_oneof![1 => around(65_536, ""), 1 => anything()];
    kind.full["spec"]["tls"]["caBundle"] = json!({"inline": "PEM"});
    check_alone(16, texts, &kind, &["/spec/tls/caBundle/inline"]);
}
