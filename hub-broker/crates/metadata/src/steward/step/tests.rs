use std::collections::BTreeSet;

use consensus::{Membership, MembershipChange, Progress, ProgressState, ReplicaId};
use proptest::prelude::*;
use schemas::NodeId;

use super::{Led, Step, Wish, next_step};
use crate::replica::ReplicaRecord;

const COMMIT: u64 = 1_000;

fn id(node: u32, number: u32) -> ReplicaId {
    ReplicaId::new(node, number)
}

fn joined(node: u32, number: u32) -> ReplicaRecord {
    ReplicaRecord { joined: true, ..ReplicaRecord::new(NodeId(node), number) }
}

fn leaving(node: u32, number: u32) -> ReplicaRecord {
    ReplicaRecord { leaving: true, ..joined(node, number) }
}

fn pending(node: u32, number: u32) -> ReplicaRecord {
    ReplicaRecord::new(NodeId(node), number)
}

/// All that stay are to vote, and may lead in this order.
fn wish(records: &[ReplicaRecord]) -> Wish {
    let staying = || records.iter().filter(|record| !record.leaving);
    Wish {
        records: records.to_vec(),
        voters: staying().map(|record| record.number).collect(),
        leaders: staying().filter(|record| record.joined).copied().collect(),
        next_replica: 100,
        steady: (1..10).map(NodeId).collect(),
    }
}

fn caught_up(id: ReplicaId) -> Progress {
    let (state, recently_active) = (ProgressState::Replicate, true);
    Progress { id, matched: COMMIT, next: COMMIT + 1, state, recently_active, is_learner: false }
}

fn silent(id: ReplicaId) -> Progress {
    Progress { recently_active: false, ..caught_up(id) }
}

/// The first voter leads; everyone is caught up.
fn led(voters: &[ReplicaId], learners: &[ReplicaId]) -> Led {
    let membership =
        Membership { voters: voters.to_vec(), learners: learners.to_vec(), ..Membership::default() };
    let progress = voters.iter().chain(learners).map(|id| caught_up(*id)).collect();
    Led { own: voters[0], membership, commit: COMMIT, progress }
}

fn with(mut led: Led, progress: Progress) -> Led {
    led.progress.retain(|it| it.id != progress.id);
    led.progress.push(progress);
    led
}

fn removal(ids: &[ReplicaId]) -> Option<Step> {
    Some(Step::Change(MembershipChange { remove: ids.to_vec(), ..MembershipChange::default() }))
}

fn addition(ids: &[ReplicaId]) -> Option<Step> {
    Some(Step::Change(MembershipChange { add_learners: ids.to_vec(), ..MembershipChange::default() }))
}

fn promotion(ids: &[ReplicaId]) -> Option<Step> {
    Some(Step::Change(MembershipChange { promote: ids.to_vec(), ..MembershipChange::default() }))
}

#[test]
fn a_group_that_is_as_it_should_be_is_left_alone() {
    let wish = wish(&[joined(1, 1), joined(2, 2), joined(3, 3)]);
    assert_eq!(next_step(&wish, &led(&[id(1, 1), id(2, 2), id(3, 3)], &[])), None);
}

#[test]
fn a_replica_comes_in_as_a_learner_and_votes_once_it_has_caught_up() {
    let wish = wish(&[joined(1, 1), pending(2, 2)]);
    let (one, two) = (id(1, 1), id(2, 2));
    assert_eq!(next_step(&wish, &led(&[one], &[])), addition(&[two]));
    let copying = Progress { state: ProgressState::Snapshot, matched: 0, ..caught_up(two) };
    assert_eq!(next_step(&wish, &with(led(&[one], &[two]), copying)), None);
    let behind = Progress { matched: COMMIT - 500, ..caught_up(two) };
    assert_eq!(next_step(&wish, &with(led(&[one], &[two]), behind)), None);
    assert_eq!(next_step(&wish, &led(&[one], &[two])), promotion(&[two]));
    assert_eq!(next_step(&wish, &led(&[one, two], &[])), Some(Step::Joined(2)));
}

