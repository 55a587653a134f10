//! Holds the sizes of files and functions to their budgets. What outgrows one has two subjects: give each its own.

use crate::sources::rust;

/// Lines that a file may have before its tests. Nine of ten files of projects that read well have fewer.
const MAX_FILE_LINES: usize = 400;

/// Lines that a function may have; half of that is what to aim for.
const MAX_FUNCTION_LINES: usize = 80;

/// A table of cases is one list, however long: tests may hold one.
const MAX_TEST_LINES: usize = 100;

#[test]
fn no_file_outgrows_its_budget() {
    let lines = rust().into_iter().map(|source| (source.code().lines().count(), source.path));
    let wrong: Vec<_> = lines.filter(|(lines, _)| *lines > MAX_FILE_LINES).collect();
    assert!(wrong.is_empty(), "more than {MAX_FILE_LINES} lines before the tests: {wrong:#?}");
}

#[test]
fn no_function_outgrows_its_budget() {
    let mut wrong = Vec::new();
    for source in rust() {
        let in_src = source.path.starts_with("src/");
        for (text, budget) in [
            (source.code(), if in_src { MAX_FUNCTION_LINES } else { MAX_TEST_LINES }),
            (&source.text[source.code().len()..], MAX_TEST_LINES),
        ] {
            let functions = functions(text).into_iter().filter(|(_, lines)| *lines > budget);
            wrong.extend(functions.map(|(name, lines)| format!("{}: {name} has {lines} lines", source.path)));
        }
    }
    assert!(
        wrong.is_empty(),
        "longer than {MAX_FUNCTION_LINES} lines, or {MAX_TEST_LINES} in a test: {wrong:#?}"
    );
}

#[test]
fn a_function_ends_where_its_brace_closes() {
    let text = "impl A {\n    pub(super) async fn one(\n        a: u8,\n    ) -> u8 {\n        if a {\n        }\n    }\n\n    fn two() {}\n}\n\
                trait B {\n    fn three(\n        a: u8,\n    );\n}\nfn four() {\n}\n";
    let expected = [("one", 6), ("two", 1), ("three", 3), ("four", 2)];
    assert_eq!(functions(text), expected.map(|(name, lines)| (name.to_owned(), lines)));
}

/// The functions of a formatted text, and how many lines each has.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let begins = lines.iter().enumerate().filter_map(|(index, line)| Some((index, function_name(line)?)));
    begins.map(|(index, name)| (name.to_owned(), length(&lines[index..]))).collect()
}

/// The name of the function that a line begins, if it begins one.
fn function_name(line: &str) -> Option<&str> {
    const QUALIFIERS: [&str; 5] = ["pub", "const", "async", "unsafe", "extern"];
    let (before, after) = line.split_once("fn ")?;
    let is_item =
        before.split_whitespace().all(|word| QUALIFIERS.iter().any(|qualifier| word.starts_with(qualifier)));
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    is_item.then_some(&after[..end])
}

/// How many lines the function has that begins in the first of these: up to the brace at its indentation.
fn length(lines: &[&str]) -> usize {
    let first = lines[0];
    if first.ends_with('}') || first.ends_with(';') {
        return 1;
    }
    let indentation = &first[..first.len() - first.trim_start().len()];
    let ends = |line: &&str| {
        let rest = line.strip_prefix(indentation).unwrap_or_default();
        rest.starts_with('}') || (rest.starts_with(')') && rest.ends_with(';'))
    };
    lines.iter().position(ends).map_or(lines.len(), |last| last + 1)
}
