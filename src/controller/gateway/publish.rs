//! The status of one gateway, and how it is written.
//!
//! Apart from what a check holds, as that of a connection: an old Ready ends by a timer, also while a check hangs.

use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};

use super::Reconcile;
use crate::{
    api::gateway::{VaultGateway, VaultGatewayStatus},
    cluster::{ClusterError, Written},
    controller::{connection::Context, events::tell, published::Published},
    verify::{events, gateway, report},
};

/// How long a number of connections may stand before another one is written. A thousand connections that are looked at
/// one after the other, as at a start, are a few writes by that and not a thousand.
const RECOUNT: Duration = Duration::from_secs(2);

// === impl Reconcile ===

impl Reconcile<'_> {
    /// The status that is true now.
    pub(super) async fn status(&self) -> VaultGatewayStatus {
        let mut published = self.entry.published.lock().await;
        self.begin_status(&mut published).status().clone()
    }

    /// Makes another status true, if it says something new or the times in this one are too old, and tells of a
    /// transition. `next` makes it from the one that is true now, or has nothing to say.
    pub(super) async fn publish(
        &self,
        next: impl FnOnce(&VaultGatewayStatus) -> Option<VaultGatewayStatus>,
    ) -> Result<(), ClusterError> {
        let mut published = self.entry.published.lock().await;
        let published = self.begin_status(&mut published);
        let (before, heartbeat) = (published.status(), self.context.shared.heartbeat);
        let is_due = || report::needs_heartbeat(before.last_check_time.as_ref(), self.around.now, heartbeat);
        let next = next(before).filter(|next| gateway::is_news(before, next) || is_due());
        if let Some(next) = next {
            self.entry.snapshot().is_told(gateway::is_ready(&next));
            published.replace(next);
        }
        self.write_pending(published).await
    }

    /// Writes how many connections name the gateway, or what is pending. Returns how long to wait with that, if the number
    /// that stands is too young.
    pub(super) async fn recount(&self) -> Result<Option<Duration>, ClusterError> {
        let mut published = self.entry.published.lock().await;
        let published = self.begin_status(&mut published);
        let status = gateway::counted(published.status(), self.users());
        let stands = published.written_at().map(|at| at.elapsed());
        if let Some(rest) = stands.and_then(|stands| RECOUNT.checked_sub(stands))
            && gateway::is_news(published.status(), &status)
        {
            return Ok(Some(rest));
        }
        let before = published.status();
        let heartbeat = self.context.shared.heartbeat;
        if gateway::is_news(before, &status)
            || report::needs_heartbeat(before.last_check_time.as_ref(), self.around.now, heartbeat)
        {
            published.replace(status);
        }
        self.write_pending(published).await.map(|()| None)
    }

    /// The status, as far as this gateway goes: that of one which was deleted and created again begins anew.
    fn begin_status<'p>(
        &self,
        published: &'p mut Option<Published<VaultGatewayStatus>>,
    ) -> &'p mut Published<VaultGatewayStatus> {
        let uid = self.object.uid().unwrap_or_default();
        published.take_if(|published| published.uid != uid);
        let shown = self.object.0.as_ref().ok().and_then(|gateway| gateway.status.as_ref());
        let mut snapshot = self.entry.snapshot();
        let published = published.get_or_insert_with(|| {
            Published::adopt(uid, &self.seen, shown.cloned().unwrap_or_default(), &mut snapshot)
        });
        published.saw(&self.seen, shown, &mut snapshot, Instant::now());
        published
    }

    async fn write_pending(&self, published: &mut Published<VaultGatewayStatus>) -> Result<(), ClusterError> {
        let Context { cluster, checker, recorder, .. } = &*self.context.shared;
        checker.metrics.objects().gateway(&self.name, published.status());
        let Some((to_write, status)) = published.to_write(&self.seen) else { return Ok(()) };
        let place = (self.name.namespace.as_str(), self.name.name.as_str());
        let after = match cluster.apply_status::<VaultGateway>(place, &to_write, &status).await? {
            Written::Stands(after) => after,
            // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
            Written::Outdated => return Ok(()),
            Written::Gone => {
                published.gone();
                return Ok(());
            }
        };
        let before = published.wrote(&self.seen, after, &mut self.entry.snapshot());
        checker.metrics.status_written();
        let transition = before.and_then(|before| events::transition(&before.conditions, &status.conditions));
        if let Some(transition) = transition {
            tell(recorder, &self.object.object_ref(&()), transition).await;
        }
        Ok(())
    }
}
