//! The watch of the objects of one kind, in one namespace or in all.

use std::{fmt::Debug, future, mem};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use crate::{controller::engine::watch, telemetry::logs::chain};

/// What a watch reports.
#[derive(Debug)]
pub enum Change<O> {
    /// Every object that there is in a namespace, or in all.
    Listed {
        /// That namespace.
        namespace: Option<String>,
        /// The objects.
        objects: Vec<O>,
    },
    /// An object is new, or in another state.
    Applied(O),
    /// An object is gone.
    Deleted(O),
    /// The watch failed. It is tried again.
    Failed {
        /// The namespace, or all.
        namespace: Option<String>,
        /// Why.
        failure: Failure,
        /// The same for people.
        message: String,
    },
}

/// Why a watch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The operator may not list the objects.
    Forbidden,
    /// They could not be listed for another reason.
    List,
    /// They were listed, but what came after that broke off.
    Watch,
}

/// Watches the objects of an API, again and again with a back-off when that fails. Of each is kept what `keep` takes of it, also
/// while a list of them is read.
pub fn watch<K, O>(
    api: Api<K>,
    namespace: Option<String>,
    keep: impl Fn(K) -> O + Send,
) -> impl Stream<Item = Change<O>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    O: Send,
{
    let events = watch::announced_with_content(watcher(api, watch::config())).default_backoff();
    let mut listed = Vec::new();
    events.filter_map(move |event| {
        let namespace = || namespace.clone();
        future::ready(match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                listed.push(keep(object));
                None
            }
            Ok(Event::InitDone) => {
                Some(Change::Listed { namespace: namespace(), objects: mem::take(&mut listed) })
            }
            Ok(Event::Apply(object)) => Some(Change::Applied(keep(object))),
            Ok(Event::Delete(object)) => Some(Change::Deleted(keep(object))),
            Err(error) => Some(Change::Failed {
                namespace: namespace(),
                failure: Failure::of(&error),
                message: chain(&error),
            }),
        })
    })
}

// === impl Failure ===

impl Failure {
    /// What kind of failure the error of a watch is.
    pub fn of(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403 => {
                Self::Forbidden
            }
            watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion => Self::List,
            watcher::Error::WatchStartFailed(_)
            | watcher::Error::WatchError(_)
            | watcher::Error::WatchFailed(_) => Self::Watch,
        }
    }
}