#[test]
fn one_that_is_not_to_vote_has_joined_as_a_learner() {
    let (one, two) = (id(1, 1), id(2, 2));
    let wish = Wish { voters: BTreeSet::from([1]), ..wish(&[joined(1, 1), pending(2, 2)]) };
    assert_eq!(next_step(&wish, &led(&[one], &[two])), Some(Step::Joined(2)));
}

#[test]
fn one_that_is_no_longer_to_vote_comes_back_as_a_learner() {
    let (one, two) = (id(1, 1), id(2, 2));
    let wish = Wish { voters: BTreeSet::from([1]), ..wish(&[joined(1, 1), joined(2, 2)]) };
    assert_eq!(next_step(&wish, &led(&[one, two], &[])), removal(&[two]));
    assert_eq!(next_step(&wish, &led(&[one], &[])), addition(&[two]));
    assert_eq!(next_step(&wish, &led(&[one], &[two])), None);
    let wish = Wish { voters: BTreeSet::from([2]), leaders: vec![joined(2, 2)], ..wish };
    assert_eq!(next_step(&wish, &led(&[one, two], &[])), Some(Step::Transfer(two)));
    assert_eq!(next_step(&wish, &led(&[one], &[two])), promotion(&[two]), "the new voter comes first");
}

#[test]
fn a_number_that_was_given_up_is_removed_and_its_successor_added() {
    let wish = wish(&[joined(1, 1), joined(2, 2), pending(3, 9)]);
    let (one, two, lost, new) = (id(1, 1), id(2, 2), id(3, 3), id(3, 9));
    let led = with(led(&[one, two, lost], &[]), silent(lost));
    assert_eq!(next_step(&wish, &led), removal(&[lost]));
    let led = Led { membership: Membership { voters: vec![one, two], ..Membership::default() }, ..led };
    assert_eq!(next_step(&wish, &led), addition(&[new]));
}

#[test]
fn a_catalog_that_is_older_than_a_replica_says_nothing_about_it() {
    let mut wish = wish(&[joined(1, 1)]);
    wish.next_replica = 2;
    assert_eq!(next_step(&wish, &led(&[id(1, 1)], &[id(2, 2)])), None);
    wish.next_replica = 3;
    assert_eq!(next_step(&wish, &led(&[id(1, 1)], &[id(2, 2)])), removal(&[id(2, 2)]));
    wish.records.clear();
    assert_eq!(next_step(&wish, &led(&[id(1, 1)], &[id(2, 2)])), None, "no founder has been adopted");
}

#[test]
fn one_that_leaves_is_removed_only_where_the_others_can_go_on() {
    let wish = wish(&[joined(1, 1), joined(2, 2), leaving(3, 3), joined(4, 4)]);
    let ids = [id(1, 1), id(2, 2), id(3, 3), id(4, 4)];
    assert_eq!(next_step(&wish, &led(&ids, &[])), removal(&[id(3, 3)]));
    let led_with_two = with(with(led(&ids, &[]), silent(id(2, 2))), silent(id(4, 4)));
    assert_eq!(next_step(&wish, &led_with_two), None);
    assert_eq!(next_step(&wish, &led(&[id(1, 1), id(2, 2), id(4, 4)], &[])), Some(Step::Removed(3)));
}

#[test]
fn a_leader_that_leaves_hands_over_first() {
    let wish = wish(&[leaving(1, 1), joined(2, 2), joined(3, 3)]);
    let led = led(&[id(1, 1), id(2, 2), id(3, 3)], &[]);
    assert_eq!(next_step(&wish, &led), Some(Step::Transfer(id(2, 2))));
    let led = with(led, silent(id(2, 2)));
    assert_eq!(next_step(&wish, &led), Some(Step::Transfer(id(3, 3))));
    let led = with(led, silent(id(3, 3)));
    assert_eq!(next_step(&wish, &led), None);
}

