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
    controller::{events::tell, published::Published},
    verify::{
        events::transition,
        report::{self, Circumstances},
    },
};

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
            published.replace(next);
        }
        self.write_pending(published).await
    }

    /// The status, as far as this connection goes: that of one which was deleted and created again begins anew.
    fn begin_status<'p>(
        &self,
        published: &'p mut Option<Published<VaultConnectionStatus>>,
    ) -> &'p mut Published<VaultConnectionStatus> {
        let (uid, metrics) = (self.object.uid().unwrap_or_default(), &self.context.checker.metrics);
        if let Some(former) = published.take_if(|published| published.uid != uid) {
            metrics.moved(former.status().state, None);
        }
        let shown = self.object.0.as_ref().ok().and_then(|connection| connection.status.as_ref());
        let mut snapshot = self.entry.snapshot();
        let published = published.get_or_insert_with(|| {
            let written = shown.cloned().unwrap_or_default();
            metrics.moved(None, written.state);
            metrics.objects().connection(&self.connection, &written);
            Published::adopt(uid, &self.seen, written, &mut snapshot)
        });
        published.saw(&self.seen, shown, &mut snapshot, std::time::Instant::now());
        published
    }

    async fn write_pending(
        &self,
        published: &mut Published<VaultConnectionStatus>,
    ) -> Result<(), ClusterError> {
        let Some((to_write, status)) = published.to_write(&self.seen) else { return Ok(()) };
        let Context { cluster, checker, .. } = self.context;
        let place = (self.connection.namespace.as_str(), self.connection.name.as_str());
        let after = match cluster.apply_status::<VaultConnection>(place, &to_write, &status).await? {
            Written::Stands(after) => after,
            Written::Outdated => {
                // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
                tracing::debug!(connection = %self.connection, "changed before its status was written");
                return Ok(());
            }
            Written::Gone => {
                published.gone();
                checker.metrics.moved(status.state, published.status().state);
                checker.metrics.objects().connection(&self.connection, published.status());
                return Ok(());
            }
        };
        let before = published.wrote(&self.seen, after, &mut self.entry.snapshot());
        checker.metrics.status_written();
        let transition = before.and_then(|before| transition(&before.conditions, &status.conditions));
        if let Some(transition) = transition {
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
