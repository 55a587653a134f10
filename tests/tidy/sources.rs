//! The files of the repository, as the other tests read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders that hold Rust code.
pub(crate) const RUST: [&str; 4] = ["src", "tests", "benches", "fuzz/fuzz_targets"];

/// A file of the repository: its path from the root, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The folder of the package. Asked when the tests run: a binary may have been built in another checkout.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where").into()
}

/// The text of a file of the package.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder whose name ends so, in the order of their paths.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let text = fs::read_to_string(&path).expect("a file of ours is text");
                let path = path.strip_prefix(&root).expect("below the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every file of Rust.
pub(crate) fn rust() -> Vec<Source> {
    let all: Vec<_> = RUST.iter().flat_map(|folder| files(folder, ".rs")).collect();
    assert!(all.len() > 150, "the files were not found");
    all
}

/// Every module below `src` but those that are tests alone: its path, and its text up to its tests, without comments.
pub(crate) fn modules() -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.ends_with("/testing.rs");
    let sources = files("src", ".rs").into_iter().filter(|source| !is_test(&source.path));
    let modules: Vec<_> =
        sources.map(|source| (module(&source.path), without_comments(source.code()))).collect();
    assert!(modules.len() > 30, "the files were not found");
    modules
}

fn without_comments(code: &str) -> String {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn module(path: &str) -> String {
    let relative = Path::new(path).strip_prefix("src").expect("below src").with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

// === impl Source ===

impl Source {
    /// The text up to the tests of the file.
    pub(crate) fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }
}
