use super::*;
use crate::{
    Concerned, Corruption,
    codec::{Commit, FRAME_HEADER_BYTES, Kind},
    disk::Disk,
    file_header::{FileHeader, Head, file_name},
    limits::FILE_HEADER_BYTES,
    reader::{Found, FrameReader},
    recovered::Past,
};
use std::path::PathBuf;

fn reader(disk: &SimDisk, name: &str) -> FrameReader {
    let Head::Known(header) = FileHeader::decode(&disk.content(name)) else { panic!("no header in {name}") };
    FrameReader::new(disk.open(name).expect("opens"), &header)
}

/// The frames of a file up to its end.
fn frames(disk: &SimDisk, name: &str) -> Vec<Found> {
    let mut reader = reader(disk, name);
    let mut position = FILE_HEADER_BYTES;
    std::iter::from_fn(|| {
        let found = reader.frame_at(position).expect("reads")?;
        position = found.end();
        Some(found)
    })
    .collect()
}

pub fn commits(disk: &SimDisk, name: &str) -> Vec<Commit> {
    let mut reader = reader(disk, name);
    let found = frames(disk, name).into_iter().filter(|found| found.header.kind == Kind::Commit);
    found.map(|found| Commit::decode(reader.payload(&found).expect("reads")).expect("a commit")).collect()
}

fn flip(disk: &SimDisk, name: &str, byte: u64, bit: u8) {
    disk.damage(name, |content| content[byte as usize] ^= 1 << bit);
}

fn corruption(disk: &SimDisk) -> Corruption {
    match try_open(disk, config()) {
        Err(OpenError::Corrupt(corruption)) => *corruption,
        Err(other) => panic!("another error: {other}"),
        Ok((_, recovered)) => panic!("opened: {recovered:?}"),
    }
}

/// Never covers the last group commit by itself.
fn unhurried() -> Config {
    Config { idle_commit: Duration::from_secs(3600), ..config() }
}

/// Two groups' writes in group commits of their own; the first file's id is 1.
fn two_commits(close: bool) -> SimDisk {
    let disk = SimDisk::new(3);
    let (wal, _) = try_open(&disk, unhurried()).expect("opens");
    write(&wal, vec![entry(1, 1, b"one"), entry(2, 1, b"two")]);
    write(&wal, vec![entry(3, 1, b"three"), hard_state(3, 1)]);
    if close {
        wal.close();
    } else {
        drop(wal);
    }
    disk
}

#[test]
fn every_flipped_bit_before_a_later_commit_is_reported_with_its_place() {
    let disk = two_commits(true);
    let name = file_name(1);
    let frames = frames(&disk, &name);
    let damaged = frames.iter().find(|found| found.header.group == GroupId(2)).expect("the frame");
    for byte in damaged.position..damaged.end() {
        for bit in 0..8 {
            flip(&disk, &name, byte, bit);
            let corruption = corruption(&disk);
            assert_eq!(corruption.file, PathBuf::from("/sim").join(&name), "byte {byte} bit {bit}");
            assert_eq!((corruption.position, corruption.lsn), (damaged.position, damaged.header.lsn));
            assert_eq!(corruption.groups, Concerned::Groups(vec![GroupId(1), GroupId(2)]));
            flip(&disk, &name, byte, bit);
        }
    }
    try_open(&disk, config()).expect("the undamaged log opens");
}

#[test]
fn a_damaged_commit_frame_concerns_all_groups() {
    let disk = two_commits(true);
    let name = file_name(1);
    let first = frames(&disk, &name).into_iter().rfind(|found| found.header.lsn < Lsn(5)).expect("a frame");
    assert_eq!(first.header.kind, Kind::Commit);
    flip(&disk, &name, first.position + FRAME_HEADER_BYTES as u64, 0);
    let corruption = corruption(&disk);
    assert_eq!((corruption.position, corruption.groups), (first.position, Concerned::All));
}

#[test]
fn damage_over_several_commits_names_all_their_groups() {
    let disk = two_commits(true);
    let name = file_name(1);
    for found in frames(&disk, &name).iter().filter(|found| matches!(found.header.kind, Kind::Entry { .. })) {
        flip(&disk, &name, found.position + 20, 3);
    }
    let corruption = corruption(&disk);
    assert_eq!(corruption.groups, Concerned::Groups(vec![GroupId(1), GroupId(2), GroupId(3)]));
    assert!(corruption.to_string().contains("0000000000000001.wal is damaged at 4"), "{corruption}");
    assert!(corruption.to_string().contains("groups 1 2 3"), "{corruption}");
}

