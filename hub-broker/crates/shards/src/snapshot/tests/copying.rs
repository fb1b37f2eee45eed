use std::fs;
use std::path::{Path, PathBuf};

use partition_log::{ImportError, Verified};
use proptest::prelude::*;
use schemas::Offset;
use wal::Lsn;

use super::hub::{GROUP, Hub, Line, NUMBER, follower_id, pair, partition};
use crate::PartitionCommand;
use crate::limits::{SNAPSHOT_IDLE_MAX, SNAPSHOT_QUIET_MAX};
use crate::mend::DamagedFiles;
use crate::partitions::generation_directory;
use crate::snapshot::{FetchError, Notice, Shelf, Wanted, copy};

fn total(hub: &mut Hub) -> u64 {
    let bytes = |log: &partition_log::PartitionLog| -> u64 {
        log.state().segments.iter().map(|segment| u64::from(segment.bytes)).sum()
    };
    hub.set.iter_mut().map(|partition| bytes(&partition.log)).sum()
}

#[test]
fn a_snapshot_brings_the_whole_state() {
    let (_ours, mut leader, theirs, mut follower) = pair(20, 60);
    leader.create(7);
    leader.command(PartitionCommand::Close { partition: partition(1) });
    leader.command(PartitionCommand::AdvanceStart { partition: partition(0), to: Offset(9) });
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let wanted = follower.wanted(&leader);
    let mut line = Line::new(&mut shelf);
    let arrived = follower.copy(&wanted, &mut line).expect("copied");
    assert_eq!(line.notices, [Notice::Sent { group: GROUP, to: follower_id(), ok: true }]);
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
    assert_eq!(follower.applied, leader.applied);
    for hub in [&mut leader, &mut follower] {
        hub.append(9, 1);
    }
    assert_eq!(follower.contents(), leader.contents());
    follower.checkpoint();
    drop(follower);
    let mut again = Hub::open(theirs.path());
    assert_eq!(again.contents(), leader.contents());
    assert_eq!(again.origin.void_entries_through, Lsn(77));
}

#[test]
fn only_what_is_not_here_yet_is_copied() {
    let (_ours, mut leader, _theirs, mut follower) = pair(60, 10);
    let had = total(&mut follower);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let mut line = Line::new(&mut shelf);
    let arrived = follower.copy(&follower.wanted(&leader), &mut line).expect("copied");
    assert_eq!(line.bytes, total(&mut leader) - had);
    assert_eq!(line.received, line.expected, "what a segment begins with and was here counts as having come");
    assert!(line.expected >= line.bytes, "{} of {}", line.bytes, line.expected);
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
}

#[test]
fn a_copy_that_was_cut_off_goes_on_where_it_was() {
    let (_ours, mut leader, _theirs, follower) = pair(5, 80);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let wanted = follower.wanted(&leader);
    let (mut bytes, mut cuts) = (0, 0);
    for requests in 1.. {
        let mut line = Line::until(&mut shelf, requests);
        let copied = follower.copy(&wanted, &mut line);
        bytes += line.bytes;
        if copied.is_ok() {
            break;
        }
        assert!(matches!(copied, Err(FetchError::Silent)));
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts}");
    let had = {
        let mut follower = follower;
        total(&mut follower)
    };
    assert!(bytes <= total(&mut leader) - had + 1, "{bytes}");
}

/// All but the last bytes have come, and then the other hub was not heard of any more.
fn cut_off_near_the_end(leader: &Hub, follower: &Hub, shelf: &mut Shelf) -> Wanted {
    let wanted = follower.wanted(leader);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut line = Line::new(shelf);
    Hub::new(&elsewhere, NUMBER).copy(&wanted, &mut line).expect("copied");
    let requests = line.requests;
    // The last one tells that this is the end.
    let mut line = Line::until(shelf, requests - 2);
    assert!(matches!(follower.copy(&wanted, &mut line), Err(FetchError::Silent)));
    wanted
}

