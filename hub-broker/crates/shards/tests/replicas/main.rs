//! Several replicas of a group, in one thread: what is promised when hubs come, go, stall and lose things.

mod behind;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod comparing;
mod corroded;
mod leaving;
mod letting_go;
mod mending;
mod room;
mod world;

use common::*;
use schemas::{NodeId, Term};
use shards::simulation::*;
use shards::*;
use world::*;

const GROUP: u32 = 1;

#[test]
fn a_hub_alone_becomes_three_and_all_have_what_was_stored_before_and_after() {
    let mut world = World::found(Faults::default());
    let mut producer = Producer::new(5);
    world.open(0);
    for _ in 0..3 {
        world.append(0, producer.batch(2, 100));
    }
    for node in [2, 3] {
        world.start(node);
        world.add(GROUP, ReplicaId::new(node, node));
    }
    for _ in 0..3 {
        world.append(0, producer.batch(2, 100));
    }
    world.wait_for_all(0, 6);
    let status = world.status(2, GROUP);
    assert_eq!(status.membership.voters, [1, 2, 3].map(|node| ReplicaId::new(node, node)));
}

#[test]
fn when_the_leader_is_gone_another_goes_on_and_it_catches_up_by_entries() {
    let mut world = World::of_three();
    let mut producer = Producer::new(5);
    world.append(0, producer.batch(1, 50));
    let first = world.leader(GROUP).expect("a leader");
    let term = world.hubs[&first].serving(GROUP);
    world.crash(first);
    for hub in world.hubs.values_mut() {
        hub.hub_gone(NodeId(first));
    }
    let second = world.wait_for_leader(GROUP);
    assert_ne!(second, first);
    assert!(world.hubs[&second].serving(GROUP) > term);
    let appended = world.append(0, producer.batch(1, 50));
    assert_eq!(appended.base_offset.0, 1);
    let copies = world.copies;
    world.start(first);
    world.wait_for_all(0, 2);
    assert_eq!(world.copies, copies);
    assert!(world.hub(first).given_up().is_empty());
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_whoever_waits_is_told() {
    let mut world = World::of_three();
    let mut producer = Producer::new(5);
    let leader = world.leader(GROUP).expect("a leader");
    for node in (1..=3).filter(|node| *node != leader) {
        world.cut.extend([(leader, node), (node, leader)]);
    }
    let asked = world.ask(leader, append(0, producer.batch(1, 50)), 0);
    world.settle();
    assert_eq!(asked.answer(), None);
    world.rounds(ELECTION_ROUNDS);
    let refused = asked.answer().expect("answered");
    assert!(matches!(refused, Err(AppendError::NotLeader { .. })), "{refused:?}");
    let other = world.leader(GROUP).expect("the others have a leader");
    assert_ne!(other, leader);
    world.cut.clear();
    // The batch that was in doubt is not there: the next has its place, and is not taken for its double.
    world.append(0, batch(Some((6, 0)), 1, 70));
    world.wait_for_all(0, 1);
}

#[test]
fn a_replica_that_is_damaged_never_comes_back_but_its_successor_does() {
    let mut world = World::of_three();
    let mut producer = Producer::new(5);
    world.append(0, producer.batch(1, 50));
    let leader = world.leader(GROUP).expect("a leader");
    let damaged = (2..=3).find(|node| *node != leader).expect("a follower that is not the founder");
    let lost = ReplicaId::new(damaged, damaged);
    world.hub(damaged).damage(GROUP, damaged);
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(
        world.status(damaged, GROUP).own,
        None,
        "the leader's messages to the dead number are dropped"
    );
    assert_eq!(world.hub(damaged).given_up(), [(GROUP, lost)]);
    world.crash(damaged);
    world.start(damaged);
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(world.status(damaged, GROUP).own, None);
    world.change(GROUP, MembershipChange { remove: vec![lost], ..Default::default() });
    world.add(GROUP, ReplicaId::new(damaged, 9));
    world.append(0, producer.batch(1, 50));
    world.wait_for_all(0, 2);
    assert_eq!(world.status(damaged, GROUP).own, Some(ReplicaId::new(damaged, 9)));
    assert!(world.hub(damaged).given_up().is_empty());
    // What is still found of the former one is none of its business.
    world.hub(damaged).damage(GROUP, lost.number());
    world.rounds(2 * ELECTION_ROUNDS);
    assert!(world.hub(damaged).given_up().is_empty());
}

#[test]
fn a_replica_found_damaged_keeps_its_promises_until_its_end_is_written_down() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    let node = (1..=3).find(|node| *node != leader).expect("a follower");
    world.append(0, batch(None, 1, 50));
    world.wait_for_all(0, 1);
    assert!(world.hub(node).checkpoint(GROUP));
    let (own, term) = (world.status(node, GROUP).own, world.status(node, GROUP).term);
    let checkpoints = world.dir(node).join("checkpoint").join(GROUP.to_string());
    world.crash(node);
    flip_states(&checkpoints);
    world.start(node);
    assert_eq!(world.status(node, GROUP).own, None, "it is found damaged");
    // Only its barrier comes to the disk.
    let frames = world.hub(node).unsynced_frames();
    world.crash_after(node, frames);
    flip_states(&checkpoints);
    world.start(node);
    let status = world.status(node, GROUP);
    assert_eq!((status.own, status.term), (own, term));
}

