//! Everything about one connection or gateway: each condition, what it means, and what to do. Pure.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    entry::{Entry, Urgency},
    guide::{self, Example},
    kinds::Kind,
};
use crate::{
    api::condition::{ConditionType, Reason},
    cli::style::{Colour, Style, wrap},
    conditions::reason,
    names::text::printable,
    verify::ages::{age, distance},
};

/// After this time without a written check something may be wrong with the operator: it writes the times every 30 minutes, unless
/// `--heartbeat` says otherwise.
const OLD_CHECK: Duration = Duration::from_mins(45);

/// The whole text.
pub(super) fn render(entry: &Entry, now: Timestamp, style: Style) -> String {
    let mut text = String::new();
    let verdict = style.paint(entry.urgency().colour(), &printable(&entry.state()));
    let name = style.paint(Colour::Bold, &printable(&entry.full_name()));
    let _ = writeln!(text, "{name}: {verdict}");
    for (label, value) in facts(entry, now) {
        let _ = writeln!(text, "  {:<16} {}", format!("{label}:"), printable(&value));
    }
    for note in notes(entry, now) {
        text.push_str(&style.paint_lines(Colour::Yellow, &wrap(&note, style.width, "  ")));
    }
    if entry.is_checked() {
        conditions(&mut text, entry, now, style);
        advice(&mut text, entry, style);
    }
    text
}

/// What is known, label by label.
fn facts(entry: &Entry, now: Timestamp) -> Vec<(&'static str, String)> {
    let text = |pointer: &str| entry.text(pointer).map(str::to_owned);
    let time = |field: &str| entry.time(field).map(|time| format!("{time:.0} ({})", distance(time, now)));
    let last_check = entry.time("lastCheckTime").map(|time| {
        let has_next = entry.next_check(now).is_some() || entry.is_suspended();
        let note = if has_next { String::new() } else { format!("; {UNWRITTEN_CHECKS}") };
        format!("{time:.0} ({}{note})", distance(time, now))
    });
    let joined = |parts: [Option<String>; 2], between: &str| {
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(between))
    };
    let target = match entry.kind {
        Kind::Connection => "Instance",
        Kind::Gateway => "Endpoints",
    };
    let all = [
        ("Description", entry.spec()["description"].as_str().map(str::to_owned)),
        (target, Some(entry.target())),
        ("Vault namespace", text("/connection/namespace")),
        ("Gateway", text("/connection/gateway")),
        ("Server", joined([text("/server/version"), text("/server/role")], ", ")),
        (
            "Login",
            joined(
                [text("/connection/method"), text("/connection/mount").map(|mount| format!("auth/{mount}"))],
                " at ",
            ),
        ),
        ("Token expires", time("session/expireTime")),
        ("Cert expires", time("server/certificateExpireTime")),
        ("Connections", entry.status()["connections"].as_u64().map(|count| count.to_string())),
        ("Last check", last_check),
        ("Next check", entry.next_check(now).map(|time| format!("{time:.0} ({})", distance(time, now)))),
        ("Next login", time("nextLoginTime").map(|time| format!("not before {time}"))),
        ("Warnings", Some(entry.warnings().join(", "))),
    ];
    let endpoints = entry.status()["endpoints"].as_array().into_iter().flatten().filter_map(|endpoint| {
        let message = endpoint["message"].as_str().unwrap_or_default();
        let state = if endpoint["healthy"].as_bool()? { "healthy" } else { message };
        let url = endpoint["url"].as_str()?;
        // Most messages begin with it.
        Some(("Endpoint", if state.starts_with(url) { state.to_owned() } else { format!("{url} {state}") }))
    });
    let facts = all.into_iter().filter_map(|(label, value)| Some((label, value?)));
    facts.chain(endpoints).filter(|(_, value)| !value.is_empty()).collect()
}

/// Why the time of the last check that was written may be long past.
const UNWRITTEN_CHECKS: &str = "later checks with the same result are recorded every 30m by default";

/// What the reader must know before reading the conditions.
fn notes(entry: &Entry, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if !entry.is_checked() {
        notes.push(
            "Not checked yet. If this lasts, check whether the operator is running and watches this namespace."
                .to_owned(),
        );
    } else if !entry.is_current() {
        notes.push(
            "The spec has changed since the last check. This status is about the previous spec.".to_owned(),
        );
    }
    let is_old =
        |time: Timestamp| Duration::try_from(now.duration_since(time)).is_ok_and(|age| age > OLD_CHECK);
    if !entry.is_suspended() && entry.time("lastCheckTime").is_some_and(is_old) {
        notes.push(
            "The last check was more than 45 minutes ago. Check whether the operator is running, unless its --heartbeat is longer than 30m."
                .to_owned(),
        );
    }
    notes
}

