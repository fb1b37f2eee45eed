use super::*;

#[test]
fn a_new_dynamic_member_is_sent_away_with_an_id_first() {
    let mut bench = Bench::new();
    let anonymous = Join { requires_known_member_id: true, ..request("") };
    let token = bench.send_join(&anonymous);
    let MemberError::MemberIdRequired { member_id } = bench.join_refused(token) else {
        panic!("not sent away with an id")
    };
    assert_eq!(bench.group.state(), GroupState::Empty);
    let token = bench.send_join(&Join { member_id: member_id.clone(), ..anonymous });
    bench.advance(DELAY_MS);
    assert_eq!(bench.joined(token).member_id, member_id);
}

#[test]
fn an_id_that_does_not_come_back_is_forgotten_and_does_not_hold_up_the_group() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request("")]);
    let token = bench.send_join(&Join { requires_known_member_id: true, ..request("") });
    let MemberError::MemberIdRequired { member_id } = bench.join_refused(token) else { panic!() };
    let again = bench.send_join(&request(&joined[0].member_id));
    assert!(!bench.joined.contains_key(&again), "the group waits for the one that was sent away");
    bench.advance(SESSION_MS as u64);
    assert_eq!(bench.joined(again).members.len(), 1);
    let late = bench.send_join(&request(&member_id));
    assert_eq!(bench.join_refused(late), MemberError::UnknownMember);
}

#[test]
fn a_member_of_which_nothing_is_heard_is_removed() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let (leader, follower) = (leader_of(&joined).clone(), follower_of(&joined).clone());
    for _ in 0..4 {
        bench.advance(SESSION_MS as u64 / 4);
        if bench.group.state() == GroupState::Stable {
            bench.heartbeat(&leader).unwrap();
        }
    }
    assert_eq!(bench.heartbeat(&leader), Err(MemberError::RebalanceInProgress));
    assert_eq!(bench.heartbeat(&follower), Err(MemberError::UnknownMember));
    let again = bench.send_join(&request(&leader.member_id));
    assert_eq!(bench.joined(again).members.len(), 1);
}

#[test]
fn a_member_that_waits_for_the_others_is_not_removed() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let (leader, follower) = (leader_of(&joined).clone(), follower_of(&joined).clone());
    let parked = bench.send_join(&request(&leader.member_id));
    for _ in 0..8 {
        bench.advance(SESSION_MS as u64 / 2);
        let _ = bench.heartbeat(&follower);
    }
    assert!(!bench.joined.contains_key(&parked));
    bench.send_join(&request(&follower.member_id));
    assert_eq!(bench.joined(parked).members.len(), 2);
}

#[test]
fn a_stranger_and_an_old_generation_are_told_apart() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request("")]).remove(0);
    let stranger = Joined { member_id: "nobody".to_owned(), ..joined.clone() };
    assert_eq!(bench.heartbeat(&stranger), Err(MemberError::UnknownMember));
    let old = Joined { generation: 0, ..joined.clone() };
    assert_eq!(bench.heartbeat(&old), Err(MemberError::IllegalGeneration));
    let sync = bench.send_sync(&old, &[]);
    assert_eq!(bench.sync_refused(sync), MemberError::IllegalGeneration);
    let rejoin = bench.send_join(&request("nobody"));
    assert_eq!(bench.join_refused(rejoin), MemberError::UnknownMember);
    assert_eq!(bench.leave("nobody"), Err(MemberError::UnknownMember));
    assert_eq!(bench.heartbeat(&joined), Ok(()));
}

