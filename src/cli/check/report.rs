//! How `check` prints what it found.
//!
//! Whatever comes from a manifest or a server has no control character, and nothing else that moves the text around it.

use std::fmt::Write as _;

use anyhow::Context as _;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::Found;
use crate::{
    api::{condition::ConditionType, connection::VaultConnection},
    cli::Output,
    conditions,
    names::text::printable,
};

/// What was found, in the format that is asked for.
pub(super) fn render(found: &[Found], output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Table => table(found),
        Output::Yaml => serde_saphyr::to_string(&document(found)).context("failed to print YAML")?,
        Output::Json => format!("{:#}\n", document(found)),
    })
}

// === impl Found ===

impl Found {
    pub(super) fn is_ready(&self) -> bool {
        conditions::is_true(&self.status.conditions, ConditionType::Ready)
    }

    fn manifest(&self) -> Value {
        json!({
            "apiVersion": VaultConnection::api_version(&()),
            "kind": VaultConnection::kind(&()),
            "metadata": { "name": self.connection.name_any(), "namespace": self.connection.namespace() },
            "status": self.status,
        })
    }
}

/// One object, or a list of several, as `kubectl get` prints them.
fn document(found: &[Found]) -> Value {
    let mut document = match found {
        [one] => one.manifest(),
        several => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": several.iter().map(Found::manifest).collect::<Vec<_>>(),
        }),
    };
    make_printable(&mut document);
    document
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = printable(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn table(found: &[Found]) -> String {
    let mut text = String::new();
    for Found { connection, status } in found {
        let state = status.state.map_or("Unknown", |state| state.as_str());
        let name = format!("{}/{}", connection.namespace().unwrap_or_default(), connection.name_any());
        let version = status.server.as_ref().and_then(|server| server.version.as_deref());
        let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
        line(&mut text, &format!("{name}: {state}, {}{version}", connection.spec.instance_url));
        line(&mut text, &format!("  {:<20} {:<8} {:<26} MESSAGE", "CONDITION", "STATUS", "REASON"));
        for c in &status.conditions {
            line(&mut text, &format!("  {:<20} {:<8} {:<26} {}", c.type_, c.status, c.reason, c.message));
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", printable(line));
}
