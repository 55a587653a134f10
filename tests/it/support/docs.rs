//! Tables of the documentation that name tests, and the tests that there are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::bed::package;

/// The rows of those tables of a file whose first column has this heading: their cells.
pub fn rows(file: &str, heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(package().join(file)).expect("the file is there");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let (mut rows, mut columns) = (Vec::new(), None);
    for line in text.lines() {
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        let cells = cells(line);
        if cells[0] == heading {
            columns = Some(cells.len());
        } else if let Some(columns) = columns.filter(|_| !cells[0].starts_with("---")) {
            assert_eq!(cells.len(), columns, "{file}: {} has other columns than the rest", cells[0]);
            rows.push(cells);
        }
    }
    rows
}

/// What a cell has in backticks, such as the tests that it names.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Every test of this binary as `file::test`, every unit test as `module::test`, and those that need no server either with
/// the name of their binary before that.
pub fn tests() -> BTreeSet<String> {
    let folder = |name: &str| package().join(name);
    let (it, src, tests) = (folder("tests/it"), folder("src"), folder("tests"));
    let others = ["local", "tidy"].into_iter().flat_map(|name| rust_files(&tests.join(name), true));
    let files = rust_files(&it, false)
        .map(|path| (&it, path))
        .chain(rust_files(&src, true).map(|path| (&src, path)))
        .chain(others.map(|path| (&tests, path)));
    let mut tests = BTreeSet::new();
    for (root, path) in files {
        let text = fs::read_to_string(&path).expect("a test can be read");
        let module = module(root, &path);
        tests.extend(names(&text).map(|name| format!("{module}::{name}")));
    }
    tests
}

/// The names of the tests in a file.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    let pairs: Vec<_> = lines.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter().filter_map(|(attribute, function)| {
        let marked = attribute == "#[test]" || attribute.starts_with("#[tokio::test");
        let name = function.trim_start_matches("async ").strip_prefix("fn ").filter(|_| marked)?;
        name.split_once('(').map(|(name, _)| name)
    })
}

fn module(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).expect("below the root").with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_str().expect("a name in UTF-8")).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

/// The Rust files in a folder, and in those below it if that is wanted.
fn rust_files(folder: &Path, below: bool) -> impl Iterator<Item = PathBuf> + use<> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if below && path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.into_iter()
}
