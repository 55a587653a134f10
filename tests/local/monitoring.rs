//! Holds the alerts and the dashboard to the metrics that exist and to the documentation.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use vault_connection_operator::telemetry::metrics::catalogue::{self, Description, Kind};

/// What a scrape adds to every series, and what it renames if it does not honour labels.
const LABELS_OF_SCRAPES: &[&str] = &["instance", "job", "le", "cluster", "namespace", "exported_namespace"];

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metric that a name in a query stands for.
fn metric(name: &str) -> Option<&'static Description> {
    let is_it = |metric: &&&Description| match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().any(|s| name.strip_suffix(s) == Some(metric.name))
        }
        Kind::Counter | Kind::Gauge | Kind::Info => metric.name == name,
    };
    catalogue::ALL.iter().find(is_it).copied()
}

/// What is wrong with the names in a query: each must be a metric of ours, and its labels must be there.
fn faults(query: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    let mut rest = query;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let text = &rest[start..];
        let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        let (name, after) = text.split_at(end);
        rest = after;
        if !["vault_", "process_"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let Some(metric) = metric(name) else {
            faults.push(format!("{name} is no metric"));
            continue;
        };
        used.push(metric);
        let Some((selectors, after)) = after.strip_prefix('{').and_then(|it| it.split_once('}')) else {
            continue;
        };
        rest = after;
        for selector in selectors.split(',') {
            let label = selector.split(['=', '!']).next().unwrap_or_default().trim();
            if !metric.labels.contains(&label) {
                faults.push(format!("{name} has no label {label:?}"));
            }
        }
    }
    if used.is_empty() {
        faults.push("it names no metric".to_owned());
    }
    for list in query.split("by (").skip(1).chain(query.split("on (").skip(1)) {
        for label in list.split(')').next().unwrap_or_default().split(',').map(str::trim) {
            let is_there =
                LABELS_OF_SCRAPES.contains(&label) || used.iter().any(|it| it.labels.contains(&label));
            if !is_there {
                faults.push(format!("no metric has the label {label:?}"));
            }
        }
    }
    faults
}

/// The anchors of a page, as the forges make them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn a_query_that_names_what_is_not_there_is_found() {
    let table = [
        ("sum by (kind) (vault_connection_operator_queue_depth)", 0),
        ("rate(vault_connection_operator_checks_total{reason=\"Sealed\"}[5m]) > 0", 0),
        ("vault_connection_operator_check_seconds_bucket", 0),
        ("vault_connection_operator_check_seconds", 1 + 1),
        ("vault_connection_operator_checks", 1 + 1),
        ("vault_connection_ready{state=\"x\"}", 1),
        ("sum by (reason) (vault_connection_ready)", 1),
        ("up == 0", 1),
    ];
    for (query, count) in table {
        assert_eq!(faults(query).len(), count, "{query}: {:?}", faults(query));
    }
}

#[test]
fn every_alert_asks_for_what_exists_and_says_what_to_do() {
    let alerts: Value =
        serde_saphyr::from_str(&read("charts/vault-connection-operator/files/alerts.yaml")).expect("YAML");
    let anchors = anchors(&read("docs/troubleshooting.md"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    for rule in
        alerts["groups"].as_array().into_iter().flatten().filter_map(|it| it["rules"].as_array()).flatten()
    {
        let name = text(&rule["alert"]);
        assert_eq!(faults(&text(&rule["expr"])), Vec::<String>::new(), "{name}");
        assert!(
            ["warning", "critical"].contains(&text(&rule["labels"]["severity"]).as_str()),
            "{name}: severity"
        );
        assert!(text(&rule["for"]).ends_with('m') || text(&rule["for"]).ends_with('h'), "{name}: for");
        let notes = &rule["annotations"];
        for (note, text) in notes.as_object().into_iter().flatten() {
            let labels = "{{ or $labels.exported_namespace $labels.namespace }}";
            let rest = text.as_str().unwrap_or_default().replace(labels, "");
            assert!(!rest.contains(".namespace"), "{name}: {note} has the namespace of the operator: {rest}");
        }
        for note in ["summary", "description"] {
            assert!(text(&notes[note]).ends_with('.'), "{name}: {note} is a sentence");
        }
        let runbook = text(&notes["runbook_url"]);
        let (page, anchor) = runbook.split_once('#').unwrap_or_default();
        assert!(page.ends_with("docs/troubleshooting.md"), "{name}: {runbook}");
        assert!(anchors.contains(anchor), "{name}: {runbook} has no heading");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn every_query_of_the_dashboard_asks_for_what_exists() {
    let dashboard: Value =
        serde_json::from_str(&read("charts/vault-connection-operator/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries: Vec<(String, String)> = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title").to_owned();
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}: description");
        let targets = panel["targets"].as_array().expect("targets");
        queries.extend(
            targets.iter().map(|it| (title.clone(), it["expr"].as_str().expect("a query").to_owned())),
        );
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(query) = variable["definition"].as_str() {
            queries.push(("variable".to_owned(), query.to_owned()));
        }
    }
    assert!(queries.len() > panels.len());
    for (title, query) in queries {
        assert_eq!(faults(&query), Vec::<String>::new(), "{title}: {query}");
    }
}
