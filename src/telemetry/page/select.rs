//! Which rows a visitor asks for. Pure: rows and a query go in, one page of rows comes out.

use std::sync::Arc;

use url::form_urlencoded;

use super::board::{Key, Row};
use crate::{
    api::{condition::Truth, status::State},
    verify::urgency::Urgency,
};

/// How many rows a page has at most: it stays below 1 MB for any messages, and readable.
pub(super) const MAX_ROWS: usize = 200;

/// What a visitor asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Only objects of this namespace; of all if it is empty.
    pub(super) namespace: String,
    /// Only objects of this kind; of all if it is empty.
    pub(super) kind: String,
    /// Only objects in such a state.
    pub(super) state: Wanted,
    /// Only objects with this text, in any case.
    pub(super) text: String,
    /// The number of the page, from 0.
    pub(super) page: usize,
    /// Whether to show times instead of ages.
    pub(super) has_exact_times: bool,
}

/// The states that a visitor asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any.
    #[default]
    All,
    /// Whatever is not fine, unless its user wants it so.
    Attention,
    /// Whatever is Ready.
    Ready,
    /// A state of connections.
    In(State),
}

/// What is shown.
#[derive(Debug)]
pub(super) struct Selection {
    /// One page of the rows that match, the worst first.
    pub(super) rows: Vec<(Key, Arc<Row>)>,
    /// How many rows stand before it.
    pub(super) before: usize,
    /// How many rows match.
    pub(super) matching: usize,
    /// How many there are of all that can be asked for.
    pub(super) counts: Vec<(Wanted, usize)>,
}

/// Chooses from all rows.
pub(super) fn select(rows: Vec<(Key, Arc<Row>)>, query: &Query) -> Selection {
    let count = |wanted: &Wanted| (*wanted, rows.iter().filter(|(_, row)| wanted.takes(row)).count());
    let counts = Wanted::every().iter().map(count).collect();
    let text = query.text.to_lowercase();
    let mut matching: Vec<_> = rows.into_iter().filter(|(key, row)| query.takes(key, row, &text)).collect();
    // What is equally bad stays in the order of the keys.
    matching.sort_by_key(|(_, row)| std::cmp::Reverse(row.urgency));
    let count = matching.len();
    let last = count.saturating_sub(1) / MAX_ROWS;
    let before = query.page.min(last) * MAX_ROWS;
    let rows = matching.into_iter().skip(before).take(MAX_ROWS).collect();
    Selection { rows, before, matching: count, counts }
}

// === impl Query ===

impl Query {
    /// Reads the query of a request. What makes no sense in it asks for nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let value = value.trim();
            match name.as_ref() {
                "namespace" => value.clone_into(&mut query.namespace),
                "kind" => value.clone_into(&mut query.kind),
                "state" => query.state = Wanted::parse(value),
                "text" => value.clone_into(&mut query.text),
                "page" => query.page = value.parse::<usize>().unwrap_or(1).saturating_sub(1),
                "times" => query.has_exact_times = value == "exact",
                _ => {}
            }
        }
        query
    }

    /// The link that asks for it, from the page itself.
    pub(super) fn link(&self) -> String {
        let mut text = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        let page = (self.page + 1).to_string();
        let pairs = [
            ("namespace", self.namespace.as_str()),
            ("kind", &self.kind),
            ("state", self.state.value()),
            ("text", &self.text),
            ("page", if self.page == 0 { "" } else { &page }),
            ("times", if self.has_exact_times { "exact" } else { "" }),
        ];
        text.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
        text.finish()
    }

    /// Whether it leaves something out.
    pub(super) fn is_filter(&self) -> bool {
        let page = self.page;
        let unfiltered = Self { page, has_exact_times: self.has_exact_times, ..Self::default() };
        *self != unfiltered
    }

    fn takes(&self, key: &Key, row: &Row, text: &str) -> bool {
        (self.namespace.is_empty() || *self.namespace == *key.namespace)
            && (self.kind.is_empty() || self.kind == key.kind)
            && self.state.takes(row)
            && (text.is_empty() || holds(key, row, text))
    }
}

