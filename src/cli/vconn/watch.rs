//! The live list: what the API server reports of changes, redrawn on a terminal, or line by line.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    api::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Outcome,
    access::{Access, Scope},
    args::WatchArgs,
    entry::Entry,
    kinds::Kind,
    list::{self, Columns},
    print,
};
use crate::{
    cli::style::{Style, can_redraw, fit, terminal_columns, terminal_size},
    names::text::printable,
};

/// How often a table is drawn: ages change every second.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// Clears the terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// What is known of the objects.
#[derive(Default)]
struct Table {
    entries: BTreeMap<(Kind, String, String), Entry>,
    /// The kinds whose objects are all known.
    complete: Vec<Kind>,
    /// Objects of a list that is under way.
    incoming: Vec<Entry>,
    error: Option<String>,
}

/// Shows the list until Ctrl-C.
pub(super) async fn run(access: &Access, args: &WatchArgs, style: Style) -> anyhow::Result<Outcome> {
    let scope = access.allowed(access.scope_of_list()).await?;
    // What cannot be listed at all is an error, and nothing to wait for.
    access.list(&scope, args.selector.as_deref()).await?;
    let namespace = !matches!(scope, Scope::Namespace(_));
    let columns = Columns { namespace, wide: false, headers: true, room: terminal_columns() };
    let changes = Kind::ALL.map(|kind| changes(access, kind, &scope, args));
    let mut changes = stream::select_all(changes);
    let mut table = Table::default();
    if can_redraw() {
        let mut ticks = interval(DRAW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((kind, change)) = changes.next() => { table.take(kind, change); }
                _ = ticks.tick() => print(&table.screen(args, columns, style))?,
            }
        }
    }
    let mut has_head = false;
    while let Some((kind, change)) = changes.next().await {
        let news = table.take(kind, change);
        let news: Vec<_> = news.into_iter().filter(|entry| !args.not_ready || !entry.is_ready()).collect();
        if !news.is_empty() {
            let columns = Columns { headers: !std::mem::replace(&mut has_head, true), ..columns };
            print(&list::render(&news, columns, Timestamp::now(), style))?;
        }
    }
    Ok(Outcome::Ready)
}

fn changes(
    access: &Access,
    kind: Kind,
    scope: &Scope,
    args: &WatchArgs,
) -> impl Stream<Item = (Kind, watcher::Result<Event<DynamicObject>>)> + Unpin + use<> {
    let config = watcher::Config { label_selector: args.selector.clone(), ..watcher::Config::default() };
    let events = watcher(access.api(&kind.resource(), scope), config).default_backoff();
    Box::pin(events.map(move |event| (kind, event)))
}

// === impl Table ===

