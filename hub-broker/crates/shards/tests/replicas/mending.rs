//! Closed segments that are damaged are made again from other replicas' batches.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::common::*;
use crate::world::*;
use crate::{GROUP, ReplicaId};
use schemas::Offset;
use shards::PartitionCommand;
use shards::simulation::MembershipChange;

/// Rounds in which every attempt is made that a replica has before it is given up, and then some.
const TRIES_ROUNDS: usize = 800;
const BATCHES: usize = 20;

/// Hubs with some closed segments of 64 KiB, all alike, in their checkpoints; the group's leader and the others.
fn with_segments(mut world: World) -> (World, u32, Vec<u32>) {
    let mut producer = Producer::new(5);
    for _ in 0..BATCHES {
        world.append(0, producer.batch(1, 10_000));
    }
    world.wait_for_all(0, BATCHES);
    let nodes: Vec<u32> = world.hubs.keys().copied().collect();
    for node in &nodes {
        world.hub(*node).checkpoint(GROUP);
    }
    world.settle();
    let leader = world.leader(GROUP).expect("a leader");
    (world, leader, nodes.into_iter().filter(|node| *node != leader).collect())
}

fn of_two() -> World {
    let mut world = World::found(Default::default());
    world.open(0);
    world.start(2);
    world.add(GROUP, ReplicaId::new(2, 2));
    world
}

/// A byte changes in the segment of this number.
fn rot(world: &mut World, node: u32, segment: u64) {
    let mut picks = [segment, 12_345].into_iter();
    let changed = world
        .hub(node)
        .rot((shard(0), partition(0)), &mut |below| picks.next().expect("two are picked").min(below - 1));
    assert!(changed);
    assert!(!world.hub(node).is_sound(partition(0)));
}

fn given_up(world: &mut World) -> Vec<(u32, ReplicaId)> {
    let nodes: Vec<u32> = world.hubs.keys().copied().collect();
    nodes.into_iter().flat_map(|node| world.hub(node).given_up()).collect()
}

