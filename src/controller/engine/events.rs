//! Events: what a person sees of a transition with `kubectl describe`.
//!
//! ```text
//!   transition ─▶ logged ─┬─ few are being published ──▶ published in the run
//!                         └─ many ─▶ in a row ─────────▶ published after them, one run after the other goes on
//! ```
//!
//! Statuses come first: when an instance of many connections fails or serves again, the API server is busy with those, and events
//! must not keep the workers waiting.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    jiff::Timestamp,
};
use tokio::sync::Semaphore;

use super::publisher::Publisher;
use crate::verify::events::Transition;

/// Longest time that an event may take. It is nobody's only source.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// How many events of one kind are published at once. The API server has many more requests at once to take from statuses.
const MAX_PUBLISHED_AT_ONCE: usize = 2;

/// How many events wait. Each takes one or two kilobytes; whoever finds the row full waits with its worker.
const MAX_WAITING: usize = 4096;

/// The row of the events of one kind.
#[derive(Debug)]
pub struct Row {
    publishing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

// === impl Row ===

impl Default for Row {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { publishing: semaphore(MAX_PUBLISHED_AT_ONCE), waiting: semaphore(MAX_WAITING) }
    }
}

impl Row {
    /// Runs `publish` now if few run, else later and in order. Waits for it in the former case, and if too many wait already. What a
    /// request takes of the memory is there only while it is made.
    async fn run<F>(&self, publish: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Nobody overtakes one that waits: its permit is its own as soon as it is free.
        if let Ok(_permit) = self.publishing.try_acquire() {
            return Box::pin(publish()).await;
        }
        let publishing = Arc::clone(&self.publishing);
        let in_turn = async move {
            let _permit = publishing.acquire().await;
            Box::pin(publish()).await;
        };
        match Arc::clone(&self.waiting).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    in_turn.await;
                    drop(place);
                });
            }
            Err(_) => in_turn.await,
        }
    }
}

/// Publishes a transition that an object has just made, and logs it. That it cannot be published is only logged.
pub async fn publish(row: &Row, publisher: &Publisher, object: ObjectReference, transition: Transition) {
    // However long it waits, the event says when that was.
    let now = Timestamp::now();
    log(&object, &transition);
    let publisher = publisher.clone();
    row.run(move || async move { send(&publisher, &publisher.event(object, transition, now)).await }).await;
}

async fn send(publisher: &Publisher, event: &Event) {
    let outcome = tokio::time::timeout(PUBLISH_TIMEOUT, publisher.create(event)).await;
    let (kind, object) = event.regarding.as_ref().map(named).unwrap_or_default();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(kind, object, %error, "failed to publish an event"),
        Err(_) => tracing::warn!(kind, object, "timed out publishing an event"),
    }
}

/// Logs a transition: a failure is a warning.
fn log(object: &ObjectReference, Transition { warning, reason, note, before }: &Transition) {
    let (kind, object) = named(object);
    let lasted_seconds = before.as_ref().map(|before| before.lasted.as_secs());
    let before = before.as_ref().map(|before| before.reason.as_str());
    if *warning {
        tracing::warn!(kind, object, before, lasted_seconds, reason, detail = note, "failed");
    } else {
        tracing::info!(kind, object, before, lasted_seconds, reason, detail = note, "changed");
    }
}

/// The kind of an object, and its namespace and name.
fn named(object: &ObjectReference) -> (&str, String) {
    let text = |text: &'_ Option<String>| text.as_deref().unwrap_or_default().to_owned();
    (
        object.kind.as_deref().unwrap_or_default(),
        format!("{}/{}", text(&object.namespace), text(&object.name)),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::FutureExt as _;
    use tokio::{sync::oneshot, task::yield_now};

    use super::*;

    #[tokio::test]
    async fn a_few_events_are_published_in_their_run_and_others_after_them_in_order() {
        let (row, published) = (Row::default(), Arc::new(Mutex::new(Vec::new())));
        let event = |number: usize| {
            let published = Arc::clone(&published);
            move || async move { published.lock().expect("nobody panics").push(number) }
        };
        let seen = || published.lock().expect("nobody panics").clone();
        row.run(event(0)).await;
        assert_eq!(seen(), [0], "nothing else is published");

        let (answer, answered) = oneshot::channel::<()>();
        let answered = answered.map(|_| ()).shared();
        let mut slow: Vec<_> = (0..MAX_PUBLISHED_AT_ONCE)
            .map(|_| answered.clone())
            .map(|it| Box::pin(row.run(move || it)))
            .collect();
        for slow in &mut slow {
            assert!(slow.as_mut().now_or_never().is_none(), "the API server is slow");
        }
        for number in 1..=3 {
            assert!(row.run(event(number)).now_or_never().is_some(), "its run goes on");
        }
        yield_now().await;
        assert_eq!(seen(), [0]);
        drop(answer);
        for slow in slow {
            slow.await;
        }
        while seen().len() < 4 {
            yield_now().await;
        }
        assert_eq!(seen(), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn no_more_wait_than_there_are_places() {
        let (row, done) = (Row::default(), Arc::new(AtomicUsize::new(0)));
        let permits = Arc::clone(&row.publishing).acquire_many_owned(2).await.expect("it is never closed");
        let event = || {
            let done = Arc::clone(&done);
            move || async move {
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        for _ in 0..MAX_WAITING {
            assert!(row.run(event()).now_or_never().is_some());
        }
        let mut one_more = Box::pin(row.run(event()));
        assert!(one_more.as_mut().now_or_never().is_none(), "it waits");
        drop(permits);
        one_more.await;
        while done.load(Ordering::Relaxed) <= MAX_WAITING {
            yield_now().await;
        }
    }
}
