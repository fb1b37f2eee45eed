//! The last record of each key is kept.

mod common;

use std::collections::HashMap;
use std::fs;

use common::{EVERYTHING, OwnedRow, Partition, batch_of, flip_bit, records, split};
use partition_log::{CompactError, CompactOptions, ReadError};
use proptest::prelude::*;
use schemas::{BATCH_HEADER_BYTES, Offset, PLACEMENT_BYTES};

const NOW: CompactOptions = CompactOptions { stamp_ms: 1000, tombstone_retention_ms: 0 };

type Batch<'a> = &'a [(&'a str, Option<&'a str>)];

fn partition(segments: &[&[Batch<'_>]]) -> Partition {
    let mut partition = Partition::new(1 << 20);
    let mut time = 0;
    for batches in segments {
        for rows in *batches {
            let rows = rows.iter().map(|(key, value)| {
                time += 1;
                (time, Some(*key), *value)
            });
            partition.append(&batch_of(&rows.collect::<Vec<_>>()), time);
        }
        partition.log.roll().expect("rolled");
    }
    partition
}

fn compact(partition: &mut Partition, options: CompactOptions) {
    let compacted = partition.log.compaction(options).expect("something to do").run().expect("compacted");
    assert!(partition.log.install(compacted));
}

fn kept(partition: &Partition) -> Vec<(i64, String, Option<String>)> {
    let rows = records(&partition.reader(), partition.log.log_start());
    rows.into_iter().map(|(offset, _, key, value)| (offset, key.expect("a key"), value)).collect()
}

fn row(offset: i64, key: &str, value: Option<&str>) -> (i64, String, Option<String>) {
    (offset, key.to_owned(), value.map(str::to_owned))
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let mut partition = partition(&[
        &[&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))], &[("a", Some("2"))]],
        &[&[("b", Some("2"))], &[("d", Some("1"))]],
    ]);
    compact(&mut partition, NOW);
    let expected =
        [row(2, "c", Some("1")), row(3, "a", Some("2")), row(4, "b", Some("2")), row(5, "d", Some("1"))];
    assert_eq!(kept(&partition), expected);
    assert_eq!(partition.log.end_offset(), Offset(6));
    let first = split(partition.reader().read(Offset(0), EVERYTHING).expect("readable")).remove(0);
    let header = first.header();
    assert_eq!((header.base_offset, header.last_offset_delta, header.record_count), (0, 2, 1));
    assert_eq!(header.max_timestamp, 3);
    first.verify_crc().expect("a good CRC");
}

#[test]
fn a_batch_of_which_everything_stays_keeps_its_bytes() {
    let mut partition =
        partition(&[&[&[("a", Some("1"))], &[("b", Some("1")), ("c", Some("1"))]], &[&[("a", None)]]]);
    let before = split(partition.reader().read(Offset(1), EVERYTHING).expect("readable")).remove(0);
    compact(&mut partition, NOW);
    let after = split(partition.reader().read(Offset(0), EVERYTHING).expect("readable")).remove(0);
    assert_eq!(after.bytes()[PLACEMENT_BYTES..], before.bytes()[PLACEMENT_BYTES..]);
    assert_eq!(after.bytes(), before.bytes());
}

#[test]
fn tombstones_stay_readable_for_their_time_and_then_go() {
    let retention = |stamp_ms| CompactOptions { stamp_ms, tombstone_retention_ms: 100 };
    let mut partition = partition(&[&[&[("a", Some("1")), ("b", Some("1"))]], &[&[("a", None)]]]);
    compact(&mut partition, retention(100));
    assert_eq!(kept(&partition), [row(1, "b", Some("1")), row(2, "a", None)]);
    assert!(partition.log.compaction(retention(500)).is_none(), "nothing was closed since");

    partition.append(&batch_of(&[(9, Some("c"), Some("1"))]), 400);
    partition.log.roll().expect("rolled");
    compact(&mut partition, retention(410));
    assert_eq!(kept(&partition), [row(1, "b", Some("1")), row(3, "c", Some("1"))]);
}

#[test]
fn records_without_a_key_stay() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&batch_of(&[(1, None, Some("x")), (2, Some("a"), Some("1"))]), 1);
    partition.append(&batch_of(&[(3, None, Some("x")), (4, Some("a"), Some("2"))]), 1);
    partition.log.roll().expect("rolled");
    compact(&mut partition, NOW);
    let offsets: Vec<i64> = records(&partition.reader(), Offset(0)).iter().map(|row| row.0).collect();
    assert_eq!(offsets, [0, 2, 3]);
}

#[test]
fn the_active_segment_is_left_alone() {
    let mut partition = partition(&[&[&[("a", Some("1"))]]]);
    partition.append(&batch_of(&[(5, Some("a"), Some("2"))]), 5);
    compact(&mut partition, NOW);
    assert_eq!(kept(&partition), [row(0, "a", Some("1")), row(1, "a", Some("2"))]);
}

