//! A group of one: what a hub runs when it is alone.

use bytes::Bytes;
use consensus::*;

fn alone(restored: Restored) -> Result<Replica, RestoreError> {
    let membership = Membership { voters: vec![ReplicaId(1)], ..Membership::default() };
    Replica::new(&ReplicaConfig::new(ReplicaId(1), 1), Restored { membership, ..restored })
}

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, kind: 0, payload: Bytes::from(format!("entry {index}")) }
}

fn persists(actions: &[Action]) -> Vec<u64> {
    let ready = |action: &Action| match action {
        Action::Persist { ready, .. } => Some(*ready),
        _ => None,
    };
    actions.iter().filter_map(ready).collect()
}

fn applies(actions: &[Action]) -> Vec<Committed> {
    let entries = |action: &Action| match action {
        Action::Apply(entries) => Some(entries.clone()),
        _ => None,
    };
    actions.iter().filter_map(entries).flatten().collect()
}

fn leading() -> Replica {
    let mut replica = alone(Restored::default()).expect("an empty log");
    let actions = replica.step(Event::Campaign);
    assert_eq!(replica.role(), Role::Candidate, "the term could still be forgotten");
    let first = applies(&replica.step(Event::Persisted { ready: persists(&actions)[0] }));
    assert_eq!(replica.role(), Role::Leader);
    assert_eq!(first.len(), 1);
    replica.step(Event::Applied { index: 1 });
    replica
}

#[test]
fn nothing_is_applied_before_it_is_durable() {
    let mut replica = leading();
    let actions = replica.step(Event::Propose { payload: Bytes::from_static(b"a"), token: 9 });
    assert!(applies(&actions).is_empty());
    let applied = applies(&replica.step(Event::Persisted { ready: persists(&actions)[0] }));
    let expected =
        Committed { index: 2, term: 1, payload: Bytes::from_static(b"a"), token: Some(9), membership: None };
    assert_eq!(applied, [expected]);
}

#[test]
fn entries_in_flight_are_committed_as_they_become_durable() {
    let mut replica = leading();
    let mut readies = Vec::new();
    for token in 0..4 {
        let actions = replica.step(Event::Propose { payload: Bytes::from_static(b"x"), token });
        readies.extend(persists(&actions));
    }
    assert_eq!(readies.len(), 4);
    let first = applies(&replica.step(Event::Persisted { ready: readies[1] }));
    assert_eq!(first.iter().map(|e| e.token).collect::<Vec<_>>(), [Some(0), Some(1)]);
    let rest = applies(&replica.step(Event::Persisted { ready: readies[3] }));
    assert_eq!(rest.iter().map(|e| e.token).collect::<Vec<_>>(), [Some(2), Some(3)]);
}

#[test]
fn a_commit_alone_costs_no_write() {
    let mut replica = leading();
    let actions = replica.step(Event::Propose { payload: Bytes::from_static(b"a"), token: 1 });
    let actions = replica.step(Event::Persisted { ready: persists(&actions)[0] });
    assert!(persists(&actions).is_empty());
    let actions = replica.step(Event::Propose { payload: Bytes::from_static(b"b"), token: 2 });
    let carried = actions.iter().find_map(|action| match action {
        Action::Persist { hard_state, .. } => *hard_state,
        _ => None,
    });
    assert_eq!(carried.map(|state| state.commit), Some(2), "the next write carries the commit");
}

#[test]
fn a_replica_that_does_not_lead_refuses_proposals() {
    let mut replica = alone(Restored::default()).expect("an empty log");
    let actions = replica.step(Event::Propose { payload: Bytes::from_static(b"a"), token: 5 });
    assert!(matches!(
        actions[..],
        [Action::Refused { token: 5, reason: RefusedReason::NotLeader { leader: None } }]
    ));
}

#[test]
fn proposals_beyond_the_bound_are_refused() {
    let membership = Membership { voters: vec![ReplicaId(1)], ..Membership::default() };
    let config = ReplicaConfig {
        uncommitted_bytes_max: 100,
        message_bytes_max: 100,
        ..ReplicaConfig::new(ReplicaId(1), 1)
    };
    let mut replica =
        Replica::new(&config, Restored { membership, ..Default::default() }).expect("an empty log");
    let actions = replica.step(Event::Campaign);
    replica.step(Event::Persisted { ready: persists(&actions)[0] });
    let large = Bytes::from(vec![0; 150]);
    assert!(!persists(&replica.step(Event::Propose { payload: large.clone(), token: 1 })).is_empty());
    let actions = replica.step(Event::Propose { payload: large, token: 2 });
    assert!(matches!(actions[..], [Action::Refused { token: 2, reason: RefusedReason::Full }]));
}

#[test]
fn a_restart_applies_again_what_the_checkpoint_does_not_have() {
    let mut replica = alone(Restored {
        hard_state: HardState { term: 3, vote: 1, commit: 5 },
        applied: 4,
        applied_term: 2,
        entries: vec![entry(5, 2), entry(6, 3), entry(7, 3)],
        ..Default::default()
    })
    .expect("a whole log");
    let actions = replica.step(Event::Campaign);
    let committed = applies(&actions);
    assert_eq!(committed.iter().map(|e| e.index).collect::<Vec<_>>(), [5], "known to be committed");
    let rest = applies(&replica.step(Event::Persisted { ready: persists(&actions)[0] }));
    assert_eq!(rest.iter().map(|e| (e.index, e.term)).collect::<Vec<_>>(), [(6, 3), (7, 3), (8, 4)]);
}

#[test]
fn the_checkpoint_may_be_ahead_of_the_hard_state() {
    let mut replica = alone(Restored {
        hard_state: HardState { term: 3, vote: 1, commit: 2 },
        applied: 6,
        applied_term: 3,
        entries: vec![entry(7, 3)],
        ..Default::default()
    })
    .expect("commit is the larger of the two");
    let actions = replica.step(Event::Campaign);
    let rest = applies(&replica.step(Event::Persisted { ready: persists(&actions)[0] }));
    assert_eq!(rest.iter().map(|e| e.index).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn a_log_that_lost_something_is_refused() {
    let hard_state = HardState { term: 3, vote: 1, commit: 6 };
    let restored =
        |entries| Restored { hard_state, applied: 4, applied_term: 2, entries, ..Default::default() };
    let error = |entries| alone(restored(entries)).err().expect("refused");
    assert_eq!(error(vec![entry(6, 3)]), RestoreError::Hole { expected: 5, found: 6 });
    assert_eq!(error(vec![entry(5, 2)]), RestoreError::TooShort { last: 5, commit: 6 });
    assert_eq!(
        error(vec![entry(5, 3), entry(6, 2)]),
        RestoreError::TermWentBack { index: 6, term: 2, previous: 3 }
    );
    assert_eq!(
        error(vec![entry(5, 3), entry(6, 4)]),
        RestoreError::HardStateBehind { log: 4, hard_state: 3 }
    );
    let odd = LogEntry { kind: 1, ..entry(5, 2) };
    assert_eq!(error(vec![odd]), RestoreError::UnknownKind { index: 5, kind: 1 });
}
