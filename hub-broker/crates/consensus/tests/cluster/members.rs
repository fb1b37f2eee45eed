//! Members that come and go.

use consensus::*;

use crate::world::{World, id};

fn add(learner: ReplicaId) -> MembershipChange {
    MembershipChange { add_learners: vec![learner], ..MembershipChange::default() }
}

fn replace(promote: &[ReplicaId], remove: &[ReplicaId]) -> MembershipChange {
    MembershipChange { promote: promote.to_vec(), remove: remove.to_vec(), ..MembershipChange::default() }
}

/// Carries a change out to its end.
fn change(world: &mut World, change: MembershipChange) {
    let leader = world.leader().expect("a leader");
    let token = world.change(leader, change);
    world.settle();
    assert!(
        world.acknowledged.contains_key(&token),
        "the change is in the log: {:?}",
        world.refused.get(&token)
    );
}

#[test]
fn a_group_of_one_becomes_a_group_of_three() {
    let mut world = World::new(1, 1);
    world.settle();
    for _ in 0..10 {
        world.propose(id(1));
    }
    world.settle();
    let (second, third) = (world.fresh_id(), world.fresh_id());
    change(&mut world, add(second));
    change(&mut world, add(third));
    assert_eq!(world.snapshots_installed, 2, "a new replica always begins with a snapshot");
    change(&mut world, replace(&[second, third], &[]));
    assert_eq!(world.members().voters, [id(1), second, third]);
    world.crash(id(1));
    (0..60).for_each(|_| world.round());
    let leader = world.leader().expect("the others go on");
    world.propose(leader);
    world.settle();
    world.check_acknowledged();
}

#[test]
fn a_joint_membership_is_left_without_being_told() {
    let mut world = World::new(3, 2);
    world.settle();
    let new = world.fresh_id();
    change(&mut world, add(new));
    let old = id(3);
    change(&mut world, replace(&[new], &[old]));
    assert_eq!(world.members().voters, [id(1), id(2), new]);
    let joint =
        world.history.values().filter_map(|applied| applied.membership.clone()).find(Membership::is_joint);
    let joint = joint.expect("two voters are not exchanged in one step");
    assert_eq!(joint.outgoing, [id(1), id(2), old]);
    assert!(joint.auto_leave && joint.is_voter(old) && joint.contains(new));
    assert_eq!(joint.replicas(), [id(1), id(2), old, new]);
}

#[test]
fn a_joint_membership_is_left_by_the_next_leader_too() {
    for seed in 0..20 {
        let mut world = World::new(3, seed);
        world.settle();
        let new = world.fresh_id();
        change(&mut world, add(new));
        let leader = world.leader().expect("a leader");
        let old = world.members().voters.into_iter().find(|id| *id != leader).expect("three of them");
        world.change(leader, replace(&[new], &[old]));
        while !world.replica(leader).membership().is_joint() {
            assert!(world.deliver());
            world.ids().into_iter().for_each(|id| world.sync(id, usize::MAX));
        }
        world.crash(leader);
        world.settle();
        assert!(world.members().voters.contains(&new), "seed {seed}");
        assert!(!world.members().contains(old), "seed {seed}");
    }
}

#[test]
fn a_leader_that_is_removed_makes_way() {
    for seed in 0..20 {
        let mut world = World::new(3, seed);
        world.settle();
        let old = world.leader().expect("a leader");
        change(&mut world, replace(&[], &[old]));
        assert_eq!(world.members().voters.len(), 2);
        assert_eq!(world.replica(old).role(), Role::Follower);
        assert!(!world.replica(old).membership().contains(old));
        let refused = world.propose(old);
        assert!(matches!(world.refused[&refused], RefusedReason::NotLeader { .. }));
        world.destroy(old);
        world.settle();
    }
}

