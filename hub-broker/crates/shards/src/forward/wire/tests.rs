use partition_log::{Origin, SequenceError};
use schemas::{DeviceId, NodeId, PartitionIndex, Sequence, TopicId};
use uuid::Uuid;

use super::*;

fn partition() -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(3) }
}

fn appends() -> Vec<Append> {
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let agent = Origin::Agent { device, sent_crc: 0xdead_beef };
    let append = |origin, batch: &'static [u8], expected_term| Append {
        partition: partition(),
        origin,
        batch: Bytes::from_static(batch),
        expected_term,
    };
    vec![append(agent, b"agent's batch", None), append(Origin::Hub, b"hub's batch", Some(Term(12)))]
}

fn outcomes() -> Vec<Result<Appended, AppendError>> {
    let stored = Appended {
        base_offset: Offset(10),
        last_offset: Offset(12),
        log_start: Offset(2),
        append_time_ms: 1_700_000_000_000,
        duplicate: true,
    };
    vec![
        Ok(stored),
        Err(AppendError::UnknownPartition),
        Err(AppendError::NotLeader { leader: Some(NodeId(3)) }),
        Err(AppendError::NotLeader { leader: None }),
        Err(SequenceError::OutOfOrder { expected: Sequence(17) }.into()),
        Err(SequenceError::Fork { expected: Sequence(-2) }.into()),
        Err(SequenceError::ProducerExpired { log_start: Offset(99) }.into()),
        Err(SequenceError::UnknownStream.into()),
        Err(AppendError::NoSpace),
        Err(AppendError::Overloaded),
        Err(AppendError::TooLarge { bytes: 70_000, max: 65_536 }),
        Err(AppendError::Malformed),
    ]
}

/// Everything but the whole is refused, and so is another version.
fn only_whole<T>(bytes: &Bytes, decode: impl Fn(Bytes) -> Result<T, Unknown>) {
    for end in 0..bytes.len() {
        assert!(decode(bytes.slice(..end)).is_err(), "cut at {end}");
    }
    assert!(decode([bytes.as_ref(), &[0]].concat().into()).is_err());
    assert!(decode([&[2], &bytes[1..]].concat().into()).is_err());
}

#[test]
fn appends_stay_what_they_are() {
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-append-v1.bin"));
    let sent = appends();
    assert_eq!(encode_appends(ShardId(5), sent.iter(), 0), golden);
    let (shard, read) = decode_appends(golden.clone()).expect("whole");
    assert_eq!(shard, ShardId(5));
    assert_eq!(format!("{read:?}"), format!("{sent:?}"));
    only_whole(&golden, decode_appends);
}

#[test]
fn outcomes_stay_what_they_are() {
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-appended-v1.bin"));
    assert_eq!(encode_appended(&outcomes()), golden);
    assert_eq!(decode_appended(golden.clone()), Ok(outcomes()));
    only_whole(&golden, decode_appended);
}

#[test]
fn commands_and_their_answers_stay_what_they_are() {
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-command-v1.bin"));
    let command = PartitionCommand::AdvanceStart { partition: partition(), to: Offset(1234) };
    assert_eq!(encode_command(ShardId(5), &command), golden);
    assert_eq!(decode_command(golden.clone()), Ok((ShardId(5), command)));
    only_whole(&golden, decode_command);
    for outcome in [Ok(()), Err(CommandError::UnknownPartition), Err(CommandError::Stopped)] {
        assert_eq!(decode_commanded(encode_commanded(&outcome)), Ok(outcome));
    }
}

#[test]
fn metadata_commands_and_their_answers_stay_what_they_are() {
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-metadata-v1.bin"));
    assert_eq!(encode_metadata(&Bytes::from_static(b"note")), golden);
    assert_eq!(decode_metadata(golden.clone()), Ok(Bytes::from_static(b"note")));
    only_whole(&golden, decode_metadata);
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-answered-v1.bin"));
    let answered = Ok(Bytes::from_static(b"answer"));
    assert_eq!(encode_answered(&answered), golden);
    assert_eq!(decode_answered(golden.clone()), Ok(answered));
    only_whole(&golden, decode_answered);
}

#[test]
fn retention_and_its_answer_stay_what_they_are() {
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-retain-v1.bin"));
    let retention = Retention { ms: None, bytes: Some(1_000_000) };
    assert_eq!(encode_retain(ShardId(5), partition(), retention), golden);
    assert_eq!(decode_retain(golden.clone()), Ok((ShardId(5), partition(), retention)));
    only_whole(&golden, decode_retain);
    let golden = Bytes::from_static(include_bytes!("../../../tests/golden/forward-retained-v1.bin"));
    assert_eq!(encode_retained(&Ok(Some(Offset(77)))), golden);
    assert_eq!(decode_retained(golden.clone()), Ok(Ok(Some(Offset(77)))));
    assert_eq!(decode_retained(encode_retained(&Ok(None))), Ok(Ok(None)));
    only_whole(&golden, decode_retained);
}

#[test]
fn a_leader_that_stops_is_none_for_those_who_asked_from_elsewhere() {
    let answer = decode_appended(encode_appended(&[Err(AppendError::Stopping)]));
    assert_eq!(answer, Ok(vec![Err(AppendError::NotLeader { leader: None })]));
}

#[test]
fn more_batches_than_a_request_may_have_are_not_believed() {
    let mut bytes = encode_appends(ShardId(5), [].iter(), 0).to_vec();
    bytes.splice(3..7, u32::MAX.to_be_bytes());
    assert!(decode_appends(bytes.into()).is_err());
}
