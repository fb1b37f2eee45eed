//! Appending, publishing and reading.

mod common;

use common::{EPOCH, EVERYTHING, Partition, batch_of, build, numbered, records, split};
use partition_log::{LogError, Origin, ReadError, SequenceError, SequenceVerdict};
use schemas::{
    DeviceId, Gap, GapCount, GapReason, LeaderEpoch, Offset, PLACEMENT_BYTES, ProducerEpoch, ProducerId,
    RawBatch, Sequence,
};

#[test]
fn a_batch_is_stored_as_it_was_sent_but_for_its_place() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 3), 10);
    let batch = numbered(3, 5);
    assert_eq!(partition.append(&batch, 10), Offset(3));

    let stored = split(partition.reader().read(Offset(3), EVERYTHING).expect("readable"));
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].bytes()[PLACEMENT_BYTES..], batch.bytes()[PLACEMENT_BYTES..]);
    assert_eq!(stored[0].header().base_offset, 3);
    assert_eq!(stored[0].header().partition_leader_epoch, EPOCH.0);
}

#[test]
fn readers_see_what_was_published_and_nothing_else() {
    let mut partition = Partition::new(1 << 20);
    let reader = partition.reader();
    let mut high_watermark = reader.subscribe();
    partition.log.append(&numbered(0, 4), &Origin::Kafka, EPOCH, 10).expect("staged");
    assert_eq!(reader.high_watermark(), Offset(0));
    assert!(reader.read(Offset(0), EVERYTHING).expect("empty").is_empty());
    assert!(!high_watermark.has_changed().expect("open"));

    partition.log.publish().expect("published");
    assert_eq!(*high_watermark.borrow_and_update(), Offset(4));
    assert_eq!(records(&reader, Offset(0)).len(), 4);
    assert_eq!(reader.leader_epoch(), EPOCH);
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset_and_gives_whole_batches() {
    let mut partition = Partition::new(1 << 20);
    for first in (0..50).step_by(5) {
        partition.append(&numbered(first, 5), 10);
    }
    let reader = partition.reader();
    let bases = |from, max_bytes| -> Vec<i64> {
        let batches = split(reader.read(Offset(from), max_bytes).expect("readable"));
        batches.iter().map(|batch| batch.header().base_offset).collect()
    };
    let batch_bytes = numbered(0, 5).bytes().len();
    assert_eq!(bases(7, 0), [5], "at least one");
    assert_eq!(bases(7, batch_bytes * 3 - 1).len(), 2);
    assert_eq!(bases(49, EVERYTHING), [45]);
    assert_eq!(bases(50, EVERYTHING), [] as [i64; 0], "the end is not beyond it");
    assert_eq!(bases(0, EVERYTHING).len(), 10);
}

#[test]
fn offsets_out_of_range_are_refused_with_the_range() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 4), 10);
    for offset in [-1, 5] {
        let refused = partition.reader().read(Offset(offset), 100);
        assert!(
            matches!(refused, Err(ReadError::OutOfRange { start: Offset(0), end: Offset(4) })),
            "{offset}"
        );
    }
}

#[test]
fn a_segment_is_closed_before_it_outgrows_its_size_and_reads_go_on_across() {
    let mut partition = Partition::new(1000);
    for first in 0..60 {
        partition.append(&numbered(first, 1), 10);
    }
    let logs = partition.logs();
    assert!(logs.len() > 3);
    assert!(logs.iter().all(|path| path.metadata().expect("a file").len() <= 1000));
    let offsets: Vec<i64> = records(&partition.reader(), Offset(0)).iter().map(|row| row.0).collect();
    assert_eq!(offsets, (0..60).collect::<Vec<_>>());
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut partition = Partition::new(200);
    partition.append(&numbered(0, 1), 10);
    partition.append(&numbered(1, 100), 10);
    partition.append(&numbered(101, 1), 10);
    assert_eq!(partition.logs().len(), 3);
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 102);
}

#[test]
fn more_batches_than_one_write_takes_are_all_written() {
    let mut partition = Partition::new(1 << 20);
    for first in 0..1500 {
        partition.log.append(&numbered(first, 1), &Origin::Kafka, EPOCH, 10).expect("staged");
    }
    partition.log.publish().expect("published");
    let values = records(&partition.reader(), Offset(0));
    assert_eq!(values.len(), 1500);
    assert_eq!(values[1234].3.as_deref(), Some("value 1234"));
}

#[test]
fn staged_batches_count_for_the_sequence_check() {
    let mut partition = Partition::new(1 << 20);
    let producer = |sequence| Some((ProducerId(5), ProducerEpoch(0), Sequence(sequence)));
    let first = build(&[(1, None, Some("a")), (2, None, Some("b"))], producer(0));
    let second = build(&[(3, None, Some("c"))], producer(2));
    assert_eq!(partition.log.check(&first, &Origin::Kafka), SequenceVerdict::Append);
    partition.log.append(&first, &Origin::Kafka, EPOCH, 10).expect("staged");
    assert_eq!(partition.log.check(&first, &Origin::Kafka), duplicate_at(0));
    assert_eq!(partition.log.check(&second, &Origin::Kafka), SequenceVerdict::Append);
}

fn duplicate_at(offset: i64) -> SequenceVerdict {
    SequenceVerdict::Duplicate { base_offset: Some(Offset(offset)) }
}

