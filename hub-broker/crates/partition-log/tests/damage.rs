//! Damage is found, reported with file and position, and never served.

mod common;

use std::fs::{self, OpenOptions};
use std::path::Path;

use common::{EVERYTHING, Partition, flip_bit, numbered, records, split};
use partition_log::{Damage, DamageKind, ReadError, ScrubStep};
use schemas::{BATCH_HEADER_BYTES, Offset, PLACEMENT_BYTES};

/// Three closed segments of ten one-record batches, then three batches in the active one.
fn partition() -> Partition {
    let mut partition = Partition::new(1 << 20);
    for number in 0..33 {
        partition.append(&numbered(number, 1), 10);
        if number % 10 == 9 {
            partition.log.roll().expect("rolled");
        }
    }
    partition
}

/// Where each batch of the segment begins.
fn positions(partition: &Partition, segment: usize) -> Vec<usize> {
    let bytes = fs::read(&partition.logs()[segment]).expect("readable");
    let batches = split(bytes.into());
    let starts = batches.iter().scan(0, |at, batch| {
        let start = *at;
        *at += batch.bytes().len();
        Some(start)
    });
    starts.collect()
}

fn damage_of<T: std::fmt::Debug>(result: Result<T, ReadError>) -> Damage {
    match result {
        Err(ReadError::Damaged(damage)) => damage,
        other => panic!("not found: {other:?}"),
    }
}

#[test]
fn every_bit_of_a_batch_is_guarded() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 1), 10);
    let log = partition.logs().remove(0);
    let good = fs::read(&log).expect("readable");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&log, bad).expect("written");
        let damage = damage_of(partition.reader().read(Offset(0), EVERYTHING));
        assert_eq!((&damage.file, damage.position), (&log, 0), "bit {bit}");
    }
    fs::write(&log, good).expect("written");
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 1);
}

#[test]
fn a_flipped_bit_in_a_batch_is_reported_where_it_is_and_the_rest_is_served() {
    let partition = partition();
    let log = partition.logs().remove(1);
    let at = positions(&partition, 1)[4];
    flip_bit(&log, at + BATCH_HEADER_BYTES + 2);
    let reader = partition.reader();
    let expected = Damage { file: log, position: at as u64, what: DamageKind::BatchChecksum };
    assert_eq!(damage_of(reader.read(Offset(14), EVERYTHING)), expected);
    let before = split(reader.read(Offset(10), EVERYTHING).expect("what comes before it"));
    assert_eq!(before.len(), 4);
    assert_eq!(split(reader.read(Offset(15), EVERYTHING).expect("what comes behind it")).len(), 5);
}

#[test]
fn a_flipped_bit_in_the_first_21_bytes_is_reported() {
    let partition = partition();
    let log = partition.logs().remove(1);
    let at = positions(&partition, 1)[4];
    for byte in 0..PLACEMENT_BYTES {
        flip_bit(&log, at + byte);
        let damage = damage_of(partition.reader().read(Offset(14), EVERYTHING));
        let what = DamageKind::PlacementChecksum;
        assert_eq!(damage, Damage { file: log.clone(), position: at as u64, what }, "byte {byte}");
        flip_bit(&log, at + byte);
    }
}

/// Reading from its beginning fails as it does from a bad sector.
const BAD_SECTOR: &str = "/proc/self/mem";

#[test]
fn what_the_disk_cannot_read_is_damage_and_the_rest_is_served() {
    let mut partition = partition();
    let state = partition.checkpoint();
    let log = partition.logs().remove(1);
    fs::remove_file(&log).expect("removed");
    std::os::unix::fs::symlink(BAD_SECTOR, &log).expect("linked");
    let expected = Damage { file: log, position: 0, what: DamageKind::Unreadable };
    assert_eq!(damage_of(partition.reader().read(Offset(10), EVERYTHING)), expected);
    assert_eq!(records(&partition.reader(), Offset(20)).len(), 13);
    // Its index is to be made again, and there is nothing to make it from.
    fs::remove_file(&partition.indexes()[1]).expect("removed");
    assert!(partition.recover(&state).iter().any(|damage| damage.file == expected.file));
    damage_of(partition.reader().read(Offset(10), EVERYTHING));
    assert_eq!(records(&partition.reader(), Offset(20)).len(), 13);
}

#[test]
fn a_truncated_closed_segment_is_reported_at_start_and_at_read() {
    let mut partition = partition();
    let state = partition.checkpoint();
    let log = partition.logs().remove(1);
    let at = positions(&partition, 1)[6];
    let file = OpenOptions::new().write(true).open(&log).expect("opened");
    let expected_bytes = file.metadata().expect("a file").len();
    file.set_len(at as u64 + 5).expect("cut");

    let what = DamageKind::Truncated { expected_bytes, actual_bytes: at as u64 + 5 };
    let expected = Damage { file: log.clone(), position: at as u64 + 5, what };
    assert_eq!(partition.recover(&state), [expected]);
    let reader = partition.reader();
    assert_eq!(damage_of(reader.read(Offset(16), 0)).file, log);
    for from in 10..16 {
        assert!(!split(reader.read(Offset(from), EVERYTHING).expect("before it")).is_empty(), "{from}");
    }
    assert_eq!(records(&reader, Offset(20)).len(), 13);
    assert_eq!(partition.append(&numbered(33, 1), 20), Offset(33));
}

