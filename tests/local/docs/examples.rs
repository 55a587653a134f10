//! The examples of the documentation: manifests that the operator accepts, and values and metrics that exist.

use std::collections::BTreeSet;

use serde_json::Value;
use vault_connection_operator::{
    api::{connection::VaultConnectionSpec, gateway::VaultGatewaySpec},
    spec::{Desired, DesiredGateway},
};

use super::{Page, blocks, pages, prose, read};

/// The manifests that a page shows: blocks of YAML, and the here-documents of its commands.
fn manifests(text: &str) -> Vec<String> {
    let mut found = blocks(text, "yaml");
    for script in blocks(text, "sh") {
        let documents = script.split("<<'EOF'").skip(1);
        let body = |part: &str| part.split_once('\n')?.1.split_once("\nEOF").map(|(body, _)| body.to_owned());
        found.extend(documents.filter_map(body));
    }
    let documents = found.iter().flat_map(|text| text.split("\n---\n"));
    let is_ours = |text: &&str| text.lines().any(|line| line.starts_with("apiVersion: appconnections.dev/"));
    documents.filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn every_manifest_of_our_kinds_is_one_that_the_operator_accepts() {
    let mut seen = 0;
    for Page { path, text } in pages() {
        for manifest in manifests(&text) {
            let value: Value = serde_saphyr::from_str(&manifest)
                .unwrap_or_else(|error| panic!("{path}: {error}\n{manifest}"));
            // A page about the status shows only that.
            let Some(spec) = value.get("spec").cloned() else { continue };
            let outcome = match value["kind"].as_str() {
                Some("VaultConnection") => serde_json::from_value::<VaultConnectionSpec>(spec)
                    .map_err(|error| error.to_string())
                    .and_then(|spec| Desired::parse(&spec).map(drop).map_err(|error| error.to_string())),
                Some("VaultGateway") => serde_json::from_value::<VaultGatewaySpec>(spec)
                    .map_err(|error| error.to_string())
                    .and_then(|spec| {
                        DesiredGateway::parse(&spec).map(drop).map_err(|error| error.to_string())
                    }),
                other => Err(format!("no kind of ours: {other:?}")),
            };
            assert_eq!(outcome, Ok(()), "{path}:\n{manifest}");
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} manifests were found");
}

/// Whether the schema of the chart's values has a value.
fn has_value(schema: &Value, path: &str) -> bool {
    let mut at = &schema["properties"];
    let mut owner = schema;
    for name in path.split('.') {
        let name = name.split(['[', '\\']).next().unwrap_or_default();
        let Some(found) = at.get(name) else {
            // Objects with keys of the user's own.
            return !owner["additionalProperties"].is_boolean() && owner != schema;
        };
        let reference = found["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/"));
        owner = reference.map_or(found, |name| &schema["definitions"][name]);
        at = &owner["properties"];
    }
    true
}

/// The values of the chart that a page names: what it sets, and what it calls a value of the chart.
fn values(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            if matches!(word, "--set" | "--set-string" | "--set-json")
                && let Some((name, _)) =
                    words.next().unwrap_or_default().trim_matches(['\'', '"', '`']).split_once('=')
            {
                found.push(name.to_owned());
            }
        }
    }
    let prose = prose(text).replace('\n', " ");
    for mark in ["chart value `", "chart: `", "chart values `"] {
        let named = prose.split(mark).skip(1).filter_map(|rest| rest.split('`').next());
        let keys = named.map(|name| name.split([':', '=']).next().unwrap_or_default());
        // A path is a file of the chart.
        found.extend(keys.filter(|key| !key.contains('/')).map(str::to_owned));
    }
    found
}

#[test]
fn every_value_of_the_chart_that_the_docs_name_exists() {
    let schema: Value =
        serde_json::from_str(&read("charts/vault-connection-operator/values.schema.json")).expect("JSON");
    assert!(has_value(&schema, "metrics.podMonitor.enabled") && !has_value(&schema, "metrics.nothing"));
    let (mut unknown, mut seen) = (BTreeSet::new(), 0);
    for Page { path, text } in pages().into_iter().filter(|page| !page.path.starts_with("CHANGELOG")) {
        for name in values(&text) {
            seen += 1;
            if !has_value(&schema, &name) {
                unknown.insert(format!("{path}: {name}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen > 10, "only {seen} values were found");
}

/// The paths of the leaves of YAML.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_block_of_values_for_the_chart_has_only_values_of_the_chart() {
    let schema: Value =
        serde_json::from_str(&read("charts/vault-connection-operator/values.schema.json")).expect("JSON");
    let (mut unknown, mut seen) = (Vec::new(), 0);
    for Page { path, text } in pages() {
        for block in blocks(&text, "yaml") {
            for document in block.split("\n---\n") {
                let value: Value = serde_saphyr::from_str(document)
                    .unwrap_or_else(|error| panic!("{path}: {error}\n{document}"));
                let Some(fields) = value.as_object() else { continue };
                // What is a manifest, or a part of one, begins with something else than a value.
                if !fields.keys().all(|name| has_value(&schema, name)) {
                    continue;
                }
                seen += 1;
                let mut names = Vec::new();
                leaves(&value, "", &mut names);
                unknown.extend(
                    names
                        .iter()
                        .filter(|name| !has_value(&schema, name))
                        .map(|name| format!("{path}: {name}")),
                );
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen > 5, "only {seen} blocks were found");
}

#[test]
fn every_metric_that_the_docs_name_exists() {
    let reference = read("docs/metrics.md");
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let known: BTreeSet<_> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.chars().all(is_part))
        .collect();
    assert!(known.len() > 30, "{known:?}");
    let mut unknown = BTreeSet::new();
    for Page { path, text } in pages().into_iter().filter(|page| page.path.starts_with("docs/")) {
        for word in text.split(|c: char| !is_part(c)) {
            let is_metric =
                ["vault_connection_", "vault_gateway_"].iter().any(|begin| word.starts_with(begin));
            let base = word.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
            // A pattern of several ends with its common beginning.
            if is_metric && !word.ends_with('_') && !known.contains(base) && !known.contains(word) {
                unknown.insert(format!("{path}: {word}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The columns that `kubectl get` prints of a kind, by its CRD.
fn columns(crd: &str) -> Vec<String> {
    let crd: Value = serde_saphyr::from_str(&read(crd)).expect("YAML");
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().expect("columns");
    let narrow = columns.iter().filter(|column| column["priority"].as_u64().unwrap_or_default() == 0);
    let names = narrow.map(|column| column["name"].as_str().expect("a name").to_uppercase());
    std::iter::once("NAME".to_owned()).chain(names).collect()
}

#[test]
fn what_kubectl_get_prints_in_the_docs_has_the_columns_that_it_prints() {
    let mut seen = 0;
    for Page { path, text } in pages() {
        for block in blocks(&text, "console") {
            for part in block.split("$ ").filter(|part| part.starts_with("kubectl get v")) {
                let mut lines = part.lines();
                let crd = match lines.next() {
                    Some("kubectl get vconn") => "crds/vaultconnections.appconnections.dev.yaml",
                    Some("kubectl get vgw") => "crds/vaultgateways.appconnections.dev.yaml",
                    Some(_) | None => continue,
                };
                let header: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
                assert_eq!(header, columns(crd), "{path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 2, "only {seen} were found");
}
