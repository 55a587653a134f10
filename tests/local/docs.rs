//! Holds the documentation to the rest of the repository: its links, and the manifests, flags and values that it shows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use vault_connection_operator::{
    api::{connection::VaultConnectionSpec, gateway::VaultGatewaySpec},
    cli,
    spec::{Desired, DesiredGateway},
};

use crate::support::bed::package;

/// Pages outside of `docs` that users read.
const OTHERS: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "hack/README.md",
    "charts/vault-connection-operator/README.md",
    "charts/vault-connection-operator-crds/README.md",
    "config/argocd/README.md",
    "config/components/README.md",
];

/// A page: its path from the root, and its text.
struct Page {
    path: String,
    text: String,
}

fn pages() -> Vec<Page> {
    let mut paths: Vec<String> = OTHERS.iter().map(|path| (*path).to_owned()).collect();
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(package().join(&folder)).expect("a folder of ours") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if Path::new(&path).extension().is_some_and(|it| it == "md") {
                paths.push(path);
            }
        }
    }
    paths.into_iter().map(|path| Page { text: read(&path), path }).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(package().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a page that are text (`None`), or part of a code block, whose language is given.
fn lines(text: &str) -> Vec<(Option<String>, &str)> {
    let mut language: Option<String> = None;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim_start().strip_prefix("```") {
            language = if language.is_some() { None } else { Some(name.trim().to_owned()) };
        } else {
            found.push((language.clone(), line));
        }
    }
    found
}

/// The text of a page without its code blocks.
fn prose(text: &str) -> String {
    let lines = lines(text).into_iter().filter(|(language, _)| language.is_none());
    lines.flat_map(|(_, line)| [line, "\n"]).collect()
}

/// The code blocks of a language, each without the indentation of its first line.
fn blocks(text: &str, wanted: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut is_inside, mut indent) = (false, 0);
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_inside = !is_inside && language.trim() == wanted;
            indent = line.len() - line.trim_start().len();
            if is_inside {
                found.push(String::new());
            }
        } else if is_inside {
            let block = found.last_mut().expect("it has begun");
            block.push_str(line.get(indent..).unwrap_or_default());
            block.push('\n');
        }
    }
    found
}

/// Where the links of a text lead that are relative.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let is_relative = |target: &&str| !target.contains("://") && !target.starts_with("mailto:");
    targets.filter(is_relative).map(str::to_owned).collect()
}

/// The anchors of the headings of a page, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

/// The path of a link from the root.
fn resolved(page: &str, target: &str) -> PathBuf {
    let folder = Path::new(page).parent().expect("it stands in a folder");
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut broken = Vec::new();
    for Page { path, text } in pages() {
        for link in links(&text) {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if target.is_empty() { PathBuf::from(&path) } else { resolved(&path, target) };
            if !package().join(&target).exists() {
                broken.push(format!("{path}: {link}: no such file"));
            } else if !anchor.is_empty() && !anchors(&read(&target.to_string_lossy())).contains(anchor) {
                broken.push(format!("{path}: {link}: no such heading"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_summary_of_the_book_lists_every_page_once() {
    let listed = links(&read("docs/SUMMARY.md"));
    let all: BTreeSet<_> = pages().into_iter().map(|page| page.path).collect();
    let all: BTreeSet<_> = all.iter().filter_map(|path| path.strip_prefix("docs/")).collect();
    let unique: BTreeSet<_> = listed.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    let missing: Vec<_> = all.difference(&unique).filter(|path| **path != "SUMMARY.md").collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
}

#[test]
fn every_alert_has_a_runbook_that_leads_where_its_url_does() {
    let alerts: Value =
        serde_saphyr::from_str(&read("charts/vault-connection-operator/files/alerts.yaml")).expect("YAML");
    let runbooks = read("docs/runbooks.md");
    let rules =
        alerts["groups"].as_array().into_iter().flatten().filter_map(|group| group["rules"].as_array());
    for rule in rules.flatten().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().expect("it is text");
        let section = runbooks.split("\n## ").find(|part| part.lines().next() == Some(name));
        let section = section.unwrap_or_else(|| panic!("docs/runbooks.md has no entry for {name}"));
        let url = rule["annotations"]["runbook_url"].as_str().expect("a runbook");
        let link = url.strip_prefix("docs/").expect("a page of ours");
        assert!(section.contains(&format!("]({link})")), "{name} does not lead to {link}");
    }
}

/// The manifests that a page shows: blocks of YAML, and the here-documents of its commands.
fn manifests(text: &str) -> Vec<String> {
    let mut found = blocks(text, "yaml");
    for script in blocks(text, "sh") {
        let documents = script.split("<<'EOF'").skip(1);
        let body = |part: &str| part.split_once('\n')?.1.split_once("\nEOF").map(|(body, _)| body.to_owned());
        found.extend(documents.filter_map(body));
    }
    let documents = found.iter().flat_map(|text| text.split("\n---\n"));
    documents.filter(|text| text.contains("apiVersion: appconnections.dev/")).map(str::to_owned).collect()
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

/// What stands in backticks in the prose of a page.
fn spans(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

/// Flags of other programs that the prose names by themselves.
const FOREIGN_FLAGS: [&str; 7] = [
    "help",
    "from-literal",
    "field-selector",
    "take-ownership",
    "reuse-values",
    "reset-then-reuse-values",
    "store-requeue-interval",
];

/// What a page says of our programs: flags alone, in its prose, and commands of ours.
fn commands(text: &str) -> Vec<String> {
    let is_ours = |text: &str| {
        ["vault-connection-operator ", "kubectl vconn "].iter().any(|begin| text.starts_with(begin))
    };
    let script = blocks(text, "sh").join("\n");
    let lines = script.lines().map(|line| line.trim().split(" # ").next().unwrap_or_default().to_owned());
    let spans = spans(text).into_iter().filter(|span| span.starts_with("--") || is_ours(span));
    lines.filter(|line| is_ours(line)).chain(spans).collect()
}

#[test]
fn every_flag_that_the_docs_name_exists() {
    let ours = flags(&cli::command());
    let mut unknown = BTreeSet::new();
    for Page { path, text } in
        pages().into_iter().filter(|page| page.path.starts_with("docs/") || page.path == "README.md")
    {
        for command in commands(&text) {
            let words = command.split_whitespace().filter_map(|word| word.strip_prefix("--"));
            let names = words.map(|word| word.split(['=', ',']).next().unwrap_or_default().to_owned());
            for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())) {
                if !ours.contains(&name) && !FOREIGN_FLAGS.contains(&name.as_str()) {
                    unknown.insert(format!("{path}: --{name} in {command}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
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
