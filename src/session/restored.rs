//! The refused logins that earlier processes counted, until this one has read which roles they were of.
//!
//! ```text
//!   first list of connections ─▶ found: counts for the roles that it may be of
//!   a check of that connection ─▶ take:  counts for its role alone
//! ```
//!
//! A status tells where a login was refused and when. Which role it was may be in a Secret, so the status has a tag of the role: 16
//! bits, too few to find the role id by them, enough to tell most roles apart.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;

use super::{
    account::counts,
    decide::Restored,
    ledger::{Place, Roles},
};
use crate::{
    api::status::VaultConnectionStatus,
    names::{ConnectionRef, MountPath, VaultNamespace},
};

/// What earlier processes counted and this one cannot place yet.
#[derive(Debug, Default)]
pub struct RestoredRefusals {
    by_connection: HashMap<ConnectionRef, Entry>,
}

/// The refused logins of one connection, as its status tells of them.
#[derive(Debug)]
struct Entry {
    instance: String,
    gateway: Option<String>,
    cluster_id: Option<String>,
    namespace: Option<VaultNamespace>,
    mount: MountPath,
    tag: Option<String>,
    times: Vec<Timestamp>,
}

// === impl RestoredRefusals ===

impl RestoredRefusals {
    /// Notes what the status of a connection tells, as the first list has it.
    pub fn found(&mut self, connection: &ConnectionRef, status: &VaultConnectionStatus) {
        if let Some(entry) = Entry::of(status) {
            self.by_connection.insert(connection.clone(), entry);
        }
    }

    /// Takes what was refused to a connection, since its role is known now.
    pub fn take(&mut self, connection: &ConnectionRef) -> Vec<Timestamp> {
        self.by_connection.remove(connection).map(|entry| entry.times).unwrap_or_default()
    }

    /// What may have been refused to a role, at any of the places that its logins count at.
    pub fn concerning(&self, roles: &Roles, now: Timestamp) -> Restored {
        let (mut restored, role) = (Restored::default(), roles.address());
        for (connection, entry) in &self.by_connection {
            if !roles.places().any(|place| entry.may_be_at(connection, place)) {
                continue;
            }
            let times = entry.times.iter().copied().filter(|time| counts(*time, now));
            match &entry.tag {
                Some(tag) if *tag == role.tag() => restored.of_role.extend(times),
                Some(_) => {}
                None => restored.of_any.extend(times),
            }
        }
        restored
    }

    /// Forgets what no longer counts.
    pub fn prune(&mut self, now: Timestamp) {
        self.by_connection.retain(|_, entry| entry.times.iter().any(|time| counts(*time, now)));
    }
}

// === impl Entry ===

impl Entry {
    /// None when nothing was refused, or not at a mount.
    fn of(status: &VaultConnectionStatus) -> Option<Self> {
        let connection = status.connection.as_ref()?;
        let times: Vec<_> = status.refused_login_times.iter().map(|time| time.0).collect();
        let entry = Self {
            instance: connection.instance_url.clone(),
            gateway: connection.gateway.clone(),
            cluster_id: status.server.as_ref().and_then(|server| server.cluster_id.clone()),
            namespace: VaultNamespace::parse(connection.namespace.as_deref().unwrap_or_default()).ok()?,
            mount: MountPath::parse(connection.mount.as_deref()?).ok()?,
            tag: status.refused_login_role.clone(),
            times,
        };
        Some(entry).filter(|entry| !entry.times.is_empty())
    }

    /// Whether the logins of this connection went to a place, as far as its status tells.
    fn may_be_at(&self, connection: &ConnectionRef, place: &Place) -> bool {
        if (&self.namespace, &self.mount) != (&place.namespace, &place.mount) {
            return false;
        }
        let gateway = self.gateway.as_ref().map(|name| (&*connection.namespace, name.as_str()));
        place.is_address(&self.instance, gateway)
            || self.cluster_id.as_deref().is_some_and(|id| place.is_cluster(&connection.namespace, id))
    }
}
