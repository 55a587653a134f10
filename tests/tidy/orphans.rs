//! Holds that every file is used by another, and that the operator's code and its tests are kept apart.

use std::collections::BTreeSet;

use crate::sources::{RUST, Source, files, read, rust};

/// Test-only modules that `src` may hold: the tests of a file, and the values that several of them start from.
const TEST_MODULES: [&str; 2] = ["tests", "testing"];

#[test]
fn every_file_of_rust_is_a_module_of_another_or_a_program() {
    let sources = rust();
    let declared: BTreeSet<_> = sources.iter().flat_map(declared).collect();
    let is_program = |path: &str| {
        let roots = ["src/lib.rs", "src/main.rs"];
        let folders = ["src/bin/", "benches/", "fuzz/fuzz_targets/"];
        roots.contains(&path)
            || folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|name| !name.contains('/')))
            || path.strip_prefix("tests/").is_some_and(|name| name.ends_with("/main.rs"))
    };
    let orphans: Vec<_> = sources
        .iter()
        .filter(|it| !is_program(&it.path) && !declared.contains(&it.path))
        .map(|it| &it.path)
        .collect();
    assert!(orphans.is_empty(), "no module declares these: {orphans:#?}");
}

#[test]
fn the_code_of_the_operator_holds_no_module_that_is_a_test_alone() {
    let mut wrong = Vec::new();
    for source in files("src", ".rs") {
        for (index, _) in source.text.match_indices("#[cfg(test)]\n") {
            let rest = &source.text[index..];
            let declaration = rest.lines().skip(1).find(|line| !line.starts_with("#[")).unwrap_or_default();
            let Some((_, name)) = declaration.split_once("mod ") else { continue };
            let name = name.trim_end_matches([';', '{', ' ']);
            if !TEST_MODULES.contains(&name) {
                wrong.push(format!("{}: {name} belongs into tests/", source.path));
            }
        }
        if source.text.contains("#[path") {
            wrong.push(format!("{}: a module stands where its path says", source.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_table_and_every_document_is_used() {
    let rust: String =
        RUST.iter().flat_map(|folder| files(folder, ".rs")).map(|source| source.text).collect();
    let scripts: String = files("hack", "").into_iter().map(|source| source.text).collect();
    for Source { path, .. } in files("testdata", "").into_iter().chain(files("tests", ".yaml")) {
        // A script reads some folders whole.
        let (folder, name) = path.rsplit_once('/').expect("it stands in a folder");
        assert!(rust.contains(name) || scripts.contains(folder), "no test reads {path}");
    }
    let texts: String = files("docs", ".md").into_iter().map(|source| source.text).collect();
    let texts = texts + &read("README.md") + &read("CONTRIBUTING.md") + &read("SECURITY.md");
    for source in files("docs", ".md") {
        assert!(texts.contains(name(&source.path)), "nothing links to {}", source.path);
    }
    for source in files("hack/lib", "") {
        let name = name(&source.path);
        assert!(scripts.contains(name.trim_end_matches(".sh")), "no script uses {}", source.path);
    }
}

/// The files that the modules which a file declares may be in.
fn declared(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').expect("it stands in a folder");
    let own = match file {
        "mod.rs" | "main.rs" | "lib.rs" => folder.to_owned(),
        // A program of one file has its modules beside it.
        _ if folder == "benches" || folder == "fuzz/fuzz_targets" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    };
    let mut declared = Vec::new();
    let mut path = None;
    for line in source.text.lines().map(str::trim) {
        if let Some(given) = line.strip_prefix("#[path = \"") {
            path = given.strip_suffix("\"]");
        } else if let Some((_, name)) = line.strip_suffix(';').and_then(|line| line.split_once("mod ")) {
            match path.take() {
                Some(path) => declared.push(joined(folder, path)),
                None => declared.extend([format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")]),
            }
        }
    }
    declared
}

/// A path that a file in `folder` names.
fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
