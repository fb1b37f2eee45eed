//! Cutting the log back to a checkpoint, and going on from there.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;

use common::{EPOCH, Partition, batch_of, build, contents, files_in, numbered, partition_id, records};
use partition_log::{
    FileCache, LogOptions, Origin, PartitionLog, PartitionState, RecoverError, SequenceVerdict,
};
use proptest::prelude::*;
use schemas::{DeviceId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

#[test]
fn what_came_after_the_checkpoint_is_cut_off() {
    let mut partition = Partition::new(300);
    for first in 0..7 {
        partition.append(&numbered(first, 1), 10);
    }
    let state = partition.checkpoint();
    let at_checkpoint = contents(&partition.path());
    for first in 7..30 {
        partition.append(&numbered(first, 1), 10);
    }
    assert_eq!(partition.recover(&state), []);
    assert_eq!(contents(&partition.path()), at_checkpoint);
    assert_eq!(partition.log.end_offset(), Offset(7));
    assert_eq!(partition.log.state(), state);
}

#[test]
fn rubbish_behind_the_checkpoint_is_cut_off() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 3), 10);
    let state = partition.checkpoint();
    for path in [partition.logs(), partition.indexes()].concat() {
        let mut file = OpenOptions::new().append(true).open(path).expect("opened");
        file.write_all(&[0xa5; 100]).expect("written");
    }
    assert_eq!(partition.recover(&state), []);
    assert_eq!(partition.append(&numbered(3, 2), 20), Offset(3));
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 5);
}

#[test]
fn senders_are_remembered() {
    let mut partition = Partition::new(1 << 20);
    let producer = |sequence| Some((ProducerId(5), ProducerEpoch(1), Sequence(sequence)));
    let stream = |sequence| Some((schemas::stream_id(9), ProducerEpoch(0), Sequence(sequence)));
    let device = DeviceId::try_from("pump-7").expect("a device id");
    let agent = Origin::Agent { device, sent_crc: 99 };
    let by_producer = build(&[(1, None, Some("a"))], producer(0));
    let by_agent = build(&[(1, Some("pump-7"), Some("b"))], stream(0));
    partition.log.append(&by_producer, &Origin::Kafka, EPOCH, 10).expect("staged");
    partition.log.append(&by_agent, &agent, EPOCH, 10).expect("staged");
    let state = partition.checkpoint();
    partition.recover(&state);
    let at = |offset| SequenceVerdict::Duplicate { base_offset: Some(Offset(offset)) };
    assert_eq!(partition.log.check(&by_producer, &Origin::Kafka), at(0));
    assert_eq!(partition.log.check(&by_agent, &agent), at(1));
}

#[test]
fn a_partition_that_no_checkpoint_knew_begins_anew() {
    let mut partition = Partition::new(300);
    for first in 0..10 {
        partition.append(&numbered(first, 1), 10);
    }
    let options = LogOptions { segment_bytes: 300 };
    partition.log =
        PartitionLog::create(&partition.path(), partition_id(), options, &partition.files).expect("created");
    assert!(partition.logs().is_empty());
    assert_eq!(partition.append(&numbered(0, 1), 10), Offset(0));
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 1);
}

#[test]
fn an_empty_partition_comes_back_empty_even_without_its_directory() {
    let mut partition = Partition::new(300);
    let state = partition.checkpoint();
    fs::remove_dir_all(partition.path()).expect("removed");
    assert_eq!(partition.recover(&state), []);
    assert_eq!(partition.append(&numbered(0, 1), 10), Offset(0));
}