/// Whether a row shows a text, which is in lower case.
fn holds(key: &Key, row: &Row, text: &str) -> bool {
    let found = |it: &str| it.to_lowercase().contains(text);
    let in_status = row.summary.as_ref().is_some_and(|summary| {
        let conditions = || summary.ready.iter().chain(&summary.warnings);
        found(&summary.target)
            || conditions().any(|it| found(&it.reason) || found(&it.message))
            || summary.faults.iter().any(|fault| found(fault))
            || summary.facts.iter().any(|(_, fact)| found(fact))
    });
    in_status || [&*key.namespace, &*key.name, &row.seen.description].into_iter().any(found)
}

// === impl Wanted ===

impl Wanted {
    /// Everything that can be asked for, as it is listed.
    pub(super) fn every() -> Vec<Self> {
        let states = State::ALL.into_iter().map(Self::In);
        [Self::All, Self::Attention, Self::Ready].into_iter().chain(states).collect()
    }

    /// Its value in a query.
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Attention => "attention",
            Self::Ready => "ready",
            Self::In(state) => state.as_str(),
        }
    }

    /// What it is called.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Attention => "Needs attention",
            Self::Ready => "Ready",
            Self::In(state) => state.as_str(),
        }
    }

    fn parse(value: &str) -> Self {
        Self::every().into_iter().find(|wanted| wanted.value() == value).unwrap_or_default()
    }

    fn takes(self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Attention => row.urgency > Urgency::Suspended,
            Self::Ready => {
                let ready = row.summary.as_ref().and_then(|summary| summary.ready.as_ref());
                ready.is_some_and(|ready| ready.status == Truth::True.as_str())
            }
            Self::In(state) => row.state() == state.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::page::testing::{connection, gateway, many};

    fn chosen(rows: &[(Key, Arc<Row>)], query: &str) -> Vec<String> {
        let selection = select(rows.to_vec(), &Query::parse(query));
        selection.rows.into_iter().map(|(key, _)| key.name.to_string()).collect()
    }

    #[test]
    fn the_worst_comes_first_and_each_filter_takes_what_it_says() {
        let mut rows = vec![
            connection("team-a", "fine", Some("Connected")),
            connection("team-a", "rejected", Some("InvalidCredentials")),
            connection("team-b", "away", Some("Timeout")),
            connection("team-b", "off", Some("Suspended")),
            connection("team-b", "new", None),
            gateway("team-b", "way"),
        ];
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let table: &[(&str, &[&str])] = &[
            ("", &["rejected", "away", "new", "off", "fine", "way"]),
            ("namespace=team-a", &["rejected", "fine"]),
            ("namespace=team", &[]),
            ("kind=VaultGateway", &["way"]),
            ("state=attention", &["rejected", "away", "new"]),
            ("state=ready", &["fine", "way"]),
            ("state=Rejected", &["rejected"]),
            ("state=Pending", &["new"]),
            ("state=nonsense&page=-1&x=%ff&&=", &["rejected", "away", "new", "off", "fine", "way"]),
            ("text=TIMEOUT", &["away"]),
            ("text=+off+", &["off"]),
            ("text=proxy", &["way"]),
            ("text=orders", &["rejected", "away", "new", "off", "fine", "way"]),
            ("text=team-b&state=attention", &["away", "new"]),
        ];
        for (query, expected) in table {
            assert_eq!(chosen(&rows, query), *expected, "{query}");
        }
    }

    #[test]
    fn ten_thousand_rows_are_shown_by_the_page() {
        let rows = many(10_000);
        let first = select(rows.clone(), &Query::parse(""));
        assert_eq!((first.rows.len(), first.before, first.matching), (MAX_ROWS, 0, 10_000));
        let last = select(rows.clone(), &Query::parse("page=50"));
        assert_eq!((last.rows.len(), last.before), (MAX_ROWS, 9_800));
        let beyond = select(rows, &Query::parse("page=99999999999"));
        assert_eq!((beyond.rows.len(), beyond.before), (MAX_ROWS, 9_800));
        assert_eq!(beyond.counts[0], (Wanted::All, 10_000));
        assert_eq!(select(Vec::new(), &Query::parse("page=2")).before, 0);
    }

    #[test]
    fn a_link_asks_for_what_it_came_from() {
        for query in [
            "",
            "state=attention",
            "namespace=team-a&kind=VaultGateway&state=Rejected&text=%22%3E%26+%C3%BC&page=3&times=exact",
        ] {
            let parsed = Query::parse(query);
            assert_eq!(parsed.link(), format!("?{query}"));
            assert_eq!(parsed.is_filter(), !query.is_empty());
        }
    }
}
