//! Every verdict on the connections of a namespace, in the order in which they were written.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::StreamExt;
use kube::{
    ResourceExt as _,
    runtime::watcher::{Config, Event, watcher},
};
use tokio::task::JoinHandle;
use vault_connection_operator::api::connection::VaultConnection;

use super::{
    cluster::Cluster,
    verdict::{is_current, ready},
};

/// What a watch has seen since it was opened.
pub struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    watch: JoinHandle<()>,
}

/// A verdict, as a reader of the status sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is about the spec that the connection has now.
    pub current: bool,
    pub status: String,
    pub reason: String,
    /// `NAME@resourceVersion` of what it rests on.
    pub rests_on: Vec<String>,
}

/// A verdict that is new.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub name: String,
    /// None: the connection is gone.
    pub verdict: Option<Verdict>,
}

// === impl History ===

impl History {
    /// Watches from now on, until it is dropped.
    pub fn of(cluster: &Cluster) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (connections, noted) = (cluster.connections(), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            let mut events = pin!(watcher(connections, Config::default()));
            while let Some(event) = events.next().await {
                let (connection, verdict) = match event {
                    Ok(Event::Apply(it) | Event::InitApply(it)) => {
                        let verdict = Verdict::of(&it);
                        (it, verdict)
                    }
                    Ok(Event::Delete(it)) => (it, None),
                    // The watch opens itself anew.
                    Ok(Event::Init | Event::InitDone) | Err(_) => continue,
                };
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                let name = connection.name_any();
                let last = noted.iter().rev().find(|seen| seen.name == name);
                if last.is_none_or(|last| last.verdict != verdict) {
                    noted.push(Seen { at: Instant::now(), name, verdict });
                }
            }
        });
        Self { seen, watch }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdicts on one connection, the oldest first.
    pub fn of_connection(&self, name: &str) -> Vec<Seen> {
        self.seen().iter().filter(|seen| seen.name == name).cloned().collect()
    }

    /// No connection was Ready after it had been told that it is not, since `start`. The histories of those that were
    /// are shown.
    pub fn assert_none_came_back(&self, what: &str, start: Instant) {
        let mut names: Vec<_> = self.seen().iter().map(|seen| seen.name.clone()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let history = self.of_connection(&name);
            let since = history.iter().filter(|seen| seen.at >= start);
            let mut later = since.skip_while(|seen| !seen.is_ready()).skip_while(|seen| seen.is_ready());
            assert!(
                later.all(|seen| !seen.is_ready()),
                "{what}: {name} is Ready again: {}",
                shown(&history, start)
            );
        }
    }

    /// No connection was Ready with a status that rests on this object.
    pub fn assert_never_ready_on(&self, what: &str, object: &str, start: Instant) {
        let lies: Vec<_> = self
            .seen()
            .iter()
            .filter(|seen| seen.is_ready() && seen.rests_on(object))
            .map(|seen| seen.name.clone())
            .collect();
        let Some(first) = lies.first() else { return };
        let history = shown(&self.of_connection(first), start);
        panic!("{what}: {} Ready verdicts rest on {object}; {first}: {history}", lies.len());
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

// === impl Verdict ===

impl Verdict {
    /// None before the first check.
    pub fn of(connection: &VaultConnection) -> Option<Self> {
        let condition = ready(connection)?;
        let objects = connection.status.iter().flat_map(|status| &status.credentials);
        Some(Self {
            current: is_current(connection),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            rests_on: objects.map(|object| format!("{}@{}", object.name, object.resource_version)).collect(),
        })
    }
}

// === impl Seen ===

impl Seen {
    pub fn is_ready(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.status == "True")
    }

    fn rests_on(&self, object: &str) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.rests_on.iter().any(|it| it == object))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            None => write!(f, "no verdict"),
            Some(Verdict { current, status, reason, rests_on }) => {
                let stale = if *current { "" } else { " (of an older spec)" };
                write!(f, "{status} {reason}{stale} on {}", rests_on.join(" "))
            }
        }
    }
}

/// The verdicts with their times, counted from `start`.
pub fn shown(history: &[Seen], start: Instant) -> String {
    let line = |seen: &Seen| {
        let since = seen.at.saturating_duration_since(start).as_secs_f64();
        let before = start.saturating_duration_since(seen.at).as_secs_f64();
        format!("\n  {:+.1} s  {seen}", since - before)
    };
    history.iter().map(line).collect()
}
