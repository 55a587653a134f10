//! The status of one object, and how it is written.
//!
//! Apart from what a check holds: an old Ready ends by a timer, also while a check of the object hangs. Whoever has
//! something to say computes it from the status that is true at that moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    events,
    kind::Kind,
    published::{Published, Shown},
    reconcile::Run,
};
use crate::{
    api::{ObjectStatus as _, condition::ConditionType},
    cluster::{ClusterError, Written},
    conditions,
    verify::{
        events::{Transition, transition},
        kept::{Facts, Keep as _},
        status::{self, Judged as _},
    },
};

// === impl Run ===

impl<K: Kind> Run<'_, K> {
    /// The status that is true now.
    pub(super) async fn status(&self) -> Arc<K::Status> {
        let mut published = self.entry.published.lock().await;
        self.begin_status(&mut published).status()
    }

    /// What `read` takes from the facts in the status that is true now.
    pub(super) async fn facts<T>(&self, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        let mut published = self.entry.published.lock().await;
        read(&self.begin_status(&mut published).facts())
    }

    /// Makes another status true, if it says something new or the times in this one are too old, and publishes the event
    /// of a transition. `next` makes it from the one that is true now, or has nothing to say. What can wait is written after the run, or
    /// when there is something to say again.
    pub(super) async fn publish(
        &self,
        next: impl FnOnce(&K::Status) -> Option<K::Status>,
    ) -> Result<(), ClusterError> {
        self.publish_aged(|status, _| next(status)).await
    }

    /// The same, for what depends on how long ago the status was written.
    pub(super) async fn publish_aged(
        &self,
        next: impl FnOnce(&K::Status, Option<Duration>) -> Option<K::Status>,
    ) -> Result<(), ClusterError> {
        let mut published = self.entry.published.lock().await;
        let published = self.begin_status(&mut published);
        let before = published.status();
        let age = published.written_at().map(|at| at.elapsed());
        let heartbeat = self.kind.context().heartbeat;
        let is_due = || status::needs_heartbeat(before.last_check_time(), self.around.now, heartbeat);
        let next = next(&before, age);
        if next.is_some() {
            self.entry.snapshot().reported();
        }
        if let Some(next) = next.filter(|next| K::Status::is_news(&before, next) || is_due()) {
            let can_wait = !published.is_pending() && K::Status::can_wait(&before, &next);
            self.status_changed(Some(&before), Some(&next));
            self.entry.snapshot().set_ready(conditions::is_true(next.conditions(), ConditionType::Ready));
            published.replace(next);
            if can_wait {
                return Ok(());
            }
        }
        if let Some(transition) = self.write(published).await? {
            self.report(transition).await;
        }
        Ok(())
    }

    /// Publishes an event, at once or soon.
    pub(super) async fn report(&self, transition: Transition) {
        let (row, publisher) = (self.kind.registry().events(), &self.kind.context().publisher);
        events::publish(row, publisher, self.object.reference(), transition).await;
    }

    /// The status, as far as this object goes: that of one which was deleted and created again begins anew.
    fn begin_status<'p>(
        &self,
        published: &'p mut Option<Published<K::Status>>,
    ) -> &'p mut Published<K::Status> {
        let seen = &self.object.version;
        if let Some(former) = published.take_if(|published| published.uid != seen.uid) {
            self.status_changed(Some(&former.status()), None);
        }
        let shown = self.object.kept();
        let mut snapshot = self.entry.snapshot();
        let published = published.get_or_insert_with(|| {
            let kept = shown.clone().unwrap_or_else(|| Arc::new(K::Status::default().keep()));
            self.status_changed(None, Some(&K::Status::restored(&kept)));
            Published::adopt(seen, kept, &mut snapshot)
        });
        match shown.as_ref().map(|shown| published.saw(seen, shown, &mut snapshot, Instant::now())) {
            Some(Shown::Ours) => self.object.is_shown_as(published.written()),
            Some(Shown::TakenOver(before)) => {
                let now = shown.as_deref().map(K::Status::restored);
                self.status_changed(Some(&before), now.as_ref());
            }
            Some(Shown::Overwritten { again }) => self.overwritten(again),
            Some(Shown::Another) | None => {}
        }
        published
    }

    /// Counts a status that somebody else has written over ours, and logs it if that is new.
    fn overwritten(&self, again: bool) {
        self.kind.context().checker.metrics.status_overwritten();
        if !again {
            tracing::warn!(kind = K::NAME, object = %self.name, "the status was overwritten; restoring it");
        }
    }

    /// Tells whoever counts or shows statuses that another one is true.
    fn status_changed(&self, before: Option<&K::Status>, now: Option<&K::Status>) {
        self.kind.context().board.published(K::NAME, &self.name, || now.map(K::summary));
        self.kind.status_changed(&self.name, before, now);
    }

    /// Writes the pending status, if there is one. Returns the transition that it is.
    async fn write(&self, published: &mut Published<K::Status>) -> Result<Option<Transition>, ClusterError> {
        use crate::references::dependents::Owner as _;
        let Some((to_write, status)) = published.to_write(&self.object.version) else { return Ok(None) };
        let context = self.kind.context();
        let place = (&**self.name.namespace(), &**self.name.name());
        let after = match context.cluster.apply_status::<K::Resource>(place, &to_write, &status).await? {
            Written::Applied(after) => after,
            Written::Conflict => {
                // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
                tracing::debug!(kind = K::NAME, object = %self.name, "the object changed before its status was written");
                return Ok(None);
            }
            Written::NotFound => {
                published.gone();
                self.status_changed(Some(&status), Some(&published.status()));
                return Ok(None);
            }
        };
        let before = published.wrote(&self.object.version, after, &mut self.entry.snapshot());
        context.checker.metrics.status_written();
        Ok(before.and_then(|before| transition(before.conditions(), status.conditions())))
    }
}
