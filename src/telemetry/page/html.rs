//! The page as HTML. Pure: what is to be shown goes in, a text comes out.
//!
//! The template escapes every value; nothing else may be written into it but our own style.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{
    Around,
    board::{Key, Row, Summary},
    select::{MAX_ROWS, Query, Selection, Wanted},
};
use crate::{
    names::text::printable,
    telemetry::serve::Stage,
    verify::{ages::distance, urgency::Urgency},
};

const STYLE: &str = include_str!("style.css");

/// What the page may do: show its own style, and ask for itself.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The page of a replica that works.
pub(super) fn page(around: &Around, query: &Query, selection: &Selection) -> String {
    let attention = selection.counts.iter().find(|(wanted, _)| *wanted == Wanted::Attention);
    let attention = attention.map_or(0, |(_, count)| *count);
    let title = match attention {
        0 => "Vault connections".to_owned(),
        1 => "1 needs attention - Vault connections".to_owned(),
        many => format!("{many} need attention - Vault connections"),
    };
    let main = html! {
        (notices(around))
        nav aria-label="States" {
            ul { @for (wanted, count) in &selection.counts { (state_link(query, *wanted, *count)) } }
        }
        (filter(query))
        @if selection.rows.is_empty() {
            p #objects tabindex="-1" {
                @if query.is_filter() { "No connection or gateway matches." } @else { "There are no connections or gateways." }
            }
        } @else {
            (table(around, query, selection))
            (pages(query, selection))
        }
    };
    document(&title, around, query, &main)
}

/// The page of a replica that stands by. It knows nothing.
pub(super) fn standby(around: &Around, query: &Query) -> String {
    let main = html! {
        div .notice #objects tabindex="-1" {
            p { strong { "This replica is on standby." } }
            p {
                "Another replica holds the Lease and checks the connections. This one knows nothing of them: open the page of \
                 the pod that the Lease names as its holder ("
                code { "kubectl get lease" }
                ")."
            }
        }
    };
    document("Standby - Vault connections", around, query, &main)
}

fn document(title: &str, around: &Around, query: &Query, main: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#objects" { "Skip to the list" }
                header {
                    h1 { "Vault connections" }
                    p .quiet {
                        "As of " time datetime=(exact(around.now)) { (exact(around.now)) } ". "
                        a href=(query.link()) { "Reload" } " "
                        (times_link(query))
                    }
                }
                main { (main) }
                footer { p .quiet { "vault-connection-operator " (env!("CARGO_PKG_VERSION")) ", read-only" } }
            }
        }
    };
    page.into_string()
}

/// What the reader must know before reading the table.
fn notices(around: &Around) -> Markup {
    html! {
        @if around.stage == Stage::Starting {
            p .notice { strong { "Starting." } " Not every connection was listed yet, so the list below is incomplete." }
        }
        @for (kind, namespace) in &around.unlisted {
            p .notice {
                strong { (kind) " objects cannot be listed" }
                @if namespace.is_empty() { " in any namespace" } @else { " in namespace " (namespace) }
                ". What is shown of them, and of what names them, may be old or incomplete. The log of the operator says why."
            }
        }
    }
}

fn state_link(query: &Query, wanted: Wanted, count: usize) -> Markup {
    let is_current = query.state == wanted;
    let link = Query { state: wanted, page: 0, ..query.clone() }.link();
    let always = match wanted {
        Wanted::All | Wanted::Attention | Wanted::Ready => true,
        Wanted::In(_) => false,
    };
    html! {
        @if always || is_current || count > 0 {
            li { a href=(link) aria-current=[is_current.then_some("true")] { (wanted.label()) ": " (count) } }
        }
    }
}

fn times_link(query: &Query) -> Markup {
    let other = Query { has_exact_times: !query.has_exact_times, ..query.clone() };
    let label = if query.has_exact_times { "Show ages" } else { "Show exact times" };
    html! { a href=(other.link()) { (label) } }
}

fn filter(query: &Query) -> Markup {
    let kinds = [("", "All"), ("VaultConnection", "VaultConnection"), ("VaultGateway", "VaultGateway")];
    html! {
        form role="search" aria-label="Filter" {
            label { "Text" input type="search" name="text" value=(query.text); }
            label { "Namespace" input type="text" name="namespace" value=(query.namespace) autocomplete="off"; }
            label { "Kind" select name="kind" {
                @for (value, label) in kinds { option value=(value) selected[query.kind == value] { (label) } }
            } }
            label { "State" select name="state" {
                @for wanted in Wanted::every() {
                    option value=(wanted.value()) selected[query.state == wanted] { (wanted.label()) }
                }
            } }
            @if query.has_exact_times { input type="hidden" name="times" value="exact"; }
            button type="submit" { "Filter" }
            @if query.is_filter() {
                a href=(Query { has_exact_times: query.has_exact_times, ..Query::default() }.link()) { "Clear the filter" }
            }
        }
    }
}