#[test]
fn an_agents_batch_goes_by_the_crc_that_the_agent_sent() {
    let mut partition = Partition::new(1 << 20);
    let stream = Some((schemas::stream_id(77), ProducerEpoch(0), Sequence(0)));
    let batch = build(&[(1, Some("pump-7"), Some("a"))], stream);
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let sent = |sent_crc| Origin::Agent { device: device.clone(), sent_crc };
    partition.log.append(&batch, &sent(1), EPOCH, 10).expect("staged");
    assert_eq!(partition.log.check(&batch, &sent(1)), duplicate_at(0));
    assert!(matches!(partition.log.check(&batch, &sent(2)), SequenceVerdict::Refuse(_)));
    assert!(
        matches!(partition.log.check(&batch, &Origin::Kafka), SequenceVerdict::Refuse(_)),
        "not its space"
    );
}

#[test]
fn a_leader_epoch_never_goes_back() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 2), 10);
    let older = partition.log.append(&numbered(2, 1), &Origin::Kafka, LeaderEpoch(2), 10);
    assert!(matches!(older, Err(LogError::EpochWentBack { .. })));
    partition.log.begin_epoch(LeaderEpoch(8)).expect("newer");
    let reader = partition.reader();
    assert_eq!(reader.leader_epoch(), LeaderEpoch(8));
    assert_eq!(reader.epoch_end(LeaderEpoch(5)), Some((EPOCH, Offset(2))));
}

#[test]
fn records_are_found_by_time_though_they_came_in_disorder() {
    let mut partition = Partition::new(250);
    for times in [[100, 110], [500, 300], [200, 210], [700, 720], [400, 710]] {
        partition.append(&batch_of(&[(times[0], None, Some("x")), (times[1], None, Some("y"))]), 10);
    }
    assert!(partition.logs().len() > 1);
    let reader = partition.reader();
    let at = |time| reader.offset_for_time(time).expect("readable").map(|(offset, time)| (offset.0, time));
    assert_eq!(at(0), Some((0, 100)));
    assert_eq!(at(101), Some((1, 110)));
    assert_eq!(at(111), Some((2, 500)));
    assert_eq!(at(501), Some((6, 700)));
    assert_eq!(at(711), Some((7, 720)));
    assert_eq!(at(721), None);
    assert_eq!(reader.max_timestamp().expect("readable"), Some((Offset(7), 720)));
}

#[test]
fn times_are_found_only_at_or_behind_the_logs_start() {
    let mut partition = Partition::new(1 << 20);
    for time in [900, 100, 300, 200] {
        partition.append(&batch_of(&[(time, None, Some("x"))]), 10);
    }
    partition.log.advance_start(Offset(1)).expect("advanced");
    let reader = partition.reader();
    assert_eq!(reader.offset_for_time(150).expect("readable"), Some((Offset(2), 300)));
    assert_eq!(reader.offset_for_time(301).expect("readable"), None);
    assert_eq!(reader.max_timestamp().expect("readable"), Some((Offset(2), 300)));
}

#[test]
fn a_thousand_partitions_need_few_open_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = partition_log::FileCache::new(16);
    let mut logs: Vec<_> = (0..1000)
        .map(|number| {
            let dir = dir.path().join(number.to_string());
            partition_log::PartitionLog::create(&dir, common::partition_id(), Default::default(), &files)
                .expect("created")
        })
        .collect();
    let open_before = open_files();
    for log in &mut logs {
        log.append(&numbered(0, 1), &Origin::Kafka, EPOCH, 10).expect("staged");
        log.publish().expect("published");
        drop(log.take_dirty().expect("listed"));
        assert_eq!(records(&log.reader(), Offset(0)).len(), 1);
    }
    assert!(files.open_files() <= 16);
    assert!(open_files() <= open_before + 16 + 8, "{} files open", open_files());
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

#[test]
fn a_gap_in_place_of_stored_records_is_a_duplicate_and_no_fork() {
    let mut partition = Partition::new(1 << 20);
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let stream = schemas::stream_id(77);
    let rows = [(1, Some("pump-7"), Some("a")), (2, Some("pump-7"), Some("b"))];
    let data = build(&rows, Some((stream, ProducerEpoch(0), Sequence(0))));
    let gap = Gap { count: GapCount::Known(2), from_ms: Some(1), to_ms: Some(2), reason: GapReason::Dropped };
    let gap = schemas::build_gap(&device, stream, Sequence(0), 2, &gap);
    let gap = RawBatch::parse(gap).expect("one batch");
    let sent = |batch: &RawBatch| Origin::Agent { device: device.clone(), sent_crc: batch.header().crc };

    partition.log.append(&data, &sent(&data), EPOCH, 10).expect("staged");
    assert_eq!(partition.log.check(&gap, &sent(&gap)), duplicate_at(0));
    let other = build(&[rows[1], rows[0]], Some((stream, ProducerEpoch(0), Sequence(0))));
    let fork = SequenceVerdict::Refuse(SequenceError::Fork { expected: Sequence(2) });
    assert_eq!(partition.log.check(&other, &sent(&other)), fork);
}

#[test]
fn a_gap_uses_up_its_offsets() {
    let mut partition = Partition::new(1 << 20);
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let gap = Gap { count: GapCount::Known(50), from_ms: None, to_ms: None, reason: GapReason::TooOld };
    let gap = schemas::build_gap(&device, schemas::stream_id(7), Sequence(0), 50, &gap);
    let gap = RawBatch::parse(gap).expect("one batch");
    assert_eq!(partition.append(&gap, 10), Offset(0));
    assert_eq!(partition.append(&numbered(0, 1), 10), Offset(50));
    let reader = partition.reader();
    for offset in [0, 20, 49] {
        let batches = split(reader.read(Offset(offset), 0).expect("readable"));
        assert_eq!(batches[0].header().base_offset, 0, "offset {offset} lies in the gap");
    }
    assert_eq!(split(reader.read(Offset(50), 0).expect("readable"))[0].header().base_offset, 50);
}
