use partition_log::{FileCache, LogOptions, Origin, PartitionLog};
use schemas::{
    BatchBuilder, BuilderOptions, LeaderEpoch, PartitionId, PartitionIndex, RawBatch, ShardId, TopicId,
};
use uuid::Uuid;

use super::*;

/// Partitions in a directory of their own, each with batches of these sizes.
struct Logs {
    logs: Vec<PartitionLog>,
    dir: tempfile::TempDir,
}

impl Logs {
    fn new(sizes: &[&[usize]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = FileCache::new(16);
        let open = |(index, sizes): (i32, &&[usize])| {
            let id = PartitionId { topic: TopicId(Uuid::nil()), index: PartitionIndex(index) };
            let at = dir.path().join(index.to_string());
            let mut log = PartitionLog::create(&at, id, LogOptions::default(), &files).unwrap();
            sizes.iter().for_each(|size| append(&mut log, *size));
            log
        };
        Self { logs: (0..).zip(sizes).map(open).collect(), dir }
    }

    fn gather(&self, bytes_max: usize, partition_max: usize) -> Gather {
        let wanted = self.logs.iter().map(|log| FetchPartition {
            partition: log.id(),
            offset: Offset(0),
            max_bytes: partition_max,
            current_leader_epoch: None,
        });
        let reader = |wanted: &FetchPartition| {
            let log = self.logs.iter().find(|log| log.id() == wanted.partition);
            Ok(located(log.unwrap(), Role::Leader))
        };
        Gather::new(wanted.collect(), bytes_max, reader)
    }
}

fn located(log: &PartitionLog, role: Role) -> Located {
    Located { reader: log.reader(), shard: ShardId(0), role }
}

/// One record, in a batch of about this many bytes.
fn append(log: &mut PartitionLog, bytes: usize) {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.push(1, None, Some(&vec![b'x'; bytes]), &[]).unwrap();
    let batch = RawBatch::parse(builder.finish().unwrap()).unwrap();
    log.append(&batch, &Origin::Kafka, LeaderEpoch(0), 1).unwrap();
    log.publish().unwrap();
}

fn read_all(mut gather: Gather) -> Gather {
    while gather.lane().is_some() {
        gather.read_slice();
    }
    gather
}

fn counts(gather: Gather) -> Vec<usize> {
    let batches = |fetched: Fetched| fetched.records.iter().map(|chunk| batches_in(chunk)).sum();
    gather.finish().into_iter().map(|partition| partition.result.map_or(0, batches)).collect()
}

fn batches_in(mut records: &[u8]) -> usize {
    let mut count = 0;
    while !records.is_empty() {
        records = &records[BatchHeader::parse(records).unwrap().total_bytes()..];
        count += 1;
    }
    count
}

#[test]
fn everything_is_read_where_the_limits_allow_it() {
    let logs = Logs::new(&[&[100; 5], &[], &[100; 3]]);
    assert_eq!(counts(read_all(logs.gather(1 << 20, 1 << 20))), [5, 0, 3]);
}

#[test]
fn a_long_backlog_does_not_starve_its_neighbours() {
    let logs = Logs::new(&[&[1000; 50], &[1000; 50], &[1000; 2]]);
    let gather = read_all(logs.gather(20_000, 1 << 20));
    let read = counts(gather);
    assert!(read[0] > 5 && read[1] > 5 && read[2] == 2, "{read:?}");
}

#[test]
fn the_first_batch_is_given_whole_and_nothing_beside_it() {
    let logs = Logs::new(&[&[5000, 10], &[10]]);
    assert_eq!(counts(read_all(logs.gather(100, 100))), [1, 0]);
}

#[test]
fn an_answer_does_not_exceed_its_limit_once_it_has_something() {
    let logs = Logs::new(&[&[100], &[5000], &[100]]);
    let gather = read_all(logs.gather(1000, 1000));
    assert!(gather.len_bytes() <= 1000);
    assert_eq!(counts(gather), [1, 0, 1]);
}

#[test]
fn a_batch_above_its_partitions_limit_is_given_where_the_answer_has_room() {
    let logs = Logs::new(&[&[100], &[5000, 10]]);
    assert_eq!(counts(read_all(logs.gather(1 << 20, 1000))), [1, 1]);
}

#[test]
fn what_was_read_stays_and_only_what_is_new_is_added() {
    let mut logs = Logs::new(&[&[100], &[]]);
    let gather = read_all(logs.gather(1 << 20, 1 << 20));
    let before = gather.len_bytes();
    append(&mut logs.logs[1], 100);
    append(&mut logs.logs[0], 100);
    let gather = read_all(gather);
    assert_eq!(gather.len_bytes(), before * 3);
    assert_eq!(counts(gather), [2, 1]);
}

#[test]
fn what_comes_before_a_damaged_batch_is_given_and_the_damage_to_who_asks_next() {
    let logs = Logs::new(&[&[100; 5], &[100; 2]]);
    let segment = std::fs::read_dir(logs.dir.path().join("0")).unwrap();
    let path = segment.map(|entry| entry.unwrap().path()).find(|path| path.extension().unwrap() == "log");
    let path = path.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() * 3 / 5 + 70;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(counts(read_all(logs.gather(1 << 20, 1 << 20))), [3, 2]);
    let mut gather = logs.gather(1 << 20, 1 << 20);
    gather.slots[0].next = Offset(3);
    let answers = read_all(gather).finish();
    assert!(matches!(answers[0].result, Err(FetchError::Damaged { file: Some(_), .. })));
    assert!(answers[1].result.is_ok());
}

#[test]
fn an_offset_that_is_not_there_is_out_of_range() {
    let logs = Logs::new(&[&[100; 3]]);
    let leader = located(&logs.logs[0], Role::Leader);
    let range = FetchError::OutOfRange { log_start: Offset(0), high_watermark: Offset(3) };
    assert_eq!(in_range(&leader, Offset(-1)), Err(range.clone()));
    assert_eq!(in_range(&leader, Offset(4)), Err(range));
    assert_eq!(in_range(&leader, Offset(3)), Ok(()));
}

#[test]
fn a_follower_does_not_know_where_a_partition_ends_but_what_is_deleted_is() {
    let (start, end) = (Offset(5), Offset(9));
    let follower = |offset| check_range(Role::Follower, Offset(offset), start, end);
    assert_eq!(follower(10), Err(FetchError::NotYetHere { high_watermark: end }));
    assert_eq!((follower(9), follower(5)), (Ok(()), Ok(())));
    let deleted = FetchError::OutOfRange { log_start: start, high_watermark: end };
    assert_eq!(follower(4), Err(deleted));
}

#[test]
fn only_what_a_leader_says_of_the_end_is_to_be_confirmed() {
    let logs = Logs::new(&[&[100; 3], &[100; 3], &[100; 3]]);
    let wanted = |(log, offset): (&PartitionLog, i64)| FetchPartition {
        partition: log.id(),
        offset: Offset(offset),
        max_bytes: 1,
        current_leader_epoch: None,
    };
    let wanted: Vec<_> = logs.logs.iter().zip([7, -1, 2]).map(wanted).collect();
    let gather = Gather::new(wanted, 1, |wanted| {
        let log = logs.logs.iter().find(|log| log.id() == wanted.partition);
        Ok(located(log.unwrap(), Role::Leader))
    });
    assert_eq!(gather.beyond_end().map(|(at, _)| at).collect::<Vec<_>>(), [0]);
}