#[test]
fn one_change_at_a_time() {
    let mut world = World::new(3, 4);
    world.settle();
    let leader = world.leader().expect("a leader");
    let (first, second) = (world.fresh_id(), world.fresh_id());
    world.change(leader, add(first));
    let token = world.change(leader, add(second));
    assert_eq!(world.refused[&token], RefusedReason::ChangePending);
    world.settle();
    assert_eq!(world.members().learners, [first]);
}

#[test]
fn what_is_no_change_is_refused() {
    let mut world = World::new(3, 5);
    world.settle();
    let leader = world.leader().expect("a leader");
    let follower = world.ids().into_iter().find(|id| *id != leader).expect("three of them");
    let stranger = world.fresh_id();
    let impossible = [
        MembershipChange::default(),
        add(leader),
        add(ReplicaId(0)),
        replace(&[stranger], &[]),
        replace(&[follower], &[]),
        replace(&[], &[stranger]),
        replace(&[], &[id(1), id(2), id(3)]),
        replace(&[], &[follower, follower]),
    ];
    for change in impossible {
        let token = world.change(leader, change.clone());
        assert_eq!(world.refused.get(&token), Some(&RefusedReason::InvalidChange), "{change:?}");
    }
    let token = world.change(follower, add(stranger));
    assert_eq!(world.refused[&token], RefusedReason::NotLeader { leader: Some(leader) });
}

#[test]
fn a_learner_without_state_is_not_promoted() {
    let mut world = World::new(1, 6);
    world.settle();
    let learner = world.fresh_id();
    world.network.block(id(1), learner);
    world.change(id(1), add(learner));
    (0..5).for_each(|_| world.round());
    let token = world.change(id(1), replace(&[learner], &[]));
    assert_eq!(world.refused[&token], RefusedReason::ChangePending);
    world.network.heal();
    world.settle();
    change(&mut world, replace(&[learner], &[]));
}

#[test]
fn the_leader_knows_how_far_everyone_is() {
    let mut world = World::new(3, 7);
    world.settle();
    let learner = world.fresh_id();
    change(&mut world, add(learner));
    let leader = world.leader().expect("a leader");
    let last = world.replica(leader).last_index();
    let progress = world.replica(leader).progress();
    assert_eq!(progress.iter().map(|it| it.id).collect::<Vec<_>>(), [id(1), id(2), id(3), learner]);
    assert!(progress.iter().all(|it| it.matched == last && it.recently_active));
    assert!(progress.iter().all(|it| it.state != ProgressState::Snapshot));
    assert!(progress.iter().all(|it| it.is_learner == (it.id == learner)));
    let follower = world.ids().into_iter().find(|id| *id != leader).expect("others");
    assert!(world.replica(follower).progress().is_empty());
}

#[test]
fn a_removed_replica_can_be_restarted() {
    let mut world = World::new(3, 8);
    world.settle();
    let leader = world.leader().expect("a leader");
    let old = world.ids().into_iter().find(|id| *id != leader).expect("others");
    change(&mut world, replace(&[], &[old]));
    (0..3).for_each(|_| world.round());
    world.checkpoint(old, 0);
    world.crash(old);
    world.restart(old);
    (0..60).for_each(|_| world.round());
    assert_eq!(world.replica(old).role(), Role::Follower, "it stands for nothing");
    assert_eq!(world.leader(), Some(leader), "and disturbs nobody");
}

#[test]
fn a_sole_voter_says_nothing_before_its_term_is_durable() {
    let mut world = World::new(1, 9);
    world.settle();
    let learner = world.fresh_id();
    change(&mut world, add(learner));
    world.crash(id(1));
    world.restart(id(1));
    world.step(id(1), Event::Campaign);
    world.propose(id(1));
    assert!(!world.deliver(), "what it sends now, it could send otherwise after a crash, in the same term");
    assert_eq!(world.replica(id(1)).role(), Role::Candidate);
    world.sync(id(1), usize::MAX);
    assert_eq!(world.replica(id(1)).role(), Role::Leader);
    assert!(world.deliver());
    world.settle();
}
