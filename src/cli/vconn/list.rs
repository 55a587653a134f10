//! The list of connections and gateways, the worst first. Pure: objects and the time go in, a text comes out.

use std::cmp::Reverse;

use k8s_openapi::jiff::Timestamp;

use super::entry::{Entry, Urgency};
use crate::{
    cli::style::{Style, in_lines, table, table_width},
    names::text::printable,
    verify::ages::{age, distance},
};

/// What the list shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The namespace: not in the list of one.
    pub(super) namespace: bool,
    /// Everything that the narrow table has no room for.
    pub(super) wide: bool,
    /// The line with their names.
    pub(super) headers: bool,
    /// How wide the table may be, if it is for a terminal.
    pub(super) room: Option<usize>,
}

const NARROW: &[&str] = &["NAME", "READY", "STATE", "SINCE", "REASON", "WARNINGS", "INSTANCE"];
const MORE: &[&str] =
    &["METHOD", "VERSION", "VAULT-NAMESPACE", "GATEWAY", "LAST-CHECK", "NEXT-CHECK", "AGE", "MESSAGE"];

/// Fewer characters of an address say too little.
const MIN_INSTANCE: usize = 16;

/// Sorts by what needs attention most; what needs the same is in the order of its name.
pub(super) fn worst_first(entries: &mut [Entry]) {
    entries
        .sort_by_cached_key(|entry| (Reverse(entry.urgency()), entry.namespace(), entry.kind, entry.name()));
}

/// The table.
pub(super) fn render(entries: &[Entry], columns: Columns, now: Timestamp, style: Style) -> String {
    let mut rows: Vec<_> = entries.iter().map(|entry| row(entry, columns, now)).collect();
    let mut head: Vec<&str> = if columns.namespace { vec!["NAMESPACE"] } else { Vec::new() };
    head.extend(NARROW);
    head.extend(MORE.iter().filter(|_| columns.wide));
    if let Some(room) = columns.room {
        narrow(&mut head, &mut rows, room);
    }
    let urgencies: Vec<_> = entries.iter().map(Entry::urgency).collect();
    let name = usize::from(columns.namespace);
    table(columns.headers.then_some(&head), &rows, |row, column, cell| {
        let is_verdict = column == name + 1 || column == name + 2;
        match urgencies.get(row) {
            Some(urgency) if is_verdict => style.paint(urgency.colour(), &cell),
            Some(_) | None => cell,
        }
    })
}

/// Lets a table fit a terminal, as far as nothing important is lost: it goes without warnings if there are none, with a shorter INSTANCE or
/// none, and without SINCE.
fn narrow(head: &mut Vec<&str>, rows: &mut [Vec<String>], room: usize) {
    let excess = |head: &[&str], rows: &[Vec<String>]| table_width(Some(head), rows).saturating_sub(room);
    let column = |head: &[&str], name: &str| head.iter().position(|it| *it == name);
    if excess(head, rows) == 0 {
        return;
    }
    if let Some(warnings) = column(head, "WARNINGS").filter(|it| rows.iter().all(|row| row[*it].is_empty())) {
        remove(head, rows, warnings);
    }
    if let (excess @ 1.., Some(instance)) = (excess(head, rows), column(head, "INSTANCE")) {
        let widest = rows.iter().map(|row| row[instance].chars().count()).max().unwrap_or_default();
        match widest.checked_sub(excess).filter(|left| *left >= MIN_INSTANCE) {
            Some(left) => rows.iter_mut().for_each(|row| row[instance] = shortened(&row[instance], left)),
            None => remove(head, rows, instance),
        }
    }
    if let (1.., Some(since)) = (excess(head, rows), column(head, "SINCE")) {
        remove(head, rows, since);
    }
}

fn remove(head: &mut Vec<&str>, rows: &mut [Vec<String>], column: usize) {
    head.remove(column);
    for row in rows {
        row.remove(column);
    }
}

