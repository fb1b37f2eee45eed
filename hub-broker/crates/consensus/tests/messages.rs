//! What comes from the network: the compact form of beats, and messages that no sound replica sends.
//!
//! `CONSENSUS_SEEDS=20000` runs so many seeds of the latter.

use bytes::Bytes;
use consensus::*;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const OWN: ReplicaId = ReplicaId::new(1, 1);
const KINDS: [MessageType; 19] = [
    MessageType::MsgHup,
    MessageType::MsgBeat,
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgUnreachable,
    MessageType::MsgSnapStatus,
    MessageType::MsgCheckQuorum,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

fn encoded(message: &Message) -> PeerMessage {
    let bytes = message.write_to_bytes().expect("it can be written");
    PeerMessage::decode(&Bytes::from(bytes)).expect("what was encoded")
}

fn number(rng: &mut StdRng) -> u64 {
    match rng.gen_range(0..40) {
        0 => u64::MAX,
        1 => u64::MAX / 2,
        2 => 1 << 62,
        number => number % 8,
    }
}

fn replica(rng: &mut StdRng) -> u64 {
    match rng.gen_range(0..10) {
        0 => 0,
        1 => rng.r#gen(),
        number => ReplicaId::new(number % 5, number % 5).0,
    }
}

fn entry(rng: &mut StdRng, index: u64, term: u64) -> Entry {
    let kinds = [EntryType::EntryNormal, EntryType::EntryNormal, EntryType::EntryConfChangeV2];
    let garbage: Vec<u8> = (0..rng.gen_range(0..6)).map(|_| rng.r#gen()).collect();
    let (index, term) = if rng.gen_bool(0.9) { (index, term) } else { (number(rng), number(rng)) };
    let mut entry = Entry { index, term, data: garbage.into(), ..Default::default() };
    entry.set_entry_type(*kinds.choose(rng).expect("some"));
    if rng.gen_bool(0.02) {
        entry.set_entry_type(EntryType::EntryConfChange);
    }
    entry
}

fn conf_state(rng: &mut StdRng) -> ConfState {
    let mut ids = |max| (0..rng.gen_range(0..=max)).map(|_| replica(rng)).collect::<Vec<_>>();
    let (mut voters, learners, outgoing, next) = (ids(3), ids(2), ids(2), ids(1));
    voters.push(OWN.0);
    let plain = rng.gen_bool(0.6);
    ConfState {
        voters,
        learners: if plain { Vec::new() } else { learners },
        voters_outgoing: if plain { Vec::new() } else { outgoing },
        learners_next: if plain { Vec::new() } else { next },
        auto_leave: !plain && rng.r#gen(),
        ..Default::default()
    }
}

/// Mostly something that could be meant for this replica in its present term, so that it is looked at closely.
fn message(rng: &mut StdRng, replica_now: &Replica) -> Message {
    let mut message = Message {
        msg_type: *KINDS.choose(rng).expect("some"),
        to: if rng.gen_bool(0.95) { OWN.0 } else { replica(rng) },
        from: replica(rng),
        term: if rng.gen_bool(0.6) { replica_now.term() } else { number(rng) },
        log_term: number(rng),
        index: number(rng),
        commit: number(rng),
        commit_term: number(rng),
        reject: rng.gen_bool(0.3),
        reject_hint: number(rng),
        ..Default::default()
    };
    if rng.gen_bool(0.1) {
        message.request_snapshot = number(rng);
        message.context = Bytes::from_static(b"CampaignTransfer");
    }
    if message.get_msg_type() == MessageType::MsgAppend {
        let (index, term) = (message.index, message.log_term);
        let entries = (1..=rng.gen_range(0..4)).map(|at| entry(rng, index.wrapping_add(at), term));
        message.set_entries(entries.collect::<Vec<_>>().into());
    }
    if message.get_msg_type() == MessageType::MsgSnapshot && rng.gen_bool(0.95) {
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (number(rng), number(rng));
        metadata.set_conf_state(conf_state(rng));
    }
    message
}

fn event(rng: &mut StdRng, replica: &Replica) -> Event {
    match rng.gen_range(0..20) {
        0 => Event::Tick,
        1 => Event::Campaign,
        2 => Event::LeaderGone,
        3 => Event::Propose { payload: Bytes::from_static(b"payload"), token: rng.r#gen() },
        4 => Event::ReadIndex { token: rng.r#gen() },
        5 => Event::TransferLeadership { to: ReplicaId::new(2, 2) },
        6 => Event::Unreachable { replica: ReplicaId::new(2, 2) },
        7 => Event::SnapshotSent { to: ReplicaId::new(2, 2), ok: rng.r#gen() },
        8 if rng.gen_bool(0.2) => Event::StepDown,
        9 => Event::Recovered,
        10 => Event::Snapshot(encoded(&message(rng, replica))),
        11 => {
            let add_learners = vec![ReplicaId::new(4, 4)];
            let change = MembershipChange { add_learners, ..MembershipChange::default() };
            Event::ChangeMembership { change, token: rng.r#gen() }
        }
        _ => Event::Message(encoded(&message(rng, replica))),
    }
}

/// Does what the replica says, at once or later.
fn follow(rng: &mut StdRng, replica: &mut Replica, actions: Vec<Action>) {
    let mut todo: Vec<Event> = Vec::new();
    for action in actions {
        match action {
            Action::Persist { ready, .. } => todo.push(Event::Persisted { ready }),
            Action::Apply(entries) => {
                let index = entries.last().map_or(0, |entry| entry.index);
                todo.push(Event::Applied { index });
            }
            _ => {}
        }
    }
    for event in todo {
        let actions = replica.step(event);
        if rng.gen_bool(0.95) {
            follow(rng, replica, actions);
        }
    }
}

fn beginnings() -> [Restored; 4] {
    let founders =
        Membership { voters: (1..=3).map(|it| ReplicaId::new(it, it)).collect(), ..Default::default() };
    let alone = Membership { voters: vec![OWN], ..Default::default() };
    let entry = |index| LogEntry { index, term: 1, kind: 0, payload: Bytes::from_static(b"entry") };
    let with_log = Restored {
        hard_state: HardState { term: 2, vote: 0, commit: 3 },
        applied: 2,
        applied_term: 1,
        entries: (2..=4).map(entry).collect(),
        membership: founders.clone(),
    };
    [
        Restored::default(),
        Restored { membership: founders, ..Restored::default() },
        Restored { membership: alone, ..Restored::default() },
        with_log,
    ]
}

#[test]
fn no_message_ends_the_process() {
    let seeds = std::env::var("CONSENSUS_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000);
    for seed in 0..seeds {
        let mut rng = StdRng::seed_from_u64(seed);
        let restored = beginnings()[seed as usize % 4].clone();
        let mut replica = Replica::new(&ReplicaConfig::new(OWN, seed), restored).expect("a sound beginning");
        let run = std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                let event = event(&mut rng, &replica);
                let actions = replica.step(event);
                follow(&mut rng, &mut replica, actions);
            }
        });
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn beats_lose_nothing_in_compact_form() {
    for response in [false, true] {
        let beat = Beat {
            from: ReplicaId::new(1, 5),
            to: ReplicaId::new(2, 6),
            term: 7,
            commit: 8,
            response,
            context: Bytes::from_static(b"question"),
        };
        let message = PeerMessage::from_beat(beat.clone());
        assert_eq!(message.as_beat(), Some(beat));
        assert_eq!(
            (message.from(), message.to(), message.term()),
            (ReplicaId::new(1, 5), ReplicaId::new(2, 6), 7)
        );
        assert_eq!(PeerMessage::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn what_is_more_than_a_beat_stays_a_message() {
    let odd = Message { msg_type: MessageType::MsgHeartbeat, index: 3, ..Default::default() };
    assert_eq!(encoded(&odd).as_beat(), None);
    let vote = Message { msg_type: MessageType::MsgRequestVote, ..Default::default() };
    assert_eq!(encoded(&vote).as_beat(), None);
}

#[test]
fn garbage_is_no_message() {
    assert_eq!(PeerMessage::decode(&Bytes::from_static(b"\xFF\xFF\xFF")), Err(DecodePeerMessageError));
}

#[test]
fn a_heartbeat_of_another_history_is_not_taken() {
    let membership = Membership { voters: vec![OWN, ReplicaId::new(2, 2)], ..Default::default() };
    let restored = Restored { membership, ..Restored::default() };
    let mut replica = Replica::new(&ReplicaConfig::new(OWN, 1), restored).expect("an empty log");
    let beat = |commit| Beat {
        from: ReplicaId::new(2, 2),
        to: OWN,
        term: 3,
        commit,
        response: false,
        context: Bytes::new(),
    };
    let actions = replica.step(Event::Message(PeerMessage::from_beat(beat(9))));
    assert!(actions.is_empty(), "it says that this replica acknowledged what it does not have");
    assert_eq!(replica.term(), 0);
    replica.step(Event::Message(PeerMessage::from_beat(beat(0))));
    assert_eq!((replica.term(), replica.leader()), (3, Some(ReplicaId::new(2, 2))));
}