#[test]
fn small_segments_become_one_and_the_old_files_are_released() {
    let mut partition = partition(&[&[&[("a", Some("1"))]], &[&[("b", Some("1"))]], &[&[("a", Some("2"))]]]);
    compact(&mut partition, NOW);
    assert_eq!(partition.logs().len(), 4);
    for files in partition.log.take_obsolete() {
        files.delete().expect("deleted");
    }
    assert_eq!(partition.logs().len(), 1);
    assert_eq!(kept(&partition), [row(1, "b", Some("1")), row(2, "a", Some("2"))]);
}

#[test]
fn a_compacted_log_survives_a_restart_and_a_lost_index() {
    let mut partition = partition(&[
        &[&[("a", Some("1")), ("b", Some("1"))], &[("a", Some("2"))]],
        &[&[("b", Some("2"))], &[("a", None)]],
    ]);
    compact(&mut partition, NOW);
    partition.append(&batch_of(&[(50, Some("a"), Some("3"))]), 50);
    let expected = kept(&partition);
    let state = partition.checkpoint();
    assert_eq!(partition.recover(&state), []);
    assert_eq!(kept(&partition), expected);
    let index = state.segments[0].id;
    let index = partition
        .indexes()
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(&format!("{index:08x}.index")));
    fs::remove_file(index.expect("an index")).expect("removed");
    assert_eq!(partition.recover(&state).len(), 1);
    assert_eq!(kept(&partition), expected);
}

#[test]
fn a_restart_before_the_next_checkpoint_finds_the_old_segments() {
    let mut partition = partition(&[&[&[("a", Some("1"))]], &[&[("a", Some("2"))]]]);
    let state = partition.checkpoint();
    let before = common::contents(&partition.path());
    compact(&mut partition, NOW);
    assert_eq!(kept(&partition).len(), 1);
    assert_eq!(partition.recover(&state), []);
    assert_eq!(kept(&partition).len(), 2);
    assert_eq!(common::contents(&partition.path()), before, "the new files are gone again");
}

#[test]
fn a_result_whose_segments_are_gone_is_discarded() {
    let mut partition = partition(&[&[&[("a", Some("1"))]], &[&[("a", Some("2"))]]]);
    let compacted = partition.log.compaction(NOW).expect("something to do").run().expect("compacted");
    partition.log.advance_start(Offset(1)).expect("advanced");
    assert!(!partition.log.install(compacted));
    assert_eq!(kept(&partition), [row(1, "a", Some("2"))]);
}

#[test]
fn damage_stops_a_compaction_and_leaves_the_log_as_it_was() {
    let mut partition = partition(&[&[&[("a", Some("1"))]], &[&[("a", Some("2"))]]]);
    flip_bit(&partition.logs()[1], BATCH_HEADER_BYTES + 1);
    let before = common::contents(&partition.path());
    let failed = partition.log.compaction(NOW).expect("something to do").run();
    assert!(matches!(failed, Err(CompactError::Read(ReadError::Damaged(_)))));
    assert_eq!(common::contents(&partition.path()), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was appended and however often it was compacted on the way: every key has the value that it
    /// would have if all records had been read, and whatever is left is where it was.
    #[test]
    fn the_table_that_a_reader_builds_stays_the_same(
        batches in prop::collection::vec((prop::collection::vec((0..6u8, prop::option::of(0..9u8)), 1..5), 0..6u8), 1..40),
    ) {
        let mut partition = Partition::new(400);
        let mut all: Vec<OwnedRow> = Vec::new();
        let mut time = 0;
        for (rows, action) in &batches {
            let rows: Vec<_> = rows
                .iter()
                .map(|(key, value)| {
                    time += 1;
                    (time, key.to_string(), value.map(|value| value.to_string()))
                })
                .collect();
            let borrowed: Vec<_> = rows.iter().map(|row| (row.0, Some(row.1.as_str()), row.2.as_deref())).collect();
            partition.append(&batch_of(&borrowed), time);
            all.extend(rows.into_iter().map(|row| (row.0 - 1, row.0, Some(row.1), row.2)));
            match action {
                0 => partition.log.roll().expect("rolled"),
                1 => {
                    let options = CompactOptions { stamp_ms: time, tombstone_retention_ms: 20 };
                    if let Some(compaction) = partition.log.compaction(options) {
                        let compacted = compaction.run().expect("compacted");
                        prop_assert!(partition.log.install(compacted));
                    }
                }
                2 => {
                    let state = partition.checkpoint();
                    prop_assert_eq!(partition.recover(&state), []);
                }
                _ => {}
            }
        }
        let left = records(&partition.reader(), Offset(0));
        prop_assert!(left.iter().all(|row| all.contains(row)));
        prop_assert!(left.is_sorted_by_key(|row| row.0));
        prop_assert_eq!(table(&left), table(&all));
    }
}

fn table(rows: &[OwnedRow]) -> HashMap<String, String> {
    let mut table = HashMap::new();
    for (_, _, key, value) in rows {
        let key = key.clone().expect("a key");
        match value {
            Some(value) => table.insert(key, value.clone()),
            None => table.remove(&key),
        };
    }
    table
}
