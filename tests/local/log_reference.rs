//! Holds `docs/logs.md` to the log messages in the code.

use std::{collections::BTreeSet, fs, path::Path};

/// The levels that a user sees without asking for more.
const LEVELS: [&str; 3] = ["info", "warn", "error"];

/// The message of each log line in a source file: the last text of a call.
fn messages(text: &str) -> Vec<(String, String)> {
    let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for after in production.split("tracing::").skip(1) {
        for level in LEVELS {
            if let Some(arguments) = after.strip_prefix(&format!("{level}!(")) {
                found.extend(last_text(arguments).map(|message| (level.to_owned(), message)));
            }
        }
    }
    found
}

/// The last text before the bracket that ends a call.
fn last_text(arguments: &str) -> Option<String> {
    let (mut depth, mut last, mut open) = (1, None, None);
    for (place, character) in arguments.char_indices() {
        match (character, open) {
            ('"', None) => open = Some(place + 1),
            ('"', Some(start)) => (last, open) = (Some(arguments[start..place].to_owned()), None),
            ('(', None) => depth += 1,
            (')', None) if depth == 1 => return last,
            (')', None) => depth -= 1,
            (_, Some(_) | None) => {}
        }
    }
    None
}

fn collect(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("log_reference.rs")
        {
            found.extend(messages(&fs::read_to_string(&path).expect("a source is text")));
        }
    }
}

#[test]
fn the_log_reference_names_every_message() {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where");
    let root = Path::new(&root);
    let mut found = BTreeSet::new();
    collect(&root.join("src"), &mut found);
    let text = fs::read_to_string(root.join("docs/logs.md")).expect("it is there");
    let rows: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let level = cells.next()?.to_lowercase();
            let message = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?.to_owned();
            Some((level, message))
        })
        .collect();
    let missing: Vec<_> = found.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&found).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing in docs/logs.md: {missing:#?}\nnot in the code: {gone:#?}"
    );
}
