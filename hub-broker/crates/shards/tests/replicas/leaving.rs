//! Who leads nothing any more: a hub that is about to stop, and one that cannot go on.

use schemas::NodeId;

use crate::GROUP;
use crate::common::*;
use crate::world::*;
use bytes::Bytes;
use shards::Standing;
use shards::simulation::{ReplicaId, Role};

fn serves_any(world: &World, node: u32) -> bool {
    (0..=4).any(|group| world.hubs[&node].serving(group).is_some())
}

#[test]
fn what_comes_back_to_a_hub_that_is_about_to_stop_goes_again() {
    let mut world = World::of_three();
    let leaving = world.leader(GROUP).expect("a leader");
    let told = world.hub(leaving).hand_over();
    world.rounds(2);
    assert!(told.try_recv().is_ok() && !serves_any(&world, leaving));
    let second = world.leader(GROUP).expect("another leads");
    let before = world.status(second, GROUP).term;
    drop(world.hub(second).transfer(GROUP, ReplicaId::new(leaving, leaving)));
    world.until("it goes again", ELECTION_ROUNDS, |world| {
        world.leader(GROUP).is_some_and(|it| it != leaving) && world.status(leaving, GROUP).term > before
    });
    assert!(!serves_any(&world, leaving));
}

#[test]
fn a_hub_that_is_about_to_stop_stands_for_nothing_but_votes() {
    let mut world = World::of_three();
    let first = world.leader(GROUP).expect("a leader");
    let others: Vec<u32> = (1..=3).filter(|node| *node != first).collect();
    let (leaving, stays) = (others[0], others[1]);
    let told = world.hub(leaving).hand_over();
    world.rounds(2);
    assert!(told.try_recv().is_ok());
    world.crash(first);
    world.hub(leaving).hub_gone(NodeId(first));
    world.rounds(ELECTION_ROUNDS);
    (0..=4).for_each(|group| assert_eq!(world.leader(group), Some(stays), "group {group}"));
}

#[test]
fn a_hub_that_nobody_can_follow_goes_on_leading() {
    let mut world = World::found(shards::simulation::Faults::default());
    let told = world.hub(1).hand_over();
    world.rounds(2);
    assert!(told.try_recv().is_ok());
    assert_eq!(world.leader(GROUP), Some(1));
}

#[test]
fn a_replica_that_is_stopped_leads_no_more() {
    let mut world = World::of_three();
    let leader = world.leader(0).expect("a leader");
    let unknown = Bytes::from_static(&[0xff]);
    world.hub(leader).propose_metadata(unknown, Box::new(|_| {}));
    world.rounds(ELECTION_ROUNDS);
    let term = world.status(leader, 0).term;
    world.rounds(ELECTION_ROUNDS);
    for node in 1..=3 {
        let status = world.status(node, 0);
        assert_eq!(status.standing, Standing::Stopped);
        assert_ne!(status.role, Role::Leader);
        assert_eq!(status.term, term, "nobody stands");
    }
}

#[test]
fn a_follower_without_room_takes_on_only_so_much() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    let follower = (1..=3).find(|node| *node != leader).expect("a follower");
    world.hub(follower).starve(true);
    let mut producer = Producer::new(5);
    for _ in 0..140 {
        world.append(0, producer.batch(1, 600_000));
    }
    let (has, all) = (world.status(follower, GROUP).last, world.status(leader, GROUP).last);
    assert!(has + 20 < all && has > 100, "{has} of {all}");
    world.hub(follower).starve(false);
    world.wait_for_all(0, 140);
}
