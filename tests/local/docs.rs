//! Holds the documentation to the rest of the repository: its links here, and in the files below its commands, its examples and
//! its pictures.

mod commands;
mod examples;
mod pictures;

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

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

#[test]
fn the_readme_and_the_pages_say_the_same_of_the_first_steps_and_of_what_is_supported() {
    let readme = read("README.md");
    let pages = [read("docs/quickstart-kind.md"), read("docs/quickstart-cluster.md")].concat();
    let begin = readme.find("\n## Quickstart on kind").expect("a quickstart");
    let end = readme.find("\n### Other login methods").expect("what follows");
    let scripts = blocks(&readme[begin..end], "sh");
    assert_eq!(scripts.len(), 4);
    for script in scripts {
        assert!(blocks(&pages, "sh").contains(&script), "the pages do not have this:\n{script}");
    }
    let table = |text: &str| -> String {
        let from = text.find("| | Versions | How it is tested |").expect("a table");
        text[from..].split_once("\n\n").expect("its end").0.to_owned()
    };
    assert_eq!(table(&readme), table(&read("docs/policies.md")));
}