#[test]
fn damage_in_the_last_group_commit_is_cut_and_never_comes_back() {
    let name = file_name(1);
    let intact = two_commits(false);
    let last =
        *frames(&intact, &name).iter().find(|found| found.header.group == GroupId(3)).expect("the frame");
    for byte in last.position..last.end() {
        let disk = two_commits(false);
        flip(&disk, &name, byte, 0);
        let (wal, recovered) = try_open(&disk, unhurried()).expect("opens");
        assert_eq!(indexes(&recovered, 1), [1]);
        assert!(!recovered.groups.contains_key(&GroupId(3)));
        let torn = recovered.torn_tail.expect("a torn tail");
        assert_eq!((torn.position, torn.lsn), (last.position, last.header.lsn));
        // A frame of the same size where the torn one was: what followed that one must not follow this one.
        write(&wal, vec![entry(4, 1, b"three")]);
        drop(wal);
        let (_wal, recovered) = open(&disk);
        assert_eq!(indexes(&recovered, 4), [1]);
        assert!(!recovered.groups.contains_key(&GroupId(3)), "byte {byte}: {recovered:?}");
    }
}

#[test]
fn frames_behind_a_torn_one_do_not_come_back_where_new_ones_fit_exactly() {
    let disk = SimDisk::new(3);
    let (wal, _) = try_open(&disk, unhurried()).expect("opens");
    let start = frames(&disk, &file_name(1)).last().expect("frames").end();
    // The last of these four stands at the start of a page. After recovery, the opening commit frame (80 bytes), the
    // second entry again and its commit frame (88 bytes) end exactly there, and its sequence number would be next.
    let page = start.next_multiple_of(4096) + 4096;
    let second = vec![2; (page - start - 80 - 88) as usize - FRAME_HEADER_BYTES];
    write(
        &wal,
        vec![entry(1, 1, &[1; 32]), entry(1, 2, &second), entry(1, 3, &[3; 40]), entry(9, 1, b"ghost")],
    );
    drop(wal);
    assert!(frames(&disk, &file_name(1)).iter().any(|found| found.position == page));
    flip(&disk, &file_name(1), start, 0);
    let (wal, recovered) = try_open(&disk, unhurried()).expect("opens");
    assert_eq!(recovered.torn_tail.map(|torn| torn.position), Some(start));
    write(&wal, vec![entry(1, 1, &second)]);
    assert_eq!(frames(&disk, &file_name(1)).last().expect("frames").end(), page);
    drop(wal);
    let (_wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 1), [1]);
    assert!(!recovered.groups.contains_key(&GroupId(9)), "{recovered:?}");
}

/// A log whose current file has been used before, with frames of the same sizes. The last write has reached a page
/// that no write of this use had touched, and nothing behind its frames has reached the disk.
fn recycled() -> (SimDisk, String, u64) {
    let disk = SimDisk::new(3);
    let (wal, _) = try_open(&disk, unhurried()).expect("opens");
    for index in 1.. {
        let name = file_name(frames_in_current(&disk).0.max(1));
        let before = disk.content(&name);
        write(&wal, vec![entry(1, index, &[1; 600])]);
        wal.release(GroupId(1), index - 1);
        let end = frames(&disk, &name).last().expect("frames").end() as usize;
        if name >= file_name(7) && crate::codec::u32_at(&before, end) == Some(crate::codec::FRAME_MAGIC) {
            drop(wal);
            disk.damage(&name, |content| content[end..].copy_from_slice(&before[end..]));
            return (disk, name, index);
        }
    }
    unreachable!("no file was used again")
}

fn frames_in_current(disk: &SimDisk) -> (u64, usize) {
    let used = (1..).take_while(|&id| id == 1 || disk.file_names().iter().any(|name| *name >= file_name(id)));
    let filled = used.filter(|&id| disk.file_names().contains(&file_name(id)));
    let filled = filled.map(|id| (id, head_matches(disk, id)));
    filled.filter(|(_, count)| *count > 0).last().unwrap_or((0, 0))
}

fn head_matches(disk: &SimDisk, id: u64) -> usize {
    match FileHeader::decode(&disk.content(&file_name(id))) {
        Head::Known(header) if header.id == id => frames(disk, &file_name(id)).len(),
        _ => 0,
    }
}

#[test]
fn stale_frames_of_a_recycled_file_are_not_replayed() {
    let (disk, _, index) = recycled();
    let (wal, recovered) = try_open(&disk, unhurried()).expect("opens");
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(indexes(&recovered, 1).last(), Some(&index));
    drop(wal);
}

