use super::*;

#[test]
fn an_empty_group_waits_the_initial_delay_and_takes_all_who_come_meanwhile() {
    let mut bench = Bench::new();
    let first = bench.send_join(&request(""));
    bench.advance(DELAY_MS - 1);
    assert!(bench.joined.is_empty());
    let second = bench.send_join(&request(""));
    bench.advance(1);
    assert!(bench.joined.is_empty(), "a second member extends the delay");
    bench.advance(DELAY_MS);
    let (first, second) = (bench.joined(first), bench.joined(second));
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!(first.members.len(), 2);
    assert_eq!((second.leader, second.members.len()), (first.member_id, 0));
    assert_eq!(bench.group.state(), GroupState::CompletingRebalance);
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout_however_many_come() {
    let mut bench = Bench::with(Settings { members_max: 1_000, metadata_bytes_max: 1 << 20, ..settings() });
    let short = Join { rebalance_timeout_ms: 1_000, ..request("") };
    let first = bench.send_join(&short);
    for _ in 0..20 {
        bench.advance(100);
        bench.send_join(&short);
    }
    assert!(bench.joined.contains_key(&first));
}

#[test]
fn without_a_delay_the_first_member_has_its_generation_at_once() {
    let mut bench = Bench::with(Settings { initial_rebalance_delay_ms: 0, ..settings() });
    let token = bench.send_join(&request(""));
    bench.advance(0);
    assert_eq!(bench.joined(token).generation, 1);
}

#[test]
fn an_assignment_is_handed_out_when_it_is_stored_and_not_before() {
    let mut bench = Bench::new();
    let tokens = [bench.send_join(&request("")), bench.send_join(&request(""))];
    bench.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| bench.joined(token));
    let follower = bench.send_sync(follower_of(&joined), &[]);
    let assignments: Vec<_> = joined.iter().map(|one| (one.member_id.as_str(), "part")).collect();
    let leader = bench.send_sync(leader_of(&joined), &assignments);
    assert!(bench.synced.is_empty());
    let stored = bench.store();
    assert_eq!(bench.assignment(leader), "part");
    assert_eq!(bench.assignment(follower), "part");
    assert_eq!(bench.group.state(), GroupState::Stable);
    assert_eq!(stored[0].members.len(), 2);
    assert!(stored[0].members.iter().all(|member| member.assignment == "part" && member.subscription == "r"));
}

#[test]
fn an_assignment_that_cannot_be_stored_makes_everyone_join_again() {
    let mut bench = Bench::new();
    let token = bench.send_join(&request(""));
    bench.advance(DELAY_MS);
    let joined = bench.joined(token);
    let sync = bench.send_sync(&joined, &[(&joined.member_id, "part")]);
    let (ticket, _) = bench.stores.remove(0);
    bench.group.stored(bench.now, ticket, Err(CoordinatorError::NotAvailable.into()));
    bench.perform();
    assert_eq!(bench.sync_refused(sync), CoordinatorError::NotAvailable.into());
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    let again = bench.send_join(&request(&joined.member_id));
    assert_eq!(bench.joined(again).generation, 2);
}

#[test]
fn a_new_member_makes_the_others_join_again() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request("")]);
    let newcomer = bench.send_join(&request(""));
    assert_eq!(bench.heartbeat(&joined[0]), Err(MemberError::RebalanceInProgress));
    assert!(!bench.joined.contains_key(&newcomer));
    let again = bench.send_join(&request(&joined[0].member_id));
    let (again, newcomer) = (bench.joined(again), bench.joined(newcomer));
    assert_eq!((again.generation, newcomer.generation), (2, 2));
    assert_eq!(again.members.len(), 2);
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_left_behind() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let follower = follower_of(&joined).clone();
    let again = bench.send_join(&request(&leader_of(&joined).member_id));
    for _ in 0..20 {
        let _ = bench.heartbeat(&follower);
        bench.advance(REBALANCE_MS as u64 / 20);
    }
    assert_eq!(bench.joined(again).members.len(), 1);
    assert_eq!(bench.heartbeat(&follower), Err(MemberError::UnknownMember));
}

