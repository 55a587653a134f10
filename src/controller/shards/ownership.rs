//! What one of the engines of this replica may act on, as it is told; and what it reports back.
//!
//! ```text
//!   membership ── grant ──▶ every engine: begins nothing else, ends what is under way
//!              ◀─ adopted ─ every engine: nothing else is under way
//! ```

use std::{future::pending, sync::Arc};

use tokio::sync::watch;

use super::member::Grant;

/// Who says what the engines may act on.
#[derive(Debug)]
pub struct Grantor {
    grants: watch::Sender<Option<Arc<Grant>>>,
    adopted: Vec<watch::Receiver<u64>>,
}

/// What an engine may act on.
#[derive(Debug)]
pub struct Ownership {
    /// What it goes by.
    current: Current,
    /// What it is told; none when it need not ask anybody.
    source: Option<(Grants, watch::Sender<u64>)>,
}

/// What is granted; none before the first grant.
type Grants = watch::Receiver<Option<Arc<Grant>>>;

#[derive(Clone, Debug)]
enum Current {
    All,
    Nothing,
    Granted(Arc<Grant>),
}

/// A grantor, and the ownership of so many engines. Nothing is granted yet.
pub fn shared<const ENGINES: usize>() -> (Grantor, [Ownership; ENGINES]) {
    let (grants, told) = watch::channel(None);
    let mut adopted = Vec::new();
    let ownerships = std::array::from_fn(|_| {
        let (sender, receiver) = watch::channel(0);
        adopted.push(receiver);
        Ownership { current: Current::Nothing, source: Some((told.clone(), sender)) }
    });
    (Grantor { grants, adopted }, ownerships)
}

// === impl Grantor ===

impl Grantor {
    /// Tells the engines what they may act on, if that is news.
    pub fn grant(&self, grant: &Arc<Grant>) {
        self.grants.send_if_modified(|told| {
            let is_news = told.as_ref().is_none_or(|told| told.number < grant.number);
            if is_news {
                *told = Some(Arc::clone(grant));
            }
            is_news
        });
    }

    /// Resolves when every engine has adopted a later grant than this one, and tells which.
    pub async fn adopted(&mut self, after: u64) -> u64 {
        loop {
            let least = self.adopted.iter_mut().map(|number| *number.borrow_and_update()).min();
            if let Some(least) = least.filter(|least| *least > after) {
                return least;
            }
            let changes = self.adopted.iter_mut().map(|number| Box::pin(number.changed()));
            if futures::future::select_all(changes).await.0.is_err() {
                // The engines have stopped: nothing changes hands any more.
                pending::<()>().await;
            }
        }
    }
}

// === impl Ownership ===

impl Ownership {
    /// Everything: no other replica works.
    pub fn all() -> Self {
        Self { current: Current::All, source: None }
    }

    /// Whether there are other replicas, which can take something over.
    pub fn may_change(&self) -> bool {
        self.source.is_some()
    }

    /// Whether a namespace may be acted on.
    pub fn owns(&self, namespace: &str) -> bool {
        match &self.current {
            Current::All => true,
            Current::Nothing => false,
            Current::Granted(grant) => grant.owns(namespace),
        }
    }

    /// Resolves when there is another grant. It is gone by from now on.
    pub async fn changed(&mut self) {
        let Some((told, _)) = &mut self.source else { return pending().await };
        if told.changed().await.is_err() {
            return pending().await;
        }
        if let Some(grant) = &*told.borrow_and_update() {
            self.current = Current::Granted(Arc::clone(grant));
        }
    }

    /// Reports that nothing is under way any more that the present grant does not give.
    pub fn adopt(&self) {
        if let (Some((_, adopted)), Current::Granted(grant)) = (&self.source, &self.current) {
            adopted.send_replace(grant.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt as _;

    use super::*;
    use crate::controller::shards::member::Member;

    #[tokio::test]
    async fn a_grant_is_adopted_when_every_engine_has_adopted_it() {
        let (mut grantor, [mut one, mut other]) = shared();
        assert!(!one.owns("team-a"), "nothing is granted yet");
        let mut member = Member::new(0);
        member.listed(&BTreeMap::new(), 0);
        grantor.grant(member.grant());
        one.changed().await;
        one.adopt();
        assert_eq!(grantor.adopted(0).now_or_never(), None);
        other.changed().await;
        other.adopt();
        assert_eq!(grantor.adopted(0).await, member.grant().number);

        member.adopt(member.grant().number);
        let view = member.publish();
        member.published(view);
        member.listed(&BTreeMap::new(), member.publications());
        grantor.grant(member.grant());
        one.changed().await;
        assert!(one.owns("team-a") && !other.owns("team-a"));
        grantor.grant(member.grant());
        assert_eq!(one.changed().now_or_never(), None, "it is no news");
        assert!(Ownership::all().owns("team-a"));
    }
}
