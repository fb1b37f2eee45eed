use proptest::prelude::*;
use schemas::DeviceId;

use super::*;

fn partition(topic: u128, index: i32) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(topic)), index: PartitionIndex(index) }
}

fn one_of_each() -> Vec<Command> {
    let id = partition(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, 3);
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let agent = Origin::Agent { device, sent_crc: 0xdead_beef };
    let append = |origin, batch| Append {
        partition: id,
        origin,
        batch: Bytes::from_static(batch),
        expected_term: None,
    };
    let options = LogOptions { segment_bytes: 1 << 20 };
    vec![
        Command::Append(append(agent, b"agent's batch")),
        Command::Append(append(Origin::Kafka, b"a producer's batch")),
        Command::Append(append(Origin::Hub, b"")),
        Command::Partition(PartitionCommand::Open { partition: id, options }),
        Command::Partition(PartitionCommand::Configure { partition: id, options }),
        Command::Partition(PartitionCommand::Close { partition: id }),
        Command::Partition(PartitionCommand::AdvanceStart { partition: id, to: Offset(77) }),
        Command::Partition(PartitionCommand::Roll { partition: id }),
        Command::Partition(PartitionCommand::ExpireProducers { partition: id, after_ms: 86_400_000 }),
        Command::Metadata(Bytes::from_static(b"create a topic")),
    ]
}

fn encode(stamp_ms: i64, commands: &[Command]) -> Bytes {
    let capacity = commands.iter().map(Command::bytes).sum();
    let mut entry = EntryBuilder::new(stamp_ms, capacity);
    commands.iter().for_each(|command| entry.push(command));
    assert!(entry.bytes.len() <= HEADER_BYTES + capacity, "the room was enough");
    entry.finish()
}

fn decode(payload: Bytes) -> Result<(i64, Vec<Command>), UnknownEntry> {
    let mut reader = EntryReader::new(payload)?;
    let mut commands = Vec::new();
    while let Some(command) = reader.next()? {
        commands.push(command);
    }
    Ok((reader.stamp_ms(), commands))
}

#[test]
fn version_1_stays_what_it_is() {
    let golden = include_bytes!("../../tests/golden/entry-v1.bin");
    assert_eq!(encode(1_700_000_000_123, &one_of_each()), &golden[..]);
    let (stamp_ms, commands) = decode(Bytes::from_static(golden)).expect("an entry");
    assert_eq!(stamp_ms, 1_700_000_000_123);
    assert_eq!(format!("{commands:?}"), format!("{:?}", one_of_each()));
}

#[test]
fn a_mark_stays_what_it_is() {
    let golden = include_bytes!("../../tests/golden/entry-mark-v1.bin");
    let commands = [Command::Mark, Command::Metadata(Bytes::from_static(b"note"))];
    assert_eq!(encode(1_700_000_000_123, &commands), &golden[..]);
    let (_, read) = decode(Bytes::from_static(golden)).expect("an entry");
    assert_eq!(format!("{read:?}"), format!("{commands:?}"));
}

#[test]
fn an_entry_of_another_version_is_not_guessed_at() {
    let mut bytes = encode(1, &one_of_each()).to_vec();
    bytes[0] = 2;
    assert_eq!(decode(Bytes::from(bytes)).err(), Some(UnknownEntry::Version(2)));
}

#[test]
fn a_command_of_an_unknown_kind_is_not_guessed_at() {
    let mut bytes = encode(1, &one_of_each()).to_vec();
    bytes[HEADER_BYTES] = 99;
    assert_eq!(decode(Bytes::from(bytes)).err(), Some(UnknownEntry::Command(99)));
}

#[test]
fn an_entry_cut_anywhere_is_no_entry() {
    let whole = encode(1, &one_of_each());
    for length in 0..whole.len() {
        assert_eq!(decode(whole.slice(..length)).err(), Some(UnknownEntry::Malformed), "cut at {length}");
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert_eq!(decode(Bytes::from(longer)).err(), Some(UnknownEntry::Malformed));
}

fn origins() -> impl Strategy<Value = Origin> {
    let agent = ("[A-Za-z0-9._:-]{1,128}", any::<u32>()).prop_map(|(device, sent_crc)| Origin::Agent {
        device: DeviceId::try_from(device.as_str()).expect("a device id"),
        sent_crc,
    });
    prop_oneof![agent, Just(Origin::Kafka), Just(Origin::Hub)]
}

fn commands() -> impl Strategy<Value = Command> {
    let partitions = (any::<u128>(), any::<i32>()).prop_map(|(topic, index)| partition(topic, index));
    let batches = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (partitions, origins(), batches.clone()).prop_map(|(partition, origin, batch)| {
            Command::Append(Append { partition, origin, batch: Bytes::from(batch), expected_term: None })
        }),
        (any::<u128>(), any::<i64>()).prop_map(|(topic, to)| {
            let partition = partition(topic, 0);
            Command::Partition(PartitionCommand::AdvanceStart { partition, to: Offset(to) })
        }),
        batches.prop_map(|command| Command::Metadata(Bytes::from(command))),
        Just(Command::Mark),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(stamp_ms: i64, commands in prop::collection::vec(commands(), 0..20)) {
        let (stamp, read) = decode(encode(stamp_ms, &commands)).expect("an entry");
        prop_assert_eq!(stamp, stamp_ms);
        prop_assert_eq!(format!("{read:?}"), format!("{commands:?}"));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(Bytes::from(bytes));
    }
}
