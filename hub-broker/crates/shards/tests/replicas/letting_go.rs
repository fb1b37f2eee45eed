//! A damaged replica that cannot be mended goes when its group can do without it, and no sooner.

use shards::ChangeError;
use shards::simulation::{MembershipChange, ReplicaId, ReplicaQuestion};

use crate::GROUP;
use crate::common::*;
use crate::world::*;

/// Longer than a replica has to wait that the group can spare.
const LEAVE_ROUNDS: usize = 2 * ELECTION_ROUNDS;

/// The group's leader and the others, with a batch stored.
fn of_three(producer: &mut Producer) -> (World, u32, [u32; 2]) {
    let mut world = World::of_three();
    world.append(0, producer.batch(1, 50));
    world.wait_for_all(0, 1);
    let leader = world.leader(GROUP).expect("a leader");
    let mut others = (1..=3).filter(|node| *node != leader);
    let others = [(); 2].map(|()| others.next().expect("two others"));
    (world, leader, others)
}

fn given_up(world: &mut World) -> Vec<ReplicaId> {
    let nodes: Vec<u32> = world.hubs.keys().copied().collect();
    nodes.into_iter().flat_map(|node| world.hub(node).given_up()).map(|(_, id)| id).collect()
}

fn own(node: u32) -> ReplicaId {
    ReplicaId::new(node, node)
}

#[test]
fn a_damaged_replica_stays_while_a_third_hub_is_away_and_goes_when_that_is_back() {
    let mut producer = Producer::new(5);
    let (mut world, _, [damaged, away]) = of_three(&mut producer);
    // Both at once: nobody knows yet that the one is gone.
    world.crash(away);
    world.hub(damaged).damage(GROUP, damaged);
    world.rounds(LEAVE_ROUNDS);
    assert_eq!(given_up(&mut world), []);
    world.append(0, producer.batch(1, 50));
    world.start(away);
    world.until("it goes", LEAVE_ROUNDS, |world| given_up(world) == [own(damaged)]);
    world.append(0, producer.batch(1, 50));
}

#[test]
fn what_a_damaged_replica_has_acknowledged_since_it_asked_is_with_others_before_it_goes() {
    let mut producer = Producer::new(5);
    let (mut world, leader, [damaged, slow]) = of_three(&mut producer);
    world.hub(damaged).damage(GROUP, damaged);
    world.rounds(2);
    // It is heard of, has what was committed when the damaged one first asked, and takes on no more for want of room.
    world.hub(slow).starve(true);
    for _ in 0..140 {
        world.append(0, producer.batch(1, 600_000));
    }
    let last = world.status(leader, GROUP).last;
    world.rounds(LEAVE_ROUNDS);
    assert!(world.status(slow, GROUP).last + 20 < last);
    assert_eq!(given_up(&mut world), []);
    world.hub(slow).starve(false);
    world.until("it goes", LEAVE_ROUNDS, |world| given_up(world) == [own(damaged)]);
    assert_eq!(world.contents(slow, 0), world.contents(leader, 0));
}

#[test]
fn of_two_damaged_replicas_the_second_goes_once_the_first_is_replaced() {
    let mut producer = Producer::new(5);
    let (mut world, leader, others) = of_three(&mut producer);
    others.iter().for_each(|node| world.hub(*node).damage(GROUP, *node));
    world.rounds(2 * LEAVE_ROUNDS);
    let gone = given_up(&mut world);
    assert_eq!(gone.len(), 1, "{gone:?}");
    world.append(0, producer.batch(1, 50));
    let first = gone[0].node();
    world.change(GROUP, MembershipChange { remove: gone, ..Default::default() });
    world.add(GROUP, ReplicaId::new(first, 9));
    let second = others.into_iter().find(|node| *node != first).expect("the other one");
    world.until("the second goes", LEAVE_ROUNDS, |world| given_up(world) == [own(second)]);
    assert_eq!(world.leader(GROUP), Some(leader));
    world.append(0, producer.batch(1, 50));
}

