//! A hub whose write-ahead log goes bad while it is down.

use super::*;

/// A follower with some batches that is down, and its log is damaged.
fn corroded(part: u64) -> (World, u32) {
    let mut world = World::of_three();
    let mut producer = Producer::new(5);
    for _ in 0..10 {
        world.append(0, producer.batch(1, 500));
    }
    world.wait_for_all(0, 10);
    let leader = world.leader(GROUP).expect("a leader");
    let node = (2..=3).find(|node| *node != leader).expect("a follower that is not the founder");
    world.crash(node);
    world.corrode(node, part);
    (world, node)
}

#[test]
fn it_gives_up_what_it_may_have_lost_and_fetches_that_again() {
    for part in [0, 100, 200, 255] {
        let (mut world, node) = corroded(part);
        world.start(node);
        assert!(world.hub(node).found_its_log_damaged());
        let lost = world.hub(node).given_up();
        assert!(!lost.is_empty());
        for (group, replica) in &lost {
            world.change(*group, MembershipChange { remove: vec![*replica], ..Default::default() });
            world.add(*group, ReplicaId::new(node, 9));
        }
        world.wait_for_all(0, 10);
        let own = |world: &mut World| (0..=4).map(|group| world.status(node, group).own).collect::<Vec<_>>();
        let has = own(&mut world);
        for (group, own) in (0..).zip(&has) {
            let number = if lost.iter().any(|(of, _)| *of == group) { 9 } else { node };
            assert_eq!(*own, Some(ReplicaId::new(node, number)), "group {group}");
        }
        // The new log is whole.
        world.crash(node);
        world.start(node);
        assert!(!world.hub(node).found_its_log_damaged());
        assert_eq!(own(&mut world), has);
    }
}
