//! Which replica owns a Kubernetes namespace: rendezvous hashing over the replicas that share the work.
//!
//! Pure. Each replica holds one slot. A namespace belongs to the slot with the highest weight for it, so that a slot that
//! comes or goes moves only the namespaces that it owns itself.

use std::fmt;

/// How many replicas can share the namespaces. The operator's rights name each slot.
pub const MAX_SHARDS: u8 = 8;

/// How the weights are computed, as it stands before every published view. Replicas of two versions may work side by side, so
/// that another way to compute them needs another word here.
const SCHEME: &str = "rendezvous-1";

/// The number of a slot, below [`MAX_SHARDS`]. Its holder is one replica.
pub type Slot = u8;

/// The slots whose holders share the namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View(u8);

/// Which namespaces the holder of a slot claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Those that a view gives to it.
    Of(View),
    /// What it published cannot be read, so it may claim any.
    Everything,
}

// === impl View ===

impl View {
    /// Nobody owns anything.
    pub const EMPTY: Self = Self(0);

    /// The slots of a view.
    pub fn of(slots: impl IntoIterator<Item = Slot>) -> Self {
        Self(slots.into_iter().filter(|slot| *slot < MAX_SHARDS).fold(0, |bits, slot| bits | (1 << slot)))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, slots) = text.split_once(':')?;
        if scheme != SCHEME {
            return None;
        }
        let slots: Option<Vec<Slot>> =
            slots.split(',').filter(|slot| !slot.is_empty()).map(|slot| slot.parse().ok()).collect();
        slots.filter(|slots| slots.iter().all(|slot| *slot < MAX_SHARDS)).map(Self::of)
    }

    /// Its slots, in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..MAX_SHARDS).filter(move |slot| self.0 & (1 << slot) != 0)
    }

    /// The slot that owns a namespace.
    pub fn owner(self, namespace: &str) -> Option<Slot> {
        let name = fnv(namespace);
        self.slots().max_by_key(|slot| weight(*slot, name))
    }

    /// Whether a slot owns a namespace.
    pub fn gives(self, slot: Slot, namespace: &str) -> bool {
        self.owner(namespace) == Some(slot)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: Vec<_> = self.slots().map(|slot| slot.to_string()).collect();
        write!(f, "{SCHEME}:{}", slots.join(","))
    }
}

// === impl Claim ===

impl Claim {
    /// Reads what the holder of a slot has published.
    pub fn read(published: Option<&str>) -> Self {
        published.and_then(View::parse).map_or(Self::Everything, Self::Of)
    }

    /// Whether the holder of a slot claims a namespace.
    pub fn covers(self, slot: Slot, namespace: &str) -> bool {
        match self {
            Self::Of(view) => view.gives(slot, namespace),
            Self::Everything => true,
        }
    }
}

/// The name of a slot's Lease. No name that the chart derives from a release has a dot, so that a slot of `x` is never the Lease of a
/// release `x-1` in the same namespace.
pub fn lease_of(name: &str, slot: Slot) -> String {
    format!("{name}.shard-{slot}")
}

/// The slot that a Lease is.
pub fn slot_of(name: &str, lease: &str) -> Option<Slot> {
    (0..MAX_SHARDS).find(|slot| lease_of(name, *slot) == lease)
}

/// FNV-1a: the same in every process and every version.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The weight of a slot for a namespace. The last steps are those of `SplitMix64`: each bit depends on all.
fn weight(slot: Slot, name: u64) -> u64 {
    let mixed = name ^ (u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_view() -> impl Strategy<Value = View> {
        any::<u8>().prop_map(View)
    }

    #[test]
    fn the_lease_of_another_release_is_no_slot() {
        for slot in 0..MAX_SHARDS {
            assert_eq!(slot_of("x", &lease_of("x", slot)), Some(slot));
        }
        for other in [
            "x",
            "x-1",
            "x-shard-1",
            "x.shard-8",
            "x.shard-01",
            "x.shard-",
            "xx.shard-1",
            "x.shard-1.shard-1",
        ] {
            assert_eq!(slot_of("x", other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_slot_that_comes_or_goes_moves_only_its_own_namespaces(
            view in any_view(),
            slot in 0..MAX_SHARDS,
            namespace in "[a-z0-9-]{1,63}",
        ) {
            let with = View::of(view.slots().chain([slot]));
            let without = View::of(view.slots().filter(|other| *other != slot));
            if !with.gives(slot, &namespace) {
                prop_assert_eq!(with.owner(&namespace), without.owner(&namespace));
            }
        }

        #[test]
        fn every_namespace_has_one_owner_in_whatever_order_the_slots_are_named(
            mut slots in prop::collection::vec(0..MAX_SHARDS, 1..20),
            namespace in "[a-z0-9-]{1,63}",
        ) {
            let view = View::of(slots.clone());
            slots.reverse();
            prop_assert_eq!(view, View::of(slots));
            prop_assert_eq!(view.slots().filter(|slot| view.gives(*slot, &namespace)).count(), 1);
        }

        #[test]
        fn a_view_is_read_as_it_was_written(view in any_view()) {
            prop_assert_eq!(View::parse(&view.to_string()), Some(view));
        }
    }

    #[test]
    fn every_slot_gets_its_share() {
        for count in 2..=MAX_SHARDS {
            let view = View::of(0..count);
            let mut owned = vec![0_u32; usize::from(count)];
            for number in 0..10_000 {
                owned[usize::from(view.owner(&format!("team-{number}")).expect("there are slots"))] += 1;
            }
            let share = 10_000 / u32::from(count);
            assert!(owned.iter().all(|own| (share * 9 / 10..=share * 11 / 10).contains(own)), "{owned:?}");
        }
    }

    /// Replicas of two versions must agree.
    #[test]
    fn the_weights_never_change() {
        let view = View::of([0, 1, 2, 3, 4, 5, 6, 7]);
        let owners = ["", "default", "team-a", "team-b", "kube-system"].map(|name| view.owner(name));
        assert_eq!(owners, GOLDEN);
        assert_eq!(view.to_string(), "rendezvous-1:0,1,2,3,4,5,6,7");
    }

    const GOLDEN: [Option<Slot>; 5] = [Some(3), Some(1), Some(0), Some(3), Some(2)];

    #[test]
    fn what_cannot_be_read_claims_everything() {
        for text in
            [None, Some(""), Some("rendezvous-2:0,1"), Some("rendezvous-1:0,8"), Some("rendezvous-1:x")]
        {
            let claim = Claim::read(text);
            assert!(claim.covers(3, "team-a"), "{text:?}");
        }
        assert_eq!(Claim::read(Some("rendezvous-1:")), Claim::Of(View::EMPTY));
        assert!(!Claim::Of(View::EMPTY).covers(3, "team-a"));
    }
}