impl Table {
    /// Takes a change, and returns the objects that look different now.
    fn take(&mut self, kind: Kind, change: watcher::Result<Event<DynamicObject>>) -> Vec<Entry> {
        let change = match change {
            Ok(change) => change,
            Err(error) => {
                self.error = Some(super::chained(&anyhow::Error::new(error)));
                return Vec::new();
            }
        };
        self.error = None;
        match change {
            Event::Init => {
                self.incoming.retain(|entry| entry.kind != kind);
                Vec::new()
            }
            Event::InitApply(object) => {
                self.incoming.push(Entry::new(kind, object));
                Vec::new()
            }
            Event::InitDone => {
                let (mut listed, others): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.incoming).into_iter().partition(|entry| entry.kind == kind);
                self.incoming = others;
                let gone = |entry: &Entry| !listed.iter().any(|it| key(it) == key(entry));
                self.entries.retain(|_, entry| entry.kind != kind || !gone(entry));
                if !self.complete.contains(&kind) {
                    self.complete.push(kind);
                }
                list::worst_first(&mut listed);
                listed.into_iter().filter_map(|entry| self.put(entry)).collect()
            }
            Event::Apply(object) => self.put(Entry::new(kind, object)).into_iter().collect(),
            Event::Delete(object) => {
                self.entries.remove(&key(&Entry::new(kind, object)));
                Vec::new()
            }
        }
    }

    /// Keeps an object, and returns it if its summary differs from before.
    fn put(&mut self, entry: Entry) -> Option<Entry> {
        let summary = |entry: &Entry| {
            let ready = entry.ready().map(|ready| (ready.status.clone(), ready.reason.clone()));
            (ready, entry.state(), entry.warnings())
        };
        let is_new = self.entries.get(&key(&entry)).is_none_or(|before| summary(before) != summary(&entry));
        self.entries.insert(key(&entry), entry.clone());
        is_new.then_some(entry)
    }

    /// What a terminal shows.
    fn screen(&self, args: &WatchArgs, columns: Columns, style: Style) -> String {
        let now = Timestamp::now();
        let mut entries: Vec<_> = self.entries.values().cloned().collect();
        let summary = list::summary(&entries);
        entries.retain(|entry| !args.not_ready || !entry.is_ready());
        list::worst_first(&mut entries);
        let head = match &self.error {
            Some(error) => format!("{now:.0}  update failed, retrying: {}\n\n", printable(error)),
            None if self.complete.len() < Kind::ALL.len() => format!("{now:.0}  loading\n\n"),
            None => format!("{now:.0}  {summary}\n\n"),
        };
        let (width, lines) = terminal_size();
        let columns = Columns { room: Some(width), ..columns };
        let text = head + &list::render(&entries, columns, now, style);
        // The last line of a terminal stays free for the cursor.
        format!("{CLEAR}{}", screenful(&text, (width, lines.saturating_sub(1))))
    }
}

/// What fits of a text, and how much does not.
fn screenful(text: &str, (width, lines): (usize, usize)) -> String {
    let hidden = text.lines().count().saturating_sub(lines);
    if hidden == 0 {
        return fit(text, (width, lines));
    }
    let more = format!("... and {} more; --not-ready or -n shows fewer\n", hidden + 1);
    fit(text, (width, lines.saturating_sub(1))) + &fit(&more, (width, 1))
}

fn key(entry: &Entry) -> (Kind, String, String) {
    (entry.kind, entry.namespace(), entry.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::vconn::testing::{connection, gateway};

    fn object(entry: &Entry) -> DynamicObject {
        serde_json::from_value(entry.value()).expect("an object")
    }

    #[test]
    fn a_screen_says_how_much_it_does_not_show() {
        assert_eq!(screenful("a\nb\n", (80, 2)), "a\nb\n");
        assert_eq!(
            screenful("a\nb\nc\nd\n", (80, 3)),
            "a\nb\n... and 2 more; --not-ready or -n shows fewer\n"
        );
        assert_eq!(screenful("a\nb\nc\n", (7, 2)), "a\n... and\n");
    }

    #[test]
    fn only_another_summary_is_news() {
        let mut table = Table::default();
        let mut take = |kind, event| table.take(kind, Ok(event)).iter().map(Entry::state).collect::<Vec<_>>();
        let (good, sealed) = (connection("a", Some("Connected")), connection("a", Some("Sealed")));
        assert!(take(Kind::Connection, Event::Init).is_empty());
        assert!(take(Kind::Connection, Event::InitApply(object(&good))).is_empty());
        assert!(take(Kind::Gateway, Event::Init).is_empty(), "kinds do not disturb each other");
        assert_eq!(take(Kind::Connection, Event::InitDone), ["Connected"]);
        assert!(take(Kind::Connection, Event::Apply(object(&good))).is_empty());
        assert_eq!(take(Kind::Connection, Event::Apply(object(&sealed))), ["Sealed"]);
        assert_eq!(take(Kind::Gateway, Event::Apply(object(&gateway("g", 1)))), ["1/2 healthy"]);
        assert!(take(Kind::Connection, Event::Init).is_empty());
        assert!(take(Kind::Connection, Event::InitDone).is_empty());
        assert_eq!(table.entries.len(), 1, "what is not listed any more is gone, of its kind alone");
    }
}
