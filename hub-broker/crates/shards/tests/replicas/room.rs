//! A leader without room leaves the lead to a hub that has some.

use schemas::NodeId;

use crate::GROUP;
use crate::common::*;
use crate::world::*;
use shards::simulation::ReplicaId;
use shards::{ChangeError, Standing};

/// A leader with an entry that it cannot apply.
fn starved() -> (World, u32, Vec<u32>) {
    let mut world = World::of_three();
    world.append(0, batch(Some((6, 0)), 1, 50));
    let leader = world.leader(GROUP).expect("a leader");
    let others: Vec<u32> = (1..=3).filter(|node| *node != leader).collect();
    world.hub(leader).starve(true);
    drop(world.ask(leader, append(0, batch(Some((6, 1)), 1, 50)), 0));
    world.settle();
    assert_eq!(world.status(leader, GROUP).standing, Standing::Paused);
    (world, leader, others)
}

#[test]
fn a_leader_without_room_makes_way() {
    let (mut world, leader, others) = starved();
    world.hub(leader).hear_of_room(NodeId(others[0]), true);
    world.rounds(2);
    assert_eq!(world.leader(GROUP), Some(others[1]), "to the hub that has room, at once");
    world.append(0, batch(Some((6, 2)), 1, 50));
    world.hub(leader).starve(false);
    world.wait_for_all(0, 3);
}

#[test]
fn where_no_hub_has_room_the_lead_stays() {
    let (mut world, leader, others) = starved();
    others.iter().for_each(|node| world.hub(leader).hear_of_room(NodeId(*node), true));
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(world.leader(GROUP), Some(leader));
    let to = ReplicaId::new(others[0], others[0]);
    let refused = world.hub(leader).transfer(GROUP, to).try_recv().expect("answered");
    assert_eq!(refused, Err(ChangeError::NoRoom));
    world.hub(leader).hear_of_room(NodeId(others[0]), false);
    world.rounds(2);
    assert_eq!(world.leader(GROUP), Some(others[0]));
}

#[test]
fn hubs_that_do_not_know_of_each_other_hand_the_lead_around_slowly() {
    let (mut world, leader, others) = starved();
    others.iter().for_each(|node| world.hub(*node).starve(true));
    let before = world.status(leader, GROUP).term.0;
    world.rounds(80);
    let after = world.status(leader, GROUP).term.0;
    assert!(after - before <= 4, "{before} to {after}");
    (1..=3).for_each(|node| world.hub(node).starve(false));
    world.append(0, batch(Some((6, 2)), 1, 50));
    world.wait_for_all(0, 3);
}

/// A leader that takes no appends, though it could apply some.
fn below_its_reserve() -> (World, u32, Vec<u32>) {
    let mut world = World::of_three();
    world.append(0, batch(Some((6, 0)), 1, 50));
    let leader = world.leader(GROUP).expect("a leader");
    let others = (1..=3).filter(|node| *node != leader).collect();
    world.hub(leader).lack_room(true);
    (world, leader, others)
}

#[test]
fn a_leader_that_takes_no_appends_makes_way_to_a_hub_that_has_said_that_it_does() {
    let (mut world, leader, others) = below_its_reserve();
    world.hub(leader).hear_of_room(NodeId(others[0]), true);
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(world.leader(GROUP), Some(leader), "nobody knows that another would take any");
    world.hub(leader).hear_of_room(NodeId(others[1]), false);
    world.rounds(2);
    assert_eq!(world.leader(GROUP), Some(others[1]));
    world.append(0, batch(Some((6, 1)), 1, 50));
    world.wait_for_all(0, 2);
}

#[test]
fn a_leader_that_takes_appends_again_stays() {
    let (mut world, leader, others) = below_its_reserve();
    world.hub(leader).lack_room(false);
    others.iter().for_each(|node| world.hub(leader).hear_of_room(NodeId(*node), false));
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(world.leader(GROUP), Some(leader));
}
