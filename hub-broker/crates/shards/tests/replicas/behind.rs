//! Replicas that were away for longer than what is in memory: they are sent what the log still has, or a snapshot.

use super::*;

/// Three hubs of which a follower was away while the others wrote `batches` of so many bytes, each followed by a
/// checkpoint of every replica where `released`.
fn with_one_away(batches: usize, bytes: usize, released: bool) -> (World, Producer, u32, u32) {
    let mut world = World::of_three_that_keep_little();
    let leader = world.leader(GROUP).expect("a leader");
    let away = (1..=3).find(|node| *node != leader).expect("a follower");
    let mut producer = Producer::new(5);
    world.append(0, producer.batch(1, 1_000));
    world.wait_for_all(0, 1);
    world.crash(away);
    world.rounds(ELECTION_ROUNDS);
    for _ in 0..batches {
        world.append(0, producer.batch(1, bytes));
        if released {
            checkpoint_all(&mut world);
        }
    }
    (world, producer, leader, away)
}

/// Of two checkpoints, the first lets the log go.
fn checkpoint_all(world: &mut World) {
    for hub in world.hubs.values_mut() {
        hub.checkpoint(GROUP);
        hub.turn();
    }
}

#[test]
fn a_follower_that_was_away_for_long_is_sent_what_the_log_has() {
    let (mut world, mut producer, leader, away) = with_one_away(60, 1_000, true);
    let copies = world.copies;
    world.start(away);
    world.wait_for_all(0, 61);
    assert_eq!(world.copies, copies, "no snapshot");
    assert!(world.hub(leader).entries_read_back() > 30, "{}", world.hub(leader).entries_read_back());
    world.append(0, producer.batch(1, 100));
    world.wait_for_all(0, 62);
    // And it goes on from there after another crash.
    world.crash(away);
    world.start(away);
    world.wait_for_all(0, 62);
    assert!(world.hub(away).given_up().is_empty());
    assert!(world.append(0, batch(Some((5, 61)), 1, 100)).duplicate);
}

#[test]
fn a_follower_that_was_away_for_longer_than_the_log_is_kept_copies_a_snapshot() {
    let (mut world, mut producer, leader, away) = with_one_away(60, 6_000, true);
    let copies = world.copies;
    world.start(away);
    world.wait_for_all(0, 61);
    assert!(world.copies > copies);
    assert_eq!(world.hub(leader).entries_read_back(), 0);
    world.append(0, producer.batch(1, 100));
    world.wait_for_all(0, 62);
    world.crash(away);
    world.start(away);
    world.wait_for_all(0, 62);
}

#[test]
fn a_replica_that_is_doubted_is_so_no_more_once_a_snapshot_has_taken_its_place() {
    let (mut world, _, _, away) = with_one_away(60, 6_000, true);
    let copies = world.copies;
    world.start(away);
    world.hub(away).damage(GROUP, away);
    world.wait_for_all(0, 61);
    assert!(world.copies > copies);
    world.rounds(2 * ELECTION_ROUNDS);
    assert!(world.hub(away).given_up().is_empty());
    let leader = world.wait_for_leader(GROUP);
    drop(world.hub(leader).transfer(GROUP, ReplicaId::new(away, away)));
    world.until("it takes the lead", ELECTION_ROUNDS, |world| world.leader(GROUP) == Some(away));
}

#[test]
fn what_no_checkpoint_has_let_go_yet_is_sent_too() {
    let (mut world, _, leader, away) = with_one_away(90, 6_000, false);
    let copies = world.copies;
    world.start(away);
    world.wait_for_all(0, 91);
    assert_eq!(world.copies, copies, "no snapshot");
    assert!(world.hub(leader).entries_read_back() > 30);
}

#[test]
fn the_log_is_let_go_once_the_follower_has_caught_up() {
    let (mut world, mut producer, leader, away) = with_one_away(60, 1_000, true);
    world.start(away);
    world.wait_for_all(0, 61);
    world.rounds(ELECTION_ROUNDS);
    let kept = |world: &mut World| world.hub(leader).kept_bytes();
    assert_eq!(kept(&mut world), 0);
    world.crash(away);
    world.rounds(ELECTION_ROUNDS);
    for _ in 0..40 {
        world.append(0, producer.batch(1, 6_000));
        checkpoint_all(&mut world);
    }
    assert!(kept(&mut world) > 0, "it is away again");
    let gone = ReplicaId::new(away, away);
    for group in 0..=4 {
        world.change(group, MembershipChange { remove: vec![gone], ..Default::default() });
    }
    world.rounds(ELECTION_ROUNDS);
    assert_eq!(kept(&mut world), 0, "it belongs to no group any more");
}

#[test]
fn whoever_leads_next_goes_on_where_the_last_leader_was_killed() {
    let (mut world, mut producer, leader, away) = with_one_away(60, 1_000, true);
    world.start(away);
    // Until it has begun: some of the entries have come, and not all.
    world.until("entries are read back", ELECTION_ROUNDS, |world| world.hub(leader).entries_read_back() > 0);
    world.crash(leader);
    let next = world.wait_for_leader(GROUP);
    assert_ne!(next, leader);
    world.append(0, producer.batch(1, 1_000));
    world.start(leader);
    world.wait_for_all(0, 62);
    assert!((1..=3).all(|node| world.hub(node).given_up().is_empty()));
}

#[test]
fn a_leader_that_was_restarted_has_what_it_kept() {
    let (mut world, _, leader, away) = with_one_away(60, 1_000, true);
    world.crash(leader);
    world.start(leader);
    world.wait_for_leader(GROUP);
    let copies = world.copies;
    let third = (1..=3).find(|node| ![leader, away].contains(node)).expect("a third");
    let mut told = world.hub(third).transfer(GROUP, ReplicaId::new(leader, leader));
    world.settle();
    let led = told.try_recv().is_ok() || world.leader(GROUP) == Some(leader);
    assert!(led && world.leader(GROUP) == Some(leader), "it leads again");
    world.start(away);
    world.wait_for_all(0, 61);
    assert_eq!(world.copies, copies, "no snapshot");
    assert!(world.hub(leader).entries_read_back() > 30);
}
