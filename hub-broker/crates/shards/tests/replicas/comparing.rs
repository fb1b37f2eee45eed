//! Replicas compare what they have.

use crate::common::*;
use crate::world::*;
use crate::{GROUP, ReplicaId};
use shards::simulation::MembershipChange;

/// Rounds within which everyone has been asked.
const ASK_ROUNDS: usize = 45;

/// The group's leader and the others, with some batches stored.
fn of_three(producer: &mut Producer) -> (World, u32, Vec<u32>) {
    let mut world = World::of_three();
    for _ in 0..3 {
        world.append(0, producer.batch(1, 50));
    }
    world.wait_for_all(0, 3);
    world.rounds(ASK_ROUNDS);
    let leader = world.leader(GROUP).expect("a leader");
    let others = (1..=3).filter(|node| *node != leader).collect();
    (world, leader, others)
}

fn compare(world: &mut World, leader: u32) {
    assert!(world.hub(leader).checkpoint(GROUP), "there is news");
    world.rounds(ASK_ROUNDS);
}

fn given_up(world: &mut World) -> Vec<(u32, ReplicaId)> {
    (1..=3).flat_map(|node| world.hub(node).given_up()).collect()
}

#[test]
fn replicas_that_have_the_same_are_asked_once_and_go_on() {
    let mut producer = Producer::new(5);
    let (mut world, leader, _) = of_three(&mut producer);
    world.append(0, producer.batch(1, 50));
    let before = world.questions;
    compare(&mut world, leader);
    assert_eq!(world.questions, before + 2);
    world.hub(leader).checkpoint(GROUP);
    world.rounds(ASK_ROUNDS);
    assert_eq!(world.questions, before + 2, "a mark alone is no news");
    assert_eq!(given_up(&mut world), []);
    world.append(0, producer.batch(1, 50));
    world.wait_for_all(0, 5);
}

#[test]
fn one_that_differs_from_most_gives_itself_up_and_is_fetched_again() {
    let mut producer = Producer::new(5);
    let (mut world, leader, others) = of_three(&mut producer);
    let node = others[1];
    world.hub(node).slip_in(shard(0), append(0, batch(None, 1, 70)));
    world.append(0, producer.batch(1, 50));
    let own = world.status(node, GROUP).own.expect("a replica");
    compare(&mut world, leader);
    world.until("it goes", ELECTION_ROUNDS, |world| given_up(world) == [(GROUP, own)]);
    world.change(GROUP, MembershipChange { remove: vec![own], ..Default::default() });
    world.add(GROUP, ReplicaId::new(node, 9));
    world.append(0, producer.batch(1, 50));
    world.wait_for_all(0, 5);
    world.append(0, producer.batch(1, 50));
    compare(&mut world, leader);
    assert_eq!(world.status(node, GROUP).own, Some(ReplicaId::new(node, 9)));
}

#[test]
fn a_leader_that_differs_from_most_leaves_the_lead_and_is_found_by_the_next() {
    let mut producer = Producer::new(5);
    let (mut world, leader, _) = of_three(&mut producer);
    world.hub(leader).slip_in(shard(0), append(0, batch(None, 1, 70)));
    world.append(0, producer.batch(1, 50));
    compare(&mut world, leader);
    assert_eq!(given_up(&mut world), [], "a leader does not give itself up");
    let next = world.leader(GROUP).expect("a leader");
    assert_ne!(next, leader, "nor does it go on leading");
    let differs = world.status(leader, GROUP).own.expect("a replica");
    world.append(0, producer.batch(1, 50));
    compare(&mut world, next);
    world.until("it goes", ELECTION_ROUNDS, |world| given_up(world) == [(GROUP, differs)]);
}

#[test]
fn without_a_majority_that_has_the_same_nobody_gives_up() {
    let mut producer = Producer::new(5);
    let (mut world, leader, others) = of_three(&mut producer);
    world.hub(others[0]).slip_in(shard(0), append(0, batch(None, 1, 70)));
    world.append(0, producer.batch(1, 50));
    world.cut.extend([(leader, others[1]), (others[1], leader)]);
    compare(&mut world, leader);
    assert_eq!(given_up(&mut world), []);
    // Once the third has said, most have the same.
    world.cut.clear();
    let differs = ReplicaId::new(others[0], others[0]);
    world.until("it goes", 2 * ASK_ROUNDS + ELECTION_ROUNDS, |world| given_up(world) == [(GROUP, differs)]);
}

#[test]
fn a_hub_alone_compares_with_nobody() {
    let mut world = World::found(Default::default());
    world.open(0);
    world.append(0, batch(None, 1, 50));
    let applied = world.status(1, GROUP).applied;
    assert!(world.hub(1).checkpoint(GROUP));
    world.rounds(ASK_ROUNDS);
    assert_eq!(world.status(1, GROUP).applied, applied);
}

#[test]
fn a_checkpoint_follows_a_change_of_the_members() {
    let mut world = World::found(Default::default());
    world.start(2);
    world.add(GROUP, ReplicaId::new(2, 2));
    let dir = world.dir(1).join("checkpoint").join(GROUP.to_string());
    world.crash(1);
    let (_, loaded, _) = checkpoint::Store::open(&dir).expect("a checkpoint");
    let members = loaded.expect("a checkpoint").membership;
    let voters = [ReplicaId::new(1, 1), ReplicaId::new(2, 2)].map(|id| id.0.to_be_bytes()).concat();
    assert!(members.windows(16).any(|window| window == voters), "the new voter is one of them");
}

#[test]
fn whatever_happens_replicas_that_apply_the_same_entries_are_not_taken_for_different() {
    for seed in 1..=4 {
        let mut producer = Producer::new(5);
        let mut world = World::of_three();
        let mut random = Random(seed);
        for _ in 0..60 {
            let node = random.below(3) + 1;
            match random.below(6) {
                0 => crash_and_start(&mut world, node, random.below(20)),
                1 => drop(world.hub(node).checkpoint(GROUP)),
                2 => cut_off_for_a_while(&mut world, node, random.below(30)),
                _ => {}
            }
            world.wait_for_leader(GROUP);
            let (bytes, rounds) = (random.below(20_000) as usize, random.below(30) as usize);
            world.append(0, producer.batch(1, bytes));
            let leader = world.leader(GROUP).expect("a leader");
            world.hub(leader).checkpoint(GROUP);
            world.rounds(rounds);
        }
        assert!(world.questions > 40, "{} questions", world.questions);
        assert_eq!(given_up(&mut world), []);
        world.wait_for_all(0, 60);
    }
}

fn crash_and_start(world: &mut World, node: u32, rounds: u32) {
    world.crash(node);
    world.rounds(rounds as usize);
    world.start(node);
}

fn cut_off_for_a_while(world: &mut World, node: u32, rounds: u32) {
    for other in (1..=3).filter(|other| *other != node) {
        world.cut.extend([(node, other), (other, node)]);
    }
    world.rounds(rounds as usize);
    world.cut.clear();
    world.rounds(ELECTION_ROUNDS);
}

/// A splitmix: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u32::try_from((mixed >> 32) % u64::from(bound)).expect("below a small bound")
    }
}