/// A text of so many characters at most, which says that it was longer.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

/// One line for each, as kubectl takes them.
pub(super) fn names(entries: &[Entry]) -> String {
    in_lines(entries.iter().map(Entry::kubectl_name))
}

/// How many there are of each urgency that is not fine.
pub(super) fn summary(entries: &[Entry]) -> String {
    let ready = entries.iter().filter(|entry| entry.is_ready()).count();
    let person = entries.iter().filter(|entry| entry.urgency() == Urgency::NeedsPerson).count();
    let needs = match person {
        0 => String::new(),
        1 => "; 1 needs action".to_owned(),
        many => format!("; {many} need action"),
    };
    format!("{} of {} Ready{needs}", ready, entries.len())
}

fn row(entry: &Entry, columns: Columns, now: Timestamp) -> Vec<String> {
    let ready = entry.ready();
    let since = |time: Option<Timestamp>| time.map(|time| age(time, now)).unwrap_or_default();
    let mut cells = if columns.namespace { vec![entry.namespace()] } else { Vec::new() };
    cells.extend([
        entry.short_name(),
        ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned(),
        entry.state(),
        since(ready.map(|ready| ready.last_transition_time.0)),
        ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        entry.warnings().join(","),
        entry.target(),
    ]);
    if columns.wide {
        let text = |pointer| entry.text(pointer).unwrap_or_default().to_owned();
        cells.extend([
            text("/connection/method"),
            text("/server/version"),
            text("/connection/namespace"),
            entry.spec()["gatewayRef"]["name"].as_str().unwrap_or_default().to_owned(),
            since(entry.time("lastCheckTime")),
            entry.next_check(now).map(|time| distance(time, now)).unwrap_or_default(),
            since(entry.created()),
            ready.map(|ready| ready.message.clone()).unwrap_or_default(),
        ]);
    }
    cells.iter().map(|cell| printable(cell).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::vconn::testing::{NOW, at, connection, gateway, named};

    const EVERYWHERE: Columns = Columns { namespace: true, wide: false, headers: true, room: None };

    fn listed(mut entries: Vec<Entry>, columns: Columns) -> String {
        worst_first(&mut entries);
        render(&entries, columns, at(NOW), Style::PLAIN)
    }

    #[test]
    fn the_worst_comes_first() {
        let entries = vec![
            connection("fine", Some("Connected")),
            connection("new", None),
            connection("rejected", Some("InvalidCredentials")),
            connection("away", Some("Timeout")),
            named(&connection("ends", Some("Connected")), |object| {
                object["status"]["warnings"] = serde_json::json!(["TokenExpiring"]);
            }),
            named(&connection("changed", Some("Connected")), |object| {
                object["metadata"]["generation"] = serde_json::json!(2);
            }),
            connection("off", Some("Suspended")),
            gateway("way", 2),
            gateway("half", 1),
        ];
        assert_eq!(
            listed(entries, EVERYWHERE),
            "\
NAMESPACE   NAME           READY     STATE         SINCE   REASON               WARNINGS        INSTANCE
team-a      rejected       False     Rejected      4m12s   InvalidCredentials                   https://vault.example.com
team-a      away           False     Unreachable   4m12s   Timeout                              https://vault.example.com
team-a      changed        True      Connected     4m12s   Connected            SpecChanged     https://vault.example.com
team-a      new            Unknown   Pending                                                    https://vault.example.com
team-a      ends           True      Connected     4m12s   Connected            TokenExpiring   https://vault.example.com
team-a      off            Unknown   Suspended     4m12s   Suspended                            https://vault.example.com
team-a      fine           True      Connected     4m12s   Connected                            https://vault.example.com
team-a      gateway/half   True      1/2 healthy   4m12s   EndpointsDegraded                    http://proxy-1.example.com:3128,http://proxy-2.example.com:3128
team-a      gateway/way    True      2/2 healthy   4m12s   EndpointsHealthy                     http://proxy-1.example.com:3128,http://proxy-2.example.com:3128
"
        );
    }

    #[test]
    fn a_list_of_one_namespace_has_no_column_for_it_and_colours_are_for_terminals() {
        let entries = [connection("rejected", Some("InvalidCredentials"))];
        let columns = Columns { namespace: false, headers: false, ..EVERYWHERE };
        assert_eq!(
            render(&entries, columns, at(NOW), Style::PLAIN),
            "rejected   False   Rejected   4m12s   InvalidCredentials      https://vault.example.com\n"
        );
        let coloured = render(&entries, columns, at(NOW), Style { colours: true, width: 80 });
        assert!(coloured.contains("\u{1b}[31mFalse\u{1b}[0m"), "{coloured:?}");
    }

    #[test]
    fn on_a_narrow_terminal_the_table_loses_what_matters_least() {
        let entries =
            || vec![connection("rejected", Some("InvalidCredentials")), connection("a", Some("Connected"))];
        let at_width = |room| listed(entries(), Columns { room: Some(room), ..EVERYWHERE });
        assert_eq!(at_width(200), listed(entries(), EVERYWHERE));
        let full = "\
NAMESPACE   NAME       READY   STATE       SINCE   REASON               INSTANCE
team-a      rejected   False   Rejected    4m12s   InvalidCredentials   https://vault.example.com
team-a      a          True    Connected   4m12s   Connected            https://vault.example.com
";
        assert_eq!(at_width(97), full, "no warnings");
        assert!(at_width(90).contains("InvalidCredentials   https://vault.e...\n"), "{}", at_width(90));
        let narrow = "\
NAMESPACE   NAME       READY   STATE       SINCE   REASON
team-a      rejected   False   Rejected    4m12s   InvalidCredentials
team-a      a          True    Connected   4m12s   Connected
";
        assert_eq!(at_width(80), narrow);
        let narrower = "\
NAMESPACE   NAME       READY   STATE       REASON
team-a      rejected   False   Rejected    InvalidCredentials
team-a      a          True    Connected   Connected
";
        assert_eq!(
            (at_width(61).as_str(), at_width(20).as_str()),
            (narrower, narrower),
            "the terminal wraps the rest"
        );
        let warned = named(&connection("a", Some("Connected")), |object| {
            object["status"]["warnings"] = serde_json::json!(["TokenExpiring"]);
        });
        let text = listed(vec![warned], Columns { room: Some(40), ..EVERYWHERE });
        assert!(text.contains("TokenExpiring"), "a warning stays: {text}");
    }

    #[test]
    fn the_time_of_a_check_that_was_not_written_is_not_shown() {
        let overdue = named(&connection("a", Some("Connected")), |object| {
            object["status"]["nextCheckTime"] = at(NOW - 600).to_string().into();
        });
        let text = listed(vec![overdue], Columns { wide: true, ..EVERYWHERE });
        assert!(text.contains("52s") && !text.contains("10m"), "{text}");
    }

    #[test]
    fn the_wide_table_has_the_message_and_nothing_moves_the_terminal() {
        let entry = named(&connection("a", Some("Sealed")), |object| {
            object["status"]["conditions"][0]["message"] = serde_json::json!("sealed\u{1b}[2J\nsecond");
        });
        let text = render(&[entry], Columns { wide: true, ..EVERYWHERE }, at(NOW), Style::PLAIN);
        assert!(text.contains("MESSAGE\n") && text.contains("sealed\\u{1b}[2J\\u{a}second\n"), "{text}");
        assert!(text.contains("52s") && text.contains("in 1m"), "{text}");
    }

    #[test]
    fn names_are_those_that_kubectl_takes() {
        assert_eq!(
            names(&[connection("a", None), gateway("b", 2)]),
            "vaultconnection.appconnections.dev/a\nvaultgateway.appconnections.dev/b\n"
        );
    }
}
