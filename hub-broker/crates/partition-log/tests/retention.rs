//! What goes, and what whoever reads it sees.

mod common;

use common::{Partition, numbered, records};
use partition_log::ReadError;
use schemas::Offset;

/// Five closed segments of two records, appended at 100, 200, …, and an active one at 600.
fn six_segments() -> Partition {
    let mut partition = Partition::new(1 << 20);
    for number in 0..6 {
        partition.append(&numbered(number * 2, 2), (number + 1) * 100);
        if number < 5 {
            partition.log.roll().expect("rolled");
        }
    }
    partition
}

#[test]
fn age_counts_from_the_append_not_from_the_records() {
    let partition = six_segments();
    let target = |now, ms| partition.log.retention_target(now, Some(ms), None);
    assert_eq!(target(600, 500), None);
    assert_eq!(target(601, 500), Some(Offset(2)));
    assert_eq!(target(850, 500), Some(Offset(6)));
    assert_eq!(target(10_000, 500), Some(Offset(12)), "the active segment too");
    assert_eq!(target(10_000, -1), None);
}

#[test]
fn size_keeps_at_least_what_is_asked_for() {
    let partition = six_segments();
    let bytes: Vec<i64> =
        partition.logs().iter().map(|log| log.metadata().expect("a file").len() as i64).collect();
    let all: i64 = bytes.iter().sum();
    let target = |bytes| partition.log.retention_target(0, None, Some(bytes));
    assert_eq!(target(all), None);
    assert_eq!(target(all - bytes[0] + 1), None);
    assert_eq!(target(all - bytes[0]), Some(Offset(2)));
    assert_eq!(target(all - bytes[0] - bytes[1]), Some(Offset(4)));
    assert_eq!(target(0), Some(Offset(10)), "the active segment stays");
}

#[test]
fn advancing_the_start_drops_whole_segments_and_hides_what_is_below() {
    let mut partition = six_segments();
    partition.log.advance_start(Offset(5)).expect("advanced");
    let reader = partition.reader();
    assert_eq!(reader.log_start(), Offset(5));
    assert!(matches!(reader.read(Offset(4), 100), Err(ReadError::OutOfRange { start: Offset(5), .. })));
    assert_eq!(records(&reader, Offset(5)).len(), 8, "the batch that holds the start comes whole");
    let obsolete = partition.log.take_obsolete();
    assert_eq!(obsolete.iter().map(|files| files.paths().len()).sum::<usize>(), 4);
    assert_eq!(partition.logs().len(), 6, "an older manifest may still name them");
    for files in obsolete {
        files.delete().expect("deleted");
    }
    assert_eq!(partition.logs().len(), 4);
    assert_eq!(partition.indexes().len(), 4);
}

#[test]
fn the_start_does_not_go_beyond_the_end_nor_back() {
    let mut partition = six_segments();
    partition.log.advance_start(Offset(99)).expect("advanced");
    assert_eq!(partition.log.log_start(), Offset(12));
    partition.log.advance_start(Offset(3)).expect("nothing to do");
    assert_eq!(partition.log.log_start(), Offset(12));
    assert_eq!(partition.append(&numbered(12, 1), 700), Offset(12));
    assert_eq!(records(&partition.reader(), Offset(12)).len(), 1);
    assert_eq!(partition.reader().size_bytes(), partition.logs()[6].metadata().expect("a file").len());
}

#[test]
fn a_reader_that_comes_late_gets_out_of_range_and_no_error_of_the_file_system() {
    let mut partition = six_segments();
    let reader = partition.reader();
    partition.log.advance_start(Offset(6)).expect("advanced");
    for files in partition.log.take_obsolete() {
        files.delete().expect("deleted");
    }
    assert!(matches!(reader.read(Offset(0), 100), Err(ReadError::OutOfRange { .. })));
    assert_eq!(records(&reader, Offset(6)).len(), 6);
}

#[test]
fn readers_and_the_writer_run_beside_each_other() {
    let mut partition = Partition::new(2000);
    let reader = partition.reader();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut next = Offset(0);
                let mut read = 0;
                while !stop.load(std::sync::atomic::Ordering::Acquire) || next < reader.high_watermark() {
                    match reader.read(next, 500) {
                        Ok(bytes) => {
                            for batch in common::split(bytes) {
                                assert!(batch.header().base_offset <= next.0);
                                next = Offset(batch.header().last_offset() + 1);
                                read += 1;
                            }
                        }
                        Err(ReadError::OutOfRange { start, .. }) => next = next.max(start),
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(read > 0);
            });
        }
        for number in 0..3000 {
            partition.append(&numbered(number, 1), number);
            if number % 500 == 499 {
                partition.log.advance_start(Offset(number - 300)).expect("advanced");
                for files in partition.log.take_obsolete() {
                    files.delete().expect("deleted");
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
}
