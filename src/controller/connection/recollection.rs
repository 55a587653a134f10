//! The refused logins that earlier processes counted, until it is known which roles they were of.
//!
//! ```text
//!   first list of connections ─▶ found ─▶ unsure: counts for every role of its mount
//!   a look at that connection ─▶ take ──▶ known: counts for its role alone
//! ```
//!
//! A status tells where a login was refused and when, but not with which role: that may be in a Secret. So what is not
//! yet known of it counts for each role that it may be of, and a login that is not certain waits for those looks, which
//! are the first thing that a new process does.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::{
    api::status::VaultConnectionStatus,
    refs::{ConnectionRef, MountPath, VaultNamespace},
    verify::memory,
};

/// How long a login waits for the first lists. A namespace that cannot be listed must not stop the others.
const LISTED: Duration = Duration::from_secs(10);

/// Where a role is: the roles of one mount are told apart by their role ids alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The id of the cluster, or the address of the instance if that is not known.
    pub cluster: String,
    /// The Vault namespace.
    pub namespace: Option<VaultNamespace>,
    /// The auth method.
    pub mount: MountPath,
}

/// What earlier processes counted and this one cannot place yet.
#[derive(Debug, Default)]
pub struct Recollection {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    unsure: HashMap<ConnectionRef, (Place, Vec<Timestamp>)>,
    /// How many lists are still to come, and how long to wait for them.
    lists: Option<(usize, Instant)>,
}

// === impl Recollection ===

impl Recollection {
    /// So many first lists of connections are to come.
    pub fn expect_lists(&self, count: usize) {
        self.lock().lists = Some((count, Instant::now() + LISTED));
    }

    /// One of them was read to its end.
    pub fn listed(&self) {
        if let Some((count, _)) = &mut self.lock().lists {
            *count = count.saturating_sub(1);
        }
        self.news.notify_waiters();
    }

    /// Notes what the status of a connection tells, as the first list has it.
    pub fn found(&self, connection: &ConnectionRef, status: &VaultConnectionStatus) {
        let refused: Vec<_> = status.refused_login_times.iter().map(|time| time.0).collect();
        if let Some(place) = place(status).filter(|_| !refused.is_empty()) {
            self.lock().unsure.insert(connection.clone(), (place, refused));
        }
    }

    /// Takes what was refused to a connection, since its role is known now.
    pub fn take(&self, connection: &ConnectionRef) -> Vec<Timestamp> {
        self.lock().unsure.remove(connection).map(|(_, refused)| refused).unwrap_or_default()
    }

    /// Lets those look again who wait for what was not known.
    pub fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Forgets what was refused to a connection, because its login was accepted: Vault has then forgotten it, too. (Unless
    /// its role id was changed while nobody looked: then it no longer counts for the former role.)
    pub fn forgive(&self, connection: &ConnectionRef) {
        self.take(connection);
        self.tell();
    }

    /// When logins were refused that may be of any role at a place. While that is not yet known, an `Err` with the time
    /// until when to wait for it.
    pub fn unsure(&self, place: &Place, now: Timestamp) -> Result<Vec<Timestamp>, Instant> {
        let mut inner = self.lock();
        if let Some((_, give_up)) = inner.lists.filter(|(count, end)| *count > 0 && Instant::now() < *end) {
            return Err(give_up);
        }
        inner.unsure.retain(|_, (_, refused)| {
            *refused = memory::still_counting(refused.iter().copied(), now);
            !refused.is_empty()
        });
        Ok(inner
            .unsure
            .values()
            .filter(|(other, _)| other == place)
            .flat_map(|(_, refused)| refused)
            .copied()
            .collect())
    }

    /// Resolves when there is something new. To be asked for before looking.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the login of a status was made; none when it was not made at a mount.
fn place(status: &VaultConnectionStatus) -> Option<Place> {
    let connection = status.connection.as_ref()?;
    let cluster = status.server.as_ref().and_then(|server| server.cluster_id.clone());
    Some(Place {
        cluster: cluster.unwrap_or_else(|| connection.instance_url.clone()),
        namespace: VaultNamespace::parse(connection.namespace.as_deref().unwrap_or_default()).ok()?,
        mount: MountPath::parse(connection.mount.as_deref()?).ok()?,
    })
}
