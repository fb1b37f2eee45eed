//! Finds places in the programs' files, and damages them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const WAL_MAGIC: u32 = 0xA757_4846;
const WAL_FILE_HEADER_BYTES: usize = 4096;
const WAL_FRAME_HEADER_BYTES: usize = 48;
/// Of the file's header: where its generation stands, with which the checksum of a frame begins.
const WAL_GENERATION_AT: usize = 24;
/// Of a frame's header: the end of what is checksummed, and where the checksum over it and the payload stands.
const WAL_CHECKED_BYTES: usize = 40;
const WAL_FRAME_CRC_AT: usize = 44;
/// Of a batch: its length without these, its format, its checksum, and where that begins.
const BATCH_LENGTH_AT: usize = 8;
const BATCH_LENGTH_END: usize = 12;
const BATCH_MAGIC_AT: usize = 16;
const BATCH_CRC_AT: usize = 17;
const BATCH_CHECKED_AT: usize = 21;

/// What looks like a frame of the write-ahead log, of whichever life of its file.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub position: u64,
    pub end: u64,
    pub lsn: u64,
}

/// Everything in a file of the write-ahead log that looks like a frame, by position.
pub fn frames(file: &Path) -> Vec<Frame> {
    let bytes = fs::read(file).expect("a file of the log");
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
    let mut found = Vec::new();
    for position in (WAL_FILE_HEADER_BYTES..bytes.len()).step_by(8) {
        let Some(first) = number(position) else { break };
        if first as u32 == WAL_MAGIC
            && let Some(lsn) = number(position + 8)
        {
            let length = WAL_FRAME_HEADER_BYTES + ((first >> 32) as usize).next_multiple_of(8);
            found.push(Frame { position: position as u64, end: (position + length) as u64, lsn });
        }
    }
    found
}

pub fn wal_files(data_dir: &Path) -> Vec<PathBuf> {
    files(&data_dir.join("wal"), ".wal")
}

/// The segment of a partition that holds something, and its index. The topic must be the only one that does.
///
/// # Panics
/// Where there is not exactly one.
pub fn partition_files(data_dir: &Path, partition: i32) -> (PathBuf, PathBuf) {
    let folders = fs::read_dir(data_dir.join("log")).expect("the hub's logs");
    let folders = folders.map(|entry| entry.expect("a readable folder").path());
    let own = folders.filter(|path| path.to_string_lossy().ends_with(&format!("-{partition}")));
    let logs: Vec<_> = own.flat_map(|folder| files(&folder, ".log")).filter(|log| length(log) > 0).collect();
    let [log] = &logs[..] else { panic!("not one segment: {logs:?}") };
    (log.clone(), log.with_extension("index"))
}

/// Per group of shards, its manifests, the older first.
pub fn manifests(data_dir: &Path) -> Vec<Vec<PathBuf>> {
    let groups = fs::read_dir(data_dir.join("checkpoint")).expect("the hub's checkpoints");
    let groups = groups.map(|entry| files(&entry.expect("a readable folder").path(), ""));
    let is_manifest = |path: &PathBuf| path.to_string_lossy().contains("manifest-");
    groups.map(|files| files.into_iter().filter(is_manifest).collect()).collect()
}

/// Which of these files holds the bytes, and where; the last of several places.
///
/// # Panics
/// Where none does.
pub fn holding(files: &[PathBuf], bytes: &[u8]) -> (PathBuf, u64) {
    let place = |file: &PathBuf| {
        let content = fs::read(file).expect("a readable file");
        let at = content.windows(bytes.len()).rposition(|window| window == bytes)?;
        Some((file.clone(), at as u64))
    };
    files.iter().rev().find_map(place).expect("one of the files holds the bytes")
}

/// Flips a bit of the byte at a position.
///
/// # Panics
/// Where there is no such byte.
pub fn flip(file: &Path, position: u64) {
    let mut byte = [0];
    let file = fs::File::options().read(true).write(true).open(file).expect("a file");
    file.read_exact_at(&mut byte, position).expect("a byte at the position");
    file.write_all_at(&[byte[0] ^ 0x10], position).expect("the byte can be written");
}

/// Puts other bytes, as many, into the last batch of the write-ahead log's file that holds these, and makes all checksums
/// right: the hub will take it for what it has written.
///
/// # Panics
/// Where no batch in a frame holds them.
pub fn exchange_in_wal(file: &Path, old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len(), "nothing else may move");
    let (_, at) = holding(&[file.to_owned()], old);
    let at = usize::try_from(at).expect("a place in memory");
    let frame = frames(file).into_iter().rfind(|frame| frame.position < at as u64).expect("a frame");
    let frame = frame.position as usize;
    let mut bytes = fs::read(file).expect("a file of the log");
    let number = |bytes: &[u8], at: usize| {
        let four = bytes[at..].first_chunk().expect("four bytes");
        (u32::from_be_bytes(*four) as usize, u32::from_le_bytes(*four) as usize)
    };
    let end_of = |start: usize| start + BATCH_LENGTH_END + number(&bytes, start + BATCH_LENGTH_AT).0;
    let is_batch = |start: &usize| {
        let crc = number(&bytes, start + BATCH_CRC_AT).0 as u32;
        let checked = bytes.get(start + BATCH_CHECKED_AT..end_of(*start));
        bytes[start + BATCH_MAGIC_AT] == 2 && checked.is_some_and(|checked| crc32c::crc32c(checked) == crc)
    };
    let batch = (frame..at).rev().find(is_batch).expect("a batch");
    let end = end_of(batch);
    bytes[at..at + new.len()].copy_from_slice(new);
    let crc = crc32c::crc32c(&bytes[batch + BATCH_CHECKED_AT..end]).to_be_bytes();
    bytes[batch + BATCH_CRC_AT..batch + BATCH_CHECKED_AT].copy_from_slice(&crc);

    let payload = frame + WAL_FRAME_HEADER_BYTES;
    let payload_end = payload + number(&bytes, frame + 4).1;
    let checked = [
        &bytes[WAL_GENERATION_AT..WAL_GENERATION_AT + 8],
        &bytes[frame..frame + WAL_CHECKED_BYTES],
        &bytes[payload..payload_end],
    ];
    let crc = checked.into_iter().fold(0, crc32c::crc32c_append).to_le_bytes();
    bytes[frame + WAL_FRAME_CRC_AT..payload].copy_from_slice(&crc);
    fs::write(file, bytes).expect("the file can be written");
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |meta| meta.len())
}

/// The files of a folder whose names end like this, by name.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    found.retain(|path| path.is_file() && path.to_string_lossy().ends_with(end));
    found.sort();
    found
}