#[test]
fn a_segment_that_rots_is_made_again_and_costs_no_replica() {
    let (mut world, leader, others) = with_segments(World::of_three());
    for node in [leader, others[0]] {
        rot(&mut world, node, 1);
        world.hub(node).scrub(partition(0));
        world.settle();
        assert!(world.hub(node).is_sound(partition(0)));
    }
    assert_eq!(given_up(&mut world), []);
    world.append(0, batch(Some((6, 0)), 1, 50));
    world.wait_for_all(0, BATCHES + 1);
    for node in [leader, others[0]] {
        world.crash(node);
        world.start(node);
    }
    world.wait_for_all(0, BATCHES + 1);
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn what_is_damaged_leads_only_until_somebody_else_can() {
    let (mut world, leader, others) = with_segments(World::of_three());
    world.withholds = true;
    rot(&mut world, leader, 0);
    world.hub(leader).scrub(partition(0));
    world.rounds(3);
    let next = world.leader(GROUP).expect("a leader");
    assert!(others.contains(&next), "{next}");
    let own = world.status(leader, GROUP).own.expect("a replica");
    drop(world.hub(next).transfer(GROUP, own));
    world.rounds(ELECTION_ROUNDS);
    assert_ne!(world.leader(GROUP), Some(leader), "nobody hands it back the lead");
    world.withholds = false;
    world.until("it is whole again", TRIES_ROUNDS, |world| world.hub(leader).is_sound(partition(0)));
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn an_active_segment_that_rots_costs_the_replica() {
    let (mut world, _, others) = with_segments(World::of_three());
    let own = world.status(others[0], GROUP).own.expect("a replica");
    rot(&mut world, others[0], u64::MAX);
    world.hub(others[0]).scrub(partition(0));
    world.until("it goes", ELECTION_ROUNDS, |world| given_up(world) == [(GROUP, own)]);
}

#[test]
fn a_replica_that_nobody_helps_is_given_up_where_the_others_are_a_majority() {
    let (mut world, _, others) = with_segments(World::of_three());
    let own = world.status(others[0], GROUP).own.expect("a replica");
    world.withholds = true;
    rot(&mut world, others[0], 1);
    world.hub(others[0]).scrub(partition(0));
    world.rounds(100);
    assert_eq!(given_up(&mut world), [], "it is asked for again first");
    world.rounds(TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), [(GROUP, own)]);
    world.change(GROUP, MembershipChange { remove: vec![own], ..Default::default() });
    world.add(GROUP, ReplicaId::new(others[0], 9));
    world.wait_for_all(0, BATCHES);
}

#[test]
fn what_others_may_have_by_the_time_leave_is_given_is_asked_for_once_more_before_the_replica_goes() {
    let (mut world, _, others) = with_segments(World::of_three());
    let [damaged, away] = others[..] else { panic!("two others") };
    world.crash(away);
    world.withholds = true;
    rot(&mut world, damaged, 1);
    world.hub(damaged).scrub(partition(0));
    // Its next try is a minute away.
    world.rounds(2 * TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), []);
    world.withholds = false;
    world.start(away);
    world.until("it is whole again", 4 * ELECTION_ROUNDS, |world| world.hub(damaged).is_sound(partition(0)));
    world.rounds(TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn one_of_two_voters_asks_until_the_other_gives() {
    let (mut world, leader, others) = with_segments(of_two());
    world.withholds = true;
    rot(&mut world, leader, 1);
    world.hub(leader).scrub(partition(0));
    world.rounds(2 * TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), []);
    assert_eq!(world.leader(GROUP), Some(others[0]), "the one that has everything leads");
    world.withholds = false;
    world.until("it is whole again", 2 * TRIES_ROUNDS, |world| world.hub(leader).is_sound(partition(0)));
    world.append(0, batch(Some((6, 0)), 1, 50));
    world.wait_for_all(0, BATCHES + 1);
}

/// The hub's segments of partition 0, in order.
fn segments(world: &World, node: u32) -> Vec<PathBuf> {
    let log = world.dir(node).join("log");
    let directories = fs::read_dir(log).expect("a directory").map(|entry| entry.expect("an entry").path());
    let files = directories.flat_map(|directory| fs::read_dir(directory).expect("a partition's directory"));
    let mut logs: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs
}

#[test]
fn a_segment_found_cut_short_at_the_start_is_not_served_and_the_other_voter_leads() {
    let (mut world, damaged, others) = with_segments(of_two());
    let other = others[0];
    world.withholds = true;
    world.crash(damaged);
    let whole = segments(&world, other);
    let cut = segments(&world, damaged).remove(1);
    let kept_bytes = 10_500;
    fs::File::options().write(true).open(&cut).expect("opened").set_len(kept_bytes).expect("cut");
    world.start(damaged);
    // Whoever is elected first.
    world.rounds(ELECTION_ROUNDS);
    let leads = |world: &mut World| world.leader(GROUP) == Some(other);
    world.until("the other leads", ELECTION_ROUNDS, leads);
    world.append(0, batch(Some((6, 0)), 1, 50));
    world.until("both have it", ELECTION_ROUNDS, |world| {
        let ends = |node: u32| world.hubs[&node].partition(partition(0)).map(|it| it.high_watermark());
        ends(damaged) == ends(other)
    });
    assert_eq!(given_up(&mut world), []);
    // Exactly the batches that the cut has taken cannot be read.
    let batch_bytes = fs::metadata(&whole[0]).expect("a segment").len() / 6;
    assert!((10_000..10_500).contains(&batch_bytes), "{batch_bytes}: six batches in each segment");
    let reader = world.hubs[&damaged].partition(partition(0)).expect("an open partition");
    let unread: Vec<i64> = (0..=20).filter(|at| reader.read(Offset(*at), 1).is_err()).collect();
    assert_eq!(unread, [7, 8, 9, 10, 11]);
    world.withholds = false;
    world.until("it is whole again", 2 * TRIES_ROUNDS, |world| world.hub(damaged).is_sound(partition(0)));
    world.wait_for_all(0, BATCHES + 1);
}

/// A follower that is offered a snapshot in place of its segments, and its copy does not come to an end.
fn copying() -> (World, u32) {
    let (mut world, _, others) = with_segments(World::of_three_that_keep_little());
    let away = others[0];
    world.crash(away);
    world.rounds(ELECTION_ROUNDS);
    let mut producer = Producer::new(6);
    for _ in 0..60 {
        world.append(0, producer.batch(1, 6_000));
        for hub in world.hubs.values_mut() {
            hub.checkpoint(GROUP);
            hub.turn();
        }
    }
    world.copies_wait = true;
    world.start(away);
    let is_offered = |world: &mut World| !world.hub(away).snapshots_wanted().is_empty();
    world.until("a snapshot is offered", ELECTION_ROUNDS, is_offered);
    (world, away)
}

#[test]
fn damage_found_while_a_snapshot_is_copied_does_not_begin_the_copy_anew_and_is_not_copied() {
    let (mut world, away) = copying();
    let wanted = world.hub(away).snapshots_wanted().to_vec();
    world.withholds = true;
    rot(&mut world, away, 1);
    world.hub(away).scrub(partition(0));
    // The offer is repeated meanwhile.
    world.rounds(250);
    assert_eq!(world.hub(away).snapshots_wanted(), wanted);
    world.copies_wait = false;
    world.wait_for_all(0, BATCHES + 60);
    assert!(world.hub(away).is_sound(partition(0)));
    world.rounds(TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn damage_found_after_its_file_was_taken_into_a_snapshot_is_mended_there() {
    let (mut world, away) = copying();
    // What has come is not in its place yet.
    let file = segments(&world, away).remove(1);
    world.stalled.insert(away);
    world.copies_wait = false;
    world.settle();
    let mut bytes = fs::read(&file).expect("readable");
    bytes[12_345] ^= 1;
    fs::File::options().write(true).open(&file).expect("opened").write_all(&bytes).expect("written");
    world.hub(away).scrub(partition(0));
    world.settle();
    world.stalled.remove(&away);
    world.wait_for_all(0, BATCHES + 60);
    world.settle();
    assert!(world.hub(away).is_sound(partition(0)));
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn a_hub_alone_keeps_what_is_damaged_and_serves_the_rest() {
    let mut world = World::found(Default::default());
    world.open(0);
    let (mut world, alone, _) = with_segments(world);
    rot(&mut world, alone, 1);
    world.hub(alone).scrub(partition(0));
    world.rounds(TRIES_ROUNDS);
    assert_eq!(world.leader(GROUP), Some(alone));
    assert_eq!(given_up(&mut world), []);
    assert_eq!(unread(&world, alone).len(), 1);
    world.append(0, batch(Some((6, 0)), 1, 50));
}

/// The byte that `rot` has changed is as it was.
fn heal(world: &mut World, node: u32, segment: u64) {
    let mut picks = [segment, 12_345].into_iter();
    let mut pick = |below| picks.next().expect("two are picked").min(below - 1);
    assert!(world.hub(node).rot((shard(0), partition(0)), &mut pick));
    assert!(world.hub(node).is_sound(partition(0)));
}

/// A hub alone that knows of a damaged segment.
fn alone_and_damaged(segment: u64) -> World {
    let mut world = World::found(Default::default());
    world.open(0);
    let (mut world, alone, _) = with_segments(world);
    rot(&mut world, alone, segment);
    world.hub(alone).scrub(partition(0));
    world.rounds(TRIES_ROUNDS);
    assert!(world.status(alone, GROUP).is_damaged);
    world
}

#[test]
fn what_reads_whole_after_a_start_is_damaged_no_more() {
    for segment in [1, u64::MAX] {
        let mut world = alone_and_damaged(segment);
        world.crash(1);
        world.start(1);
        world.settle();
        assert!(world.status(1, GROUP).is_damaged, "it was read once more, and is as it was");
        heal(&mut world, 1, segment);
        world.crash(1);
        assert!(world.dir(1).join(format!("checkpoint/{GROUP}.damaged")).exists());
        world.start(1);
        world.settle();
        assert!(!world.status(1, GROUP).is_damaged);
        world.crash(1);
        assert!(!world.dir(1).join(format!("checkpoint/{GROUP}.damaged")).exists());
    }
}

#[test]
fn what_reads_whole_again_while_the_hub_runs_is_damaged_no_more() {
    let mut world = alone_and_damaged(1);
    heal(&mut world, 1, 1);
    world.until("it is read once more", 4 * TRIES_ROUNDS, |world| !world.status(1, GROUP).is_damaged);
    assert_eq!(given_up(&mut world), []);
}

#[test]
fn damage_that_is_over_by_the_time_it_is_told_costs_no_replica_whatever_the_segment() {
    let (mut world, leader, others) = with_segments(World::of_three());
    assert!(world.hub(others[0]).compact(shard(0), partition(0), 0));
    world.withholds = true;
    for node in [others[0], leader] {
        for segment in [0, u64::MAX] {
            rot(&mut world, node, segment);
            world.hub(node).scrub(partition(0));
            heal(&mut world, node, segment);
            world.rounds(TRIES_ROUNDS);
            assert!(!world.status(node, GROUP).is_damaged);
        }
    }
    assert_eq!(given_up(&mut world), []);
}

/// Offsets that the hub cannot read.
fn unread(world: &World, node: u32) -> Vec<i64> {
    let reader = world.hubs[&node].partition(partition(0)).expect("an open partition");
    (0..reader.high_watermark().0).filter(|at| reader.read(Offset(*at), 1).is_err()).collect()
}

fn are_damaged(world: &mut World) -> Vec<bool> {
    let nodes: Vec<u32> = world.hubs.keys().copied().collect();
    nodes.into_iter().map(|node| world.status(node, GROUP).is_damaged).collect()
}

/// A hub alone with a damaged batch, and two that join it then.
fn joined_by_two(is_known: bool) -> World {
    let mut world = World::found(Default::default());
    world.open(0);
    let (mut world, alone, _) = with_segments(world);
    rot(&mut world, alone, 1);
    if is_known {
        world.hub(alone).scrub(partition(0));
        world.rounds(TRIES_ROUNDS);
    }
    for node in [2, 3] {
        world.start(node);
        world.add(GROUP, ReplicaId::new(node, node));
        // Where voters might have had it, that takes a while.
        world.rounds(if is_known { 0 } else { TRIES_ROUNDS });
    }
    world
}

#[test]
fn what_only_a_damaged_replica_has_is_on_all_hubs_that_join_it_but_for_the_damage() {
    for is_known in [true, false] {
        let mut world = joined_by_two(is_known);
        assert_eq!(are_damaged(&mut world), [true; 3]);
        let damaged = unread(&world, 1);
        assert_eq!(damaged.len(), 1);
        assert_eq!([unread(&world, 2), unread(&world, 3)], [damaged.clone(), damaged.clone()]);
        let leader = world.leader(GROUP).expect("a leader");
        world.rounds(TRIES_ROUNDS);
        assert_eq!(world.leader(GROUP), Some(leader), "nobody is better");
        assert_eq!(given_up(&mut world), []);
        world.crash(1);
        world.wait_for_leader(GROUP);
        world.append(0, batch(Some((6, 0)), 1, 50));
        assert_eq!([unread(&world, 2), unread(&world, 3)], [damaged.clone(), damaged]);
    }
}

#[test]
fn a_damaged_replica_takes_the_lead_from_one_that_is_damaged_as_well() {
    let mut world = joined_by_two(true);
    // What has come damaged is asked for first.
    world.rounds(TRIES_ROUNDS);
    for to in [2, 3, 1, 2] {
        world.rounds(ELECTION_ROUNDS);
        let leader = world.leader(GROUP).expect("a leader");
        drop(world.hub(leader).transfer(GROUP, ReplicaId::new(to, to)));
        world.settle();
        assert_eq!(world.wait_for_leader(GROUP), to);
    }
}

#[test]
fn what_came_damaged_is_made_again_once_somebody_has_it_whole() {
    let mut world = joined_by_two(true);
    assert_eq!(are_damaged(&mut world), [true; 3]);
    let mut picks = [1, 12_345].into_iter();
    let undone = world.hub(1).rot((shard(0), partition(0)), &mut |_| picks.next().expect("two are picked"));
    assert!(undone && world.hub(1).is_sound(partition(0)), "the bit is as it was");
    // Nobody reads it meanwhile, which would have it asked for too.
    world.until("the others have it from there", TRIES_ROUNDS, |world| are_damaged(world)[1..] == [false; 2]);
    assert!([2, 3].iter().all(|node| world.hub(*node).is_sound(partition(0))));
    let others = given_up(&mut world);
    assert!(others.iter().all(|(_, replica)| replica.node() == 1), "{others:?}");
}

#[test]
fn where_one_of_damaged_replicas_reads_whole_again_none_goes() {
    let mut world = joined_by_two(true);
    // Their next tries are minutes away.
    world.rounds(4 * TRIES_ROUNDS);
    heal(&mut world, 1, 1);
    world.until("all are whole", 40 * TRIES_ROUNDS, |world| are_damaged(world) == [false; 3]);
    assert_eq!(given_up(&mut world), []);
}

fn start_again(world: &mut World) {
    for node in [1, 2, 3] {
        world.crash(node);
        world.start(node);
    }
    world.wait_for_leader(GROUP);
}

#[test]
fn what_is_damaged_is_known_after_a_start() {
    let mut world = joined_by_two(true);
    start_again(&mut world);
    assert_eq!(are_damaged(&mut world), [true; 3], "and nobody has read it");
    world.rounds(2 * TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), []);
    let leader = world.leader(GROUP).expect("a leader");
    let start = PartitionCommand::AdvanceStart { partition: partition(0), to: Offset(BATCHES as i64 - 1) };
    world.hub(leader).command(shard(0), start, Box::new(|done| done.expect("carried out")));
    world.until("all are whole", ELECTION_ROUNDS, |world| are_damaged(world) == [false; 3]);
    start_again(&mut world);
    assert_eq!(are_damaged(&mut world), [false; 3]);
}

#[test]
fn that_a_replica_may_not_be_what_its_group_has_is_known_after_a_start() {
    let (mut world, _, others) = with_segments(of_two());
    let own = world.status(others[0], GROUP).own.expect("a replica");
    world.hub(others[0]).damage(GROUP, own.number());
    world.settle();
    world.crash(others[0]);
    world.start(others[0]);
    assert!(world.status(others[0], GROUP).is_damaged);
}

#[test]
fn only_what_was_asked_for_in_vain_is_told_to_be_lost() {
    let mut world = joined_by_two(true);
    world.rounds(2 * TRIES_ROUNDS);
    let files = segments(&world, 2);
    let lost = |world: &mut World| [0, 1].map(|at: usize| world.hub(2).is_lost(GROUP, &files[at]));
    assert_eq!(lost(&mut world), [false, true]);
    world.withholds = true;
    rot(&mut world, 2, 0);
    world.hub(2).scrub(partition(0));
    world.settle();
    assert_eq!(lost(&mut world), [false, true]);
    world.rounds(TRIES_ROUNDS);
    assert_eq!(lost(&mut world), [false, true], "who may have it is only not there");
    [1, 3].into_iter().for_each(|node| rot(&mut world, node, 0));
    world.withholds = false;
    world.until("they have not got it either", 2 * TRIES_ROUNDS, |world| lost(world) == [true; 2]);
}

#[test]
fn nothing_is_told_to_be_lost_while_nobody_leads() {
    let (mut world, leader, others) = with_segments(World::of_three());
    let own = world.status(others[0], GROUP).own.expect("a replica");
    let active = segments(&world, others[0]).pop().expect("a segment");
    [leader, others[1]].into_iter().for_each(|node| world.crash(node));
    rot(&mut world, others[0], u64::MAX);
    world.hub(others[0]).scrub(partition(0));
    world.rounds(TRIES_ROUNDS);
    assert!(world.status(others[0], GROUP).is_damaged);
    assert!(!world.hub(others[0]).is_lost(GROUP, &active));
    [leader, others[1]].into_iter().for_each(|node| world.start(node));
    world.until("it is fetched again", 4 * ELECTION_ROUNDS, |world| given_up(world) == [(GROUP, own)]);
}

#[test]
fn what_is_let_go_with_its_segment_is_no_damage_any_more() {
    let mut world = joined_by_two(true);
    let leader = world.leader(GROUP).expect("a leader");
    let start = PartitionCommand::AdvanceStart { partition: partition(0), to: Offset(BATCHES as i64 - 1) };
    world.hub(leader).command(shard(0), start, Box::new(|done| done.expect("carried out")));
    world.until("all are whole", ELECTION_ROUNDS, |world| are_damaged(world) == [false; 3]);
    world.start(4);
    world.add(GROUP, ReplicaId::new(4, 9));
    assert!(!world.status(4, GROUP).is_damaged);
}

#[test]
fn where_another_voter_has_it_whole_nothing_damaged_is_copied() {
    let (mut world, leader, others) = with_segments(of_two());
    world.withholds = true;
    rot(&mut world, leader, 1);
    world.hub(leader).scrub(partition(0));
    world.until("the other leads", ELECTION_ROUNDS, |world| world.leader(GROUP) == Some(others[0]));
    world.start(3);
    world.add(GROUP, ReplicaId::new(3, 9));
    assert!(world.hub(3).is_sound(partition(0)));
    world.rounds(TRIES_ROUNDS);
    assert_eq!(given_up(&mut world), [(GROUP, ReplicaId::new(leader, leader))], "it is fetched again");
}
