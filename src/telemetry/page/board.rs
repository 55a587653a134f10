//! What the status page knows: a row for each object. Kept only while the page is served.
//!
//! ```text
//!   watch ─▶ seen ─────┐
//!   status ─▶ told ────┼─▶ one row ─▶ a visit shares the rows, and chooses without a lock
//!   check ─▶ checked ──┘
//! ```
//!
//! A row begins and ends with what the watch shows; what comes later of an object that is gone makes no row.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use crate::{api::status::State, references::dependents::Owner, verify::urgency::Urgency};

/// The rows of all objects. A clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    rows: Option<Arc<Mutex<Rows>>>,
}

type Rows = BTreeMap<Key, Arc<Row>>;

/// Names one object. The order is that of a list of what is equally bad.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The `kind` of its manifests.
    pub kind: &'static str,
    /// Its name.
    pub name: Arc<str>,
}

/// What is known of one object.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the watch shows of it.
    pub seen: Seen,
    /// Its status; none before the first.
    pub summary: Option<Summary>,
    /// How bad it is.
    pub urgency: Urgency,
}

/// What the watch shows of an object beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The generation of its spec.
    pub generation: i64,
    /// Whether it is being deleted.
    pub is_ending: bool,
    /// What its user wrote about it.
    pub description: String,
}