/// Damages the states of all checkpoints there, or mends them.
fn flip_states(checkpoints: &std::path::Path) {
    for entry in std::fs::read_dir(checkpoints).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("states-") {
            let mut bytes = std::fs::read(&path).expect("readable");
            *bytes.last_mut().expect("states") ^= 1;
            std::fs::write(&path, bytes).expect("written");
        }
    }
}

#[test]
fn a_replica_that_ends_while_its_snapshot_is_switched_in_takes_all_that_it_wrote_with_it() {
    let mut world = World::found(Faults::default());
    world.start(2);
    world.stalled.insert(2);
    let learner = ReplicaId::new(2, 2);
    world.change(GROUP, MembershipChange { add_learners: vec![learner], ..Default::default() });
    // It knows the term; that it does, the leader does not know.
    world.cut.insert((2, 1));
    world.stalled.clear();
    world.settle();
    world.stalled.insert(2);
    world.cut.clear();
    world.until("its snapshot is here", ELECTION_ROUNDS, |world| world.copies > 0);
    let before = world.hub(2).unsynced_frames();
    assert!(before > 0, "its barrier is on its way");
    drop(world.hub(2).destroy_replica(GROUP, 2));
    world.settle();
    let last = world.hub(2).unsynced_frames();
    assert!(last > before, "and so is the last one");
    world.stalled.clear();
    world.settle();
    // Behind its frames is the one that says that they are durable.
    let all = world.hub(2).durable_through() - 1;
    let replicas = std::fs::read_to_string(world.dir(2).join("replicas")).expect("readable");
    assert!(replicas.contains(&format!("group {GROUP} current none floor 2 void {all}\n")), "{replicas}");
}

#[test]
fn a_later_replica_for_the_same_hub_takes_the_place_of_the_one_before() {
    let mut world = World::of_three();
    world.append(0, batch(None, 1, 50));
    let leader = world.leader(GROUP).expect("a leader");
    let node = (2..=3).find(|node| *node != leader).expect("a follower that is not the founder");
    let old = ReplicaId::new(node, node);
    world.cut.insert((leader, node));
    world.change(GROUP, MembershipChange { remove: vec![old], ..Default::default() });
    world.cut.clear();
    assert_eq!(world.status(node, GROUP).own, Some(old), "nobody has told it");
    world.add(GROUP, ReplicaId::new(node, 7));
    assert_eq!(world.status(node, GROUP).own, Some(ReplicaId::new(node, 7)));
    world.wait_for_all(0, 1);
}

#[test]
fn a_number_at_or_below_the_hubs_floor_begins_no_replica() {
    let mut world = World::found(Faults::default());
    world.start(2);
    let change = MembershipChange { add_learners: vec![ReplicaId::new(2, 1)], ..Default::default() };
    world.change(GROUP, change);
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(world.status(2, GROUP).own, None);
}