#[test]
fn another_leads_when_the_leader_does_not_come_back() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let (leader, follower) = (leader_of(&joined).clone(), follower_of(&joined).clone());
    bench.leave(&leader.member_id).unwrap();
    assert_eq!(bench.heartbeat(&follower), Err(MemberError::RebalanceInProgress));
    let again = bench.send_join(&request(&follower.member_id));
    let again = bench.joined(again);
    assert_eq!(again.leader, follower.member_id);
    assert_eq!(again.members.len(), 1);
}

#[test]
fn a_leader_that_joins_again_has_partitions_assigned_anew() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let follower = bench.send_join(&request(&follower_of(&joined).member_id));
    assert_eq!(bench.joined(follower).generation, 1, "a follower that changed nothing is told what is");
    assert_eq!(bench.group.state(), GroupState::Stable);
    bench.send_join(&request(&leader_of(&joined).member_id));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_follower_with_other_topics_rebalances_the_group() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let changed =
        Join { protocols: vec![protocol("range", "other")], ..request(&follower_of(&joined).member_id) };
    bench.send_join(&changed);
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_join_that_is_repeated_while_the_assignment_is_awaited_is_answered_again() {
    let mut bench = Bench::new();
    let first = bench.send_join(&request(""));
    bench.advance(DELAY_MS);
    let first = bench.joined(first);
    let again = bench.send_join(&request(&first.member_id));
    assert_eq!(bench.joined(again), first);
}

#[test]
fn those_who_wait_for_an_assignment_are_told_of_the_next_rebalance() {
    let mut bench = Bench::new();
    let tokens = [bench.send_join(&request("")), bench.send_join(&request(""))];
    bench.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| bench.joined(token));
    let sync = bench.send_sync(follower_of(&joined), &[]);
    bench.send_join(&request(""));
    assert_eq!(bench.sync_refused(sync), MemberError::RebalanceInProgress);
}

#[test]
fn an_assignment_of_an_earlier_generation_comes_to_nothing() {
    let mut bench = Bench::new();
    let token = bench.send_join(&request(""));
    bench.advance(DELAY_MS);
    let joined = bench.joined(token);
    bench.send_sync(&joined, &[(&joined.member_id, "old")]);
    bench.send_join(&request(""));
    bench.store();
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn members_that_do_not_sync_within_the_rebalance_timeout_are_removed() {
    let mut bench = Bench::new();
    let short = Join { rebalance_timeout_ms: 5_000, ..request("") };
    let tokens = [bench.send_join(&short), bench.send_join(&short)];
    bench.advance(2 * DELAY_MS);
    let joined = tokens.map(|token| bench.joined(token));
    let leader = leader_of(&joined).clone();
    bench.send_sync(&leader, &[]);
    bench.store();
    bench.advance(5_000);
    assert_eq!(bench.heartbeat(follower_of(&joined)), Err(MemberError::UnknownMember));
    assert_eq!(bench.heartbeat(&leader), Err(MemberError::RebalanceInProgress));
}

#[test]
fn the_protocol_is_one_that_all_support_and_most_prefer() {
    let mut bench = Bench::new();
    let of = |names: &[&str]| Join {
        protocols: names.iter().map(|name| protocol(name, "x")).collect(),
        ..request("")
    };
    let tokens = [of(&["a", "b", "c"]), of(&["c", "b"]), of(&["b", "c"]), of(&["x", "c", "b"])]
        .map(|r| bench.send_join(&r));
    bench.advance(10 * DELAY_MS);
    let chosen = tokens.map(|token| bench.joined(token).protocol_name);
    // a and x are not common; c is preferred by the second and the fourth, b by the first and the third: of
    // equals the first by name.
    assert_eq!(chosen, ["b", "b", "b", "b"]);
}

#[test]
fn a_group_whose_last_member_leaves_is_empty_and_says_so_in_the_log() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request("")]);
    bench.leave(&joined[0].member_id).unwrap();
    assert_eq!(bench.group.state(), GroupState::Empty);
    let stored = bench.store().remove(0);
    assert!(stored.members.is_empty());
    assert_eq!((stored.generation, stored.protocol, stored.leader), (2, None, None));
    assert_eq!(stored.protocol_type, "consumer");
    assert_eq!(bench.group.next_deadline_ms(), None);
}
