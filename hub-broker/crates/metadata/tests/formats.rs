//! The metadata's formats, held by golden files. An old golden file is never edited: a new version adds one.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use metadata::{Command, DecodeError, Hub, Listener, Metadata};
use proptest::prelude::*;
use schemas::{NodeId, TopicId, TopicName};
use shards::{AppliedAt, StateMachine};
use uuid::Uuid;

const COMMANDS: &str = include_str!("golden/commands-v1.txt");
const SNAPSHOT: &str = include_str!("golden/snapshot-v1.txt");

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
    }
}

fn settings() -> BTreeMap<String, String> {
    let entries = [("cleanup.policy", "delete"), ("retention.ms", "3600000")];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// One of each kind, in an order that makes sense of them.
fn commands() -> Vec<Command> {
    let name = TopicName::try_from("telemetry").expect("a topic name");
    vec![
        Command::FormCluster { cluster_id: Uuid::from_u128(42), data_shards: 64 },
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

#[test]
fn commands_are_written_as_the_golden_file_has_them() {
    let written: String = commands().iter().map(|command| hex(&command.encode()) + "\n").collect();
    assert_eq!(written, COMMANDS);
}

#[test]
fn a_snapshot_is_written_as_the_golden_file_has_it() {
    let (mut machine, _) = Metadata::state_machine();
    // All but the topic's end, so that it is in the snapshot.
    for (index, command) in (1..).zip(commands().into_iter().take(8)) {
        machine.apply(AppliedAt { index, term: 1, stamp_ms: 5 }, &command.encode().into()).unwrap();
    }
    assert_eq!(hex(&machine.snapshot()) + "\n", SNAPSHOT);
    let (mut restored, views) = Metadata::state_machine();
    restored.restore(&machine.snapshot()).unwrap();
    assert_eq!(restored.snapshot(), machine.snapshot());
    let view = views.load();
    let telemetry = view.topic_by_id(topic()).unwrap();
    assert!(telemetry.agent_fed && !telemetry.is_settled());
    assert_eq!(telemetry.config.retention_ms, Some(3_600_000));
    assert_eq!(view.hub(NodeId(1)), Some(&hub()));
}

#[test]
fn every_command_is_read_again() {
    for command in commands() {
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn a_command_of_a_newer_release_stops_the_machine() {
    let (mut machine, _) = Metadata::state_machine();
    let at = AppliedAt { index: 1, term: 1, stamp_ms: 5 };
    assert!(machine.apply(at, &Bytes::from_static(&[2, 1])).is_err());
    assert_eq!(Command::decode(&[2, 1]), Err(DecodeError::Version { what: "metadata command", version: 2 }));
    assert_eq!(Command::decode(&[1, 99]), Err(DecodeError::Kind { what: "metadata command", kind: 99 }));
}

#[test]
fn a_cut_or_longer_command_is_refused() {
    for command in commands() {
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
