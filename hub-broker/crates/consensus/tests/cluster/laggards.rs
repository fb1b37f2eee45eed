//! Followers that are too far behind for what is in memory, and not too far for the log on the disk.

use std::collections::BTreeSet;

use bytes::Bytes;
use consensus::*;

use crate::snapshots::{index_of, with_one_behind_and};
use crate::world::World;

/// Rounds in which somebody interferes before every message.
fn rounds_but(world: &mut World, mut interfere: impl FnMut(&mut World)) {
    (0..30).for_each(|_| world.round_but(&mut interfere));
}

fn log_wanted_from(world: &World, id: ReplicaId) -> Option<u64> {
    world.replica(id).log_wanted_from()
}

#[test]
fn a_follower_far_behind_is_sent_what_is_read_back() {
    let (mut world, leader, behind) = with_one_behind_and(1, 1_000);
    let (from, last) = (index_of(&world, behind), index_of(&world, leader));
    (0..30).for_each(|_| world.round());
    assert_eq!(world.snapshots_installed, 0);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
    assert!(world.entries_read > 100, "{} of {}", world.entries_read, last - from);
    world.settle();
    world.check_acknowledged();
}

#[test]
fn it_keeps_up_while_more_is_written() {
    let (mut world, leader, behind) = with_one_behind_and(2, 1_000);
    for _ in 0..60 {
        world.propose(leader);
        world.round();
    }
    world.settle();
    assert_eq!(world.snapshots_installed, 0);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn what_was_let_go_in_the_middle_of_it_comes_with_a_snapshot() {
    let (mut world, leader, behind) = with_one_behind_and(3, 1_000);
    rounds_but(&mut world, |world| {
        if world.entries_read > 40 {
            world.hubs.get_mut(&leader).expect("it exists").disk.log.clear();
        }
    });
    assert!(world.entries_read < 100, "{}", world.entries_read);
    assert_eq!(world.snapshots_installed, 1);
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
    world.settle();
    world.check_acknowledged();
}

#[test]
fn what_cannot_be_of_this_log_is_not_sent() {
    let (mut world, leader, behind) = with_one_behind_and(4, 1_000);
    rounds_but(&mut world, |world| {
        let hub = world.hubs.get_mut(&leader).expect("it exists");
        if let Some((from, ..)) = hub.read_wanted.take() {
            let entry = |index| LogEntry { index, term: 1 << 40, kind: 0, payload: Bytes::new() };
            let (before_term, entries) = (1, vec![entry(from), entry(from + 1)]);
            world.step(leader, Event::EntriesRead { from, before_term, entries });
        }
    });
    assert_eq!((world.entries_read, world.snapshots_installed), (0, 1));
    assert_eq!(index_of(&world, behind), index_of(&world, leader));
}

#[test]
fn no_more_is_read_than_two_pieces_before_the_follower_has_answered() {
    let (mut world, leader, behind) = with_one_behind_and(5, 1_000);
    let mut heard_out = None;
    rounds_but(&mut world, |world| {
        if world.entries_read > 40 {
            world.network.block(behind, leader);
            heard_out.get_or_insert(world.entries_read);
        }
    });
    let read = heard_out.expect("entries were read");
    // Five entries are a piece; two are on their way, and one answer may have been.
    assert!(world.entries_read <= read + 15, "{read}, then {}", world.entries_read);
    world.settle();
    assert_eq!(world.snapshots_installed, 0);
}

#[test]
fn the_log_is_wanted_while_a_follower_is_behind_and_no_longer() {
    let (mut world, leader, behind) = with_one_behind_and(6, 1_000);
    world.crash(behind);
    let progress = world.replica(leader).progress().into_iter().find(|it| it.id == behind);
    let matched = progress.expect("it belongs to the group").matched;
    assert_eq!(log_wanted_from(&world, leader), Some(matched), "it is away");
    world.restart(behind);
    world.settle();
    (0..30).for_each(|_| world.round());
    assert_eq!(log_wanted_from(&world, leader), None, "it is there and has everything");
    let others: BTreeSet<_> = world.ids().into_iter().filter(|id| *id != leader).collect();
    assert!(others.iter().all(|id| log_wanted_from(&world, *id).is_none()), "only the leader knows");
    world.crash(behind);
    (0..50).for_each(|_| world.round());
    assert!(log_wanted_from(&world, leader).is_some());
    (0..2_000).for_each(|_| world.round());
    assert_eq!(log_wanted_from(&world, leader), None, "it was away for too long");
}

#[test]
fn the_log_is_wanted_at_once_where_the_connection_broke() {
    let (mut world, leader, behind) = with_one_behind_and(9, 1_000);
    world.settle();
    (0..30).for_each(|_| world.round());
    world.crash(behind);
    world.step(leader, Event::Unreachable { replica: behind });
    assert_eq!(log_wanted_from(&world, leader), None, "it has everything");
    world.propose(leader);
    assert!(log_wanted_from(&world, leader).is_some());
}

#[test]
fn the_log_is_not_wanted_for_a_replica_that_was_removed() {
    let (mut world, leader, behind) = with_one_behind_and(7, 1_000);
    world.crash(behind);
    assert!(log_wanted_from(&world, leader).is_some());
    world.change(leader, MembershipChange { remove: vec![behind], ..MembershipChange::default() });
    (0..50).for_each(|_| world.round());
    assert!(!world.members().contains(behind));
    assert_eq!(log_wanted_from(&world, leader), None);
}

#[test]
fn a_new_leader_wants_everything_for_whom_it_has_not_heard_of() {
    let (mut world, leader, behind) = with_one_behind_and(8, 1_000);
    world.crash(behind);
    let next = world.ids().into_iter().find(|id| ![leader, behind].contains(id)).expect("a third");
    world.step(leader, Event::TransferLeadership { to: next });
    (0..50).for_each(|_| world.round());
    assert_eq!(world.leader(), Some(next));
    assert_eq!(log_wanted_from(&world, next), Some(1));
}
