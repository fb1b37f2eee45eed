//! The metadata's formats, held by golden files. An old golden file is never edited: a new version adds one.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use metadata::{
    Command, DecodeError, Hub, HubState, Listener, Metadata, MetadataMachine, ReplicaRecord, View,
};
use proptest::prelude::*;
use schemas::{NodeId, TopicId, TopicName};
use shards::{AppliedAt, Levels, StateMachine};
use uuid::Uuid;

const COMMANDS: &str = include_str!("golden/commands-v2.txt");
const COMMANDS_V3: &str = include_str!("golden/commands-v3.txt");
const COMMANDS_V4: &str = include_str!("golden/commands-v4.txt");
const SNAPSHOT: &str = include_str!("golden/snapshot-v3.txt");
const SNAPSHOT_V2: &str = include_str!("golden/snapshot-v2.txt");
const COMMANDS_V1: &str = include_str!("golden/commands-v1.txt");
const SNAPSHOT_V1: &str = include_str!("golden/snapshot-v1.txt");

/// The lower byte of the feature level in a snapshot of a cluster that has been formed.
const LEVEL_AT: usize = 1 + 8 + 1 + 16 + 2 + 1;

fn topic() -> TopicId {
    TopicId(Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888))
}

fn hub() -> Hub {
    Hub {
        node: NodeId(1),
        incarnation: Uuid::from_u128(7),
        rack: Some("cellar".to_owned()),
        listeners: vec![
            Listener { name: "kafka".to_owned(), host: "hub-1.example".to_owned(), port: 9092 },
            Listener { name: "mqtt".to_owned(), host: "::1".to_owned(), port: 1883 },
        ],
        cluster_address: None,
        levels: None,
    }
}

fn second_hub() -> Hub {
    Hub { cluster_address: Some("hub-2.example:9192".to_owned()), ..Hub::new(NodeId(2), Uuid::from_u128(8)) }
}