/// One line for each condition, and once what its reason means.
fn conditions(text: &mut String, entry: &Entry, now: Timestamp, style: Style) {
    let _ = writeln!(text, "\n{}", style.paint(Colour::Bold, "Conditions"));
    let width = |column: fn(&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> &str| {
        entry.conditions.iter().map(|it| column(it).chars().count()).max().unwrap_or_default()
    };
    let mut explained = BTreeSet::new();
    let (types, statuses, reasons) = (width(|it| &it.type_), width(|it| &it.status), width(|it| &it.reason));
    for condition in &entry.conditions {
        let line = format!(
            "{:<types$}  {:<statuses$}  {:<reasons$}",
            condition.type_, condition.status, condition.reason
        );
        let line = style.paint(Urgency::of(condition).colour(), &printable(&line));
        let _ = writeln!(text, "  {line}  for {}", age(condition.last_transition_time.0, now));
        if !explained.insert(condition.reason.as_str()) {
            continue;
        }
        let meaning = reason(condition).map(Reason::meaning).unwrap_or_default();
        text.push_str(
            &style.paint_lines(Colour::Dim, &wrap(&meaning.replace('`', ""), style.width, "      ")),
        );
    }
}

/// The message and the advice for each reason that needs some, once.
fn advice(text: &mut String, entry: &Entry, style: Style) {
    let mut advised = BTreeSet::new();
    let (namespace, name) = (entry.namespace(), entry.name());
    for condition in &entry.conditions {
        // These repeat what another condition says, or follow from it.
        let repeats = [Reason::NotChecked, Reason::Retrying].map(Reason::as_str);
        if Urgency::of(condition) == Urgency::Fine
            || repeats.contains(&condition.reason.as_str())
            || condition.type_ == ConditionType::Stalled.as_str()
            || !advised.insert(condition.reason.as_str())
        {
            continue;
        }
        let colour = Urgency::of(condition).colour();
        let _ = writeln!(text, "\n{}", style.paint(colour, &printable(&condition.reason)));
        text.push_str(&wrap(&condition.message, style.width, "  "));
        let Some(reason) = reason(condition) else { continue };
        let secret = named_secret(&condition.message).or_else(|| entry.credential());
        let (gateway, address) = (entry.gateway(), entry.address());
        let object = Example {
            kind: entry.kind,
            namespace: &namespace,
            name: &name,
            secret,
            gateway: gateway.as_deref(),
            address: address.as_ref(),
        };
        if let Some(advice) = guide::advice(reason, object, style.width) {
            let _ = write!(text, "\n{advice}");
        }
        let _ = writeln!(text, "  More: {}", guide::anchor(reason));
    }
}

/// The Secret that a message names.
fn named_secret(message: &str) -> Option<&str> {
    message.split_once("Secret \"")?.1.split_once('"').map(|(name, _)| name)
}

/// Objects as documents for programs: one, or a list, as kubectl prints them.
pub(super) fn document(mut objects: Vec<Value>, is_list: bool) -> Value {
    match objects.pop() {
        Some(one) if !is_list && objects.is_empty() => one,
        last => {
            objects.extend(last);
            serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::vconn::testing::{NOW, at, connection, gateway, named};

    fn explained(entry: &Entry) -> String {
        render(entry, at(NOW), Style::PLAIN)
    }

    #[test]
    fn a_failure_is_explained_once_with_what_to_do() {
        let text = explained(&named(&connection("orders", Some("Sealed")), |object| {
            object["status"]["conditions"][0]["message"] = "Vault is sealed\u{1b}[2J".into();
        }));
        let expected = "\
team-a/orders: Sealed
  Instance:        https://vault.example.com
  Server:          1.20.4, Active
  Login:           app-role at auth/approle
  Last check:      2027-01-15T07:59:08Z (52s ago)
  Next check:      2027-01-15T08:01:00Z (in 1m)

Conditions
  Ready        False  Sealed    for 4m12s
      The instance is sealed.
  Reconciling  True   Retrying  for 4m12s
      The last check failed; the operator retries, because the cause can go away or be fixed
      elsewhere.

Sealed
  Vault is sealed\\u{1b}[2J

  Means: ";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("\n  Fix: ") && text.ends_with("  More: docs/troubleshooting.md#sealed\n"),
            "{text}"
        );
        assert_eq!(text.matches("Vault is sealed\\u").count(), 1, "{text}");
    }

    #[test]
    fn what_a_reason_means_is_said_once_and_commands_name_the_secret() {
        let rejected = named(&connection("orders", Some("TokenRejected")), |object| {
            object["status"]["conditions"][0]["message"] =
                "Vault rejected the token in Secret \"bad\".".into();
        });
        let text = explained(&rejected);
        assert_eq!(text.matches("Vault rejected the token: it is wrong").count(), 1, "{text}");
        assert!(text.contains("get secret bad") && !text.contains("vault-token"), "{text}");
    }

    #[test]
    fn a_success_needs_no_advice_and_a_new_one_says_where_to_look() {
        let text = explained(&connection("a", Some("Connected")));
        assert!(text.ends_with("The login works and has the required permissions.\n"), "{text}");
        let text = explained(&connection("a", None));
        assert!(text.contains("Pending\n") && text.contains("Not checked yet"), "{text}");
    }

    #[test]
    fn a_status_that_is_old_or_about_another_spec_says_so() {
        let changed = named(&connection("a", Some("Connected")), |object| {
            object["metadata"]["generation"] = 2.into();
        });
        assert!(explained(&changed).contains("The spec has changed since the last check"));
        let old = named(&connection("a", Some("Connected")), |object| {
            object["status"]["lastCheckTime"] = at(NOW - 3 * 3600).to_string().into();
        });
        assert!(explained(&old).contains("The last check was more than 45 minutes ago"));
    }

    #[test]
    fn a_check_whose_time_is_past_was_not_written_because_nothing_changed() {
        let settled = named(&connection("a", Some("Connected")), |object| {
            object["status"]["lastCheckTime"] = at(NOW - 1500).to_string().into();
            object["status"]["nextCheckTime"] = at(NOW - 1440).to_string().into();
        });
        let text = explained(&settled);
        assert!(
            text.contains(
                "Z (25m ago; later checks with the same result are recorded every 30m by default)\n"
            ),
            "{text}"
        );
        assert!(!text.contains("Next check") && !text.contains("24m"), "{text}");
    }

    #[test]
    fn commands_have_the_address_of_the_connection_and_stay_on_one_line() {
        let at_address = |url: &str| {
            explained(&named(&connection("a", Some("ConnectionRefused")), |object| {
                object["spec"]["instanceUrl"] = url.into();
            }))
        };
        let text = at_address("https://vault.team-a.svc/base");
        let command =
            "curl -sS -o /dev/null -w '%{http_code}\\n' https://vault.team-a.svc:443/base/v1/sys/health;";
        assert!(text.contains(command), "{text}");
        let text = at_address("http://my-vault.example.com:8200");
        assert!(text.contains(" http://my-vault.example.com:8200/v1/sys/health"), "{text}");
        // What a shell would obey is not put into a command.
        for hostile in
            ["https://$(reboot).example.com", "https://a;b", "https://a/$(reboot)", "no url", "ftp://a"]
        {
            assert!(
                at_address(hostile).contains("https://vault.example.com:8200/v1/sys/health"),
                "{hostile}"
            );
        }
    }

    #[test]
    fn a_reason_of_a_newer_operator_is_shown_as_it_is() {
        let newer = named(&connection("a", Some("Sealed")), |object| {
            object["status"]["conditions"][0]["reason"] = "FromTheFuture".into();
            object["status"]["conditions"][0]["message"] = "it says why".into();
        });
        let text = explained(&newer);
        assert!(text.contains("FromTheFuture\n  it says why\n"), "{text}");
    }

    #[test]
    fn a_gateway_shows_each_endpoint() {
        let text = explained(&gateway("way", 1));
        assert!(text.starts_with("gateway team-a/way: 1/2 healthy\n"), "{text}");
        assert!(text.contains("  Endpoint:        http://proxy-1.example.com:3128 healthy\n"), "{text}");
        assert!(text.contains("  Endpoint:        http://proxy-2.example.com:3128 refused\n"), "{text}");
    }
}
