use super::*;
use crate::Membership;

fn tail(last: u64) -> Tail {
    let entry = |index| Entry { index, term: 1, data: vec![0; 104].into(), ..Default::default() };
    let entries = (1..=last).map(entry).collect();
    Tail::new(HardState::default(), ConfState::default(), (0, 0), entries)
}

/// Each entry of these costs 200 bytes.
fn keep(wanted_from: Option<u64>) -> Keep {
    Keep { wanted_from, wanted_bytes_max: 1_000, idle_bytes_max: 400 }
}

fn mark(index: u64, learner: u64) -> SnapshotMark {
    let membership = Membership {
        voters: vec![ReplicaId(1)],
        learners: vec![ReplicaId(learner)],
        ..Membership::default()
    };
    SnapshotMark { index, term: 1, membership }
}

#[test]
fn what_nobody_wants_goes() {
    let mut tail = tail(10);
    tail.compact(10, keep(None));
    assert_eq!((tail.first(), tail.bytes()), (9, 400));
}

#[test]
fn what_a_follower_wants_stays_up_to_a_bound() {
    let mut tail = tail(10);
    tail.compact(10, keep(Some(8)));
    assert_eq!(tail.first(), 8);
    tail.compact(10, keep(Some(8)));
    assert_eq!(tail.first(), 8);
    let mut tail = self::tail(10);
    tail.compact(10, keep(Some(1)));
    assert_eq!((tail.first(), tail.bytes()), (6, 1_000));
}

#[test]
fn what_is_not_applied_stays() {
    let mut tail = tail(10);
    tail.compact(3, keep(None));
    assert_eq!(tail.first(), 4);
}

#[test]
fn the_first_entry_is_given_away_once_it_is_applied() {
    let mut tail = tail(2);
    tail.compact(0, keep(Some(1)));
    assert_eq!(tail.first(), 1);
    tail.compact(1, keep(Some(1)));
    assert_eq!(tail.first(), 2);
}

#[test]
fn followers_get_a_checkpoint_that_they_can_go_on_from() {
    let mut tail = tail(1_000);
    let follower = ReplicaId(2);
    assert!(tail.snapshot(0, 2).is_err());
    assert_eq!(tail.take_wanted(), BTreeSet::from([follower]));
    tail.offer(mark(990, 3), BTreeSet::from([follower]));
    assert!(tail.snapshot(0, 2).is_err(), "it does not know the follower");
    tail.offer(mark(500, 2), BTreeSet::new());
    assert!(tail.snapshot(0, 2).is_err(), "too much was written since");
    tail.offer(mark(500, 2), BTreeSet::from([follower]));
    let snapshot = tail.snapshot(0, 2).expect("it was made for it");
    assert_eq!(SnapshotMark::from_raft(&snapshot), mark(500, 2));
    tail.offer(mark(990, 2), BTreeSet::new());
    assert!(tail.snapshot(0, 2).is_ok(), "little was written since");
    tail.compact(1_000, keep(None));
    assert!(tail.snapshot(0, 2).is_err(), "the log does not go on from it");
    assert_eq!(tail.take_wanted(), BTreeSet::from([follower]));
    tail.withdraw();
    assert!(tail.snapshot(0, 2).is_err());
}

#[test]
fn a_snapshot_takes_the_place_of_everything() {
    let mut tail = tail(10);
    tail.reset(20, 3);
    assert_eq!((tail.first(), tail.last(), tail.bytes()), (21, 20, 0));
    assert_eq!(tail.term(20), Ok(3));
    assert_eq!(tail.append(&[Entry { index: 21, term: 3, ..Default::default() }]), None);
}