fn table(around: &Around, query: &Query, selection: &Selection) -> Markup {
    let (first, last) = (selection.before + 1, selection.before + selection.rows.len());
    html! {
        div .scroll #objects role="region" aria-labelledby="caption" tabindex="0" {
            table {
                caption #caption {
                    "Connections and gateways, the worst first: " (first) " to " (last) " of " (selection.matching)
                }
                thead { tr {
                    @for head in ["State", "Name", "Reason", "Since", "Checks", "Instance"] { th scope="col" { (head) } }
                } }
                tbody { @for (key, row) in &selection.rows { (row_of(around, query, key, row)) } }
            }
        }
    }
}

fn row_of(around: &Around, query: &Query, key: &Key, row: &Row) -> Markup {
    let (class, sign) = look(row.urgency);
    let summary = row.summary.as_ref();
    let since = summary.and_then(|summary| summary.ready.as_ref()).map(|ready| ready.last_transition_time.0);
    let namespace = Query { namespace: key.namespace.to_string(), page: 0, ..query.clone() };
    let when = |time: Timestamp| when(around, query, time);
    html! {
        tr {
            td .state .(class) { span aria-hidden="true" { (sign) } " " (row.state()) }
            th scope="row" {
                span .name { (key.name) }
                p .quiet { (key.kind) " in " a href=(namespace.link()) { (key.namespace) } }
                @if !row.seen.description.is_empty() { p { (printable(&row.seen.description)) } }
            }
            td .why { (why(row)) }
            td .time { @if let Some(since) = since { (when(since)) } }
            td .time { @if let Some(summary) = summary {
                @if let Some(checked) = summary.checked { p { "last " (when(checked)) } }
                @if let Some(next) = summary.next { p { "next " (when(next)) } }
            } }
            td .where { @if let Some(summary) = summary { (instance(summary, &when)) } }
        }
    }
}

/// Why it is in its state, and what is about to change that.
fn why(row: &Row) -> Markup {
    let reason_of = |condition: &Condition| {
        html! { strong { (condition.reason) } @if !condition.message.is_empty() { ": " (printable(&condition.message)) } }
    };
    let Some(summary) = &row.summary else { return html! { p { "Not checked yet." } } };
    html! {
        @if row.seen.is_ending { p .warn { "It is being deleted." } }
        @if !row.is_current() { p .warn { "The spec has changed. What follows is about the spec before." } }
        @if let Some(ready) = &summary.ready { p { (reason_of(ready)) } } @else { p { "Not checked yet." } }
        @for warning in &summary.warnings { p .warn { "Warning: " (reason_of(warning)) } }
        @for fault in &summary.faults { p { (printable(fault)) } }
    }
}

fn instance(summary: &Summary, when: &dyn Fn(Timestamp) -> Markup) -> Markup {
    html! {
        p { (printable(&summary.target)) }
        @for (label, fact) in &summary.facts { p .quiet { (label) ": " (printable(fact)) } }
        @for (label, end) in &summary.ends { p .quiet { (label) " ends " (when(*end)) } }
    }
}

fn pages(query: &Query, selection: &Selection) -> Markup {
    let page = selection.before / MAX_ROWS;
    let link = |page| Query { page, ..query.clone() }.link();
    let last = selection.matching.saturating_sub(1) / MAX_ROWS;
    html! {
        @if last > 0 {
            nav aria-label="Pages" { ul {
                @if page > 0 { li { a rel="prev" href=(link(page - 1)) { "Previous page" } } }
                li { "Page " (page + 1) " of " (last + 1) }
                @if page < last { li { a rel="next" href=(link(page + 1)) { "Next page" } } }
            } }
        }
    }
}

/// A time, with the exact one where the pointer rests.
fn when(around: &Around, query: &Query, time: Timestamp) -> Markup {
    let exact = exact(time);
    let text = if query.has_exact_times { exact.clone() } else { distance(time, around.now) };
    html! { time datetime=(exact) title=(exact) { (text) } }
}

