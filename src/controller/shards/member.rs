//! What one of several replicas may act on, by what it has published and what it has seen of the others.
//!
//! ```text
//!   another replica came or went ─▶ act only on what the old and the new view give to us
//!                                ─▶ adopted: nothing else is under way ─▶ publish the new view
//!                                ─▶ published ─▶ list the others ─▶ act on what no other has claimed since
//! ```
//!
//! Pure. Two replicas never act on one namespace, by the rule of two flags: each raises its own, by writing a view that
//! claims the namespace, and only then looks at the other's. Of two that do so, at least the later one sees the other's
//! flag, and waits until it was down once. A flag is taken down only when nothing of the namespace is under way any more. The API
//! server is where the flags are: a list shows every write that was answered before it began. A replica that ended without that is
//! put out of its slot by a write of somebody else, after its Lease has run out and its fence has closed.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::view::{Claim, Slot, View};

/// What a replica has published, what it wants to publish, and what it may act on.
#[derive(Clone, Debug)]
pub struct Member {
    slot: Slot,
    /// Every view of ours that the API server may have: more than one while the answer to a write is missing.
    published: Vec<View>,
    /// The view that is to be published.
    target: View,
    clear: Arc<Clear>,
    /// How many views were published.
    publications: u64,
    grant: Arc<Grant>,
    /// The last grant that whoever acts has adopted.
    adopted: u64,
}

/// The namespaces that a replica may act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Counts grants: a later one has a higher number.
    pub number: u64,
    slot: Slot,
    /// Each must give us the namespace.
    views: Vec<View>,
    clear: Arc<Clear>,
}

/// The namespaces of a published view that no other replica acts on.
#[derive(Debug, PartialEq, Eq)]
struct Clear {
    view: View,
    /// What others claimed whenever a list showed them since the publication; none before the first list. Who did not
    /// claim a namespace once has seen our claim since, if it claims it now.
    others: Option<BTreeMap<Slot, Vec<Claim>>>,
    /// What was clear before the publication stays so, as far as every view gives it to us that may have been there since.
    before: Option<(Arc<Self>, Vec<View>)>,
}

// === impl Member ===

impl Member {
    /// The holder of a slot that has published that it claims nothing.
    pub fn new(slot: Slot) -> Self {
        let clear = Arc::new(Clear { view: View::EMPTY, others: None, before: None });
        let grant = Grant { number: 0, slot, views: vec![View::EMPTY], clear: Arc::clone(&clear) };
        Self {
            slot,
            published: vec![View::EMPTY],
            target: View::EMPTY,
            clear,
            publications: 0,
            grant: Arc::new(grant),
            adopted: 0,
        }
    }

    /// What it may act on.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// How many views were published. Whoever begins a list notes it.
    pub fn publications(&self) -> u64 {
        self.publications
    }

    /// The replicas that are to share the namespaces.
    pub fn target(&self) -> View {
        self.target
    }

    /// Takes in a list of all other slots that are held. `publications` is what it was when the list began.
    pub fn listed(&mut self, others: &BTreeMap<Slot, Claim>, publications: u64) {
        self.target = View::of(others.keys().copied().chain([self.slot]));
        if publications == self.publications {
            self.clear = Arc::new(self.clear.listed(others));
        }
        self.regrant();
    }

    /// Notes that nothing is under way any more that this grant does not give.
    pub fn adopt(&mut self, number: u64) {
        self.adopted = self.adopted.max(number);
    }

    /// The last grant that was adopted.
    pub fn has_adopted(&self) -> u64 {
        self.adopted
    }

    /// Whether another view is to be published now.
    pub fn must_publish(&self) -> bool {
        self.published != [self.target] && self.adopted == self.grant.number
    }

    /// The view that the next write to our slot carries. From now on the API server may have it.
    pub fn publish(&mut self) -> View {
        let view = if self.must_publish() { self.target } else { self.clear.view };
        if !self.published.contains(&view) {
            self.published.push(view);
        }
        view
    }

    /// Notes that a view was written. Earlier writes to our slot can no longer succeed.
    pub fn published(&mut self, view: View) {
        let may_have_been = mem::replace(&mut self.published, vec![view]);
        if may_have_been != self.published {
            self.publications += 1;
            let before = Some((Arc::clone(&self.clear), may_have_been));
            self.clear = Arc::new(Clear { view, others: None, before });
        }
        self.regrant();
    }

    /// A grant says something else only with another number.
    fn regrant(&mut self) {
        let mut views = self.published.clone();
        if !views.contains(&self.target) {
            views.push(self.target);
        }
        let before = &*self.grant;
        if before.views != views || before.clear != self.clear {
            let (number, clear) = (before.number + 1, Arc::clone(&self.clear));
            self.grant = Arc::new(Grant { number, slot: self.slot, views, clear });
        }
    }
}

// === impl Grant ===

impl Grant {
    /// Whether a namespace may be acted on.
    pub fn owns(&self, namespace: &str) -> bool {
        self.views.iter().all(|view| view.gives(self.slot, namespace)) && self.clear.is(self.slot, namespace)
    }
}

// === impl Clear ===

impl Clear {
    /// Takes in a list that began after the publication.
    fn listed(&self, now: &BTreeMap<Slot, Claim>) -> Self {
        let others: BTreeMap<_, _> = match &self.others {
            None => now.iter().map(|(slot, claim)| (*slot, vec![*claim])).collect(),
            Some(others) => others
                .iter()
                .map(|(slot, claims)| {
                    let claim = now.get(slot).copied().unwrap_or(Claim::Of(View::EMPTY));
                    let mut claims = claims.clone();
                    if !claims.contains(&claim) {
                        claims.push(claim);
                    }
                    (*slot, claims)
                })
                .collect(),
        };
        // Whoever published our view, or nothing, has taken down every flag that we raised.
        let is_done = |claim: &Claim| [Claim::Of(self.view), Claim::Of(View::EMPTY)].contains(claim);
        let others: BTreeMap<_, _> =
            others.into_iter().filter(|(_, claims)| !claims.iter().any(is_done)).collect();
        let before = self.before.clone().filter(|_| !others.is_empty());
        Self { view: self.view, others: Some(others), before }
    }

    fn is(&self, slot: Slot, namespace: &str) -> bool {
        let is_claimed = |(other, claims): (&Slot, &Vec<Claim>)| {
            claims.iter().all(|claim| claim.covers(*other, namespace))
        };
        self.view.gives(slot, namespace)
            && (self.others.as_ref().is_some_and(|others| !others.iter().any(is_claimed))
                || self.before.as_ref().is_some_and(|(before, views)| {
                    views.iter().all(|view| view.gives(slot, namespace)) && before.is(slot, namespace)
                }))
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