fn settings() -> BTreeMap<String, String> {
    let entries = [("cleanup.policy", "delete"), ("retention.ms", "3600000")];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// One of each kind of version 1, in an order that makes sense of them.
fn commands_of_version_1() -> Vec<Command> {
    let name = TopicName::try_from("telemetry").expect("a topic name");
    vec![
        Command::FormCluster { cluster_id: Uuid::from_u128(42), data_shards: 64, feature_level: 0 },
        Command::RegisterHub(hub()),
        Command::CreateTopic { name, id: topic(), partitions: 3, settings: BTreeMap::new() },
        Command::TopicSettled { id: topic(), version: 3 },
        Command::ConfigureTopic { id: topic(), settings: settings() },
        Command::AdmitAgents { id: topic() },
        Command::AllocateProducerIds { count: 1_000 },
        Command::RaiseFeatureLevel { level: 1 },
        Command::DeleteTopic { id: topic() },
        Command::TopicClosed { id: topic() },
    ]
}

/// One of each kind, in an order that makes sense of them.
fn commands() -> Vec<Command> {
    let mut commands = commands_of_version_1();
    commands.extend([
        Command::AdoptFounder { node: NodeId(1), incarnation: Uuid::from_u128(7) },
        Command::RegisterHub(second_hub()),
        Command::AddReplica { group: 0, node: NodeId(2) },
        Command::ReplicaJoined { group: 0, number: 2 },
        Command::AddReplica { group: 3, node: NodeId(2) },
        Command::ReplicaJoined { group: 3, number: 3 },
        Command::PreferLeader { group: 3, number: 3 },
        Command::LeaveReplica { group: 3, number: 1 },
        Command::AddReplica { group: 4, node: NodeId(2) },
        Command::RemoveReplica { group: 4, number: 4 },
        Command::AddReplica { group: 4, node: NodeId(2) },
        Command::ReplaceReplica { group: 4, number: 5 },
        Command::DrainHub { node: NodeId(2), draining: true },
        // Refused: it still has replicas.
        Command::RemoveHub { node: NodeId(2) },
    ]);
    commands
}

/// One of each kind that only version 3 has, and each of its shapes.
fn commands_of_version_3() -> Vec<Command> {
    let held_by = Some(Uuid::from_u128(9));
    vec![
        Command::ClaimNode { hub: second_hub(), held_by: None },
        Command::ClaimNode { hub: second_hub(), held_by },
    ]
}

/// What has levels in it.
fn commands_of_version_4() -> Vec<Command> {
    let hub = |hub| Hub { levels: Some(Levels { least: 1, most: 258 }), ..hub };
    vec![
        Command::FormCluster { cluster_id: Uuid::from_u128(42), data_shards: 64, feature_level: 1 },
        Command::RegisterHub(hub(self::hub())),
        Command::RaiseFeatureLevel { level: 2 },
        Command::ClaimNode { hub: hub(second_hub()), held_by: None },
        Command::ClaimNode { hub: hub(second_hub()), held_by: Some(Uuid::from_u128(8)) },
    ]
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    digits.map(|two| byte(two).expect("hexadecimal digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

#[test]
fn commands_are_written_as_the_golden_file_has_them() {
    let written = |commands: &[Command]| -> String {
        commands.iter().map(|command| hex(&command.encode()) + "\n").collect()
    };
    // Version 2 had it, and nobody ever proposed it.
    let is_raise = |command: &Command| matches!(command, Command::RaiseFeatureLevel { .. });
    let is_written = |line: &&str| !is_raise(&Command::decode(&unhex(line)).unwrap());
    let of_version_2: Vec<_> = commands().into_iter().filter(|command| !is_raise(command)).collect();
    assert_eq!(
        written(&of_version_2).lines().collect::<Vec<_>>(),
        COMMANDS.lines().filter(is_written).collect::<Vec<_>>()
    );
    assert_eq!(written(&commands_of_version_3()), COMMANDS_V3);
    assert_eq!(written(&commands_of_version_4()), COMMANDS_V4);
}

#[test]
fn commands_of_version_2_are_still_read() {
    let read: Vec<_> = COMMANDS.lines().map(|line| Command::decode(&unhex(line)).unwrap()).collect();
    assert_eq!(read, commands());
}

#[test]
fn commands_of_version_1_are_still_read() {
    let read: Vec<_> = COMMANDS_V1.lines().map(|line| Command::decode(&unhex(line)).unwrap()).collect();
    assert_eq!(read, commands_of_version_1());
    let newer = [1, 11, 0, 0, 0, 1];
    assert_eq!(Command::decode(&newer), Err(DecodeError::Kind { what: "metadata command", kind: 11 }));
}

#[test]
fn a_snapshot_of_version_1_is_still_read_and_its_founder_can_be_adopted() {
    let (mut machine, views) = Metadata::state_machine();
    machine.restore(&unhex(SNAPSHOT_V1).into()).unwrap();
    let view = views.load();
    assert_eq!((view.version, view.cluster_id.as_str()), (7, "00000000-0000-0000-0000-00000000002a"));
    assert_eq!(view.hub(NodeId(1)), Some(&hub()));
    assert_eq!(view.hub_state(NodeId(1)), Some(HubState::Active));
    assert!(view.replicas(0).is_empty() && view.topic_by_id(topic()).is_some());
    let adopt = Command::AdoptFounder { node: NodeId(1), incarnation: Uuid::from_u128(7) };
    machine.apply(AppliedAt { index: 9, term: 1, stamp_ms: 5 }, &adopt.encode().into()).unwrap();
    let first = ReplicaRecord { node: NodeId(1), number: 1, joined: true, leaving: false };
    assert!((0..=64).all(|group| views.load().replicas(group) == [first]));
    assert!(views.load().replicas(65).is_empty());
}

/// A machine that has applied them, all but the topic's end, so that it is in the snapshot.
fn applied(commands: Vec<Command>) -> MetadataMachine {
    let (mut machine, _) = Metadata::state_machine();
    let is_end =
        |command: &Command| matches!(command, Command::DeleteTopic { .. } | Command::TopicClosed { .. });
    for (index, command) in (1..).zip(commands.into_iter().filter(|command| !is_end(command))) {
        machine
            .apply(AppliedAt { index, term: 1, stamp_ms: 5 }, &command.encode().into())
            .expect("a command that is known");
    }
    machine
}

fn holds_what_was_applied(view: &View, levels: Option<Levels>) {
    let telemetry = view.topic_by_id(topic()).expect("the topic");
    assert!(telemetry.agent_fed && !telemetry.is_settled());
    assert_eq!(telemetry.config.retention_ms, Some(3_600_000));
    assert_eq!(view.hub(NodeId(1)), Some(&hub()));
    assert_eq!(view.hub(NodeId(2)), Some(&Hub { levels, ..second_hub() }));
    assert_eq!(view.hub_state(NodeId(2)), Some(HubState::Draining));
    let record = |node, number, leaving| ReplicaRecord { node: NodeId(node), number, joined: true, leaving };
    assert_eq!(view.replicas(0), [record(1, 1, false), record(2, 2, false)]);
    assert_eq!(view.replicas(3), [record(2, 3, false), record(1, 1, true)]);
    assert_eq!(view.replicas(4), [record(1, 1, false)]);
}

#[test]
fn a_snapshot_is_written_as_the_golden_file_has_it() {
    let levels = Some(Levels { least: 0, most: 2 });
    let with_levels = |command| match command {
        Command::RegisterHub(hub) if hub == second_hub() => Command::RegisterHub(Hub { levels, ..hub }),
        command => command,
    };
    let commands = commands().into_iter().map(with_levels).collect();
    let machine = applied(commands);
    assert_eq!(hex(&machine.snapshot()) + "\n", SNAPSHOT);
    let (mut restored, views) = Metadata::state_machine();
    restored.restore(&machine.snapshot()).unwrap();
    assert_eq!(restored.snapshot(), machine.snapshot());
    assert_eq!(views.load().feature_level, 1);
    holds_what_was_applied(&views.load(), levels);
}

#[test]
fn a_snapshot_of_version_2_is_still_read_and_below_level_1_written() {
    let (mut restored, views) = Metadata::state_machine();
    restored.restore(&unhex(SNAPSHOT_V2).into()).unwrap();
    holds_what_was_applied(&views.load(), None);
    assert_eq!(restored.snapshot()[0], 3, "that is where the level was, although no release raised it then");
    let mut below = unhex(SNAPSHOT_V2);
    below[LEVEL_AT] = 0;
    restored.restore(&below.clone().into()).unwrap();
    assert_eq!(hex(&restored.snapshot()), hex(&below));
}

#[test]
fn every_command_is_read_again() {
    for command in commands().into_iter().chain(commands_of_version_3()).chain(commands_of_version_4()) {
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn a_command_of_a_newer_release_stops_the_machine() {
    let (mut machine, _) = Metadata::state_machine();
    let at = AppliedAt { index: 1, term: 1, stamp_ms: 5 };
    assert!(machine.apply(at, &Bytes::from_static(&[5, 1])).is_err());
    assert_eq!(Command::decode(&[5, 1]), Err(DecodeError::Version { what: "metadata command", version: 5 }));
    let kind = |kind| Err(DecodeError::Kind { what: "metadata command", kind });
    assert_eq!(Command::decode(&[3, 99]), kind(99));
    assert_eq!(Command::decode(&[2, 20]), kind(20), "version 2 has no such kind");
}

#[test]
fn a_cut_or_longer_command_is_refused() {
    for command in commands().into_iter().chain(commands_of_version_3()).chain(commands_of_version_4()) {
        let mut bytes = command.encode();
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes[..end]).is_err());
        }
        bytes.push(0);
        assert!(Command::decode(&bytes).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(&bytes);
        let (mut machine, _) = Metadata::state_machine();
        let _ = machine.restore(&bytes.into());
    }
}
