//! The checkpoint's bytes about one partition.

mod common;

use common::{EPOCH, Partition, build, numbered, partition_id};
use partition_log::{DecodeStateError, LogOptions, Origin, PartitionState};
use schemas::{DeviceId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

const GOLDEN_V1: &[u8] = include_bytes!("golden/state-v1.bin");
const GOLDEN_V2: &[u8] = include_bytes!("golden/state-v2.bin");

/// Something of everything that a state can hold.
fn state() -> PartitionState {
    let mut partition = before_expiry();
    assert_eq!(partition.log.expire_producers(1_102, 100), 1);
    partition.log.state()
}

/// Something of everything that a state of version 1 can hold.
fn before_expiry() -> Partition {
    let mut partition = Partition::new(4096);
    let log = &mut partition.log;
    let producer = |id, sequence| Some((ProducerId(id), ProducerEpoch(2), Sequence(sequence)));
    let stream = |id, sequence| Some((schemas::stream_id(id), ProducerEpoch(0), Sequence(sequence)));
    let agent = |device: &str, sent_crc| {
        let device = DeviceId::try_from(device).expect("a device id");
        Origin::Agent { device, sent_crc }
    };
    let mut append = |batch, origin: &Origin, epoch, stamp_ms| {
        log.append(&batch, origin, LeaderEpoch(epoch), stamp_ms).expect("staged")
    };
    append(numbered(0, 5), &Origin::Kafka, 3, 1_000);
    append(build(&[(7, None, Some("a"))], producer(40, 0)), &Origin::Kafka, 3, 1_001);
    append(build(&[(8, None, Some("b"))], producer(40, 1)), &Origin::Kafka, 4, 1_002);
    append(build(&[(9, None, Some("c"))], producer(12, 6)), &Origin::Hub, 4, 1_003);
    append(build(&[(10, Some("pump-7"), Some("d"))], stream(1, 0)), &agent("pump-7", 0xaaaa), 4, 1_004);
    append(build(&[(11, Some("pump-7"), Some("e"))], stream(2, 0)), &agent("pump-7", 0xbbbb), 4, 1_005);
    append(build(&[(12, Some("pump-7"), Some("f"))], stream(1, 1)), &agent("pump-7", 0xcccc), 4, 1_006);
    append(build(&[(13, Some("fan-1"), Some("g"))], stream(3, 0)), &agent("fan-1", 0xdddd), 4, 1_007);
    log.roll().expect("rolled");
    log.append(&numbered(0, 2), &Origin::Kafka, LeaderEpoch(9), 2_000).expect("staged");
    log.publish().expect("published");
    log.advance_start(Offset(6)).expect("advanced");
    log.configure(LogOptions { segment_bytes: 8192 });
    partition
}

#[test]
fn version_2_has_the_bytes_of_its_golden_file() {
    assert_eq!(state().encode(), GOLDEN_V2);
    assert_eq!(PartitionState::decode(GOLDEN_V2), Ok(state()));
}

#[test]
fn version_1_is_read() {
    let read = PartitionState::decode(GOLDEN_V1).expect("the golden file");
    assert_eq!(read, before_expiry().log.state());
    assert_eq!(read.id, partition_id());
    assert_eq!((read.log_start, read.end_offset()), (Offset(6), Offset(14)));
    assert_eq!(read.epochs.entries()[0], (EPOCH, Offset(0)));
}

#[test]
fn bytes_that_were_changed_or_cut_are_refused() {
    for length in 0..GOLDEN_V2.len() {
        assert!(PartitionState::decode(&GOLDEN_V2[..length]).is_err(), "cut to {length}");
    }
    for bit in 0..GOLDEN_V2.len() * 8 {
        let mut bytes = GOLDEN_V2.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(PartitionState::decode(&bytes).is_err(), "bit {bit}");
    }
    let mut newer = GOLDEN_V2.to_vec();
    newer[0] = 3;
    assert_eq!(PartitionState::decode(&newer), Err(DecodeStateError::UnknownVersion(3)));
}

#[test]
fn counts_that_promise_more_than_there_is_are_refused() {
    let mut bytes = GOLDEN_V2[..GOLDEN_V2.len() - 4].to_vec();
    // The number of segments follows version, id, options, three offsets or ids and the hash.
    let at = 1 + 16 + 4 + 4 + 8 + 8 + 8 + 4;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    assert_eq!(PartitionState::decode(&bytes), Err(DecodeStateError::Malformed));
}
