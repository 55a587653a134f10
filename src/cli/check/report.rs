//! How `check` prints what it found.
//!
//! Whatever comes from a manifest or a server has no control character, and nothing else that moves the text around it.

use std::fmt::Write as _;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::{Found, Options, documents::Place};
use crate::{
    api::{
        condition::{ConditionType, Reason, Truth},
        connection::VaultConnection,
    },
    cli::{
        Output,
        style::{Colour, Style, wrap},
    },
    conditions,
    names::text::printable,
};

/// What was found, in the format that is asked for.
pub(super) fn render(found: &[Found], errors: &[String], options: &Options) -> anyhow::Result<String> {
    Ok(match options.output {
        Output::Junit => junit(found, errors),
        Output::Github => github(found, errors),
        Output::Table | Output::Yaml | Output::Json if found.is_empty() => String::new(),
        Output::Table => table(found, options.verbose, Style::of_terminal()),
        Output::Yaml => serde_saphyr::to_string(&document(found)).context("failed to print YAML")?,
        Output::Json => format!("{:#}\n", document(found)),
    })
}

// === impl Found ===

impl Found {
    pub(super) fn is_ready(&self) -> bool {
        conditions::is_true(&self.status.conditions, ConditionType::Ready)
    }

    fn name(&self) -> String {
        super::name_of(&self.connection).to_string()
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

/// A line for each, what is wrong with it, and how many there are.
fn table(found: &[Found], verbose: bool, style: Style) -> String {
    let mut text = String::new();
    for it in found {
        let Found { connection, status, .. } = it;
        let state = status.state.map_or("Unknown", |state| state.as_str());
        let colour = if it.is_ready() { Colour::Green } else { Colour::Red };
        let version = status.server.as_ref().and_then(|server| server.version.as_deref());
        let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
        let target = format!("{}{version}", connection.spec.instance_url);
        let _ = writeln!(
            text,
            "{}: {}, {}",
            printable(&it.name()),
            style.paint(colour, state),
            printable(&target)
        );
        for condition in &status.conditions {
            if verbose || is_worth_reporting(condition) {
                let Condition { type_, status, reason, message, .. } = condition;
                line(&mut text, &format!("  {type_} {status} {reason}"));
                text.push_str(&wrap(message, style.width, "    "));
            }
        }
    }
    if found.len() > 1 {
        let ready = found.iter().filter(|it| it.is_ready()).count();
        let _ = writeln!(text, "{} of {} connections are Ready", ready, found.len());
    }
    text
}

/// Whether a condition says something that the others do not: the first step that failed, or what ends soon.
fn is_worth_reporting(condition: &Condition) -> bool {
    let is = |other: &ConditionType| condition.type_ == other.as_str();
    let is_step = ConditionType::STEPS.iter().any(is);
    let is_warning = is(&ConditionType::CredentialsExpiring) || is(&ConditionType::CertificateExpiring);
    is_warning
        || (is_step
            && condition.status != Truth::True.as_str()
            && condition.reason != Reason::NotChecked.as_str())
}

/// The conditions of a connection that say what is wrong.
fn failing(found: &Found) -> impl Iterator<Item = &Condition> {
    let ready = conditions::find(&found.status.conditions, ConditionType::Ready);
    let suspended = ready.filter(|ready| ready.reason == Reason::Suspended.as_str());
    found.status.conditions.iter().filter(|condition| is_worth_reporting(condition)).chain(suspended)
}

/// <https://github.com/testmoapp/junitxml>
fn junit(found: &[Found], errors: &[String]) -> String {
    let failures = found.iter().filter(|it| !it.is_ready()).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"VaultConnections\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\">\n",
        found.len() + errors.len(),
        errors.len(),
    );
    for error in errors {
        let error = xml(error);
        let _ = writeln!(
            text,
            "<testcase classname=\"input\" name=\"{error}\"><error message=\"{error}\"/></testcase>"
        );
    }
    for it in found {
        let namespace = xml(&it.connection.namespace().unwrap_or_default());
        let name = xml(&it.connection.name_any());
        let _ = write!(text, "<testcase classname=\"{namespace}\" name=\"{name}\">");
        if !it.is_ready() {
            for Condition { reason, message, .. } in failing(it) {
                let (reason, message) = (xml(reason), xml(message));
                let _ = write!(text, "<failure type=\"{reason}\" message=\"{message}\"/>");
            }
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// A text in an attribute of XML.
fn xml(text: &str) -> String {
    let mut escaped = String::new();
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML has no such characters.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>
fn github(found: &[Found], errors: &[String]) -> String {
    let mut text = String::new();
    for error in errors {
        let _ = writeln!(text, "::error title=VaultConnection::{}", command_data(error));
    }
    for it in found {
        let (file, at) = match &it.place {
            Some(Place { source, document }) => {
                (format!("file={},", command_property(source)), document.map_or(1, |(_, line)| line))
            }
            None => (String::new(), 1),
        };
        let at = if file.is_empty() { String::new() } else { format!("line={at},") };
        let word = if it.is_ready() { "warning" } else { "error" };
        for Condition { reason, message, .. } in failing(it) {
            let title = command_property(&format!("{} {reason}", it.name()));
            let _ = writeln!(text, "::{word} {file}{at}title={title}::{}", command_data(message));
        }
    }
    let ready = found.iter().filter(|it| it.is_ready()).count();
    let _ = writeln!(text, "{ready} of {} connections are Ready", found.len());
    text
}

/// A text behind the second pair of colons.
fn command_data(text: &str) -> String {
    printable(text).replace('%', "%25")
}

/// A text among the properties of a command.
fn command_property(text: &str) -> String {
    command_data(text).replace(':', "%3A").replace(',', "%2C")
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", printable(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::status::VaultConnectionStatus,
        conditions::{Verdict, fold},
    };

    fn found(name: &str, reason: Reason, message: &str) -> Found {
        let verdict =
            |condition| Verdict { condition, truth: reason.truth(), reason, message: message.to_owned() };
        let verdicts = [ConditionType::Ready, reason.condition()].map(verdict);
        let connection = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {
                "instanceUrl": "https://vault.example.com",
                "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}},
            },
        }));
        Found {
            place: Some(Place { source: "a,b.yaml".to_owned(), document: Some((2, 14)) }),
            connection: connection.expect("a connection"),
            status: VaultConnectionStatus {
                state: Some(reason.state()),
                conditions: fold(&[], &verdicts, 1, k8s_openapi::jiff::Timestamp::UNIX_EPOCH),
                ..VaultConnectionStatus::default()
            },
        }
    }

    fn some() -> [Found; 2] {
        [
            found("good", Reason::Connected, "it works"),
            found("bad", Reason::Sealed, "100% <sealed> & \"shut\"\u{1b}]\n::error::x"),
        ]
    }

    #[test]
    fn the_table_is_short_and_says_what_is_wrong() {
        assert_eq!(
            table(&some(), false, Style::PLAIN),
            "\
team-a/good: Connected, https://vault.example.com
team-a/bad: Sealed, https://vault.example.com
  ServerReady False Sealed
    100% <sealed> & \"shut\"\\u{1b}]\\u{a}::error::x
1 of 2 connections are Ready
"
        );
        assert!(table(&some(), true, Style::PLAIN).contains("  Ready True Connected\n    it works\n"));
    }

    #[test]
    fn annotations_name_the_line_and_hold_no_command_of_others() {
        assert_eq!(
            github(&some(), &["no\nfile".to_owned()]),
            "\
::error title=VaultConnection::no\\u{a}file
::error file=a%2Cb.yaml,line=14,title=team-a/bad Sealed::100%25 <sealed> & \"shut\"\\u{1b}]\\u{a}::error::x
1 of 2 connections are Ready
"
        );
    }

    #[test]
    fn a_report_is_xml_whatever_a_message_holds() {
        assert_eq!(
            junit(&some(), &["a<b".to_owned()]),
            "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites>
<testsuite name=\"VaultConnections\" tests=\"3\" failures=\"1\" errors=\"1\">
<testcase classname=\"input\" name=\"a&lt;b\"><error message=\"a&lt;b\"/></testcase>
<testcase classname=\"team-a\" name=\"good\"></testcase>
<testcase classname=\"team-a\" name=\"bad\"><failure type=\"Sealed\" message=\"100% &lt;sealed&gt; &amp; &quot;shut&quot;\\u{1b}]\\u{a}::error::x\"/></testcase>
</testsuite>
</testsuites>
"
        );
    }
}
