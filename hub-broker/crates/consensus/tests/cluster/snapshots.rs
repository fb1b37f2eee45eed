//! Followers that are too far behind for the log.

use consensus::*;

use crate::world::World;

/// A group in which one was away while the others wrote more than their tails hold, and checkpointed it.
fn with_one_behind(seed: u64) -> (World, ReplicaId, ReplicaId) {
    with_one_behind_and(seed, 0)
}

/// The same where this many entries before the checkpoint are still to be had.
pub fn with_one_behind_and(seed: u64, kept: u64) -> (World, ReplicaId, ReplicaId) {
    let mut world = World::new(3, seed);
    world.tail_bytes_max = 2_000;
    world.ids().into_iter().for_each(|id| {
        world.crash(id);
        world.restart(id);
    });
    world.settle();
    let leader = world.leader().expect("a leader");
    let behind = world.ids().into_iter().find(|id| *id != leader).expect("others");
    world.crash(behind);
    for _ in 0..200 {
        world.propose(leader);
        world.flow();
    }
    (0..250).for_each(|_| world.round());
    world.checkpoint(leader, kept);
    world.restart(behind);
    (world, leader, behind)
}

pub fn index_of(world: &World, id: ReplicaId) -> u64 {
    world.hubs[&id].state.applied
}

#[test]
fn a_follower_far_behind_gets_a_snapshot() {
    let (mut world, leader, behind) = with_one_behind(1);
    (0..30).for_each(|_| world.round());
    assert_eq!(world.snapshots_installed, 1);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
    world.settle();
    world.check_acknowledged();
}

#[test]
fn a_checkpoint_made_for_a_follower_is_kept_up_with() {
    let (mut world, leader, behind) = with_one_behind(2);
    for _ in 0..60 {
        world.propose(leader);
        world.round();
    }
    assert_eq!(world.snapshots_installed, 1, "what was written meanwhile came through the log");
    world.settle();
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn what_is_written_while_a_snapshot_is_copied_stays_for_whoever_copies_it() {
    let (mut world, leader, behind) = with_one_behind(6);
    let mut offered = None;
    for _ in 0..60 {
        world.propose(leader);
        world.round_but(|world| {
            let offer = world.hubs.get_mut(&behind).and_then(|hub| hub.offered.take());
            offered = offer.or(offered.take());
        });
    }
    world.hubs.get_mut(&behind).expect("it exists").offered = offered;
    (0..5).for_each(|_| world.round());
    assert_eq!(world.snapshots_installed, 1, "three times what is kept usually, and no second snapshot");
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn a_snapshot_that_comes_too_late_is_not_installed() {
    let (mut world, leader, behind) = with_one_behind(3);
    let offered = loop {
        world.step(leader, Event::Tick);
        while world.deliver() {
            world.ids().into_iter().for_each(|id| world.sync(id, usize::MAX));
        }
        world.read_back(leader);
        if let Some(offered) = world.hubs[&behind].offered.clone() {
            break offered;
        }
    };
    world.settle();
    let (applied, installed) = (index_of(&world, behind), world.snapshots_installed);
    world.step(behind, Event::Snapshot(offered.2));
    world.flow();
    assert_eq!((index_of(&world, behind), world.snapshots_installed), (applied, installed));
}

#[test]
fn an_offer_that_was_lost_is_repeated() {
    let (mut world, leader, behind) = with_one_behind(4);
    let mut dropped = 0;
    for _ in 0..200 {
        world.round_but(|world| {
            if let Some(hub) = world.hubs.get_mut(&behind)
                && dropped < 3
                && hub.offered.take().is_some()
            {
                dropped += 1;
            }
        });
    }
    assert_eq!(dropped, 3);
    assert_eq!(world.snapshots_installed, 1);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn a_snapshot_that_could_not_be_copied_is_made_anew() {
    let (mut world, leader, behind) = with_one_behind(5);
    // What the first offer names is gone by the time it is wanted.
    let index = index_of(&world, leader);
    world.propose(leader);
    (0..100).for_each(|_| {
        let stale = |checkpoint: &u64| *checkpoint <= index;
        world.forget_checkpoints(leader, stale);
        world.round();
    });
    assert_eq!(world.snapshots_installed, 1);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn a_replica_that_waits_for_its_snapshot_is_led_by_no_log() {
    let id = ReplicaId::new(1, 2);
    let mut replica =
        Replica::new(&ReplicaConfig::new(id, 1), Restored::default()).expect("nothing is all it has");
    for _ in 0..100 {
        assert!(replica.step(Event::Tick).is_empty(), "it never stands for election");
    }
    assert!(replica.step(Event::Campaign).is_empty());
    assert!(replica.membership().is_empty());
}

#[test]
fn who_cannot_take_a_snapshot_is_offered_one_less_and_less_often() {
    let (mut world, leader, behind) = with_one_behind(7);
    let mut offers = 0;
    for _ in 0..400 {
        world.round_but(|world| {
            let offered = world.hubs.get_mut(&behind).and_then(|hub| hub.offered.take());
            if let Some((from, ..)) = offered {
                offers += 1;
                world.step(from, Event::SnapshotSent { to: behind, ok: false });
            }
        });
    }
    assert!((2..=20).contains(&offers), "{offers} offers, each for a checkpoint of its own");
    (0..300).for_each(|_| world.round());
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}