#[test]
fn leadership_is_handed_back_to_a_preferred_leader_that_has_been_back_for_a_while() {
    let mut wish = wish(&[joined(2, 2), joined(1, 1), joined(3, 3)]);
    let led = led(&[id(1, 1), id(2, 2), id(3, 3)], &[]);
    assert_eq!(next_step(&wish, &led), Some(Step::Transfer(id(2, 2))));
    let behind = Progress { matched: 5, ..caught_up(id(2, 2)) };
    assert_eq!(next_step(&wish, &with(led.clone(), behind)), None);
    wish.steady.remove(&NodeId(2));
    assert_eq!(next_step(&wish, &led), None);
}

#[test]
fn nothing_is_begun_in_the_middle_of_a_change() {
    let mut led = led(&[id(1, 1), id(2, 2)], &[]);
    led.membership.outgoing = vec![id(1, 1)];
    assert_eq!(next_step(&wish(&[joined(1, 1), leaving(2, 2)]), &led), None);
}

/// A group that does what its leader wants, at once.
fn take(led: &mut Led, wish: &mut Wish, step: Step) {
    match step {
        Step::Change(change) => {
            let Membership { voters, learners, .. } = &mut led.membership;
            learners.extend(&change.add_learners);
            learners.retain(|id| !change.promote.contains(id) && !change.remove.contains(id));
            voters.retain(|id| !change.remove.contains(id));
            voters.extend(&change.promote);
            led.progress = voters.iter().chain(learners.iter()).map(|id| caught_up(*id)).collect();
        }
        Step::Transfer(to) => led.own = to,
        Step::Joined(number) => {
            let joined = wish.records.iter_mut().find(|record| record.number == number);
            joined.expect("a record").joined = true;
            let leaders = wish.records.iter().filter(|it| it.joined && wish.voters.contains(&it.number));
            wish.leaders = leaders.copied().collect();
        }
        Step::Removed(number) => wish.records.retain(|record| record.number != number),
    }
}

proptest! {
    #[test]
    fn every_group_becomes_what_is_wanted_and_never_loses_its_last_voter(
        kinds in proptest::collection::vec(0..6_u8, 1..8),
        own in 0..8_usize,
        voting in proptest::collection::btree_set(1..8_u32, 0..8),
    ) {
        // A replica is in the group, or a record, or both, in all mixtures; the first one is sound.
        let replicas: Vec<_> = (1..).zip(kinds).map(|(number, kind)| (number, if number == 1 { 0 } else { kind })).collect();
        let record = |(number, kind): &(u32, u8)| match kind {
            0 | 1 => Some(joined(*number, *number)),
            2 | 3 => Some(pending(*number, *number)),
            4 => Some(leaving(*number, *number)),
            _ => None,
        };
        let records: Vec<_> = replicas.iter().filter_map(record).collect();
        let ids = |which: [u8; 3]| -> Vec<_> {
            replicas.iter().filter(|it| which.contains(&it.1)).map(|it| id(it.0, it.0)).collect()
        };
        let mut wish = wish(&records);
        wish.voters.retain(|number| *number == 1 || !voting.contains(number));
        wish.leaders.retain(|record| wish.voters.contains(&record.number));
        let (voters, learners) = (ids([0, 4, 5]), ids([1, 2, 2]));
        let mut led = led(&voters, &learners);
        led.own = voters[own % voters.len()];
        for _ in 0..100 {
            let Some(step) = next_step(&wish, &led) else { break };
            take(&mut led, &mut wish, step);
            prop_assert!(led.membership.voters.contains(&led.own));
        }
        prop_assert_eq!(next_step(&wish, &led), None);
        let staying: BTreeSet<_> = wish.records.iter().map(ReplicaRecord::id).collect();
        prop_assert_eq!(led.membership.replicas().into_iter().collect::<BTreeSet<_>>(), staying);
        let voters: BTreeSet<_> = led.membership.voters.iter().map(|id| id.number()).collect();
        prop_assert_eq!(voters, wish.voters);
        prop_assert!(wish.records.iter().all(|record| record.joined && !record.leaving));
        prop_assert_eq!(led.own, wish.leaders[0].id());
    }
}
