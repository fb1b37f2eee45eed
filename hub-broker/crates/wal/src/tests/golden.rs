//! The format, byte by byte. A file in `golden` is never edited: a new version adds one.

use super::*;
use crate::{
    codec::{Commit, FrameHeader, Generation, Kind},
    disk::Disk,
    file_header::{FileHeader, Head},
    gather::Gather,
    limits::FILE_HEADER_BYTES,
    reader::FrameReader,
};

fn generation() -> Generation {
    Generation::new(0x0123_4567_89ab_cdef)
}

fn frame(lsn: u64, kind: Kind, group: u32, index: u64, term: u64, payload: &[u8]) -> (FrameHeader, Bytes) {
    let payload = Bytes::copy_from_slice(payload);
    let payload_bytes = payload.len() as u32;
    (FrameHeader { lsn: Lsn(lsn), kind, group: GroupId(group), index, term, payload_bytes }, payload)
}

fn frames() -> Vec<(FrameHeader, Bytes)> {
    let groups = vec![GroupId(1), GroupId(64)];
    let commit = Commit { durable: Lsn(40), first_file: 3, first_lsn: Lsn(7), next_file: Some(6), groups };
    vec![
        frame(41, Kind::Entry { entry_kind: 2, copy: false }, 1, 1000, 5, b"an entry's payload"),
        frame(42, Kind::Entry { entry_kind: 0, copy: true }, 64, 12, 4, b""),
        frame(43, Kind::HardState, 1, 999, 5, &2u64.to_le_bytes()),
        frame(44, Kind::Truncate, 64, 13, 5, b""),
        frame(45, Kind::Commit, 0, 0, 0, &commit.encode()),
    ]
}

fn file() -> Vec<u8> {
    let mut file = vec![0; FILE_HEADER_BYTES as usize];
    let header = FileHeader { id: 5, generation: generation(), file_bytes: FILE_BYTES }.encode();
    file[..header.len()].copy_from_slice(&header);
    let mut gather = Gather::default();
    for (header, payload) in frames() {
        gather.push(generation(), &header, &payload);
    }
    gather.slices(0).iter().for_each(|slice| file.extend_from_slice(slice));
    file
}

#[test]
fn version_1_is_written_as_ever() {
    assert_eq!(file(), include_bytes!("../../golden/wal-v1.bin"));
}

#[test]
fn version_1_is_read_as_ever() {
    let golden = include_bytes!("../../golden/wal-v1.bin");
    let Head::Known(header) = FileHeader::decode(golden) else { panic!("no header") };
    assert_eq!(header, FileHeader { id: 5, generation: generation(), file_bytes: FILE_BYTES });
    let disk = SimDisk::new(0);
    disk.create("golden").expect("creates");
    disk.damage("golden", |content| content.extend_from_slice(golden));
    let mut reader = FrameReader::new(disk.open("golden").expect("opens"), &header);
    let mut position = FILE_HEADER_BYTES;
    for (header, payload) in frames() {
        let found = reader.frame_at(position).expect("reads").expect("a frame");
        assert_eq!(found.header, header);
        assert_eq!(reader.payload(&found).expect("reads"), payload);
        position = found.end();
    }
    assert_eq!(position, golden.len() as u64);
}
