//! Segments that nobody has whole are copied as they are, and never taken for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use partition_log::ImportError;
use schemas::{Offset, RawBatch};
use tempfile::TempDir;
use wal::Lsn;

use super::hub::{GROUP, Hub, Line, NUMBER, follower_id, pair, partition};
use crate::aside::Aside;
use crate::known_damage::KnownDamage;
use crate::partitions::generation_directory;
use crate::snapshot::{Arrived, FetchError, Notice, Shelf};

/// The segments of partition 0, in order.
fn logs(hub: &Hub) -> Vec<PathBuf> {
    let dir = generation_directory(&hub.log, partition(0), hub.origin.generation);
    let files = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    logs.sort();
    logs
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("written");
}

/// The checksums of partition 0's batches by offset; none where the batch cannot be read.
fn readable(hub: &Hub) -> Vec<Option<u32>> {
    let reader = hub.readers.get(partition(0)).expect("a reader");
    let at = |offset| {
        let mut bytes = reader.read(Offset(offset), 1).ok()?;
        RawBatch::split_first(&mut bytes).ok()?.map(|batch| batch.header().crc)
    };
    (0..reader.high_watermark().0).map(at).collect()
}

/// Copies from the leader, which knows of this damage.
fn copy(leader: &mut Hub, follower: &Hub, damaged: &[PathBuf]) -> Result<Arrived, FetchError> {
    let mut shelf = Shelf::new(&leader.log);
    let mut offer = leader.offer();
    offer.damaged = damaged.to_vec();
    shelf.offer(offer, Instant::now());
    follower.copy(&follower.wanted(leader), &mut Line::new(&mut shelf))
}

/// Its second segment is closed, and the follower has nothing of it.
fn with_segments() -> (TempDir, Hub, TempDir, Hub, PathBuf) {
    let (ours, leader, theirs, follower) = pair(2, 60);
    let second = logs(&leader).remove(1);
    (ours, leader, theirs, follower, second)
}

/// A way to damage a file.
type Damaging = fn(&Path);

#[test]
fn what_is_known_to_be_damaged_arrives_as_it_is_and_the_rest_whole() {
    let ways: [Damaging; 4] = [
        |file| flip(file, 100),
        |file| fs::File::options().write(true).open(file).and_then(|file| file.set_len(300)).expect("cut"),
        |file| fs::remove_file(file).expect("removed"),
        |file| {
            fs::remove_file(file).expect("removed");
            // Reading from its beginning fails as it does from a bad sector.
            std::os::unix::fs::symlink("/proc/self/mem", file).expect("linked");
        },
    ];
    for damage in ways {
        let (_ours, mut leader, theirs, mut follower, second) = with_segments();
        let whole = readable(&leader);
        leader.checkpoint();
        damage(&second);
        let arrived = copy(&mut leader, &follower, std::slice::from_ref(&second)).expect("copied");
        let name = second.file_name().expect("a name");
        let damaged = generation_directory(&follower.log, partition(0), 1).join(name);
        assert_eq!(arrived.damaged, [damaged]);
        follower.install(arrived, Lsn(77));
        let there = readable(&leader);
        assert_eq!(readable(&follower), there);
        assert!(there.iter().any(Option::is_none), "the damage is not served");
        assert!(there.iter().zip(&whole).all(|(now, before)| now.is_none() || now == before));
        assert!(there.iter().flatten().count() > 12, "the rest is served");
        follower.append(9, 1);
        follower.checkpoint();
        drop(follower);
        let again = readable(&Hub::open(theirs.path()));
        assert_eq!(again[..there.len()], there);
    }
}

#[test]
fn damage_that_is_not_known_is_an_error_whatever_else_is() {
    let (_ours, mut leader, _theirs, follower, second) = with_segments();
    leader.checkpoint();
    let others = logs(&leader);
    flip(&second, 100);
    flip(&others[0], 100);
    let copied = copy(&mut leader, &follower, &others[..1]);
    assert!(matches!(copied, Err(FetchError::Import(ImportError::Checksum(_)))));
    copy(&mut leader, &follower, &others[..2]).expect("both are known");
}

#[test]
fn a_file_that_is_thought_to_be_damaged_and_is_not_arrives_whole() {
    let (_ours, mut leader, _theirs, mut follower, second) = with_segments();
    let arrived = copy(&mut leader, &follower, &[second]).expect("copied");
    assert!(arrived.damaged.is_empty());
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
}

#[test]
fn what_came_damaged_is_not_taken_for_good_by_the_next_snapshot() {
    let (_ours, mut leader, theirs, mut follower, second) = with_segments();
    leader.checkpoint();
    let whole = fs::read(&second).expect("readable");
    flip(&second, 100);
    let arrived = copy(&mut leader, &follower, std::slice::from_ref(&second)).expect("copied");
    let damaged = arrived.damaged.clone();
    follower.install(arrived, Lsn(77));
    let known = KnownDamage::read(&follower.checkpoints, NUMBER).expect("it is written down");
    assert!(known.files.iter().eq(&damaged) && known.doubted.is_none());
    // The manifest names the segment, and here nobody goes by what is known.
    drop(follower);
    let mut follower = Hub::open(theirs.path());
    leader.append(20, 3);
    let arrived = copy(&mut leader, &follower, std::slice::from_ref(&second)).expect("copied");
    assert_eq!(arrived.damaged.len(), 1, "it is as damaged as before");
    follower.install(arrived, Lsn(177));
    fs::write(&second, whole).expect("written");
    leader.append(20, 3);
    let arrived = copy(&mut leader, &follower, &[second]).expect("copied");
    assert!(arrived.damaged.is_empty(), "the leader has it whole again");
    follower.install(arrived, Lsn(277));
    assert_eq!(follower.contents(), leader.contents());
}