/// What the page shows of a status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The generation of the spec that it is about.
    pub generation: Option<i64>,
    /// Its state, in a word or a few.
    pub state: String,
    /// Whether it is Ready, and why not.
    pub ready: Option<Condition>,
    /// What is about to fail.
    pub warnings: Vec<Condition>,
    /// What is wrong with parts of it.
    pub faults: Vec<String>,
    /// When it was last checked.
    pub checked: Option<Timestamp>,
    /// When the next check is due.
    pub next: Option<Timestamp>,
    /// The addresses that it is about.
    pub target: String,
    /// More about it, each with its label.
    pub facts: Vec<(&'static str, String)>,
    /// What ends when, each with its label.
    pub ends: Vec<(&'static str, Timestamp)>,
}

// === impl Board ===

impl Board {
    /// A board that is kept, or one that stays empty.
    pub fn new(is_kept: bool) -> Self {
        Self { rows: is_kept.then(Arc::default) }
    }

    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        self.rows.is_some()
    }

    /// Notes what the watch shows of an object.
    pub fn seen(&self, kind: &'static str, name: &impl Owner, seen: impl FnOnce() -> Seen) {
        let Some(mut rows) = self.lock() else { return };
        let row = rows.entry(Key::of(kind, name)).or_default();
        Arc::make_mut(row).change(|row| row.seen = seen());
    }

    /// Notes the status that is true of an object from now on, if there is one.
    pub fn published(
        &self,
        kind: &'static str,
        name: &impl Owner,
        summary: impl FnOnce() -> Option<Summary>,
    ) {
        self.change(kind, name, |row| row.summary = summary());
    }

    /// Notes a check of an object, and when the next is due. Most checks change nothing else.
    pub fn checked(&self, kind: &'static str, name: &impl Owner, at: Timestamp, next: Option<Timestamp>) {
        self.change(kind, name, |row| {
            if let Some(summary) = &mut row.summary {
                (summary.checked, summary.next) = (Some(at), next);
            }
        });
    }

    /// An object is gone.
    pub fn forget(&self, kind: &'static str, name: &impl Owner) {
        if let Some(mut rows) = self.lock() {
            rows.remove(&Key::of(kind, name));
        }
    }

    /// All rows, by their keys.
    pub fn rows(&self) -> Vec<(Key, Arc<Row>)> {
        let rows = self.lock();
        rows.iter().flat_map(|rows| rows.iter()).map(|(key, row)| (key.clone(), Arc::clone(row))).collect()
    }

    fn change(&self, kind: &'static str, name: &impl Owner, change: impl FnOnce(&mut Row)) {
        let Some(mut rows) = self.lock() else { return };
        if let Some(row) = rows.get_mut(&Key::of(kind, name)) {
            Arc::make_mut(row).change(change);
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Rows>> {
        Some(self.rows.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Key ===

impl Key {
    fn of(kind: &'static str, name: &impl Owner) -> Self {
        Self { namespace: Arc::clone(name.namespace()), kind, name: Arc::clone(name.name()) }
    }
}

// === impl Row ===

impl Default for Row {
    fn default() -> Self {
        Self { seen: Seen::default(), summary: None, urgency: Urgency::NotKnown }
    }
}

impl Row {
    /// Its state, in a word or a few.
    pub fn state(&self) -> &str {
        self.summary.as_ref().map_or(State::Pending.as_str(), |summary| summary.state.as_str())
    }

    /// Whether its status is about the spec that it has.
    pub fn is_current(&self) -> bool {
        self.summary.as_ref().and_then(|summary| summary.generation) == Some(self.seen.generation)
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        let summary = self.summary.as_ref();
        let has_warnings = self.seen.is_ending || summary.is_some_and(|it| !it.warnings.is_empty());
        let ready = summary.and_then(|summary| summary.ready.as_ref());
        self.urgency = Urgency::of_object(ready, self.is_current(), has_warnings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::condition::{ConditionType, Reason},
        conditions::{Verdict, fold},
        names::ConnectionRef,
    };

    const KIND: &str = "VaultConnection";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn named(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "team-a".into(), name: name.into() }
    }

    fn seen(generation: i64) -> Seen {
        Seen { generation, description: "orders".to_owned(), ..Seen::default() }
    }

    fn summary(reason: Reason, generation: i64) -> Summary {
        let truth = reason.truth();
        let ready = Verdict { condition: ConditionType::Ready, truth, reason, message: String::new() };
        Summary {
            generation: Some(generation),
            state: reason.state().as_str().to_owned(),
            ready: fold(&[], &[ready], generation, at(0)).pop(),
            ..Summary::default()
        }
    }

    fn only(board: &Board) -> Arc<Row> {
        let mut rows = board.rows();
        assert_eq!(rows.len(), 1);
        rows.remove(0).1
    }

    #[test]
    fn a_row_lasts_as_long_as_the_watch_shows_the_object() {
        let (board, name) = (Board::new(true), named("a"));
        board.published(KIND, &name, || Some(summary(Reason::Connected, 1)));
        assert!(board.rows().is_empty(), "nobody has seen it");
        board.seen(KIND, &name, || seen(1));
        assert_eq!((only(&board).state(), only(&board).urgency), ("Pending", Urgency::NotKnown));
        board.published(KIND, &name, || Some(summary(Reason::Connected, 1)));
        board.checked(KIND, &name, at(10), Some(at(70)));
        let row = only(&board);
        assert_eq!((row.state(), row.urgency), ("Connected", Urgency::Fine));
        assert_eq!(row.summary.as_ref().map(|it| (it.checked, it.next)), Some((Some(at(10)), Some(at(70)))));
        board.published(KIND, &name, || None);
        assert_eq!(only(&board).state(), "Pending");
        board.forget(KIND, &name);
        board.published(KIND, &name, || Some(summary(Reason::Connected, 1)));
        assert!(board.rows().is_empty(), "it is gone");
    }

    #[test]
    fn a_status_about_another_spec_is_not_taken_for_the_truth() {
        let (board, name) = (Board::new(true), named("a"));
        board.seen(KIND, &name, || seen(2));
        board.published(KIND, &name, || Some(summary(Reason::Connected, 1)));
        assert_eq!(only(&board).urgency, Urgency::NotKnown);
        board.published(KIND, &name, || Some(summary(Reason::Connected, 2)));
        assert_eq!(only(&board).urgency, Urgency::Fine);
        board.seen(KIND, &name, || Seen { is_ending: true, ..seen(2) });
        assert_eq!(only(&board).urgency, Urgency::Warned);
        board.published(KIND, &name, || Some(summary(Reason::InvalidCredentials, 2)));
        assert_eq!(only(&board).urgency, Urgency::NeedsPerson);
    }

    #[test]
    fn nothing_is_kept_without_the_page() {
        let board = Board::default();
        board.seen(KIND, &named("a"), || panic!("nobody asks for it"));
        board.published(KIND, &named("a"), || panic!("nobody asks for it"));
        assert!(board.rows().is_empty() && !board.is_kept());
    }
}