fn exact(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// The class of a verdict, and the sign that says the same without a colour.
fn look(urgency: Urgency) -> (&'static str, &'static str) {
    match urgency {
        Urgency::Fine => ("good", "✔"),
        Urgency::Suspended => ("quiet", "‖"),
        Urgency::Warned => ("warn", "▲"),
        Urgency::NotKnown => ("warn", "?"),
        Urgency::Failing => ("bad", "✖"),
        Urgency::NeedsPerson => ("bad", "✋"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        names::ConnectionRef,
        telemetry::page::{
            select::select,
            testing::{NOW, at, connection, many, row, summary},
        },
    };

    fn around(stage: Stage) -> Around {
        Around { stage, unlisted: Vec::new(), now: at(NOW) }
    }

    fn shown(rows: Vec<(Key, Arc<Row>)>, query: &str) -> String {
        let query = Query::parse(query);
        page(&around(Stage::Working), &query, &select(rows, &query))
    }

    #[test]
    fn a_row_says_all_and_each_time_has_its_exact_one() {
        let text = shown(vec![connection("team-a", "orders", Some("Sealed"))], "");
        for part in [
            "<title>1 needs attention - Vault connections</title>",
            "<td class=\"state bad\"><span aria-hidden=\"true\">✖</span> Sealed</td>",
            "<th scope=\"row\"><span class=\"name\">orders</span>",
            "VaultConnection in <a href=\"?namespace=team-a\">team-a</a>",
            "<strong>Sealed</strong>: a message",
            "<time datetime=\"2027-01-15T07:55:48Z\" title=\"2027-01-15T07:55:48Z\">4m12s ago</time>",
            "next <time datetime=\"2027-01-15T08:00:08Z\" title=\"2027-01-15T08:00:08Z\">in 8s</time>",
            "<p>https://vault.example.com</p>",
            "Method: app-role",
            "Certificate ends <time",
            "the worst first: 1 to 1 of 1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let exact = shown(vec![connection("team-a", "orders", Some("Sealed"))], "times=exact");
        assert!(exact.contains(">2027-01-15T07:55:48Z</time>") && !exact.contains("4m12s"), "{exact}");
    }

    /// Whatever a tenant, a server or a visitor writes.
    #[test]
    fn no_text_becomes_markup() {
        const HOSTILE: &str = "</style><script>alert(1)</script>\"'><img src=x onerror=y>\u{202e}";
        let mut hostile = summary("Sealed", HOSTILE);
        hostile.state = HOSTILE.to_owned();
        hostile.target = HOSTILE.to_owned();
        hostile.facts = vec![("Server", HOSTILE.to_owned())];
        hostile.faults = vec![HOSTILE.to_owned()];
        hostile.warnings.extend(hostile.ready.clone());
        let name = ConnectionRef { namespace: HOSTILE.into(), name: HOSTILE.into() };
        let rows = vec![row("VaultConnection", &name, HOSTILE, Some(hostile))];
        let query = Query { text: String::new(), ..Query::default() };
        let typed = Query { text: HOSTILE.to_owned(), namespace: HOSTILE.to_owned(), ..Query::default() };
        let around = Around { unlisted: vec![("Secret", HOSTILE.to_owned())], ..around(Stage::Starting) };
        let texts = [
            page(&around, &query, &select(rows, &query)),
            page(&around, &typed, &select(Vec::new(), &typed)),
        ];
        for text in texts {
            let (_, body) = text.split_once("</style>").expect("the style ends once");
            assert!(
                !body.contains("<script") && !body.contains("<img") && !body.contains("</style"),
                "{text}"
            );
            assert!(!body.contains("\"'>") && body.contains("&lt;script&gt;alert(1)"), "{text}");
        }
    }

    #[test]
    fn a_page_is_bounded_whatever_messages_say() {
        let text = shown(many(10_000), "page=2");
        assert!(text.contains("201 to 400 of 10000") && text.contains("rel=\"prev\""), "{text}");
        assert!(text.len() < 256 * 1024, "{} bytes", text.len());
        let long = "&".repeat(1024);
        let mut worst = summary("Sealed", &long);
        worst.warnings.extend([worst.ready.clone(), worst.ready.clone()].into_iter().flatten());
        let rows = many(1).into_iter().flat_map(|(key, _)| {
            let name = |number: usize| ConnectionRef {
                namespace: key.namespace.clone(),
                name: number.to_string().into(),
            };
            let row = |number| row("VaultConnection", &name(number), &long[..256], Some(worst.clone()));
            (0..300).map(row).collect::<Vec<_>>()
        });
        let text = shown(rows.collect(), "");
        assert!(text.len() < 4 * 1024 * 1024, "{} bytes", text.len());
    }

    #[test]
    fn a_page_says_what_it_does_not_know() {
        let query = Query::default();
        let standby = standby(&around(Stage::Standby), &query);
        assert!(standby.contains("This replica is on standby") && !standby.contains("<table"), "{standby}");
        let starting = page(&around(Stage::Starting), &query, &select(Vec::new(), &query));
        assert!(
            starting.contains("Starting.") && starting.contains("There are no connections"),
            "{starting}"
        );
        let unlisted = vec![("VaultConnection", "team-a".to_owned()), ("Secret", String::new())];
        let around = Around { unlisted, ..around(Stage::Working) };
        let text = page(&around, &query, &select(Vec::new(), &query));
        assert!(
            text.contains("VaultConnection objects cannot be listed</strong> in namespace team-a"),
            "{text}"
        );
        assert!(text.contains("Secret objects cannot be listed</strong> in any namespace"), "{text}");
        let pending = shown(vec![connection("team-a", "new", None)], "");
        assert!(pending.contains("Not checked yet.") && pending.contains("Pending"), "{pending}");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let text = shown(many(300), "");
        for part in ["<script", "src=", "@import", "url(", "style=\"", "onclick", "http://"] {
            assert!(!text.contains(part), "{part}");
        }
        let links = text.split("href=\"").skip(1).map(|rest| &rest[..1]);
        assert!(links.clone().count() > 10 && links.clone().all(|it| ["?", "#", "d"].contains(&it)));
    }
}