#[test]
fn a_torn_last_frame_before_stale_ones_is_cut() {
    let (disk, name, index) = recycled();
    let found = frames(&disk, &name);
    let last = found.iter().rfind(|found| found.header.kind != Kind::Commit).expect("an entry");
    // The tail of the payload and the commit frame behind it never reached the disk.
    disk.damage(&name, |content| content[last.end() as usize - 300..][..380].fill(0));
    let (wal, recovered) = try_open(&disk, unhurried()).expect("opens");
    assert_eq!(indexes(&recovered, 1).last(), Some(&(index - 1)));
    let torn = recovered.torn_tail.expect("a torn tail");
    assert_eq!((torn.position, torn.lsn), (last.position, last.header.lsn));
    write(&wal, vec![entry(1, index, b"again")]);
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].entries.last().expect("entries").payload, "again");
}

/// Three files in use, of which nothing was released.
fn three_files() -> SimDisk {
    let disk = SimDisk::new(3);
    let (wal, _) = open(&disk);
    let mut index = 0;
    while wal.stats().files < 3 {
        index += 1;
        write(&wal, vec![entry(1, index, &[1; 3000])]);
    }
    wal.close();
    disk
}

#[test]
fn a_file_cut_short_is_reported() {
    for id in 1..=3 {
        let disk = three_files();
        disk.damage(&file_name(id), |content| content.truncate(9000));
        let corruption = corruption(&disk);
        assert_eq!((corruption.file, corruption.position), (PathBuf::from("/sim").join(file_name(id)), 9000));
    }
}

#[test]
fn a_file_with_an_unreadable_head_is_reported() {
    for id in 1..=3 {
        let disk = three_files();
        flip(&disk, &file_name(id), 17, 2);
        assert_eq!(corruption(&disk).file, PathBuf::from("/sim").join(file_name(id)));
    }
}

#[test]
fn a_missing_file_is_reported() {
    for id in 1..=3 {
        let disk = three_files();
        disk.remove(&file_name(id)).expect("removes");
        let corruption = corruption(&disk);
        assert_eq!(
            (corruption.file, corruption.what),
            (PathBuf::from("/sim").join(file_name(id)), "the file is missing")
        );
    }
}

#[test]
fn damage_at_the_end_of_a_file_is_reported_though_only_the_next_file_proves_it() {
    let disk = three_files();
    let last = *frames(&disk, &file_name(2)).last().expect("frames");
    flip(&disk, &file_name(2), last.position + 50, 1);
    assert_eq!(corruption(&disk).position, last.position);
}

#[test]
fn a_file_of_a_later_release_is_not_touched() {
    let disk = two_commits(true);
    disk.damage(&file_name(1), |content| {
        content[8] = 9;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&content[0..12]), &content[16..40]);
        content[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let before = disk.content(&file_name(1));
    assert!(matches!(try_open(&disk, config()), Err(OpenError::Version { version: 9, .. })));
    assert_eq!(disk.content(&file_name(1)), before);
}

#[test]
fn a_damaged_log_is_read_past_its_damage_and_left_as_it_is() {
    let disk = two_commits(true);
    let name = file_name(1);
    assert!(
        crate::recovery::read_past_damage(&disk, &Past::default()).expect("reads").is_none(),
        "nothing is wrong yet"
    );
    let damaged = frames(&disk, &name).into_iter().find(|found| found.header.group == GroupId(2));
    flip(&disk, &name, damaged.expect("the frame").position + FRAME_HEADER_BYTES as u64, 0);
    let before = disk.content(&name);
    let read =
        crate::recovery::read_past_damage(&disk, &Past::default()).expect("reads").expect("it is damaged");
    assert_eq!(read.corruption, corruption(&disk));
    let kept: Vec<u32> = read.groups.keys().map(|group| group.0).collect();
    assert_eq!(kept, [1, 3], "before and behind the damage");
    assert_eq!(read.groups[&GroupId(3)].hard_state.map(|state| state.term), Some(1));
    assert_eq!(read.file_bytes, Some(FILE_BYTES));
    assert_eq!(disk.content(&name), before);
}

#[test]
fn a_log_cut_short_is_read_up_to_its_end() {
    let disk = two_commits(true);
    let name = file_name(1);
    let third =
        *frames(&disk, &name).iter().find(|found| found.header.group == GroupId(3)).expect("the frame");
    disk.damage(&name, |content| content.truncate(third.position as usize + 10));
    let read =
        crate::recovery::read_past_damage(&disk, &Past::default()).expect("reads").expect("it is damaged");
    assert_eq!(read.corruption.position, third.position + 10);
    assert_eq!(read.groups.keys().map(|group| group.0).collect::<Vec<_>>(), [1, 2]);
}