#[test]
fn a_truncated_active_segment_is_closed_and_the_log_goes_on_behind_it() {
    let mut partition = partition();
    let state = partition.checkpoint();
    let log = partition.logs().remove(3);
    let file = OpenOptions::new().write(true).open(&log).expect("opened");
    file.set_len(positions(&partition, 3)[1] as u64).expect("cut");

    let damage = partition.recover(&state);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].file, log);
    assert_eq!(partition.append(&numbered(33, 2), 20), Offset(33));
    let reader = partition.reader();
    assert_eq!(damage_of(reader.read(Offset(31), 0)).file, log);
    assert_eq!(records(&reader, Offset(33)).len(), 2);

    let state = partition.checkpoint();
    assert_eq!(partition.recover(&state).len(), 1, "it is still reported at the next start");
    assert_eq!(records(&partition.reader(), Offset(33)).len(), 2);
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_found_at_start() {
    let mut partition = partition();
    let state = partition.checkpoint();
    let log = partition.logs().remove(3);
    let at = positions(&partition, 3)[2];
    flip_bit(&log, at + BATCH_HEADER_BYTES);
    let expected = Damage { file: log, position: at as u64, what: DamageKind::BatchChecksum };
    assert_eq!(partition.recover(&state), [expected]);
    assert_eq!(partition.append(&numbered(33, 1), 20), Offset(33));
}

#[test]
fn a_missing_segment_is_reported_and_the_rest_is_served() {
    let mut partition = partition();
    let state = partition.checkpoint();
    let log = partition.logs().remove(0);
    fs::remove_file(&log).expect("removed");
    let expected = Damage { file: log, position: 0, what: DamageKind::FileMissing };
    assert_eq!(partition.recover(&state), std::slice::from_ref(&expected));
    assert_eq!(damage_of(partition.reader().read(Offset(3), 100)), expected);
    assert_eq!(records(&partition.reader(), Offset(10)).len(), 23);
}

fn spoil_header(path: &Path) -> std::io::Result<()> {
    let bytes = fs::read(path)?;
    fs::write(path, [b"nope", &bytes[4..]].concat())
}

#[test]
fn an_index_that_is_missing_short_or_foreign_is_made_again_at_start() {
    let harms: [fn(&Path) -> std::io::Result<()>; 3] =
        [|path| fs::remove_file(path), |path| fs::write(path, "HWIX"), spoil_header];
    for harm in harms {
        for segment in [1, 3] {
            let mut partition = partition();
            let state = partition.checkpoint();
            let index = partition.indexes().remove(segment);
            let good = fs::read(&index).expect("readable");
            harm(&index).expect("harmed");
            let damage = partition.recover(&state);
            assert_eq!(damage.iter().map(|damage| &damage.file).collect::<Vec<_>>(), [&index]);
            assert_eq!(fs::read(&index).expect("readable"), good);
            assert_eq!(records(&partition.reader(), Offset(0)).len(), 33);
            assert_eq!(partition.append(&numbered(33, 1), 20), Offset(33));
        }
    }
}

#[test]
fn a_flipped_bit_in_an_index_is_repaired_from_the_segment() {
    for segment in [1, 3] {
        let mut partition = partition();
        let state = partition.checkpoint();
        partition.recover(&state);
        let index = partition.indexes().remove(segment);
        let good = fs::read(&index).expect("readable");
        for byte in 16..good.len() {
            flip_bit(&index, byte);
            assert_eq!(records(&partition.reader(), Offset(0)).len(), 33, "byte {byte}");
        }
        assert_eq!(fs::read(&index).expect("readable"), good);
    }
}

#[test]
fn the_scrub_finds_every_damaged_batch_and_comes_to_the_end() {
    let partition = partition();
    let logs = partition.logs();
    let bad = [(0, 2), (1, 4), (1, 5), (3, 1)];
    let mut expected = Vec::new();
    for (segment, batch) in bad {
        let at = positions(&partition, segment)[batch];
        expected.push((logs[segment].clone(), at as u64));
        flip_bit(&logs[segment], at + BATCH_HEADER_BYTES);
    }
    let reader = partition.reader();
    let mut found = Vec::new();
    let mut next = Some(Offset(0));
    while let Some(from) = next {
        let ScrubStep { next: behind, damage, .. } = reader.scrub(from, 300).expect("scrubbed");
        assert!(behind.is_none_or(|behind| behind > from));
        found.extend(damage.map(|damage| (damage.file, damage.position)));
        next = behind;
    }
    assert_eq!(found, expected);
}
