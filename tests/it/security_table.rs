//! The table of threats in `docs/security.md`, held to the tests.

use crate::support::docs::{quoted, rows, tests};

/// How a row says that no test holds it.
const UNTESTED: &str = "not tested: ";

#[test]
fn every_threat_names_a_test_that_exists_or_says_why_there_is_none() {
    let (rows, tests) = (rows("docs/security.md", "Threat"), tests());
    assert!(rows.len() > 20, "the table is read: {} rows", rows.len());
    for row in rows {
        let [threat, answer, held] = row.as_slice() else { panic!("{} has three columns", row[0]) };
        assert!(!answer.is_empty(), "{threat}: nothing is done about it");
        let named = quoted(held);
        assert!(
            !named.is_empty() || held.starts_with(UNTESTED),
            "{threat} names no test and gives no reason"
        );
        for test in named {
            assert!(tests.contains(test), "{threat} names {test}, which does not exist");
        }
    }
}
