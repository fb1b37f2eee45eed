use super::*;

fn ids(numbers: &[u64]) -> Vec<ReplicaId> {
    numbers.iter().copied().map(ReplicaId).collect()
}

fn membership(voters: &[u64], learners: &[u64], outgoing: &[u64], learners_next: &[u64]) -> Membership {
    Membership {
        voters: ids(voters),
        learners: ids(learners),
        outgoing: ids(outgoing),
        learners_next: ids(learners_next),
        auto_leave: !outgoing.is_empty(),
    }
}

#[test]
fn what_the_library_could_not_go_by_is_found() {
    assert!(Membership::default().is_sound());
    assert!(membership(&[1, 2], &[3], &[], &[]).is_sound());
    assert!(membership(&[1, 2], &[5], &[1, 4], &[4]).is_sound());
    assert!(!membership(&[], &[3], &[], &[]).is_sound(), "learners without voters");
    assert!(!membership(&[1, 1], &[], &[], &[]).is_sound(), "twice");
    assert!(!membership(&[1, 0], &[], &[], &[]).is_sound(), "nobody");
    assert!(!membership(&[1, 2], &[2], &[], &[]).is_sound(), "both voter and learner");
    assert!(!membership(&[1, 2], &[4], &[1, 4], &[]).is_sound(), "both old voter and learner");
    assert!(!membership(&[1, 2], &[], &[], &[3]).is_sound(), "demoted out of nothing");
    assert!(!membership(&[1, 2], &[], &[1, 2], &[2]).is_sound(), "demoted, but still a voter");
    let leaving = Membership { auto_leave: true, ..membership(&[1], &[], &[], &[]) };
    assert!(!leaving.is_sound(), "it leaves nothing");
}

#[test]
fn a_group_can_spare_a_replica_if_the_others_are_a_majority() {
    let spares = |id, group: &Membership| group.can_spare(ReplicaId(id));
    assert!(!spares(1, &membership(&[1], &[], &[], &[])), "alone");
    assert!(!spares(1, &membership(&[1], &[2], &[], &[])), "a learner has no vote");
    assert!(spares(2, &membership(&[1], &[2], &[], &[])), "nor is it counted on");
    assert!(!spares(1, &membership(&[1, 2], &[], &[], &[])), "one of two is half");
    assert!(spares(1, &membership(&[1, 2, 3], &[], &[], &[])));
    assert!(spares(4, &membership(&[1, 2, 3, 4], &[], &[], &[])));
    assert!(!spares(1, &membership(&[1, 2, 3], &[], &[1, 2], &[])), "of the old voters one is half");
    assert!(!spares(1, &membership(&[1, 2], &[], &[1, 2, 3], &[])), "and so of the new ones");
    assert!(spares(3, &membership(&[1, 2], &[], &[1, 2, 3], &[])));
    assert!(spares(1, &Membership::default()), "it waits for its snapshot");
}

#[test]
fn raft_knows_the_same_members() {
    let joint = membership(&[1, 2], &[5, 6], &[1, 4], &[4]);
    assert_eq!(Membership::from_raft(&joint.to_raft()), joint);
}
