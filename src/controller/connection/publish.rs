//! The status of one connection, and how it is written.
//!
//! Apart from what a check holds: an old Ready ends by a timer, also while a check of the connection hangs. Whoever has
//! something to say computes it from the status that is true at that moment.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{Context, Reconcile};
use crate::{
    api::{condition::ConditionType, connection::VaultConnection, status::VaultConnectionStatus},
    cluster::{ClusterError, Written},
    conditions,
    controller::{events::tell, last_write::LastWrite},
    verify::{
        events::transition,
        report::{self, Circumstances},
    },
};

/// The status of one connection. Held while it is written.
pub struct Published {
    /// The `metadata.uid` that it is about.
    uid: String,
    /// The status as the API server has it.
    written: VaultConnectionStatus,
    /// A newer status that could not be written yet.
    pending: Option<VaultConnectionStatus>,
    /// Our last write.
    last_write: LastWrite,
}

// === impl Published ===

impl Published {
    /// The status that is true, whether the API server has it yet or not.
    pub fn status(&self) -> &VaultConnectionStatus {
        self.pending.as_ref().unwrap_or(&self.written)
    }
}

/// Whether a status calls this generation of the spec Ready.
pub(super) fn is_ready(status: &VaultConnectionStatus, generation: i64) -> bool {
    status.observed_generation == Some(generation)
        && conditions::is_true(&status.conditions, ConditionType::Ready)
}

// === impl Reconcile ===

impl Reconcile<'_> {
    /// The status that is true now.
    pub(super) async fn status(&self) -> VaultConnectionStatus {
        let mut published = self.entry.published.lock().await;
        self.begin_status(&mut published).status().clone()
    }

    /// Makes another status true, if it says something new or the times in this one are too old, and tells of a
    /// transition. `next` makes it from the one that is true now, or has nothing to say.
    pub(super) async fn publish(
        &self,
        next: impl FnOnce(&VaultConnectionStatus) -> Option<VaultConnectionStatus>,
    ) -> Result<(), ClusterError> {
        let mut published = self.entry.published.lock().await;
        let published = self.begin_status(&mut published);
        let before = published.status();
        let heartbeat = self.context.heartbeat;
        let is_due = || report::needs_heartbeat(before.last_check_time.as_ref(), self.now, heartbeat);
        let next = next(before).filter(|next| report::is_news(before, next) || is_due());
        if let Some(next) = next {
            self.context.checker.metrics.moved(before.state, next.state);
            self.context.checker.metrics.objects().connection(&self.connection, &next);
            let is_ready = conditions::is_true(&next.conditions, ConditionType::Ready);
            self.entry.snapshot().is_told(is_ready);
            published.pending = Some(next);
        }
        self.write_pending(published).await
    }

    /// The status, as far as this connection goes: that of one which was deleted and created again begins anew.
    fn begin_status<'p>(&self, published: &'p mut Option<Published>) -> &'p mut Published {
        let (uid, metrics) = (self.object.uid().unwrap_or_default(), &self.context.checker.metrics);
        if let Some(former) = published.take_if(|published| published.uid != uid) {
            metrics.moved(former.status().state, None);
        }
        published.get_or_insert_with(|| {
            let status = self.object.0.as_ref().ok().and_then(|connection| connection.status.clone());
            let written = status.unwrap_or_default();
            metrics.moved(None, written.state);
            metrics.objects().connection(&self.connection, &written);
            Published { uid, written, pending: None, last_write: LastWrite::default() }
        })
    }

    async fn write_pending(&self, published: &mut Published) -> Result<(), ClusterError> {
        let Some(status) = published.pending.clone() else { return Ok(()) };
        let Context { cluster, checker, .. } = self.context;
        let to_write = published.last_write.state_to_write(&self.seen);
        let place = (self.connection.namespace.as_str(), self.connection.name.as_str());
        let after = match cluster.apply_status::<VaultConnection>(place, &to_write, &status).await? {
            Written::Stands(after) => after,
            Written::Outdated => {
                // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
                tracing::debug!(connection = %self.connection, "changed before its status was written");
                return Ok(());
            }
            Written::Gone => {
                published.pending = None;
                checker.metrics.moved(status.state, published.written.state);
                checker.metrics.objects().connection(&self.connection, &published.written);
                return Ok(());
            }
        };
        published.last_write.wrote(self.seen.clone(), after);
        published.pending = None;
        let before = std::mem::replace(&mut published.written, status);
        checker.metrics.status_written();
        if let Some(transition) = transition(&before.conditions, &published.written.conditions) {
            tell(&self.context.recorder, &self.reference, transition).await;
        }
        Ok(())
    }

    pub(super) fn circumstances(&self, now: Timestamp) -> Circumstances<'_> {
        Circumstances {
            generation: self.generation,
            requested_at: self.requested_at,
            now,
            jitter: fastrand::f64(),
        }
    }
}
