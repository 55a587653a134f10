//! Events of an object, the oldest first. Pure.

use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};

use crate::{
    cli::style::{Colour, Style, table},
    names::text::printable,
    verify::ages::age,
};

const HEAD: &[&str] = &["LAST SEEN", "TYPE", "REASON", "COUNT", "MESSAGE"];

/// The table.
pub(super) fn render(events: &[Event], now: Timestamp, style: Style) -> String {
    let mut sorted: Vec<_> = events.iter().map(|event| (last_seen(event), event)).collect();
    sorted.sort_by_key(|(time, _)| *time);
    let of = |text: &Option<String>| printable(text.as_deref().unwrap_or_default()).into_owned();
    let row = |(time, event): &(Option<Timestamp>, &Event)| {
        let seen = time.map_or_else(|| "unknown".to_owned(), |time| age(time, now));
        let count = event.series.as_ref().map_or(1, |series| series.count);
        vec![seen, of(&event.type_), of(&event.reason), count.to_string(), of(&event.note)]
    };
    let rows: Vec<_> = sorted.iter().map(row).collect();
    let warns =
        |row: usize| sorted.get(row).is_some_and(|(_, event)| event.type_.as_deref() == Some("Warning"));
    table(Some(HEAD), &rows, |row, column, cell| {
        if column == 1 && warns(row) { style.paint(Colour::Yellow, &cell) } else { cell }
    })
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(first).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::vconn::testing::at;

    #[test]
    fn events_are_in_the_order_of_their_time() {
        let event = |second: i64, note: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": "e"}, "eventTime": format!("{:.6}", at(second)), "type": "Warning",
                "reason": "Sealed", "note": note,
            }))
            .expect("an event")
        };
        let mut repeated = event(100, "first\u{1b}[2J");
        repeated.series =
            serde_json::from_value(json!({"count": 3, "lastObservedTime": format!("{:.6}", at(250))}))
                .expect("a series");
        assert_eq!(
            render(&[repeated, event(200, "second")], at(260), Style::PLAIN),
            "\
LAST SEEN   TYPE      REASON   COUNT   MESSAGE
1m          Warning   Sealed   1       second
10s         Warning   Sealed   3       first\\u{1b}[2J
"
        );
    }
}