#[test]
fn the_sender_waits_for_a_copy_that_takes_long_to_read_what_is_here() {
    let (_ours, mut leader, _theirs, mut follower) = pair(0, 80);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let wanted = cut_off_near_the_end(&leader, &follower, &mut shelf);
    follower.verified = Verified::default();
    let mut line = Line::new(&mut shelf);
    line.reading_takes = SNAPSHOT_QUIET_MAX / 2;
    let begun = line.now;
    let arrived = follower.copy(&wanted, &mut line).expect("the sender has it still");
    assert!(line.now - begun > 4 * SNAPSHOT_IDLE_MAX, "{:?}", line.now - begun);
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
}

#[test]
fn what_was_found_whole_is_not_read_again_by_the_next_attempt() {
    let (_ours, mut leader, _theirs, mut follower) = pair(0, 80);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let wanted = cut_off_near_the_end(&leader, &follower, &mut shelf);
    follower.verified = Verified::default();
    let mut pieces_read = || {
        // It comes as far as to what is missing.
        let mut line = Line::until(&mut shelf, 3);
        assert!(matches!(follower.copy(&wanted, &mut line), Err(FetchError::Silent)));
        line.pieces
    };
    assert!(pieces_read() > 20, "all that is here");
    assert_eq!(pieces_read(), 0, "it is known to be whole");
    spoil(&first_log_of(&follower, wanted.generation));
    assert_eq!(pieces_read(), 1, "what has changed since");
    let arrived = follower.copy(&wanted, &mut Line::new(&mut shelf)).expect("copied");
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
}

#[test]
fn damage_of_the_senders_file_is_found_and_told_to_it() {
    let (_ours, mut leader, _theirs, follower) = pair(5, 40);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let directory = leader.log.join(&leader.directories()[1]);
    let mut logs: Vec<_> = fs::read_dir(&directory)
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let mut bytes = fs::read(&logs[1]).expect("readable");
    bytes[100] ^= 1;
    fs::write(&logs[1], bytes).expect("written");
    let mut line = Line::new(&mut shelf);
    let copied = follower.copy(&follower.wanted(&leader), &mut line);
    assert!(matches!(copied, Err(FetchError::Import(ImportError::Checksum(_)))));
    let sent = Notice::Sent { group: GROUP, to: follower_id(), ok: false };
    let replica_number = leader.origin.replica_number;
    let damaged = Notice::Damaged { group: GROUP, replica_number, file: logs[1].clone() };
    assert_eq!(line.notices, [sent.clone(), damaged.clone()]);
    fs::remove_file(&logs[1]).expect("removed");
    let mut line = Line::new(&mut shelf);
    follower.copy(&follower.wanted(&leader), &mut line).err().expect("the file is gone");
    assert_eq!(line.notices, [sent.clone(), damaged.clone()]);
    // Reading from its beginning fails as it does from a bad sector.
    std::os::unix::fs::symlink("/proc/self/mem", &logs[1]).expect("linked");
    let mut line = Line::new(&mut shelf);
    follower.copy(&follower.wanted(&leader), &mut line).err().expect("the file cannot be read");
    assert_eq!(line.notices, [sent, damaged]);
}

#[test]
fn bytes_that_change_on_the_way_are_refused() {
    let (_ours, mut leader, _theirs, follower) = pair(5, 40);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let mut line = Line::new(&mut shelf);
    line.tamper = |bytes| {
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        bytes.into()
    };
    let copied = follower.copy(&follower.wanted(&leader), &mut line);
    assert!(matches!(copied, Err(FetchError::Malformed)));
    assert_eq!(line.notices, [Notice::Sent { group: GROUP, to: follower_id(), ok: false }]);
}

#[test]
fn nothing_is_copied_onto_a_disk_without_room() {
    let (_ours, mut leader, _theirs, follower) = pair(5, 40);
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let mut line = Line::new(&mut shelf);
    let copied = copy(&follower.wanted(&leader), &follower.target(u64::MAX / 2), &mut line);
    assert!(matches!(copied, Err(FetchError::NoRoom { .. })));
    assert_eq!(line.bytes, 0);
}

