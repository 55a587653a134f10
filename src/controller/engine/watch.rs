//! From a changed Secret or `ConfigMap` to the objects of ours that name it.
//!
//! ```text
//!   metadata watch (Secret)    ──┐
//!                                ├─▶ registry: news? ─▶ settle 500 ms ─▶ reconcile
//!   metadata watch (ConfigMap) ──┘
//! ```
//!
//! The watches carry metadata only, of objects with our label only. Each has a back-off of its own, apart from that of
//! our kinds: when Secrets cannot be watched, checks go on.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt::Debug,
    mem,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, channel::mpsc::UnboundedReceiver, pin_mut, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use super::{
    feed::Failure,
    kind::Kind,
    registry::{Change, Follower, Registry},
};
use crate::{
    api::{CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE},
    cluster,
    names::{ObjectKind, ObjectName},
    telemetry::{logs::chain, metrics::Metrics},
};

/// How long one watch lasts. kube notices a connection that died silently only after this time.
pub const WATCH_SECONDS: u32 = 190;

/// How many objects a list brings at once. Each takes up to 30 KiB until it was read, most of it for `managedFields` that nobody
/// needs.
const PAGE_SIZE: u32 = 100;

/// How long a change may be followed by another that belongs to it, such as a role id and a secret id in two Secrets.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

/// How every watch asks for its objects.
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE_SIZE)
}

/// Holds the announcement of a list back until something of the list is there. Every event but an error resets the
/// back-off of a watch, so that it would never grow while lists are announced and then refused.
pub fn announced_with_content<K, E>(
    events: impl Stream<Item = Result<Event<K>, E>>,
) -> impl Stream<Item = Result<Event<K>, E>> {
    let mut announced = false;
    events.flat_map(move |event| {
        let announcement = match &event {
            Ok(Event::Init) => {
                announced = true;
                return stream::iter(None.into_iter().chain(None));
            }
            Ok(_) => mem::take(&mut announced).then_some(Ok(Event::Init)),
            Err(_) => None,
        };
        stream::iter(announcement.into_iter().chain(Some(event)))
    })
}

/// Follows the labelled objects of one kind for as long as it is polled, and notes in all registries what it sees.
pub async fn follow<K>(
    api: Api<PartialObjectMeta<K>>,
    kind: ObjectKind,
    namespace: Option<String>,
    (registries, metrics): (Vec<Arc<dyn Follower>>, Metrics),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = config().labels(&format!("{CREDENTIALS_LABEL}={CREDENTIALS_LABEL_VALUE}"));
    let events = announced_with_content(watcher(api, config)).default_backoff();
    pin_mut!(events);
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.insert((object.namespace().unwrap_or_default(), name(kind, &object)));
                vec![seen(kind, &object, true)]
            }
            Ok(Event::Apply(object)) => vec![seen(kind, &object, true)],
            Ok(Event::Delete(object)) => vec![seen(kind, &object, false)],
            // What a new list does not hold has gone while no watch was open.
            Ok(Event::InitDone) => {
                metrics.listed(kind.as_str(), namespace.as_deref(), true);
                let named = registries.iter().flat_map(|it| it.named(kind, namespace.as_deref()));
                let named: BTreeSet<_> = named.collect();
                named
                    .difference(&listed)
                    .map(|(namespace, object)| (namespace.clone(), object.clone(), None))
                    .collect()
            }
            Err(error) => {
                if Failure::of(&error) != Failure::Watch {
                    metrics.listed(kind.as_str(), namespace.as_deref(), false);
                }
                tracing::warn!(
                    error = chain(&error),
                    kind = kind.as_str(),
                    namespace,
                    "the watch of labelled objects failed; retrying"
                );
                continue;
            }
        };
        for (namespace, object, version) in seen {
            for registry in &registries {
                registry.observed(&namespace, &object, version.as_ref());
            }
        }
    }
}

