//! Connections, as the engine reconciles them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use tokio::sync::Notify;

use super::{Context, Guarded, expire, forget, reconcile, report_panic};
use crate::{
    api::condition::ConditionType,
    cluster::{self, ClusterError},
    conditions,
    controller::{
        engine::{
            Kind, Listing, Requeue,
            queue::{Lane, Priority},
        },
        published,
        snapshot::Shown,
    },
    names::{ConnectionRef, InstanceUrl},
    spec::Desired,
};

/// A watched namespace, or all of them.
type Scope = Option<String>;

/// The connections of all watched namespaces.
pub struct Connections {
    context: Arc<Context>,
    lists: Mutex<Lists>,
    news: Notify,
}

/// The first lists that are still to come.
struct Lists {
    /// What a list there tells of earlier processes is news.
    unread: HashSet<Scope>,
    /// Nobody has answered for these yet, well or badly.
    unanswered: HashSet<Scope>,
}

// === impl Connections ===

impl Connections {
    /// The connections of these namespaces, which are to be listed.
    pub fn new(context: Arc<Context>, scopes: &[Scope]) -> Self {
        let all: HashSet<_> = scopes.iter().cloned().collect();
        let lists = Mutex::new(Lists { unread: all.clone(), unanswered: all });
        Self { context, lists, news: Notify::new() }
    }

    /// Resolves when every namespace was listed, or must not be.
    pub async fn listed_once(&self) {
        loop {
            let news = self.news.notified();
            if self.lists().unanswered.is_empty() {
                return;
            }
            news.await;
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind for Connections {
    type Key = ConnectionRef;
    type Object = Guarded;
    const NAME: &'static str = "VaultConnection";

    fn key(object: &Guarded) -> ConnectionRef {
        ConnectionRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    fn lane(object: &Guarded) -> Lane {
        let url = object.0.as_ref().ok().map(|connection| connection.spec.instance_url.as_str());
        let instance = url.and_then(|url| InstanceUrl::parse(url).ok()).map(|instance| instance.origin());
        Lane { namespace: object.namespace().unwrap_or_default(), instance }
    }

    fn revision(object: &Guarded) -> (String, i64) {
        (object.uid().unwrap_or_default(), object.meta().generation.unwrap_or_default())
    }

    fn last_check(object: &Guarded) -> Option<Timestamp> {
        let status = object.0.as_ref().ok()?.status.as_ref()?;
        status.last_check_time.as_ref().map(|time| time.0)
    }

    fn is_ending(object: &Guarded) -> bool {
        object.meta().deletion_timestamp.is_some()
    }

    fn seen(&self, key: &ConnectionRef, object: &Guarded) {
        let status = object.0.as_ref().ok().and_then(|connection| connection.status.as_ref());
        let shown = Shown {
            version: &cluster::version(object.meta()),
            generation: object.meta().generation.unwrap_or_default(),
            ready: status.is_some_and(|it| conditions::is_true(&it.conditions, ConditionType::Ready)),
            digest: &|| status.map(published::digest),
            interval: &|| interval(object),
        };
        self.context.registry.of(key).snapshot().saw(&shown, Instant::now());
        let unread = &self.lists().unread;
        if !unread.is_empty() && (unread.contains(&None) || unread.contains(&Some(key.namespace.clone()))) {
            // What earlier processes counted is noted before anybody looks at what the list holds.
            if let Some(status) = status {
                self.context.checker.logins.restore(key, status);
            }
        }
    }

    fn listed(&self, namespace: Option<&str>, listing: Listing) {
        let scope = namespace.map(str::to_owned);
        let mut lists = self.lists();
        match listing {
            Listing::Complete => lists.unread.remove(&scope),
            // What it will tell one day is news then; nobody waits for it.
            Listing::Forbidden => false,
        };
        if lists.unanswered.remove(&scope) {
            self.context.checker.logins.listed();
            self.news.notify_waiters();
        }
    }

    fn priority(&self, key: &ConnectionRef) -> Priority {
        let is_ready = self.context.registry.get(key).is_some_and(|entry| entry.snapshot().is_ready());
        if is_ready { Priority::Renewal } else { Priority::Normal }
    }

    fn expires(&self, key: &ConnectionRef) -> Option<Instant> {
        self.context.registry.get(key)?.snapshot().wake()
    }

    async fn reconcile(self: Arc<Self>, object: Arc<Guarded>) -> Result<Requeue, ClusterError> {
        Box::pin(reconcile(&object, &self.context)).await
    }

    async fn expire(self: Arc<Self>, object: Arc<Guarded>) -> Result<(), ClusterError> {
        expire(&object, &self.context).await
    }

    async fn report_panic(
        self: Arc<Self>,
        object: Arc<Guarded>,
        retry: Duration,
    ) -> Result<(), ClusterError> {
        report_panic(&object, &self.context, retry).await
    }

    async fn forget(self: Arc<Self>, key: ConnectionRef) {
        forget(&key, &self.context).await;
    }
}

/// How often a connection is checked, if it can be.
fn interval(object: &Guarded) -> Option<Duration> {
    let spec = &object.0.as_ref().ok()?.spec;
    Desired::parse(spec).ok().filter(|_| !spec.suspend).map(|desired| desired.interval)
}
