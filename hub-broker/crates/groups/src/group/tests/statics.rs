use super::*;

fn as_instance(joined: &Joined, instance: &str) -> Membership {
    Membership { group_instance_id: Some(instance.to_owned()), ..member(joined) }
}

#[test]
fn a_static_member_that_comes_back_takes_its_place_without_a_rebalance() {
    let mut bench = Bench::new();
    let old = bench.stable(&[of_instance("", "one"), of_instance("", "two")]);
    let follower = follower_of(&old).clone();
    let instance = if follower.member_id == old[0].member_id { "one" } else { "two" };
    let token = bench.send_join(&of_instance("", instance));
    assert!(!bench.joined.contains_key(&token), "its new id is not stored yet");
    bench.store();
    let back = bench.joined(token);
    assert_ne!(back.member_id, follower.member_id);
    assert_eq!((back.generation, bench.group.state()), (1, GroupState::Stable));
    let sync = bench.send_sync(&back, &[]);
    let expected = if instance == "one" { "a0" } else { "a1" };
    assert_eq!(bench.assignment(sync), expected);
}

#[test]
fn the_one_before_it_is_fenced() {
    let mut bench = Bench::new();
    let old = bench.stable(&[of_instance("", "one")]).remove(0);
    bench.send_join(&of_instance("", "one"));
    bench.store();
    let fenced = bench.group.heartbeat(bench.now, &as_instance(&old, "one"));
    assert_eq!(fenced, Err(MemberError::FencedInstance));
    let commit = bench.group.check_commit(bench.now, &as_instance(&old, "one"));
    assert_eq!(commit, Err(MemberError::FencedInstance));
    let join = bench.send_join(&of_instance(&old.member_id, "one"));
    assert_eq!(bench.join_refused(join), MemberError::FencedInstance);
}

#[test]
fn a_leader_that_comes_back_is_told_not_to_assign_again() {
    let mut bench = Bench::new();
    let old = bench.stable(&[of_instance("", "one")]).remove(0);
    let token = bench.send_join(&of_instance("", "one"));
    bench.store();
    let back = bench.joined(token);
    assert!(back.skip_assignment);
    assert_eq!((&back.leader, back.members.len()), (&back.member_id, 1));
    // A client that cannot be told so hears that the one before it leads.
    let old_client = Join { supports_skipping_assignment: false, ..of_instance("", "one") };
    let token = bench.send_join(&old_client);
    bench.store();
    let again = bench.joined(token);
    assert!(!again.skip_assignment);
    assert_eq!((again.leader, again.members.len()), (back.member_id, 0));
    assert_ne!(again.member_id, old.member_id);
}

#[test]
fn a_parked_request_of_the_one_before_it_is_fenced_too() {
    let mut bench = Bench::new();
    let first = bench.send_join(&of_instance("", "one"));
    let second = bench.send_join(&of_instance("", "one"));
    assert_eq!(bench.join_refused(first), MemberError::FencedInstance);
    bench.advance(2 * DELAY_MS);
    assert_eq!(bench.joined(second).members.len(), 1);
}

#[test]
fn one_that_comes_back_with_another_protocol_rebalances_the_group() {
    let mut bench = Bench::new();
    bench.stable(&[of_instance("", "one")]);
    let other = Join { protocols: vec![protocol("roundrobin", "x")], ..of_instance("", "one") };
    let token = bench.send_join(&other);
    assert_eq!(bench.joined(token).protocol_name, "roundrobin");
    assert_eq!(bench.joined(token).generation, 2);
}

#[test]
fn one_that_comes_back_while_the_assignment_is_awaited_rebalances_the_group() {
    let mut bench = Bench::new();
    let token = bench.send_join(&of_instance("", "one"));
    bench.advance(DELAY_MS);
    assert_eq!(bench.joined(token).generation, 1);
    let back = bench.send_join(&of_instance("", "one"));
    assert_eq!(bench.joined(back).generation, 2);
}

#[test]
fn an_absent_static_member_keeps_its_place_until_its_session_ends() {
    let mut bench = Bench::new();
    let long = Join { session_timeout_ms: 600_000, ..of_instance("", "one") };
    let joined = bench.stable(&[long, request("")]);
    let dynamic = joined[1].clone();
    let parked = bench
        .send_join(&Join { protocols: vec![protocol("range", "changed")], ..request(&dynamic.member_id) });
    bench.advance(REBALANCE_MS as u64);
    let next = bench.joined(parked);
    assert_eq!(next.leader, dynamic.member_id, "who leads must be there");
    assert_eq!(next.members.len(), 2, "the absent one is still assigned to");
}

#[test]
fn a_static_member_is_removed_by_its_instance_alone() {
    let mut bench = Bench::new();
    bench.stable(&[of_instance("", "one")]);
    let leaving =
        |instance: &str| Leaving { member_id: String::new(), group_instance_id: Some(instance.to_owned()) };
    let results = bench.group.leave(bench.now, &[leaving("two"), leaving("one")]).unwrap();
    assert_eq!(results, [Err(MemberError::UnknownMember), Ok(())]);
    assert_eq!(bench.group.state(), GroupState::Empty);
}
