//! What time it is in a cluster with a hub whose clock is wrong.

use std::sync::mpsc::channel;

use super::*;

const HOUR_MS: i64 = 3_600_000;
/// From 2023 to 2099.
const YEARS_MS: i64 = 76 * 365 * 24 * HOUR_MS;

/// Hub 1 has stored something; hub 2 is new, its clock is ahead by this much, and it leads what hub 1 stored.
fn led_by_a_hub_ahead_by(ahead_ms: i64) -> (World, Producer) {
    let mut world = World::found(Faults::default());
    let mut producer = Producer::new(5);
    world.open(0);
    world.append(0, producer.batch(1, 50));
    world.ahead_ms.insert(2, ahead_ms);
    world.start(2);
    assert!(world.hub(2).is_clock_held(), "it has heard nothing yet");
    world.add(GROUP, ReplicaId::new(2, 2));
    lead(&mut world, 2);
    (world, producer)
}

fn lead(world: &mut World, node: u32) {
    let leader = world.wait_for_leader(GROUP);
    drop(world.hub(leader).transfer(GROUP, ReplicaId::new(node, node)));
    world.until("it leads", ELECTION_ROUNDS, |world| world.leader(GROUP) == Some(node));
}

/// Where the partition begins after retention by so much time, if that is elsewhere now.
fn retain(world: &mut World, ms: i64) -> Option<i64> {
    let leader = world.wait_for_leader(GROUP);
    let (tell, told) = channel();
    let retention = Retention { ms: Some(ms), bytes: None };
    let done = move |result: Result<_, CommandError>| drop(tell.send(result));
    world.hub(leader).retain((shard(0), partition(0)), retention, done);
    world.settle();
    told.try_recv().expect("answered").expect("the partition is open").map(|offset: schemas::Offset| offset.0)
}

#[test]
fn a_hub_that_joins_with_its_clock_at_2099_moves_no_stamp_and_expires_nothing() {
    let (mut world, mut producer) = led_by_a_hub_ahead_by(YEARS_MS);
    assert!(world.hub(2).is_clock_held());
    assert_eq!(retain(&mut world, HOUR_MS), None);
    for _ in 0..3 {
        world.rounds(10);
        world.append(0, producer.batch(1, 50));
    }
    assert_eq!(retain(&mut world, HOUR_MS), None);
    let stamp_ms = world.hubs[&2].last_stamp_ms(GROUP).expect("it has stamped entries");
    assert!(stamp_ms <= world.now_ms && stamp_ms > world.now_ms - HOUR_MS, "{stamp_ms}");
    assert_eq!(world.hubs[&1].last_stamp_ms(GROUP), Some(stamp_ms));
    assert!(!world.hubs[&1].is_clock_held());
}

#[test]
fn such_a_hub_is_believed_again_once_its_clock_is_right() {
    let (mut world, mut producer) = led_by_a_hub_ahead_by(YEARS_MS);
    world.ahead_ms.clear();
    world.round();
    assert!(!world.hub(2).is_clock_held());
    world.append(0, producer.batch(1, 50));
    assert_eq!(world.hubs[&2].last_stamp_ms(GROUP), Some(world.now_ms));
}

#[test]
fn a_hub_that_was_off_for_hours_is_released_by_the_stamps_of_the_others() {
    let (mut world, mut producer) = led_by_a_hub_ahead_by(0);
    assert!(!world.hub(2).is_clock_held());
    world.start(3);
    world.add(GROUP, ReplicaId::new(3, 3));
    lead(&mut world, 1);
    world.crash(2);
    world.now_ms += 12 * HOUR_MS;
    world.round();
    world.append(0, producer.batch(1, 50));
    world.start(2);
    assert!(world.hub(2).is_clock_held(), "it knows only of what it stored hours ago");
    world.wait_for_all(0, 2);
    assert!(!world.hub(2).is_clock_held());
}

#[test]
fn what_a_hub_has_stamped_whose_clock_was_ahead_ages_nothing_at_the_others() {
    let (mut world, mut producer) = led_by_a_hub_ahead_by(0);
    lead(&mut world, 1);
    // Each step is small enough to be believed, and each batch fills a segment.
    for steps in 1..=2 {
        world.ahead_ms.insert(1, steps * (HOUR_MS - 1));
        world.round();
        world.append(0, producer.batch(1, 60_000));
    }
    lead(&mut world, 2);
    assert!(!world.hub(2).is_clock_held());
    assert!(world.hubs[&2].last_stamp_ms(GROUP).is_some_and(|stamp_ms| stamp_ms > world.now_ms + HOUR_MS));
    assert_eq!(retain(&mut world, HOUR_MS / 2), None);
}
