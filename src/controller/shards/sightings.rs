//! The Leases of the slots as this replica has seen them, by its own clock.
//!
//! ```text
//!   held, and not renewed for its whole duration ─▶ may be taken, by a write over that state
//!   held, and deleted by somebody ────────────────▶ counts as held until then
//!   not there when we begin ──────────────────────▶ may just have been deleted, so no slot is taken until then
//! ```
//!
//! Pure, but for the time. A replica whose Lease is deleted by hand learns of that from its next renewal, and until then it works: the
//! API server shows nothing of its claim, but its fence closes before the duration of the Lease has passed.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::view::{Claim, MAX_SHARDS, Slot};
use crate::controller::lease::{LeaseDuration, Observed, wait_until_free};

/// Where a replica publishes the view by which it claims namespaces.
pub(super) const VIEW: &str = "appconnections.dev/shards";

/// What was seen of each slot.
#[derive(Default)]
pub(super) struct Sightings(BTreeMap<Slot, Sighting>);

/// A Lease in its last state, and when that was seen first.
pub(super) struct Sighting {
    lease: Lease,
    observed: Observed,
    state: State,
}

/// Whether a Lease is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    Deleted,
    /// It was never seen.
    Unknown,
}

// === impl Sightings ===

impl Sightings {
    /// Takes in a list of the Leases.
    pub(super) fn saw(&mut self, leases: &BTreeMap<Slot, Lease>) {
        let now = Instant::now();
        for slot in 0..MAX_SHARDS {
            match (leases.get(&slot), self.0.get_mut(&slot)) {
                (Some(lease), Some(known)) if known.state != State::Unknown => known.saw(lease, now),
                (Some(lease), _) => {
                    self.0.insert(slot, Sighting::new(lease.clone(), State::There, now));
                }
                (None, Some(known)) if known.state == State::There => known.state = State::Deleted,
                (None, Some(_)) => {}
                (None, None) => {
                    self.0.insert(slot, Sighting::new(Lease::default(), State::Unknown, now));
                }
            }
        }
    }

    /// The first of so many slots that may be taken, unless a Lease may have been deleted while its holder works.
    pub(super) fn free(&self, count: Slot, duration: LeaseDuration) -> impl Iterator<Item = Slot> {
        let slots = || (0..count).filter_map(|slot| Some((slot, self.0.get(&slot)?)));
        let is_sure = slots().all(|(_, seen)| seen.is_there() || seen.wait(duration).is_none());
        slots().filter(move |(_, seen)| is_sure && seen.wait(duration).is_none()).map(|(slot, _)| slot)
    }

    /// The slots that are held, but for one, and those whose holder may not know that its Lease is gone.
    pub(super) fn held(&self, own: Slot, duration: LeaseDuration) -> impl Iterator<Item = (Slot, &Sighting)> {
        let is_held = move |(slot, seen): &(&Slot, &Sighting)| {
            **slot != own && seen.holder().is_some() && (seen.is_there() || seen.wait(duration).is_some())
        };
        self.0.iter().filter(is_held).map(|(slot, seen)| (*slot, seen))
    }
}

// === impl Sighting ===

impl Sighting {
    fn new(lease: Lease, state: State, since: Instant) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self { lease, observed: Observed { spec, since }, state }
    }

    fn saw(&mut self, lease: &Lease, now: Instant) {
        let spec = lease.spec.clone().unwrap_or_default();
        if self.observed.spec != spec {
            self.observed = Observed { spec, since: now };
        }
        (self.lease, self.state) = (lease.clone(), State::There);
    }

    /// How long until it may be taken from its holder; none when nobody holds it any more.
    pub(super) fn wait(&self, duration: LeaseDuration) -> Option<Duration> {
        match self.state {
            State::There | State::Deleted => wait_until_free(&self.lease, Some(&self.observed), ""),
            // Whose it was, nobody knows: somebody who was started like us.
            State::Unknown => duration.checked_sub(self.observed.since.elapsed()),
        }
    }

    /// The Lease, if there is one.
    pub(super) fn lease(&self) -> Option<&Lease> {
        Some(&self.lease).filter(|_| self.is_there())
    }

    /// What its holder claims.
    pub(super) fn claim(&self) -> Claim {
        Claim::read(self.lease.annotations().get(VIEW).map(String::as_str))
    }

    fn is_there(&self) -> bool {
        self.state == State::There
    }

    fn holder(&self) -> Option<&String> {
        holder(&self.lease)
    }
}

/// Who holds a Lease.
pub(super) fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use tokio::time::advance;

    use super::*;
    use crate::controller::shards::view::View;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(holder: Option<&str>, renewals: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(13),
            lease_transitions: Some(renewals),
            ..LeaseSpec::default()
        };
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.annotations_mut().insert(VIEW.to_owned(), View::of([0, 1]).to_string());
        lease
    }

    fn saw<const COUNT: usize>(sightings: &mut Sightings, leases: [(Slot, Lease); COUNT]) {
        sightings.saw(&BTreeMap::from(leases));
    }

    fn free(sightings: &Sightings) -> Vec<Slot> {
        sightings.free(2, LeaseDuration::default()).collect()
    }

    fn held(sightings: &Sightings) -> Vec<(Slot, bool, Claim)> {
        let held = sightings.held(0, LeaseDuration::default());
        held.map(|(slot, seen)| (slot, seen.lease().is_some(), seen.claim())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_deleted_counts_as_held_until_its_holder_has_stopped() {
        let (mut sightings, claim) = (Sightings::default(), Claim::Of(View::of([0, 1])));
        let ours = || (0, lease(Some("us"), 1));
        saw(&mut sightings, [ours(), (1, lease(Some("other"), 1))]);
        assert_eq!(held(&sightings), [(1, true, claim)]);
        advance(SECOND * 5).await;
        saw(&mut sightings, [ours(), (1, lease(Some("other"), 2))]);
        advance(SECOND * 12).await;
        saw(&mut sightings, [ours()]);
        assert_eq!(held(&sightings), [(1, false, claim)], "it was renewed since");
        advance(SECOND + Duration::from_millis(1)).await;
        assert_eq!(held(&sightings), []);
        saw(&mut sightings, [ours(), (1, lease(Some("another"), 1))]);
        assert_eq!(held(&sightings), [(1, true, claim)]);
        saw(&mut sightings, [ours(), (1, lease(None, 1))]);
        assert_eq!(held(&sightings), []);
    }

    #[tokio::test(start_paused = true)]
    async fn no_slot_is_taken_while_a_lease_may_just_have_been_deleted() {
        let wait = SECOND * 13 + Duration::from_millis(1);
        let released = || lease(None, 1);
        let mut sightings = Sightings::default();
        saw(&mut sightings, [(0, released())]);
        assert!(free(&sightings).is_empty(), "the other one may have been deleted");
        saw(&mut sightings, [(0, released()), (1, released())]);
        assert_eq!(free(&sightings), [0, 1], "it is there");
        saw(&mut sightings, [(0, lease(Some("other"), 1)), (1, released())]);
        assert_eq!(free(&sightings), [1]);
        saw(&mut sightings, [(1, released())]);
        assert!(free(&sightings).is_empty(), "its holder may not know that it is gone");
        advance(wait).await;
        assert_eq!(free(&sightings), [0, 1]);

        let mut sightings = Sightings::default();
        saw(&mut sightings, []);
        advance(SECOND * 10).await;
        saw(&mut sightings, []);
        assert!(free(&sightings).is_empty());
        advance(SECOND * 3 + Duration::from_millis(1)).await;
        assert_eq!(free(&sightings), [0, 1], "as at the first start");
    }
}