/// The follower's directory holds what an earlier replica has left: the leader's files, as they are now.
fn set_aside(leader: &Hub, theirs: &TempDir) -> Aside {
    let aside = Aside::of(theirs.path(), GROUP);
    aside.prepare().expect("prepared");
    let left = theirs.path().join(generation_directory(Path::new("left"), partition(0), 0));
    fs::create_dir_all(&left).expect("made");
    for log in logs(leader) {
        fs::copy(&log, left.join(log.file_name().expect("a name"))).expect("copied");
    }
    aside.take(&left).expect("taken");
    aside
}

#[test]
fn what_was_given_up_here_is_kept_while_its_successor_is_not_whole() {
    let (_ours, mut leader, theirs, mut follower, second) = with_segments();
    leader.checkpoint();
    flip(&second, 100);
    let aside = set_aside(&leader, &theirs);
    let arrived = copy(&mut leader, &follower, std::slice::from_ref(&second)).expect("copied");
    assert_eq!(arrived.damaged.len(), 1);
    follower.install(arrived, Lsn(77));
    assert!(!aside.is_prepared(), "what is given up next is not to be mixed with it");
    assert_eq!(aside.directories_of(&generation_directory(&follower.log, partition(0), 0)).len(), 1);
}

#[test]
fn what_nobody_has_whole_is_taken_from_what_was_given_up_here() {
    let (_ours, mut leader, theirs, mut follower, second) = with_segments();
    leader.checkpoint();
    let aside = set_aside(&leader, &theirs);
    let whole = readable(&leader);
    flip(&second, 100);
    let arrived = copy(&mut leader, &follower, std::slice::from_ref(&second)).expect("copied");
    assert!(arrived.damaged.is_empty());
    follower.install(arrived, Lsn(77));
    assert_eq!(readable(&follower), whole);
    assert!(!aside.is_prepared() && !theirs.path().join("given-up").exists(), "it is needed no more");
}

#[test]
fn a_beginning_that_is_here_mends_what_is_damaged_there() {
    let (_ours, mut leader, _theirs, mut follower) = pair(7, 60);
    leader.checkpoint();
    let newest = logs(&follower).pop().expect("a segment");
    let had = fs::metadata(&newest).expect("there").len();
    let same = logs(&leader).into_iter().find(|log| log.file_name() == newest.file_name()).expect("there");
    assert!((100..fs::metadata(&same).expect("there").len()).contains(&had), "{had}: only its beginning");
    flip(&same, 90);
    let arrived = copy(&mut leader, &follower, std::slice::from_ref(&same)).expect("copied");
    assert!(arrived.damaged.is_empty());
    follower.install(arrived, Lsn(77));
    assert!(readable(&follower).iter().all(Option::is_some));
    assert!(readable(&leader).iter().any(Option::is_none));
}

#[test]
fn a_sender_that_says_nothing_of_damage_is_copied_from_as_before() {
    let (_ours, mut leader, _theirs, mut follower, second) = with_segments();
    let mut shelf = Shelf::new(&leader.log);
    let mut offer = leader.offer();
    offer.damaged = vec![second.clone()];
    shelf.offer(offer, Instant::now());
    let wanted = follower.wanted(&leader);
    let whole = fs::read(&second).expect("readable");
    flip(&second, 100);
    let mut line = Line::new(&mut shelf);
    line.is_old = true;
    let copied = follower.copy(&wanted, &mut line);
    assert!(matches!(copied, Err(FetchError::Import(ImportError::Checksum(_)))));
    let replica_number = leader.origin.replica_number;
    let damaged = Notice::Damaged { group: GROUP, replica_number, file: second.clone() };
    assert_eq!(line.notices, [Notice::Sent { group: GROUP, to: follower_id(), ok: false }, damaged]);
    fs::write(&second, whole).expect("written");
    let mut line = Line::new(&mut shelf);
    line.is_old = true;
    let arrived = follower.copy(&wanted, &mut line).expect("copied");
    follower.install(arrived, Lsn(77));
    assert_eq!(follower.contents(), leader.contents());
}

#[test]
fn what_is_received_once_more_without_a_beginning_that_does_not_help_is_counted_once() {
    let (_ours, mut leader, _theirs, follower) = pair(7, 60);
    leader.checkpoint();
    let newest = logs(&follower).pop().expect("a segment");
    let same = logs(&leader).into_iter().find(|log| log.file_name() == newest.file_name()).expect("there");
    flip(&same, fs::read(&same).expect("readable").len() - 5);
    let mut shelf = Shelf::new(&leader.log);
    let mut offer = leader.offer();
    offer.damaged = vec![same];
    shelf.offer(offer, Instant::now());
    let mut line = Line::new(&mut shelf);
    let arrived = follower.copy(&follower.wanted(&leader), &mut line).expect("copied");
    assert_eq!((arrived.damaged.len(), line.received), (1, line.expected));
}

#[test]
fn doubt_is_of_the_state_that_a_snapshot_replaces_and_not_of_the_snapshot() {
    let (_ours, mut leader, _theirs, mut follower, _second) = with_segments();
    let doubted = KnownDamage { replica_number: NUMBER, doubted: Some(0), ..KnownDamage::default() };
    follower.stored.note_damage(0, doubted);
    let arrived = copy(&mut leader, &follower, &[]).expect("copied");
    follower.install(arrived, Lsn(77));
    // A crash now, before anything else is written down.
    let known = KnownDamage::read(&follower.checkpoints, NUMBER);
    assert!(known.is_none_or(|known| !known.doubts(follower.origin.generation)));
}
