//! Who leads, and how that changes.

use consensus::*;

use crate::world::{World, id};

fn with_leader(size: u32, seed: u64) -> (World, ReplicaId) {
    let mut world = World::new(size, seed);
    world.settle();
    let leader = world.leader().expect("a leader");
    (world, leader)
}

fn others(world: &World, than: ReplicaId) -> Vec<ReplicaId> {
    world.ids().into_iter().filter(|id| *id != than).collect()
}

#[test]
fn replicas_of_a_group_draw_different_election_timeouts() {
    let (world, _) = with_leader(3, 1);
    assert!(world.leaders.len() < 4, "one or two elections are enough: {:?}", world.leaders);
}

#[test]
fn two_of_three_go_on_without_the_leader() {
    let (mut world, old) = with_leader(3, 3);
    let before = world.propose(old);
    world.flow();
    world.crash(old);
    (0..60).for_each(|_| world.round());
    let new = world.leader().expect("another leader");
    let after = world.propose(new);
    world.settle();
    assert!(world.acknowledged.contains_key(&before) && world.acknowledged.contains_key(&after));
    world.check_acknowledged();
}

#[test]
fn leadership_is_handed_over_without_a_tick() {
    let (mut world, old) = with_leader(3, 5);
    let to = others(&world, old)[1];
    world.propose(old);
    world.step(old, Event::TransferLeadership { to });
    assert_eq!(world.replica(old).transferring_to(), Some(to));
    let refused = world.propose(old);
    assert_eq!(world.refused[&refused], RefusedReason::NotLeader { leader: None });
    world.flow();
    assert_eq!(world.leader(), Some(to));
    assert_eq!(world.replica(old).leader(), Some(to));
}

#[test]
fn a_hand_over_to_somebody_dead_ends_after_an_election_timeout() {
    let (mut world, leader) = with_leader(3, 6);
    let to = others(&world, leader)[0];
    world.crash(to);
    world.propose(leader);
    world.step(leader, Event::TransferLeadership { to });
    (0..11).for_each(|_| world.round());
    assert_eq!(world.replica(leader).transferring_to(), None);
    let token = world.propose(leader);
    world.flow();
    assert!(world.acknowledged.contains_key(&token));
}

#[test]
fn nobody_waits_for_a_leader_whose_process_is_gone() {
    for seed in 0..50 {
        let (mut world, old) = with_leader(if seed % 2 == 0 { 3 } else { 5 }, seed);
        let terms = world.leaders.len();
        world.crash(old);
        for id in others(&world, old) {
            // Whoever hears of it first must not ask in vain: the news reaches the others a little later.
            world.step(id, Event::LeaderGone);
            if seed % 3 == 0 {
                world.flow();
            }
        }
        world.flow();
        (0..4).for_each(|_| world.round());
        let new = world.leader().filter(|new| *new != old);
        assert!(new.is_some(), "seed {seed}: nobody leads after 4 ticks");
        assert_eq!(world.leaders.len(), terms + 1, "seed {seed}: votes were split");
    }
}

#[test]
fn a_leader_that_is_not_gone_after_all_is_found_again() {
    let (mut world, leader) = with_leader(3, 8);
    for id in others(&world, leader) {
        world.network.block(id, leader);
    }
    let believer = others(&world, leader)[0];
    world.step(believer, Event::LeaderGone);
    assert_eq!(world.replica(believer).leader(), None);
    world.network.unblock();
    (0..2).for_each(|_| world.round());
    assert_eq!(world.leader(), Some(leader), "the other follower still has its lease");
    assert_eq!(world.replica(believer).leader(), Some(leader));
}

#[test]
fn a_leader_whose_disk_stalls_makes_way() {
    let (mut world, old) = with_leader(3, 9);
    world.step(old, Event::StepDown);
    assert_eq!(world.replica(old).role(), Role::Follower);
    let refused = world.propose(old);
    assert_eq!(world.refused[&refused], RefusedReason::NotLeader { leader: None });
    world.step(old, Event::Campaign);
    (0..60).for_each(|_| world.round());
    let new = world.leader().expect("another leader");
    assert_ne!(new, old);
    world.step(old, Event::Recovered);
    world.settle();
    assert_eq!(world.leader(), Some(new));
}

#[test]
fn a_replica_whose_disk_stalls_does_not_vote() {
    let (mut world, leader) = with_leader(3, 10);
    let [stalled, candidate] = others(&world, leader)[..] else { panic!("two others") };
    world.crash(leader);
    world.step(stalled, Event::StepDown);
    world.step(candidate, Event::LeaderGone);
    (0..60).for_each(|_| world.round());
    assert_eq!(world.leader(), None);
    world.step(stalled, Event::Recovered);
    (0..60).for_each(|_| world.round());
    assert!(world.leader().is_some());
}

#[test]
fn a_read_is_confirmed_by_a_majority() {
    let (mut world, leader) = with_leader(3, 11);
    let follower = others(&world, leader)[0];
    let read = world.read(follower);
    assert!(!world.is_waiting(read), "only the leader answers");
    let answered = world.reads_answered;
    let read = world.read(leader);
    assert!(world.is_waiting(read));
    world.flow();
    assert!(!world.is_waiting(read));
    assert_eq!(world.reads_answered, answered + 1);
}

#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    let (mut world, leader) = with_leader(3, 12);
    for other in others(&world, leader) {
        world.network.block(leader, other);
        world.network.block(other, leader);
    }
    let answered = world.reads_answered;
    let read = world.read(leader);
    (0..5).for_each(|_| world.round());
    assert!(world.is_waiting(read));
    (0..20).for_each(|_| world.round());
    assert!(!world.is_waiting(read), "it is refused when the leader finds itself alone");
    assert_eq!(world.reads_answered, answered);
}

#[test]
fn one_who_was_away_does_not_disturb_the_others() {
    let (mut world, leader) = with_leader(3, 13);
    let away = others(&world, leader)[0];
    for other in others(&world, away) {
        world.network.block(away, other);
        world.network.block(other, away);
    }
    let term = world.replica(leader).term();
    (0..100).for_each(|_| world.round());
    world.network.unblock();
    (0..40).for_each(|_| world.round());
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.replica(leader).term(), term);
    assert_eq!(world.replica(away).leader(), Some(leader));
}

#[test]
fn ids_name_their_node() {
    let replica = ReplicaId::new(7, 3);
    assert_eq!((replica.node(), replica.number()), (7, 3));
    assert_eq!(replica, ReplicaId(7 << 32 | 3));
    assert_ne!(replica, id(7));
    assert_eq!(replica.to_string(), "7.3");
}