#[test]
fn a_damaged_leader_hands_the_lead_over_before_it_goes() {
    let mut producer = Producer::new(5);
    let (mut world, leader, _) = of_three(&mut producer);
    world.hub(leader).damage(GROUP, leader);
    world.rounds(2);
    assert!(world.leader(GROUP).is_some_and(|node| node != leader), "without an election timeout");
    assert_eq!(given_up(&mut world), []);
    world.append(0, producer.batch(1, 50));
    world.until("it goes", LEAVE_ROUNDS, |world| given_up(world) == [own(leader)]);
    world.append(0, producer.batch(1, 50));
}

#[test]
fn a_damaged_leader_lets_nobody_go() {
    let mut producer = Producer::new(5);
    let (mut world, leader, [damaged, away]) = of_three(&mut producer);
    world.crash(away);
    [leader, damaged].into_iter().for_each(|node| world.hub(node).damage(GROUP, node));
    world.rounds(LEAVE_ROUNDS);
    assert_eq!(given_up(&mut world), []);
    world.append(0, producer.batch(1, 50));
    // The one that is whole comes to lead, and lets one go.
    world.start(away);
    world.until("one goes", 20 * LEAVE_ROUNDS, |world| !given_up(world).is_empty());
    assert_eq!((world.leader(GROUP), given_up(&mut world).len()), (Some(away), 1));
    world.append(0, producer.batch(1, 50));
}

/// A hub's answer to a plea that the other hub's replica made before.
fn answer(world: &mut World, plea: &ReplicaQuestion, (from, to): (u32, u32)) {
    let mut other = world.hubs.remove(&to).expect("it runs");
    world.hub(from).ask(plea.clone(), &mut other);
    world.hubs.insert(to, other);
}

#[test]
fn a_replica_that_was_let_go_and_stays_counts_again() {
    let mut producer = Producer::new(5);
    let (mut world, leader, [damaged, other]) = of_three(&mut producer);
    world.hub(damaged).damage(GROUP, damaged);
    let now_ms = world.now_ms;
    world.hub(damaged).set_clock(now_ms, now_ms);
    world.hub(damaged).tick();
    world.hub(damaged).turn();
    let plea = world.hub(damaged).take_questions().pop().expect("it asks");
    // Its damage is forgotten: the list of it is lost.
    world.crash(damaged);
    let list = world.dir(damaged).join(format!("checkpoint/{GROUP}.damaged"));
    std::fs::remove_file(list).expect("there is one");
    world.start(damaged);
    answer(&mut world, &plea, (damaged, leader));
    world.rounds(ELECTION_ROUNDS);
    answer(&mut world, &plea, (damaged, leader));
    assert_eq!(given_up(&mut world), []);
    let remove = MembershipChange { remove: vec![own(other)], ..Default::default() };
    let mut told = world.hub(leader).change_membership(GROUP, remove.clone());
    world.settle();
    assert_eq!(told.try_recv(), Ok(Err(ChangeError::TooFewLeft)), "it may go any moment");
    world.rounds(2 * ELECTION_ROUNDS);
    assert_eq!(world.leader(GROUP), Some(leader));
    world.change(GROUP, remove);
    world.append(0, producer.batch(1, 50));
}

#[test]
fn leave_of_an_earlier_term_is_none() {
    let mut producer = Producer::new(5);
    let (mut world, leader, [damaged, other]) = of_three(&mut producer);
    world.hub(damaged).damage(GROUP, damaged);
    // It asks, and its plea is on its way while another comes to lead.
    world.now_ms += TICK_MS;
    let now_ms = world.now_ms;
    for _ in 0..3 {
        world.hub(damaged).set_clock(now_ms, now_ms);
        world.hub(damaged).tick();
        world.hub(damaged).turn();
    }
    let plea = world.hub(damaged).take_questions().pop().expect("it asks");
    drop(world.hub(leader).transfer(GROUP, own(other)));
    world.settle();
    assert_eq!(world.leader(GROUP), Some(other));
    for _ in 0..3 {
        answer(&mut world, &plea, (damaged, leader));
        (0..20).for_each(|_| world.hub(leader).tick());
    }
    assert_eq!(given_up(&mut world), []);
}
