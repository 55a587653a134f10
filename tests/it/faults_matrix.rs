//! `docs/faults.md`, held to the tests and to the code.

use std::{collections::BTreeSet, fs};

use serde_json::json;
use vault_connection_operator::api::condition::{Nature, Reason};

use crate::support::bed::package;

/// A row of the matrix: fault, state, reason, condition, when it is looked at again, tests.
struct Row {
    cells: Vec<String>,
}

// === impl Row ===

impl Row {
    fn fault(&self) -> &str {
        &self.cells[0]
    }

    fn reason(&self) -> Option<Reason> {
        let word = self.cells[2].trim_matches('`');
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }

    /// The tests that it names: `file::test`.
    fn tests(&self) -> Vec<&str> {
        let words = self.cells[5].split('`').skip(1).step_by(2);
        words.collect()
    }
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(package().join("docs/faults.md"));
    let text = text.expect("the matrix is there");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
    let rows: Vec<_> = lines
        .filter(|cells| cells[0] != "Fault" && !cells[0].starts_with("---"))
        .map(|cells| Row { cells })
        .collect();
    for row in &rows {
        assert_eq!(row.cells.len(), 6, "{} has other columns than the rest", row.fault());
    }
    assert!(rows.len() > 50, "the matrix is read: {} rows", rows.len());
    rows
}

/// Every test of this binary, as `file::test`.
fn tests() -> BTreeSet<String> {
    let folder = package().join("tests/it");
    let mut tests = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the tests are there").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8").to_owned();
        let text = fs::read_to_string(&path).expect("a test can be read");
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2) {
            let marked = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
            let name = pair[1].trim_start_matches("async ").strip_prefix("fn ");
            if let Some((name, _)) = name.filter(|_| marked).and_then(|rest| rest.split_once('(')) {
                tests.insert(format!("{file}::{name}"));
            }
        }
    }
    tests
}

#[test]
fn every_row_of_the_fault_matrix_names_a_test_that_exists() {
    let tests = tests();
    for row in rows() {
        let named = row.tests();
        assert!(!named.is_empty(), "{} names no test", row.fault());
        for test in named {
            assert!(tests.contains(test), "{} names {test}, which does not exist", row.fault());
        }
    }
}

#[test]
fn every_test_of_a_fault_has_its_row() {
    let rows = rows();
    let named: BTreeSet<_> = rows.iter().flat_map(Row::tests).collect();
    let own = ["faults_fake::", "faults_matrix::"];
    for test in tests().iter().filter(|test| test.starts_with("faults_")) {
        let excused = own.iter().any(|file| test.starts_with(file));
        assert!(excused || named.contains(test.as_str()), "{test} is in no row");
    }
}

#[test]
fn every_row_of_the_fault_matrix_says_what_the_code_says_of_its_reason() {
    for row in rows() {
        let [_, state, word, condition, ..] = row.cells.as_slice() else { unreachable!("six cells") };
        let Some(reason) = row.reason() else {
            assert_eq!(word, "-", "{}: not a reason", row.fault());
            continue;
        };
        assert_eq!(json!(reason.state()), json!(state), "{}", row.fault());
        let expected = match reason.nature() {
            Nature::Fine => "-",
            Nature::Passing | Nature::Definite => "Reconciling",
            Nature::NeedsPerson => "Stalled",
        };
        assert_eq!(condition, expected, "{}", row.fault());
    }
}
