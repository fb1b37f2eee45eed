//! A partition made from another replica's files.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::{EPOCH, Partition, contents, files_in, flip_bit, numbered, partition_id, records};
use partition_log::{
    FileCache, Import, ImportError, LocalLog, LogOptions, Origin, PartitionLog, PartitionState, SegmentState,
};
use proptest::prelude::*;
use schemas::Offset;

/// A leader's partition with some closed segments and an active one.
fn leader(batches: i64) -> (Partition, PartitionState) {
    let mut leader = Partition::new(400);
    for number in 0..batches {
        leader.append(&numbered(number * 3, 3), number);
    }
    let state = leader.checkpoint();
    (leader, state)
}

fn source(leader: &Partition, segment: &SegmentState) -> PathBuf {
    leader.path().join(format!("{:020}-{:08x}.log", segment.base_offset.0, segment.id))
}

/// Copies what is missing from the leader in small pieces; returns the bytes that were copied.
fn copy(import: &Import, leader: &Partition, local: Option<&Path>) -> usize {
    let local = local.map(|dir| LocalLog::look(dir, None).expect("readable"));
    copy_beside(import, leader, local.as_ref())
}

fn copy_beside(import: &Import, leader: &Partition, local: Option<&LocalLog>) -> usize {
    let mut copied = 0;
    let segments: Vec<SegmentState> = import.segments().copied().collect();
    for segment in &segments {
        if import.is_whole(segment, local, &mut |_| true).expect("readable")
            || local.is_some_and(|local| import.link(segment, local, &mut |_| true).expect("readable"))
        {
            continue;
        }
        let bytes = fs::read(source(leader, segment)).expect("the leader's file");
        let prefix = import.prefix(segment, local, &mut |_| true).expect("readable");
        let prefix =
            prefix.filter(|prefix| crc32c::crc32c(&bytes[..prefix.bytes as usize]) == prefix.checksum);
        let mut receiving = import.receive(segment, prefix).expect("received");
        for piece in bytes[receiving.position() as usize..segment.bytes as usize].chunks(100) {
            receiving.write(piece).expect("written");
            copied += piece.len();
        }
        receiving.finish().expect("whole");
    }
    copied
}

fn total(state: &PartitionState) -> usize {
    state.segments.iter().map(|segment| segment.bytes as usize).sum()
}