#[test]
fn readers_of_the_old_state_go_on_and_see_nothing_go_back() {
    let (_ours, mut leader, _theirs, mut follower) = pair(20, 40);
    leader.command(PartitionCommand::Close { partition: partition(1) });
    let mut shelf = Shelf::new(&leader.log);
    shelf.offer(leader.offer(), std::time::Instant::now());
    let arrived = follower.copy(&follower.wanted(&leader), &mut Line::new(&mut shelf)).expect("copied");
    let reader = follower.readers.get(partition(0)).expect("a reader");
    let mut high_watermark = reader.subscribe();
    let before = *high_watermark.borrow_and_update();
    follower.install(arrived, Lsn(77));
    assert!(*high_watermark.borrow_and_update() > before);
    assert!(follower.readers.get(partition(1)).is_none());
    // The old generation's directories go with the checkpoints that follow.
    (0..3).for_each(|_| follower.checkpoint());
    assert!(follower.directories().iter().all(|name| name.ends_with(".g1")), "{:?}", follower.directories());
    assert_eq!(
        super::hub::batches(&reader),
        super::hub::batches(&leader.readers.get(partition(0)).expect("there"))
    );
}

/// The oldest segment of partition 0, which is closed.
fn first_log(hub: &Hub) -> PathBuf {
    first_log_of(hub, hub.origin.generation)
}

fn first_log_of(hub: &Hub, generation: u32) -> PathBuf {
    let dir = generation_directory(&hub.log, partition(0), generation);
    let files = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|it| it == "log")).min().expect("a segment")
}

fn spoil(file: &Path) {
    let mut bytes = fs::read(file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("written");
}

#[test]
fn a_file_that_is_known_to_be_damaged_is_copied_again() {
    let (_ours, mut leader, _theirs, mut follower) = pair(10, 30);
    let mut copy = |follower: &mut Hub, damaged: DamagedFiles| {
        let mut shelf = Shelf::new(&leader.log);
        shelf.offer(leader.offer(), std::time::Instant::now());
        let wanted = Wanted { damaged, ..follower.wanted(&leader) };
        let arrived = follower.copy(&wanted, &mut Line::new(&mut shelf)).expect("copied");
        follower.install(arrived, Lsn(u64::from(wanted.generation) * 100));
        leader.append(20, 3);
    };
    copy(&mut follower, DamagedFiles::default());
    let first = first_log(&follower);
    spoil(&first);
    let damaged = DamagedFiles::default();
    damaged.add(&first);
    copy(&mut follower, damaged);
    let reader = follower.readers.get(partition(0)).expect("there");
    assert!(super::hub::batches(&reader).len() > 10, "all of them can be read");
}

#[test]
fn one_snapshot_follows_another() {
    let (_ours, mut leader, theirs, mut follower) = pair(10, 30);
    for round in 1..5 {
        let mut shelf = Shelf::new(&leader.log);
        shelf.offer(leader.offer(), std::time::Instant::now());
        let arrived = follower.copy(&follower.wanted(&leader), &mut Line::new(&mut shelf)).expect("copied");
        follower.install(arrived, Lsn(round * 100));
        assert_eq!(follower.contents(), leader.contents());
        if round % 2 == 0 {
            drop(follower);
            follower = Hub::open(theirs.path());
            assert_eq!(follower.contents(), leader.contents());
        }
        leader.append(20, 3);
    }
    assert_eq!(follower.origin.generation, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Wherever copies were cut off, with whatever the leader wrote in between: the last one ends right.
    #[test]
    fn a_snapshot_ends_right_however_often_it_is_cut_off(
        shared in 0..40_u64,
        steps in proptest::collection::vec((0..25_u64, 1..30_usize), 1..5),
    ) {
        let (_ours, mut leader, theirs, mut follower) = pair(shared, 1);
        for (more, requests) in steps {
            leader.append(more, 3);
            let mut shelf = Shelf::new(&leader.log);
            shelf.offer(leader.offer(), std::time::Instant::now());
            let mut line = Line::until(&mut shelf, requests);
            drop(follower.copy(&follower.wanted(&leader), &mut line));
        }
        let mut shelf = Shelf::new(&leader.log);
        shelf.offer(leader.offer(), std::time::Instant::now());
        let arrived = follower.copy(&follower.wanted(&leader), &mut Line::new(&mut shelf)).expect("copied");
        follower.install(arrived, Lsn(5));
        prop_assert_eq!(follower.contents(), leader.contents());
        drop(follower);
        prop_assert_eq!(Hub::open(theirs.path()).contents(), leader.contents());
    }
}
