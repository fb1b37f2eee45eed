//! A damaged segment is made again from what another replica has.

mod common;

use std::fs;
use std::path::Path;

use common::{Partition, contents, files_in, flip_bit, numbered, records};
use partition_log::{CompactOptions, ImportError, PartitionReader, Repair};
use schemas::Offset;

/// 33 one-record batches, with a new segment after every `per_segment` of them.
fn partition(per_segment: i64, first: i64) -> Partition {
    let mut partition = Partition::new(1 << 20);
    for number in 0..33 {
        partition.append(&numbered(first + number, 1), 10);
        if number % per_segment == per_segment - 1 {
            partition.log.roll().expect("rolled");
        }
    }
    // The active segment's index too is as it will stay.
    partition.checkpoint();
    partition
}

fn begin(partition: &Partition, file: &Path) -> Repair {
    assert!(partition.reader().can_repair(file));
    partition.reader().repair(file).expect("begun").expect("a closed segment")
}

fn fill(repair: &mut Repair, other: &PartitionReader) -> Result<(), ImportError> {
    while repair.left() > 0 {
        repair.push(&other.read(repair.next(), 250).expect("readable"))?;
    }
    Ok(())
}

#[test]
fn a_damaged_segment_is_made_again_from_batches_that_lie_in_other_segments_elsewhere() {
    let (partition, other) = (partition(10, 0), partition(7, 0));
    let before = contents(&partition.path());
    let log = partition.logs().remove(1);
    flip_bit(&log, 300);
    flip_bit(&partition.indexes().remove(1), 70);
    assert!(readable(&partition) < 33);
    let mut repair = begin(&partition, &log);
    fill(&mut repair, &other.reader()).expect("the same batches");
    repair.finish().expect("finished");
    assert_eq!(contents(&partition.path()), before);
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 33);
    assert!(files_in(&partition.path(), "part").is_empty());
}

/// Batches in front of the first one that cannot be read.
fn readable(partition: &Partition) -> usize {
    let mut next = Offset(0);
    let mut count = 0;
    while let Ok(bytes) = partition.reader().read(next, 1) {
        if bytes.is_empty() {
            break;
        }
        count += 1;
        next = next.plus(1);
    }
    count
}

#[test]
fn a_segment_that_is_missing_or_cut_short_is_made_again() {
    for is_missing in [true, false] {
        let (mut partition, other) = (partition(10, 0), partition(33, 0));
        let before = contents(&partition.path());
        let state = partition.checkpoint();
        let log = partition.logs().remove(0);
        match is_missing {
            true => fs::remove_file(&log).expect("removed"),
            false => fs::File::options().write(true).open(&log).expect("opened").set_len(200).expect("cut"),
        }
        assert!(!partition.recover(&state).is_empty());
        let mut repair = begin(&partition, &log);
        fill(&mut repair, &other.reader()).expect("the same batches");
        repair.finish().expect("finished");
        assert_eq!(contents(&partition.path()), before);
        assert_eq!(records(&partition.reader(), Offset(0)).len(), 33);
    }
}

#[test]
fn what_is_not_the_same_takes_no_place() {
    let (partition, other) = (partition(10, 0), partition(10, 50));
    let log = partition.logs().remove(1);
    flip_bit(&log, 300);
    let damaged = fs::read(&log).expect("readable");
    let mut repair = begin(&partition, &log);
    let filled = fill(&mut repair, &other.reader());
    assert!(matches!(filled.and_then(|()| repair.finish()), Err(ImportError::Checksum(_))));
    assert_eq!(fs::read(&log).expect("readable"), damaged);
}

#[test]
fn batches_that_do_not_come_next_are_refused() {
    let (partition, other) = (partition(10, 0), partition(10, 0));
    let mut repair = begin(&partition, &partition.logs()[1]);
    let bytes = other.reader().read(Offset(11), 1).expect("readable");
    assert!(matches!(repair.push(&bytes), Err(ImportError::Checksum(_))));
    assert!(matches!(repair.push(b"no batch"), Err(ImportError::Checksum(_))));
}

#[test]
fn the_active_segment_and_compacted_ones_cannot_be_made_again() {
    let mut partition = partition(10, 0);
    let reader = partition.reader();
    let [first, _, _, active] = &partition.logs()[..] else { panic!("four segments") };
    assert!(reader.can_repair(first) && reader.needs(first));
    assert!(!reader.can_repair(active) && reader.needs(active));
    assert!(reader.repair(active).expect("looked").is_none());
    let options = CompactOptions { stamp_ms: 10, tombstone_retention_ms: 0 };
    let compacted = partition.log.compaction(options).expect("there is work").run().expect("done");
    assert!(partition.log.install(compacted));
    assert!(!reader.needs(first), "it was replaced");
    let compacted = partition.logs().into_iter().filter(|log| reader.needs(log) && log != active);
    let compacted: Vec<_> = compacted.collect();
    assert!(!compacted.is_empty());
    assert!(compacted.iter().all(|log| !reader.can_repair(log)));
}

#[test]
fn a_segment_that_goes_meanwhile_leaves_nothing() {
    let (mut partition, other) = (partition(10, 0), partition(10, 0));
    let log = partition.logs().remove(0);
    let mut repair = begin(&partition, &log);
    fill(&mut repair, &other.reader()).expect("the same batches");
    partition.log.advance_start(Offset(10)).expect("advanced");
    for obsolete in partition.log.take_obsolete() {
        obsolete.delete().expect("deleted");
    }
    repair.finish().expect("nothing to do");
    assert!(!log.exists());
    assert_eq!(records(&partition.reader(), Offset(10)).len(), 23);
}

#[test]
fn a_file_that_is_as_it_was_written_reads_whole_whatever_segment_it_is() {
    let mut partition = partition(10, 0);
    let options = CompactOptions { stamp_ms: 10, tombstone_retention_ms: 0 };
    let compacted = partition.log.compaction(options).expect("there is work").run().expect("done");
    assert!(partition.log.install(compacted));
    partition.log.roll().expect("rolled");
    partition.append(&numbered(40, 1), 10);
    partition.append(&numbered(41, 1), 10);
    partition.checkpoint();
    let reader = partition.reader();
    let needed: Vec<_> = partition.logs().into_iter().filter(|log| reader.needs(log)).collect();
    assert!(needed.len() >= 3, "compacted, closed and active");
    for log in &needed {
        let is_whole = || reader.reads_whole(log, &mut |_| true).expect("read");
        assert!(is_whole());
        flip_bit(log, 70);
        assert!(!is_whole());
        flip_bit(log, 70);
        assert!(is_whole());
        let bytes = fs::read(log).expect("readable");
        fs::write(log, &bytes[1..]).expect("written");
        assert!(!is_whole());
        fs::remove_file(log).expect("removed");
        assert!(!is_whole());
        fs::write(log, &bytes).expect("written");
        assert!(is_whole());
        reader.reads_whole(log, &mut |_| false).expect_err("who is not to read on does not know");
    }
    assert!(!reader.reads_whole(Path::new("other.log"), &mut |_| true).expect("looked"));
}
