//! Reads back the live entries of a file, in steps.

use crate::{
    codec::{Commit, FrameHeader, Kind},
    disk::Disk,
    error::OpenError,
    fail::Failure,
    file_header::file_name,
    frame::{Frame, GroupId},
    ledger::Live,
    limits::{FILE_HEADER_BYTES, REWRITE_STEP_BYTES},
    reader::{Found, FrameReader},
    recovery::open_file,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

/// Per group, the live entries of a file.
pub type Ranges = BTreeMap<GroupId, Live>;

pub struct Rewrite {
    file: u64,
    reader: FrameReader,
    left: VecDeque<Found>,
}

/// Per group, where the live entry of an index stands.
type Places = BTreeMap<GroupId, BTreeMap<u64, Found>>;

impl Rewrite {
    /// Finds the entries in `ranges`.
    pub fn survey(disk: &dyn Disk, file: u64, ranges: &Ranges) -> Result<Rewrite, Failure> {
        let failed = |error| failure(disk, file, 0, error);
        let opened = open_file(disk, &file_name(file)).map_err(|error| match error {
            OpenError::Io { error, .. } => failed(error),
            error => failed(io::Error::other(error)),
        })?;
        let opened = opened.ok_or_else(|| failed(damaged()))?;
        let mut reader = FrameReader::new(opened.file, &opened.header);
        let mut places: Places = ranges.keys().map(|&group| (group, BTreeMap::new())).collect();
        let mut position = FILE_HEADER_BYTES;
        loop {
            let found = reader.frame_at(position).and_then(|found| found.ok_or_else(damaged));
            let found = found.map_err(|error| failure(disk, file, position, error))?;
            if ranges.get(&found.header.group).is_some_and(|live| found.header.lsn > live.behind) {
                note(&mut places, &found);
            }
            position = found.end();
            if ends_file(&mut reader, &found).map_err(|error| failure(disk, file, position, error))? {
                break;
            }
        }
        let mut left: Vec<Found> = Vec::new();
        for (group, live) in ranges {
            let of_group = places.remove(group).unwrap_or_default();
            let indexes = live.above + 1..=live.up_to;
            left.extend(of_group.into_values().filter(|found| indexes.contains(&found.header.index)));
        }
        left.sort_by_key(|found| found.position);
        Ok(Rewrite { file, reader, left: left.into() })
    }

    pub fn file(&self) -> u64 {
        self.file
    }

    /// The next entries to write again; none when all have been.
    pub fn next_step(&mut self, disk: &dyn Disk) -> Result<Vec<Frame>, Failure> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        while bytes < REWRITE_STEP_BYTES {
            let Some(found) = self.left.pop_front() else { break };
            let frame = self.read(&found).map_err(|error| failure(disk, self.file, found.position, error))?;
            bytes += found.header.frame_bytes() as usize;
            frames.push(frame);
        }
        Ok(frames)
    }

    fn read(&mut self, found: &Found) -> io::Result<Frame> {
        // Read again and checked again: time has passed since the survey.
        let again = self.reader.frame_at(found.position)?.filter(|again| again == found);
        let FrameHeader { kind: Kind::Entry { entry_kind, .. }, group, index, term, .. } =
            again.ok_or_else(damaged)?.header
        else {
            return Err(damaged());
        };
        let payload = Bytes::copy_from_slice(self.reader.payload(found)?);
        Ok(Frame::Entry { group, index, term, entry_kind, payload })
    }
}

fn note(places: &mut Places, found: &Found) {
    let Some(entries) = places.get_mut(&found.header.group) else { return };
    let index = found.header.index;
    match found.header.kind {
        Kind::Entry { copy, .. } => {
            if !copy {
                entries.split_off(&index);
            }
            entries.insert(index, *found);
        }
        Kind::Truncate => drop(entries.split_off(&index)),
        Kind::HardState | Kind::Commit => {}
    }
}

fn ends_file(reader: &mut FrameReader, found: &Found) -> io::Result<bool> {
    if found.header.kind != Kind::Commit {
        return Ok(false);
    }
    let commit = Commit::decode(reader.payload(found)?);
    Ok(commit.is_some_and(|commit| commit.next_file.is_some()))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a frame is damaged")
}

fn failure(disk: &dyn Disk, file: u64, position: u64, error: io::Error) -> Failure {
    Failure { operation: "read back", file: disk.path(&file_name(file)), position, error }
}
