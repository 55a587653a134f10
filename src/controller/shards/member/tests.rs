//! What must hold however it goes, in the model of several replicas.

use proptest::prelude::*;

use super::{
    testing::{NAMESPACES, PROCESSES, Step, VALID, World, any_step},
    *,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_two_replicas_act_on_one_namespace(
        steps in prop::collection::vec((0_u64..237, 0..PROCESSES, any_step()), 1..80),
    ) {
        let mut world = World::new();
        for (pass, index, step) in steps {
            // Most steps take no time; a few take longer than a Lease is valid.
            world.now += match pass {
                0..=199 => 0,
                200..=230 => 1,
                231..=234 => VALID / 2,
                _ => VALID,
            };
            world.step(index, &step);
            for namespace in NAMESPACES {
                let actors = world.actors(namespace);
                prop_assert!(actors.len() <= 1, "{namespace}: {actors:?} at {}, {world:#?}", world.now);
            }
        }
    }

    #[test]
    fn every_namespace_has_an_owner_again_within_15_seconds_of_a_crash(
        phases in prop::array::uniform3(0_u64..2),
        crash in 20_u64..40,
        victim in 0_usize..3,
    ) {
        let mut world = World::new();
        for index in 0..3 {
            world.step(index, &Step::Start);
        }
        let tick = |world: &mut World| {
            world.now += 1;
            for (index, phase) in phases.into_iter().enumerate() {
                world.run(index, world.now % 2 == phase);
            }
        };
        while world.now < crash {
            tick(&mut world);
        }
        let is_owned = |world: &World| NAMESPACES.iter().all(|it| world.actors(it).len() == 1);
        prop_assert!(is_owned(&world), "before the crash");
        world.step(victim, &Step::Crash);
        while !is_owned(&world) {
            tick(&mut world);
            prop_assert!(world.now <= crash + 30, "{world:#?}");
        }
        // One that leaves by itself keeps nobody waiting.
        let (leaver, left) = ((victim + 1) % 3, world.now);
        world.step(leaver, &Step::Leave);
        while !is_owned(&world) {
            tick(&mut world);
            prop_assert!(world.now <= left + 2);
        }
        // And one that comes gets its share as soon as the others have let go of it.
        let came = world.now;
        world.step(leaver, &Step::Start);
        let gets_its_share = |world: &World| {
            is_owned(world) && world.processes[leaver].as_ref().is_some_and(|it| !it.acts_on.is_empty())
        };
        while !gets_its_share(&world) {
            tick(&mut world);
            prop_assert!(world.now <= came + 6, "{world:#?}");
        }
    }
}

/// A write whose answer was lost may have taken a flag down, which the next write raises again.
#[test]
fn a_flag_that_may_have_been_down_is_looked_behind_again() {
    let others = |view| BTreeMap::from([(1, Claim::Of(view))]);
    let (alone, both) = (View::of([0]), View::of([0, 1]));
    let mine = NAMESPACES.into_iter().find(|it| both.gives(0, it)).expect("some are");
    let theirs = NAMESPACES.into_iter().find(|it| both.gives(1, it)).expect("some are");
    let mut member = Member::new(0);
    let adopt = |member: &mut Member| member.adopt(member.grant().number);
    member.listed(&BTreeMap::new(), 0);
    adopt(&mut member);
    assert_eq!(member.publish(), alone);
    member.published(alone);
    member.listed(&BTreeMap::new(), member.publications());
    adopt(&mut member);
    assert!(member.grant().owns(mine) && member.grant().owns(theirs));

    member.listed(&others(View::EMPTY), member.publications());
    adopt(&mut member);
    assert!(member.grant().owns(mine) && !member.grant().owns(theirs));
    assert_eq!(member.publish(), both, "the answer is lost");
    member.listed(&BTreeMap::new(), member.publications());
    assert_eq!(member.publish(), alone, "not adopted yet");
    member.published(alone);
    adopt(&mut member);
    assert!(member.grant().owns(mine), "it was claimed all the time");
    assert!(!member.grant().owns(theirs), "the other may act on it");
    member.listed(&BTreeMap::new(), member.publications());
    assert!(member.grant().owns(theirs));
}