#[test]
fn a_hub_whose_disk_stalls_leads_nothing_until_it_answers() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    world.stalled.insert(leader);
    let asked = world.ask(leader, append(0, batch(None, 1, 50)), 0);
    world.rounds(15);
    assert_eq!(world.hubs[&leader].serving(GROUP), None);
    world.until("another leads", ELECTION_ROUNDS, |world| world.leader(GROUP).is_some_and(|it| it != leader));
    assert!(matches!(asked.answer(), Some(Err(AppendError::NotLeader { .. }))));
    world.append(0, batch(Some((6, 0)), 1, 70));
    world.stalled.clear();
    world.rounds(ELECTION_ROUNDS);
    let batches = world.contents(world.leader(GROUP).expect("a leader"), 0).len();
    world.wait_for_all(0, batches);
}

#[test]
fn an_append_for_another_term_is_refused() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    let term = world.hubs[&leader].serving(GROUP).expect("it serves");
    let other = Append { expected_term: Some(Term(term.0 - 1)), ..append(0, batch(None, 1, 50)) };
    let asked = world.ask(leader, other, 0);
    world.settle();
    assert!(matches!(asked.answer(), Some(Err(AppendError::NotLeader { .. }))));
    let own = Append { expected_term: Some(term), ..append(0, batch(None, 1, 50)) };
    let asked = world.ask(leader, own, 0);
    world.settle();
    assert!(asked.answer().expect("answered").is_ok());
}

#[test]
fn the_lead_is_handed_over_on_request_and_appends_go_on_at_once() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    let to = (1..=3).find(|node| *node != leader).expect("a follower");
    let mut told = world.hub(leader).transfer(GROUP, ReplicaId::new(to, to));
    world.settle();
    assert_eq!(told.try_recv().expect("answered"), Ok(()));
    assert_eq!(world.leader(GROUP), Some(to), "without a tick of time");
    world.append(0, batch(None, 1, 50));
    world.wait_for_all(0, 1);
    let mut told = world.hub(leader).transfer(GROUP, ReplicaId::new(leader, leader));
    assert_eq!(told.try_recv().expect("answered"), Err(ChangeError::NotLeader { leader: Some(NodeId(to)) }));
}

#[test]
fn a_read_index_is_the_leaders_alone_and_needs_a_majority() {
    let mut world = World::of_three();
    let leader = world.leader(GROUP).expect("a leader");
    let term = world.hubs[&leader].serving(GROUP).expect("it serves");
    let mut read = world.hub(leader).read_index(GROUP);
    world.settle();
    assert_eq!(read.try_recv().expect("answered"), Ok(term));
    let follower = (1..=3).find(|node| *node != leader).expect("a follower");
    let mut read = world.hub(follower).read_index(GROUP);
    world.settle();
    let leader_node = Some(NodeId(leader));
    assert_eq!(read.try_recv().expect("answered"), Err(ReadIndexError::NotLeader { leader: leader_node }));
    for node in (1..=3).filter(|node| *node != leader) {
        world.cut.extend([(leader, node), (node, leader)]);
    }
    let mut read = world.hub(leader).read_index(GROUP);
    world.settle();
    assert!(read.try_recv().is_err(), "no answer without a majority");
    world.rounds(ELECTION_ROUNDS);
    assert!(matches!(read.try_recv().expect("answered"), Err(ReadIndexError::NotLeader { .. })));
}

#[test]
fn the_same_calls_give_the_same_history() {
    let history = || {
        let mut world = World::of_three();
        let mut producer = Producer::new(5);
        world.append(0, producer.batch(1, 50));
        let first = world.leader(GROUP).expect("a leader");
        world.crash(first);
        world.wait_for_leader(GROUP);
        world.append(0, producer.batch(1, 50));
        world.start(first);
        world.wait_for_all(0, 2);
        let nodes: Vec<u32> = world.hubs.keys().copied().collect();
        nodes.iter().map(|node| world.hub(*node).status()).collect::<Vec<_>>()
    };
    assert_eq!(history(), history());
}

#[test]
fn acknowledging_before_the_sync_loses_what_was_acknowledged() {
    let lost = |faults: Faults| {
        let mut world = World::found(faults);
        world.open(0);
        world.stalled.insert(1);
        let asked = world.ask(1, append(0, batch(None, 1, 50)), 0);
        world.settle();
        let acknowledged = asked.answer().is_some();
        world.crash(1);
        world.stalled.clear();
        world.start(1);
        world.wait_for_leader(GROUP);
        acknowledged && world.contents(1, 0).is_empty()
    };
    assert!(!lost(Faults::default()));
    assert!(lost(Faults { ack_before_fsync: true, ..Faults::default() }));
}