#[test]
fn a_session_timeout_beyond_the_bounds_is_refused() {
    let mut bench = Bench::new();
    for given in [5_999, 1_800_001, -1] {
        let token = bench.send_join(&Join { session_timeout_ms: given, ..request("") });
        let expected = MemberError::InvalidSessionTimeout { given, min: 6_000, max: 1_800_000 };
        assert_eq!(bench.join_refused(token), expected);
    }
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let mut bench = Bench::new();
    let none = bench.send_join(&Join { protocols: Vec::new(), ..request("") });
    assert_eq!(bench.join_refused(none), MemberError::InconsistentProtocol);
    bench.stable(&[request("")]);
    for refused in [
        Join { protocols: vec![protocol("sticky", "s")], ..request("") },
        Join { protocol_type: "connect".to_owned(), ..request("") },
    ] {
        let token = bench.send_join(&refused);
        assert_eq!(bench.join_refused(token), MemberError::InconsistentProtocol);
    }
    assert_eq!(bench.group.state(), GroupState::Stable);
}

#[test]
fn a_group_takes_no_more_members_and_no_more_metadata_than_it_may() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request(""), request(""), request("")]);
    let fifth = bench.send_join(&request(""));
    assert_eq!(bench.join_refused(fifth), MemberError::GroupFull);
    assert_eq!(bench.group.state(), GroupState::Stable);
    bench.leave(&joined[3].member_id).unwrap();
    let heavy = Bytes::from(vec![0; 10_001]);
    let heavy = Protocol { name: "range".to_owned(), metadata: heavy };
    let heavy = bench.send_join(&Join { protocols: vec![heavy], ..request("") });
    assert_eq!(bench.join_refused(heavy), MemberError::GroupFull);
}

#[test]
fn only_members_of_this_generation_commit_and_strangers_only_into_an_empty_group() {
    let mut bench = Bench::new();
    let outsider = Membership {
        group_id: "g".to_owned(),
        member_id: String::new(),
        group_instance_id: None,
        generation: -1,
    };
    assert_eq!(bench.group.check_commit(bench.now, &outsider), Ok(()));
    let joined = bench.stable(&[request("")]).remove(0);
    assert_eq!(bench.group.check_commit(bench.now, &outsider), Err(MemberError::UnknownMember));
    assert_eq!(bench.group.check_commit(bench.now, &member(&joined)), Ok(()));
    let old = Membership { generation: 0, ..member(&joined) };
    assert_eq!(bench.group.check_commit(bench.now, &old), Err(MemberError::IllegalGeneration));
    // While the others rejoin, what was read before is still committed.
    bench.send_join(&request(""));
    assert_eq!(bench.group.check_commit(bench.now, &member(&joined)), Ok(()));
    let again = bench.send_join(&request(&joined.member_id));
    let again = bench.joined(again);
    let refused = bench.group.check_commit(bench.now, &member(&again));
    assert_eq!(refused, Err(MemberError::RebalanceInProgress));
}

#[test]
fn a_dead_group_sends_everyone_to_look_for_its_coordinator() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request("")]).remove(0);
    let parked = bench.send_join(&request(""));
    bench.group.bury(bench.now);
    bench.perform();
    let gone: MemberError = CoordinatorError::NotAvailable.into();
    assert_eq!(bench.join_refused(parked), gone);
    assert_eq!(bench.heartbeat(&joined), Err(gone.clone()));
    let token = bench.send_join(&request(""));
    assert_eq!(bench.join_refused(token), gone);
    assert_eq!(bench.group.next_deadline_ms(), None);
}

#[test]
fn a_restored_group_goes_on_where_it_stood() {
    let mut bench = Bench::new();
    let joined = bench.stable(&[request(""), request("")]);
    let stored = bench.group.to_metadata(None, bench.now);
    let before = bench.group.describe();
    bench.group = Group::restore("g", settings(), bench.now, stored);
    assert_eq!(bench.group.describe(), before);
    for one in &joined {
        assert_eq!(bench.heartbeat(one), Ok(()));
    }
    let sync = bench.send_sync(&joined[0], &[]);
    assert_eq!(bench.assignment(sync), "a0");
    bench.advance(2 * SESSION_MS as u64);
    assert_eq!(bench.group.state(), GroupState::Empty, "nothing was heard of its members");
}
