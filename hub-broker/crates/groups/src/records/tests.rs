use proptest::prelude::*;

use super::*;

const GOLDEN: &str = include_str!("../../tests/golden/records-v1.txt");

fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).unwrap()
}

fn committed() -> CommittedOffset {
    CommittedOffset {
        offset: Offset(1_234_567_890_123),
        leader_epoch: 7,
        metadata: "rev 4, größer".to_owned(),
        commit_ms: 1_700_000_000_123,
    }
}

fn group() -> GroupMetadata {
    let member = |id: &str, instance: Option<&str>| StoredMember {
        member_id: id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        client_id: "rdkafka".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[0, 1, 2]),
        assignment: Bytes::from_static(&[9, 8]),
    };
    GroupMetadata {
        protocol_type: "consumer".to_owned(),
        generation: 12,
        protocol: Some("range".to_owned()),
        leader: Some("a-1".to_owned()),
        state_since_ms: 1_700_000_000_000,
        members: vec![member("a-1", None), member("b-2", Some("pump-house"))],
    }
}

fn empty_group() -> GroupMetadata {
    GroupMetadata { protocol: None, leader: None, members: Vec::new(), ..group() }
}

fn samples() -> Vec<(&'static str, Bytes)> {
    let offset =
        Key::Offset { group: "readers".to_owned(), topic: topic("telemetry"), partition: PartitionIndex(3) };
    vec![
        ("offset key", offset.encode()),
        ("offset value", encode_offset(&committed())),
        ("group key", Key::Group { group: "readers".to_owned() }.encode()),
        ("group value", group().encode()),
        ("empty group value", empty_group().encode()),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn records_are_written_as_the_golden_file_has_them() {
    let written: String = samples().iter().map(|(what, bytes)| format!("{what}: {}\n", hex(bytes))).collect();
    assert_eq!(written, GOLDEN);
}

#[test]
fn what_is_written_is_read_again() {
    assert_eq!(decode_offset(&encode_offset(&committed())), Ok(committed()));
    for group in [group(), empty_group()] {
        assert_eq!(GroupMetadata::decode(&group.encode()), Ok(group));
    }
}

#[test]
fn an_offset_without_a_topic_id_is_of_no_topic_and_a_broken_id_is_refused() {
    let id = Uuid::from_u128(7);
    let header = Bytes::copy_from_slice(id.as_bytes());
    assert_eq!(decode_topic_id(Some(Some(&header))), Ok(TopicId(id)));
    assert_eq!(decode_topic_id(None), Ok(TopicId(Uuid::nil())));
    assert_eq!(decode_topic_id(Some(Some(&header.slice(1..)))), Err(DecodeError::Malformed));
    assert_eq!(decode_topic_id(Some(None)), Err(DecodeError::Malformed));
}

#[test]
fn keys_of_other_kinds_are_told_from_damage() {
    assert_eq!(Key::decode(&[0, 3, 0, 1, b'g']), Err(DecodeError::UnknownKey(3)));
    assert_eq!(Key::decode(&[0]), Err(DecodeError::Malformed));
    assert_eq!(decode_offset(&[0, 4, 0]), Err(DecodeError::UnknownValue(4)));
}

#[test]
fn a_cut_record_is_refused_wherever_it_is_cut() {
    for (what, bytes) in samples() {
        for end in 2..bytes.len() {
            let cut = &bytes[..end];
            let refused = match what {
                "offset key" | "group key" => Key::decode(cut).is_err(),
                "offset value" => decode_offset(cut).is_err(),
                _ => GroupMetadata::decode(cut).is_err(),
            };
            assert!(refused, "{what} cut to {end} bytes");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Key::decode(&bytes);
        let _ = decode_offset(&bytes);
        let _ = GroupMetadata::decode(&bytes);
    }

    #[test]
    fn any_offset_survives(offset: i64, leader_epoch: i32, metadata in "\\PC{0,40}", commit_ms: i64) {
        let value = CommittedOffset { offset: Offset(offset), leader_epoch, metadata, commit_ms };
        prop_assert_eq!(decode_offset(&encode_offset(&value)), Ok(value));
    }
}