#[test]
fn an_imported_partition_is_the_senders_and_goes_on_like_it() {
    let (mut leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("p.g1");
    let import = Import::begin(&path, state.clone(), &leader.files).expect("begun");
    assert_eq!(copy(&import, &leader, None), total(&state));
    let mut log = import.finish(&mut |_| true).expect("whole");
    assert_eq!(log.state(), state);
    assert_eq!(contents(&path), contents(&leader.path()));
    leader.append(&numbered(900, 4), 77);
    log.append(&numbered(900, 4), &Origin::Kafka, EPOCH, 77).expect("appended");
    log.publish().expect("published");
    assert_eq!(records(&log.reader(), Offset(0)), records(&leader.reader(), Offset(0)));
    assert_eq!(log.state().encode(), leader.log.state().encode());
}

#[test]
fn what_was_imported_once_is_not_copied_again() {
    let (leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let begin = || Import::begin(&dir.path().join("p"), state.clone(), &leader.files).expect("begun");
    copy(&begin(), &leader, None);
    assert_eq!(copy(&begin(), &leader, None), 0);
}

#[test]
fn a_part_is_gone_on_with() {
    let (leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let begin = || Import::begin(&dir.path().join("p"), state.clone(), &leader.files).expect("begun");
    let import = begin();
    let first = state.segments[0];
    let bytes = fs::read(source(&leader, &first)).expect("the leader's file");
    let mut receiving = import.receive(&first, None).expect("received");
    receiving.write(&bytes[..150]).expect("written");
    drop((receiving, import));
    assert_eq!(copy(&begin(), &leader, None), total(&state) - 150);
}

#[test]
fn closed_segments_that_are_here_are_linked_and_the_growing_one_is_a_copy() {
    let (mut leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("p");
    let import = Import::begin(&old, state.clone(), &leader.files).expect("begun");
    copy(&import, &leader, None);
    import.finish(&mut |_| true).expect("whole");
    for number in 12..16 {
        leader.append(&numbered(number * 3, 3), number);
    }
    let newer = leader.checkpoint();
    let path = dir.path().join("p.g1");
    let import = Import::begin(&path, newer.clone(), &leader.files).expect("begun");
    assert_eq!(copy(&import, &leader, Some(&old)), total(&newer) - total(&state));
    let before = contents(&old);
    let mut log = import.finish(&mut |_| true).expect("whole");
    assert_eq!(records(&log.reader(), Offset(0)), records(&leader.reader(), Offset(0)));
    let links = |dir: &Path| -> Vec<u64> {
        files_in(dir, "log").iter().map(|path| fs::metadata(path).expect("there").nlink()).collect()
    };
    let closed = state.segments.len() - 1;
    assert!(links(&path)[..closed].iter().all(|count| *count == 2), "{:?}", links(&path));
    assert!(links(&path)[closed..].iter().all(|count| *count == 1), "{:?}", links(&path));
    log.append(&numbered(900, 30), &Origin::Kafka, EPOCH, 77).expect("appended");
    log.publish().expect("published");
    assert_eq!(contents(&old), before, "the old generation is as it was");
}

#[test]
fn closed_segments_that_a_manifest_names_are_linked_without_being_read() {
    let (mut leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("p");
    let import = Import::begin(&old, state.clone(), &leader.files).expect("begun");
    copy(&import, &leader, None);
    import.finish(&mut |_| true).expect("whole");
    leader.append(&numbered(36, 3), 12);
    let newer = leader.checkpoint();
    // Nobody finds this out who does not read the file.
    flip_bit(&files_in(&old, "log")[0], 90);
    let begin =
        |name: &str| Import::begin(&dir.path().join(name), newer.clone(), &leader.files).expect("begun");
    let first = &newer.segments[0];
    let vouched = LocalLog::look(&old, Some(&state)).expect("readable");
    let import = begin("p.g1");
    assert!(import.link(first, &vouched, &mut |_| true).expect("linked"));
    copy_beside(&import, &leader, Some(&vouched));
    let log =
        import.finish(&mut |_| true).expect("what is vouched for is not read, nor is its index made again");
    assert_eq!(log.state(), newer);
    let closed = state.segments.len() - 1;
    for extension in ["log", "index"] {
        let links: Vec<u64> = files_in(&dir.path().join("p.g1"), extension)
            .iter()
            .map(|path| fs::metadata(path).expect("there").nlink())
            .collect();
        assert!(links[..closed].iter().all(|count| *count == 2), "{links:?}");
    }
    assert!(
        begin("p.g1").is_whole(first, Some(&vouched), &mut |_| true).expect("readable"),
        "nor the next time"
    );
    assert!(
        !begin("p.g1").is_whole(first, None, &mut |_| true).expect("readable"),
        "unless nobody vouches for it"
    );
    assert!(
        !begin("p.g2")
            .link(first, &LocalLog::look(&old, None).expect("readable"), &mut |_| true)
            .expect("read")
    );
    let mut other = state;
    other.segments[0].checksum ^= 1;
    let other = LocalLog::look(&old, Some(&other)).expect("readable");
    assert!(
        !begin("p.g2").link(first, &other, &mut |_| true).expect("read"),
        "a manifest that names other bytes"
    );
}

/// The second attempt knows that a segment here is damaged, and receives it: whole, or as damaged as the sender's.
#[test]
fn what_an_earlier_attempt_has_linked_is_not_written_to_by_a_later_one() {
    for is_whole_there in [false, true] {
        let (leader, state) = leader(12);
        let dir = tempfile::tempdir().expect("a directory");
        let (old, path) = (dir.path().join("p"), dir.path().join("p.g1"));
        let import = Import::begin(&old, state.clone(), &leader.files).expect("begun");
        copy(&import, &leader, None);
        import.finish(&mut |_| true).expect("whole");
        let first = files_in(&old, "log").remove(0);
        flip_bit(&first, 90);
        let begin = || Import::begin(&path, state.clone(), &leader.files).expect("begun");
        let vouched = || LocalLog::look(&old, Some(&state)).expect("readable");
        let segment = &state.segments[0];
        assert!(begin().link(segment, &vouched(), &mut |_| true).expect("linked"));
        let before = contents(&old);
        let doubted = vouched().doubting(std::slice::from_ref(&first));
        let import = begin();
        assert!(!import.is_whole(segment, Some(&doubted), &mut |_| true).expect("readable"));
        if is_whole_there {
            copy_beside(&import, &leader, Some(&doubted));
            import.finish(&mut |_| true).expect("whole");
        } else {
            let bytes = fs::read(&first).expect("readable");
            let mut receiving = import.receive(segment, None).expect("received");
            receiving.write(&bytes).expect("written");
            assert!(!receiving.finish_as_it_is().expect("taken"));
            import.write_index(segment, 0, &[7; 20]).expect("written");
        }
        assert_eq!(contents(&old), before);
    }
}

#[test]
fn a_local_file_of_other_bytes_is_neither_linked_nor_harmed() {
    let (leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("p");
    let import = Import::begin(&old, state.clone(), &leader.files).expect("begun");
    copy(&import, &leader, None);
    import.finish(&mut |_| true).expect("whole");
    flip_bit(&files_in(&old, "log")[0], 90);
    let before = contents(&old);
    let path = dir.path().join("p.g1");
    let import = Import::begin(&path, state.clone(), &leader.files).expect("begun");
    assert_eq!(copy(&import, &leader, Some(&old)), state.segments[0].bytes as usize);
    let log = import.finish(&mut |_| true).expect("whole");
    assert_eq!(records(&log.reader(), Offset(0)), records(&leader.reader(), Offset(0)));
    assert_eq!(contents(&old), before);
}

#[test]
fn every_flipped_bit_of_what_arrives_is_found() {
    let (leader, state) = leader(3);
    let segment = state.segments[0];
    let bytes = fs::read(source(&leader, &segment)).expect("the leader's file");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("p");
    let import = Import::begin(&path, state, &leader.files).expect("begun");
    for bit in 0..segment.bytes as usize * 8 {
        let mut flipped = bytes[..segment.bytes as usize].to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut receiving = import.receive(&segment, None).expect("received");
        receiving.write(&flipped).expect("written");
        assert!(matches!(receiving.finish(), Err(ImportError::Checksum(_))), "bit {bit}");
    }
    assert_eq!(fs::read_dir(&path).expect("there").count(), 0);
}

/// Imports what the leader has, this segment as it is.
fn copy_as_it_is(dir: &Path, leader: &Partition, state: &PartitionState, damaged: usize) -> PartitionLog {
    let import = Import::begin(dir, state.clone(), &leader.files).expect("begun");
    let known = state.segments[damaged];
    for segment in import.segments() {
        let mut bytes = fs::read(source(leader, segment)).expect("the leader's file");
        bytes.resize(segment.bytes as usize, 0);
        let mut receiving = import.receive(segment, None).expect("received");
        receiving.write(&bytes).expect("written");
        if segment.id != known.id {
            receiving.finish().expect("whole");
        } else if !receiving.finish_as_it_is().expect("taken") {
            let mut index = fs::read(leader.path().join(segment.index_name())).expect("the leader's index");
            index.truncate(usize::try_from(segment.index_bytes()).expect("small"));
            for (number, piece) in (0..).zip(index.chunks(50)) {
                import.write_index(segment, number * 50, piece).expect("written");
            }
            import.keep_damaged(segment).expect("kept");
            assert_eq!(import.damaged(), [dir.join(segment.file_name())]);
        }
    }
    import.finish(&mut |_| true).expect("nothing else is damaged")
}

/// What a reader gets at each offset; nothing where that cannot be read.
fn at_each_offset(log: &PartitionLog) -> Vec<Option<Bytes>> {
    let reader = log.reader();
    (0..reader.high_watermark().0).map(|at| reader.read(Offset(at), 1).ok()).collect()
}

#[test]
fn damage_of_a_segment_that_is_not_known_to_have_any_is_an_error_beside_one_that_is() {
    let (leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    flip_bit(&leader.logs()[0], 90);
    let import = Import::begin(&dir.path().join("p"), state, &leader.files).expect("begun");
    for (at, segment) in import.segments().enumerate() {
        let bytes = fs::read(source(&leader, segment)).expect("the leader's file");
        let mut receiving = import.receive(segment, None).expect("received");
        receiving.write(&bytes[..segment.bytes as usize]).expect("written");
        assert_eq!(receiving.finish_as_it_is().expect("taken"), at > 0);
        let index = fs::read(leader.path().join(segment.index_name())).expect("the leader's index");
        import.write_index(segment, 0, &index).expect("written");
        if at == 0 {
            import.keep_damaged(segment).expect("kept");
        }
    }
    let other = files_in(&dir.path().join("p"), "log").remove(1);
    fs::File::options().write(true).open(other).and_then(|file| file.set_len(50)).expect("cut");
    assert!(matches!(import.finish(&mut |_| true), Err(ImportError::Damaged(_))));
}

#[test]
fn more_bytes_than_a_segment_has_are_refused() {
    let (leader, state) = leader(3);
    let dir = tempfile::tempdir().expect("a directory");
    let import = Import::begin(&dir.path().join("p"), state.clone(), &leader.files).expect("begun");
    let mut receiving = import.receive(&state.segments[0], None).expect("received");
    let bytes = vec![0; state.segments[0].bytes as usize + 1];
    assert!(matches!(receiving.write(&bytes), Err(ImportError::Checksum(_))));
}

#[test]
fn readers_go_on_with_the_log_that_takes_over() {
    let (leader, state) = leader(12);
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("p");
    let options = LogOptions { segment_bytes: 400 };
    let mut behind = PartitionLog::create(&old, partition_id(), options, &leader.files).expect("created");
    for number in 0..4 {
        behind.append(&numbered(number * 3, 3), &Origin::Kafka, EPOCH, number).expect("appended");
        behind.publish().expect("published");
    }
    let reader = behind.reader();
    let mut high_watermark = reader.subscribe();
    high_watermark.mark_unchanged();
    reader.read(Offset(0), 1).expect("a handle of the old file is kept");
    let import = Import::begin(&dir.path().join("p.g1"), state, &leader.files).expect("begun");
    copy(&import, &leader, Some(&old));
    let mut log = import.finish(&mut |_| true).expect("whole");
    assert!(log.take_over(&reader));
    drop(behind);
    fs::remove_dir_all(&old).expect("removed");
    assert!(high_watermark.has_changed().expect("the log is there"));
    assert_eq!(reader.high_watermark(), Offset(36));
    assert_eq!(records(&reader, Offset(0)), records(&leader.reader(), Offset(0)));
    log.append(&numbered(900, 4), &Origin::Kafka, EPOCH, 77).expect("appended");
    log.publish().expect("published");
    assert_eq!(reader.high_watermark(), Offset(40));
}

#[test]
fn a_high_watermark_is_never_taken_back() {
    let (leader, state) = leader(4);
    let dir = tempfile::tempdir().expect("a directory");
    let import = Import::begin(&dir.path().join("p"), state, &leader.files).expect("begun");
    copy(&import, &leader, None);
    let mut log = import.finish(&mut |_| true).expect("whole");
    let mut ahead = leader;
    ahead.append(&numbered(900, 4), 77);
    assert!(!log.take_over(&ahead.reader()));
    assert_eq!(ahead.reader().high_watermark(), Offset(16));
}

#[test]
fn damage_that_a_read_meets_is_told() {
    let (leader, state) = leader(12);
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let files = FileCache::new(4).watched(Arc::new(move |damage| {
        assert!(damage.is_loss());
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let (log, damage) = PartitionLog::recover(&leader.path(), &state, &files).expect("recovered");
    assert_eq!(damage, []);
    flip_bit(&leader.indexes()[0], 60);
    log.reader().read(Offset(0), 1).expect("the index is made again");
    assert_eq!(told.load(Ordering::Relaxed), 0);
    flip_bit(&leader.logs()[0], 90);
    log.reader().read(Offset(0), 1).expect_err("damaged");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn files_of_a_closed_partition_are_missed_by_nobody() {
    let (leader, state) = leader(12);
    let files = FileCache::new(4).watched(Arc::new(|damage| panic!("{damage}")));
    let (log, _) = PartitionLog::recover(&leader.path(), &state, &files).expect("recovered");
    let reader = log.reader();
    drop(log);
    fs::remove_dir_all(leader.path()).expect("removed");
    reader.read(Offset(0), 1).expect_err("nothing is there");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Wherever a segment is damaged: what the sender can read of it, and only that, can be read of the copy.
    #[test]
    fn a_damaged_segment_that_is_taken_as_it_is_serves_what_it_serves_at_the_sender(
        (segment, position, zeros) in (0..6_usize, 0..300_usize, 0..80_usize),
        with_index in any::<bool>(),
    ) {
        let (leader, state) = leader(18);
        let segment = segment % state.segments.iter().filter(|it| it.bytes > 0).count();
        let damaged = source(&leader, &state.segments[segment]);
        let mut bytes = fs::read(&damaged).expect("readable");
        let position = position % bytes.len();
        bytes[position] ^= 0x10;
        let end = bytes.len().min(position + zeros);
        bytes[position..end].fill(0);
        fs::write(&damaged, bytes).expect("written");
        if with_index {
            flip_bit(&damaged.with_extension("index"), 16 + position % 32);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let copied = copy_as_it_is(&dir.path().join("p"), &leader, &state, segment);
        let (log, _) = PartitionLog::recover(&leader.path(), &state, &leader.files).expect("recovered");
        let there = at_each_offset(&log);
        let here = at_each_offset(&copied);
        prop_assert_eq!(&here, &there);
        drop(copied);
        let (again, _) = PartitionLog::recover(&dir.path().join("p"), &state, &leader.files).expect("recovered");
        prop_assert_eq!(at_each_offset(&again), there);
    }

    /// Whatever an earlier attempt or another state left in the directory, the import ends with the sender's files.
    #[test]
    fn an_import_ends_right_whatever_lies_there(
        earlier in 1..10_i64,
        more in 0..10_i64,
        cuts in proptest::collection::vec((0..40_usize, 0..900_u64), 0..6),
        with_local in any::<bool>(),
    ) {
        let (mut leader, state) = leader(earlier);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p.g1");
        let local = dir.path().join("p");
        for target in [&path, &local] {
            let import = Import::begin(target, state.clone(), &leader.files).expect("begun");
            copy(&import, &leader, None);
            drop(import.finish(&mut |_| true).expect("whole"));
        }
        let logs = files_in(&path, "log");
        for (at, cut) in cuts {
            let log = &logs[at % logs.len()];
            if log.exists() {
                let part = log.with_extension("log.part");
                fs::rename(log, &part).expect("renamed");
                fs::File::options().write(true).open(part).and_then(|file| file.set_len(cut)).expect("cut");
            }
        }
        for number in earlier..earlier + more {
            leader.append(&numbered(number * 3, 3), number);
        }
        let newer = leader.checkpoint();
        let import = Import::begin(&path, newer.clone(), &leader.files).expect("begun");
        copy(&import, &leader, with_local.then_some(local.as_path()));
        let log = import.finish(&mut |_| true).expect("whole");
        prop_assert_eq!(log.state(), newer);
        prop_assert_eq!(contents(&path), contents(&leader.path()));
    }
}
