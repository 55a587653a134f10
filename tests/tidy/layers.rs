//! Holds the order of the layers: a file uses only what stands above it, and pure files stay pure.

use std::collections::BTreeSet;

use crate::sources::modules;

/// The layers, lowest first: the modules of each, and whether it is pure. A longer path wins over a shorter one.
const LAYERS: &[(&[&str], Purity)] = &[
    (&["names"], Purity::Pure),
    (&["schema"], Purity::Pure),
    (&["auth"], Purity::Pure),
    (&["api"], Purity::Pure),
    (&["spec"], Purity::Pure),
    (&["conditions"], Purity::Pure),
    (&["references"], Purity::Pure),
    (&["network::carried", "network::entry", "network::protected"], Purity::Pure),
    (&["network::address_policy", "network::route"], Purity::Pure),
    (&["network::p521", "network::chain", "network::faults", "network::wire"], Purity::Pure),
    (&["network"], Purity::Effects),
    (&["vault"], Purity::Pure),
    (&["verify"], Purity::Pure),
    (&["session"], Purity::Pure),
    (&["session::logins", "session::shutdown", "session::instances"], Purity::Effects),
    (&["vault::client"], Purity::Effects),
    (&["cluster", "telemetry"], Purity::Effects),
    (&["session::lending", "session::entry"], Purity::Effects),
    (&["session::acquire", "session::reach", "session::login", "session::sessions"], Purity::Effects),
    (&["check"], Purity::Effects),
    (&["controller"], Purity::Effects),
    (&["manifests", "cli"], Purity::Effects),
    (&["lib", "main", "bin"], Purity::Effects),
];

/// What a pure file cannot hold: a clock, randomness, a log, a client, something to wait for.
const EFFECTS: &[&str] = &[
    "async ",
    ".await",
    "::now()",
    "tokio",
    "tracing",
    "reqwest",
    "fastrand",
    "SystemTime",
    "std::fs",
    "std::env",
    "std::net::Tcp",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purity {
    Pure,
    Effects,
}

#[test]
fn a_file_uses_only_what_stands_above_it() {
    let mut wrong = Vec::new();
    for (module, text) in modules() {
        for used in used_modules(&module, &text) {
            if layer(&used) > layer(&module) {
                wrong.push(format!("{module} uses {used}, which stands below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_have_no_effects() {
    let mut wrong = Vec::new();
    for (module, text) in modules() {
        let (_, purity) = LAYERS[layer(&module)];
        for effect in EFFECTS.iter().filter(|effect| purity == Purity::Pure && text.contains(**effect)) {
            wrong.push(format!("{module} holds {effect:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An answer of nested objects would cost many times its size as a tree.
#[test]
fn no_reader_of_an_answer_builds_a_tree_of_it() {
    for (module, text) in modules() {
        let trees = ["serde_json::Value", "serde_json::Map"];
        let reads = module.starts_with("vault::");
        assert!(!reads || !trees.iter().any(|tree| text.contains(tree)), "{module}");
    }
}

#[test]
fn a_use_tree_is_read_whole() {
    let text = "use crate::{\n    api::{self, auth::Token},\n    names::*,\n};\nuse super::{\n    route,\n    dial::Dialer,\n};\n\
                fn f() { crate::network::tls::x() }";
    let expected =
        ["api", "api::auth::Token", "names::*", "network::dial::Dialer", "network::route", "network::tls::x"];
    assert_eq!(used_modules("network::x", text), expected.map(str::to_owned).into());
}

/// The index of the layer that a path belongs to.
fn layer(path: &str) -> usize {
    let belongs = |module: &str| path == module || path.starts_with(&format!("{module}::"));
    let longest = |modules: &[&str]| modules.iter().filter(|m| belongs(m)).map(|m| m.len()).max();
    let found =
        LAYERS.iter().enumerate().filter_map(|(index, (modules, _))| Some((longest(modules)?, index))).max();
    found.unwrap_or_else(|| panic!("{path} belongs to no layer: add it to LAYERS")).1
}

/// Every path of ours that a module's text names.
fn used_modules(module: &str, text: &str) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map_or(String::new(), |(parent, _)| format!("{parent}::"));
    let mut used = BTreeSet::new();
    for (word, prefix) in [("crate::", ""), ("super::", parent.as_str())] {
        for (position, _) in text.match_indices(word) {
            flatten(prefix, &text[position + word.len()..], &mut used);
        }
    }
    used
}

/// Reads one use tree, and returns what follows it.
fn flatten<'a>(prefix: &str, tree: &'a str, used: &mut BTreeSet<String>) -> &'a str {
    let tree = tree.trim_start();
    let end = tree.find(|c: char| !(c.is_alphanumeric() || "_:*".contains(c))).unwrap_or(tree.len());
    let path = format!("{prefix}{}", &tree[..end]);
    let mut rest = &tree[end..];
    if !rest.starts_with('{') {
        let path = path.trim_end_matches("::self");
        // Nothing follows the last comma of a list.
        if !path.is_empty() && !path.ends_with("::") {
            used.insert(path.to_owned());
        }
        return rest;
    }
    loop {
        rest = flatten(&path, &rest[1..], used).trim_start();
        if !rest.starts_with(',') {
            return rest.strip_prefix('}').unwrap_or(rest);
        }
    }
}