#[test]
fn files_that_only_an_older_manifest_names_are_kept_until_they_are_released() {
    let mut partition = Partition::new(300);
    for first in 0..12 {
        partition.append(&numbered(first, 1), 10);
    }
    let older = partition.checkpoint();
    partition.log.advance_start(Offset(8)).expect("advanced");
    let newer = partition.checkpoint();
    assert_eq!(partition.recover(&newer), []);
    // The newer manifest turns out to be damaged: everything that the older one names is still there.
    assert_eq!(partition.recover(&older), []);
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 12);
    assert_eq!(partition.recover(&newer), []);
    let obsolete = partition.log.take_obsolete();
    assert!(!obsolete.is_empty());
    for files in obsolete {
        files.delete().expect("deleted");
    }
    assert_eq!(partition.logs().len(), newer.segments.iter().filter(|segment| segment.bytes > 0).count());
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let mut partition = Partition::new(300);
    for first in 0..12 {
        partition.append(&numbered(first, 1), 10);
    }
    let mut state = partition.checkpoint();
    state.segments.remove(1);
    let refused = PartitionLog::recover(&partition.path(), &state, &partition.files);
    assert!(matches!(refused, Err(RecoverError::BadState { .. })));
    state.segments.clear();
    let refused = PartitionLog::recover(&partition.path(), &state, &partition.files);
    assert!(matches!(refused, Err(RecoverError::BadState { .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: usize,
        padding: usize,
        time: i64,
    },
    Publish,
    Roll,
    AdvanceStart {
        part: u8,
    },
    NewEpoch,
    Checkpoint,
    /// Crash and come back at the last checkpoint.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..4usize, 0..300usize, 0..1000i64)
            .prop_map(|(records, padding, time)| Step::Append { records, padding, time }),
        6 => Just(Step::Publish),
        2 => Just(Step::Roll),
        2 => any::<u8>().prop_map(|part| Step::AdvanceStart { part }),
        1 => Just(Step::NewEpoch),
        3 => Just(Step::Checkpoint),
        3 => Just(Step::Crash),
    ]
}

/// A log and what it should hold.
struct Run {
    dir: std::path::PathBuf,
    files: FileCache,
    log: PartitionLog,
    epoch: i32,
    sequence: i32,
    rows: Vec<(i64, String)>,
}

impl Run {
    fn new(dir: std::path::PathBuf) -> Self {
        let files = FileCache::new(4);
        let options = LogOptions { segment_bytes: 1500 };
        let log = PartitionLog::create(&dir, partition_id(), options, &files).expect("created");
        Self { dir, files, log, epoch: 0, sequence: 0, rows: Vec::new() }
    }

    fn apply(&mut self, number: usize, step: &Step) {
        let stamp_ms = number as i64;
        match step {
            Step::Append { records, padding, time } => self.append(number, *records, *padding, *time),
            Step::Publish => self.log.publish().expect("published"),
            Step::Roll => self.log.roll().expect("rolled"),
            Step::AdvanceStart { part } => {
                let to = self.log.end_offset().0 * i64::from(*part) / 255;
                self.log.advance_start(Offset(to)).expect("advanced");
                self.log.expire_producers(stamp_ms, 40);
            }
            Step::NewEpoch => {
                self.epoch += 1;
                self.log.begin_epoch(LeaderEpoch(self.epoch)).expect("newer");
            }
            Step::Checkpoint | Step::Crash => {}
        }
    }

    fn append(&mut self, number: usize, records: usize, padding: usize, time: i64) {
        let value = format!("{number}:{}", "x".repeat(padding));
        let rows: Vec<_> = (0..records as i64).map(|i| (time - i, None, Some(value.as_str()))).collect();
        let producer = (ProducerId(number as i64 % 3), ProducerEpoch(0), Sequence(self.sequence));
        let batch = if number.is_multiple_of(2) { build(&rows, Some(producer)) } else { batch_of(&rows) };
        let verdict = self.log.check(&batch, &Origin::Kafka);
        let base =
            self.log.append(&batch, &Origin::Kafka, LeaderEpoch(self.epoch), number as i64).expect("staged");
        assert_eq!(base.0, self.rows.len() as i64);
        // The verdict depends on what is remembered, so it has to be the same again after a crash.
        self.sequence += i32::from(verdict == SequenceVerdict::Append);
        self.rows.extend(rows.iter().map(|(time, _, value)| (*time, value.expect("a value").to_owned())));
    }

    fn recover(&mut self, checkpoint: &Saved) {
        let state = PartitionState::decode(&checkpoint.state).expect("a state");
        let (log, damage) = PartitionLog::recover(&self.dir, &state, &self.files).expect("recovered");
        assert_eq!(damage, []);
        self.log = log;
        (self.epoch, self.sequence) = (checkpoint.epoch, checkpoint.sequence);
        self.rows.truncate(state.end_offset().0 as usize);
    }

    fn save(&mut self, next_step: usize) -> Saved {
        self.log.take_dirty().expect("published");
        let state = self.log.state().encode();
        Saved { next_step, state, epoch: self.epoch, sequence: self.sequence }
    }

    fn check_reads(&self) {
        let reader = self.log.reader();
        let start = reader.log_start();
        let found = records(&reader, start);
        let expected = self.rows.iter().enumerate().skip(start.0 as usize);
        let found: Vec<_> = found.into_iter().filter(|row| row.0 >= start.0).collect();
        assert_eq!(found.len(), self.rows.len() - start.0 as usize);
        for ((offset, (time, value)), row) in expected.zip(&found) {
            assert_eq!((row.0, row.1, row.3.as_deref()), (offset as i64, *time, Some(value.as_str())));
        }
        for time in [0, 500, 999] {
            let expected = self.rows.iter().enumerate().skip(start.0 as usize).find(|(_, row)| row.0 >= time);
            let expected = expected.map(|(offset, row)| (Offset(offset as i64), row.0));
            assert_eq!(reader.offset_for_time(time).expect("readable"), expected);
        }
    }
}

struct Saved {
    next_step: usize,
    state: Vec<u8>,
    epoch: i32,
    sequence: i32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One log goes through crashes, each time recovered at the last or the last but one checkpoint and fed the
    /// same steps again; the other never crashes. Both end with the same bytes, state and answers.
    #[test]
    fn crashes_leave_no_trace(steps in prop::collection::vec(step(), 1..80), older in any::<bool>()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut plain = Run::new(dir.path().join("plain"));
        let mut crashing = Run::new(dir.path().join("crashing"));
        let mut saved = vec![crashing.save(0)];
        for (number, step) in steps.iter().enumerate() {
            plain.apply(number, step);
            crashing.apply(number, step);
            match step {
                Step::Checkpoint => saved.push(crashing.save(number + 1)),
                Step::Crash => {
                    if older && saved.len() > 1 {
                        saved.pop();
                    }
                    let checkpoint = saved.last().expect("one from the beginning");
                    crashing.recover(checkpoint);
                    for (number, step) in steps.iter().enumerate().take(number).skip(checkpoint.next_step) {
                        crashing.apply(number, step);
                    }
                }
                _ => {}
            }
        }
        plain.save(0);
        crashing.save(0);
        prop_assert_eq!(plain.log.state(), crashing.log.state());
        prop_assert_eq!(contents(&plain.dir), contents(&crashing.dir));
        plain.check_reads();
        crashing.check_reads();
        for log in files_in(&plain.dir, "log") {
            prop_assert!(log.with_extension("index").exists());
        }
    }
}