/// Passes each owner on once its objects had time to settle since the first change that no reading has seen.
pub async fn settle<K: Kind>(mut changed: UnboundedReceiver<Change<K::Name>>, registry: &Registry<K>) {
    let mut waiting: HashMap<K::Name, (Instant, u64)> = HashMap::new();
    // All wait equally long, so that whoever came first is due first. One that began to wait anew has an earlier place, too.
    let mut order: VecDeque<(Instant, K::Name)> = VecDeque::new();
    loop {
        let next = order.front().map(|(due, _)| *due);
        tokio::select! {
            change = changed.next() => match change {
                Some(Change { owner, readings }) => {
                    let due = Instant::now() + SETTLE_INTERVAL;
                    if waiting.get(&owner).is_none_or(|(_, seen)| *seen != readings) {
                        waiting.insert(owner.clone(), (due, readings));
                        order.push_back((due, owner));
                    }
                }
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let now = Instant::now();
                while let Some((due, owner)) = order.pop_front_if(|(due, _)| *due <= now) {
                    if waiting.get(&owner).is_some_and(|(last, _)| *last == due) {
                        waiting.remove(&owner);
                        registry.settled(owner);
                    }
                }
            }
        }
    }
}

type Seen = (String, ObjectName, Option<crate::references::Version>);

fn seen<K: Resource<DynamicType = ()>>(
    kind: ObjectKind,
    object: &PartialObjectMeta<K>,
    exists: bool,
) -> Seen {
    let version = exists.then(|| cluster::version(&object.metadata));
    (object.namespace().unwrap_or_default(), name(kind, object), version)
}

fn name<K: Resource<DynamicType = ()>>(kind: ObjectKind, object: &PartialObjectMeta<K>) -> ObjectName {
    ObjectName::new(kind, &object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controller::connection::Connections, names::ConnectionRef};

    fn connection(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "ns".into(), name: name.into() }
    }

    fn change(name: &str, readings: u64) -> Change<ConnectionRef> {
        Change { owner: connection(name), readings }
    }

    #[tokio::test]
    async fn a_list_that_is_announced_and_refused_is_an_error_and_nothing_else() {
        let events = [
            Ok(Event::Init),
            Err("refused"),
            Ok(Event::Init),
            Err("refused"),
            Ok(Event::Init),
            Ok(Event::InitApply("a")),
            Ok(Event::InitDone),
            Ok(Event::Apply("b")),
        ];
        let word = |event| match event {
            Err(error) => error,
            Ok(Event::Init) => "init",
            Ok(Event::InitDone) => "done",
            Ok(Event::InitApply(name) | Event::Apply(name) | Event::Delete(name)) => name,
        };
        let seen: Vec<_> = announced_with_content(stream::iter(events)).map(word).collect().await;
        assert_eq!(seen, ["refused", "refused", "init", "a", "done", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_within_the_settle_time_give_one_look() {
        let (sender, changed) = futures::channel::mpsc::unbounded();
        let registry = Arc::new(Registry::<Connections>::default());
        let mut triggered = registry.queue(None);
        let settled = Arc::clone(&registry);
        let task = tokio::spawn(async move { settle(changed, &settled).await });
        let start = Instant::now();
        sender.unbounded_send(change("a", 1)).expect("it listens");
        // Time stands still until every task waits; then it jumps.
        tokio::time::sleep(Duration::from_millis(300)).await;
        sender.unbounded_send(change("a", 1)).expect("it listens");
        sender.unbounded_send(change("b", 1)).expect("it listens");

        assert_eq!(triggered.next().await, Some(connection("a")));
        assert_eq!(start.elapsed().as_millis() / 10, 50);
        assert_eq!(triggered.next().await, Some(connection("b")));
        assert_eq!(start.elapsed().as_millis() / 10, 80);

        sender.unbounded_send(change("a", 1)).expect("it listens");
        tokio::time::sleep(Duration::from_millis(300)).await;
        sender.unbounded_send(change("a", 2)).expect("it listens");
        assert_eq!(triggered.next().await, Some(connection("a")));
        assert_eq!(start.elapsed().as_millis() / 10, 160, "what was read meanwhile is another matter");
        drop(sender);
        task.await.expect("it ends with its sender");
        assert!(triggered.try_recv().is_err(), "nothing is passed on twice");
    }
}
