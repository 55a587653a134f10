//! `docs/faults.md`, held to the tests and to the code.

use std::collections::BTreeSet;

use serde_json::json;
use vault_connection_operator::api::condition::{FailureClass, Reason};

use crate::support::docs::{self, tests};

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
        docs::quoted(&self.cells[5])
    }
}

fn rows() -> Vec<Row> {
    let rows: Vec<_> = docs::rows("docs/faults.md", "Fault").into_iter().map(|cells| Row { cells }).collect();
    for row in &rows {
        assert_eq!(row.cells.len(), 6, "{} has other columns than the rest", row.fault());
    }
    assert!(rows.len() > 50, "the matrix is read: {} rows", rows.len());
    rows
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
        let expected = match reason.failure_class() {
            FailureClass::None => "-",
            FailureClass::Transient | FailureClass::Persistent => "Reconciling",
            FailureClass::Terminal => "Stalled",
        };
        assert_eq!(condition, expected, "{}", row.fault());
    }
}
