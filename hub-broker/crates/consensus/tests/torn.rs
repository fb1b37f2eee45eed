//! A crash leaves any beginning of what was to be written.

use bytes::Bytes;
use consensus::*;
use protobuf::Message as _;
use raft::eraftpb::{Entry, Message, MessageType};

const OWN: ReplicaId = ReplicaId::new(1, 1);
const LEADER: ReplicaId = ReplicaId::new(2, 2);
const THIRD: ReplicaId = ReplicaId::new(3, 3);
const CHANGE: u8 = 2;

fn restored(voters: &[ReplicaId]) -> Restored {
    let membership = Membership { voters: voters.to_vec(), ..Membership::default() };
    Restored { membership, ..Restored::default() }
}

fn start(restored: Restored) -> Replica {
    Replica::new(&ReplicaConfig::new(OWN, 1), restored).expect("a log that is whole")
}

/// The leader of term 1 sends three entries, all of them committed.
fn append() -> PeerMessage {
    let entry = |index| Entry { index, term: 1, data: Bytes::from_static(b"x"), ..Entry::default() };
    let mut message = Message {
        msg_type: MessageType::MsgAppend,
        from: LEADER.0,
        to: OWN.0,
        term: 1,
        commit: 3,
        ..Message::default()
    };
    message.set_entries((1..=3).map(entry).collect::<Vec<_>>().into());
    let bytes = message.write_to_bytes().expect("it can be written");
    PeerMessage::decode(&Bytes::from(bytes)).expect("what was encoded")
}

enum Write {
    HardState(HardState),
    Entry(LogEntry),
}

fn writes(actions: Vec<Action>) -> Vec<Write> {
    let mut all = Vec::new();
    for action in actions {
        if let Action::Persist { hard_state, entries, .. } = action {
            all.extend(hard_state.map(Write::HardState));
            all.extend(entries.into_iter().map(Write::Entry));
        }
    }
    all
}

#[test]
fn a_replica_goes_on_from_any_beginning_of_what_it_was_writing() {
    let voters = [OWN, LEADER, THIRD];
    let mut replica = start(restored(&voters));
    let mut found = restored(&voters);
    let writes = writes(replica.step(Event::Message(append())));
    assert_eq!(writes.len(), 5);
    for write in writes {
        match write {
            Write::HardState(state) => found.hard_state = state,
            Write::Entry(entry) => found.entries.push(entry),
        }
        start(found.clone());
    }
    assert_eq!(start(found).commit(), 3);
}

#[test]
fn what_is_acknowledged_is_durable_with_what_is_known_to_be_committed() {
    let mut replica = start(restored(&[OWN, LEADER, THIRD]));
    let actions = replica.step(Event::Message(append()));
    let ready = |action: &Action| match action {
        Action::Persist { ready, .. } => Some(*ready),
        _ => None,
    };
    let readies: Vec<u64> = actions.iter().filter_map(ready).collect();
    let speaks = |actions: Vec<Action>| actions.iter().any(|action| matches!(action, Action::Send(_)));
    assert!(!speaks(replica.step(Event::Persisted { ready: readies[0] })));
    assert!(speaks(replica.step(Event::Persisted { ready: readies[1] })));
}

#[test]
fn a_change_takes_effect_once_its_commit_is_durable() {
    let mut replica = start(restored(&[OWN]));
    let mut ready = 0;
    let mut memberships = Vec::new();
    let mut rounds = 0;
    let mut note = |actions: &[Action]| {
        for action in actions {
            match action {
                Action::Persist { ready: newest, .. } => ready = *newest,
                Action::Apply(entries) => {
                    memberships.extend(entries.iter().filter_map(|entry| entry.membership.clone()));
                }
                _ => {}
            }
        }
        (ready, memberships.len())
    };
    let (elected, _) = note(&replica.step(Event::Campaign));
    note(&replica.step(Event::Persisted { ready: elected }));
    note(&replica.step(Event::Applied { index: 1 }));
    let change = MembershipChange { add_learners: vec![LEADER], ..MembershipChange::default() };
    let (mut written, mut applied) = note(&replica.step(Event::ChangeMembership { change, token: 1 }));
    while applied == 0 {
        assert!(replica.membership().learners.is_empty());
        rounds += 1;
        (written, applied) = note(&replica.step(Event::Persisted { ready: written }));
    }
    assert_eq!(rounds, 2, "the entry, then that it is committed");
    assert_eq!(replica.membership().learners, [LEADER]);
}

#[test]
fn whoever_has_a_change_in_its_log_knows_the_one_before_to_be_committed() {
    let change = |index| LogEntry { index, term: 1, kind: CHANGE, payload: Bytes::new() };
    let entry = |index| LogEntry { index, term: 1, kind: 0, payload: Bytes::new() };
    let found = |entries| Restored {
        hard_state: HardState { term: 1, ..HardState::default() },
        entries,
        ..restored(&[OWN, LEADER, THIRD])
    };
    assert_eq!(start(found(vec![entry(1), change(2), entry(3)])).commit(), 0);
    assert_eq!(start(found(vec![entry(1), change(2), entry(3), change(4)])).commit(), 2);
}
