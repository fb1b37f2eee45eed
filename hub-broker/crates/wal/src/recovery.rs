//! Finds the end of the log and plays what is in front of it.
//!
//! 1. The newest commit frame of all says which file is the first that is needed, and its first sequence number.
//! 2. From there frames are read in order. The first place without the expected frame is the end, or it is damage.
//! 3. Everything behind it is searched for whole frames. A commit frame behind it that counts the missing sequence
//!    number among the durable ones, or any frame in a later file (which is begun only when the one before is durable),
//!    proves damage. Otherwise nothing behind it was acknowledged: it is cut, and what is whole there is wiped, so that
//!    it cannot come back when the place is written again.

use crate::{
    codec::{Commit, Kind},
    damage::{self, Behind},
    disk::{Disk, DiskFile, write_all_at},
    error::{Corruption, OpenError},
    file_header::{ENCODED_BYTES, FileHeader, Head, file_name, parse_file_name},
    frame::{GroupId, Lsn},
    ledger::Ledger,
    limits::FILE_HEADER_BYTES,
    reader::{Found, FrameReader, read_full_at},
    recovered::{GroupLog, Past, Recovered, Replay, TornTail, hard_state},
};
use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
};

/// A file of the log with a readable head.
#[derive(Clone)]
pub struct LogFile {
    pub header: FileHeader,
    pub file: Arc<dyn DiskFile>,
}

/// The log as it stands after recovery.
pub struct Restored {
    pub recovered: Recovered,
    pub ledger: Ledger,
    pub current: LogFile,
    /// Where the next frame goes.
    pub position: u64,
    /// The file after the current one, if it is ready.
    pub spare: Option<LogFile>,
    /// Names of files that are not needed.
    pub free: Vec<String>,
    /// Id and size of those among them that come right before the first file that is used, without a gap, the oldest
    /// first: they may be read back.
    pub before: Vec<(u64, u64)>,
}

impl Restored {
    /// Of the files before the log, those stay that have together no more bytes than this; the others are free.
    pub fn keeping_at_most(mut self, bytes_max: u64) -> Self {
        let mut left = bytes_max;
        let fits = |(_, bytes): &&(u64, u64)| {
            let fits = *bytes <= left;
            left = left.saturating_sub(*bytes);
            fits
        };
        let count = self.before.iter().rev().take_while(fits).count();
        self.before.drain(..self.before.len() - count);
        let before = &self.before;
        self.free.retain(|name| !before.iter().any(|(id, _)| file_name(*id) == *name));
        self
    }
}

/// Recovers the log, or returns `None` where there is none yet.
pub fn recover(disk: &dyn Disk, past: Past) -> Result<Option<Restored>, OpenError> {
    let mut scan = Scan::list(disk)?;
    if scan.names.is_empty() {
        return Ok(None);
    }
    let start = scan.find_start()?;
    let mut walk = Walk::new(start, past);
    walk.run(&mut scan)?;
    let torn = scan.settle_tail(&walk)?;
    scan.sync_from(walk.ledger.first_needed().map_or(0, |file| file.id))?;
    scan.into_restored(walk, torn).map(Some)
}

/// A damaged log, read past its damage.
#[derive(Debug)]
pub struct PastDamage {
    pub corruption: Corruption,
    /// What the whole frames say; a group that lost entries has a hole, or ends early.
    pub groups: BTreeMap<GroupId, GroupLog>,
    /// The last sequence number of all whole frames.
    pub last_lsn: Lsn,
    /// Size of the largest file.
    pub file_bytes: Option<u64>,
}

/// Reads a log that `recover` refuses as damaged, and changes nothing. `None` where it would not refuse.
pub fn read_past_damage(disk: &dyn Disk, past: &Past) -> Result<Option<PastDamage>, OpenError> {
    let mut scan = Scan::list(disk)?;
    if scan.names.is_empty() {
        return Ok(None);
    }
    let mut walk = None;
    let judged = scan.find_start().and_then(|start| {
        let walk = walk.insert(Walk::new(start, past.clone()));
        walk.run(&mut scan)?;
        scan.judge_tail(walk)
    });
    let corruption = match judged {
        Ok(_) => return Ok(None),
        Err(OpenError::Corrupt(corruption)) => *corruption,
        Err(other) => return Err(other),
    };
    // Barriers may lie in frames that cannot be read: nothing of the new log may lie below any of them.
    let barriers = past.void.values().chain(past.void_entries.values()).copied();
    let mut last_lsn = barriers.max().unwrap_or_default().max(corruption.lsn);
    let groups = match walk {
        Some(mut walk) => {
            last_lsn = last_lsn.max(walk.play_behind(&scan)?);
            walk.replay.finish()
        }
        None => BTreeMap::new(),
    };
    let file_bytes = scan.files.values().map(|file| file.header.file_bytes).max();
    Ok(Some(PastDamage { corruption, groups, last_lsn, file_bytes }))
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    /// Every file of the log by id, with its name.
    names: BTreeMap<u64, String>,
    files: BTreeMap<u64, LogFile>,
    /// Where the last whole frame of a file ends, once the file has been searched.
    whole_ends: BTreeMap<u64, u64>,
}

/// Where the log starts.
#[derive(Clone, Copy)]
struct Start {
    file: u64,
    lsn: Lsn,
}

impl<'a> Scan<'a> {
    fn list(disk: &'a dyn Disk) -> Result<Self, OpenError> {
        let names = disk.list().map_err(|error| io_error("list", disk.path(""), error))?;
        let names: BTreeMap<u64, String> =
            names.into_iter().filter_map(|name| Some((parse_file_name(&name)?, name))).collect();
        let mut files = BTreeMap::new();
        for (&id, name) in &names {
            if let Some(file) = open_file(disk, name)?.filter(|file| file.header.id == id) {
                files.insert(id, file);
            }
        }
        Ok(Scan { disk, names, files, whole_ends: BTreeMap::new() })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.disk.path(&file_name(id))
    }

    fn reader(&self, id: u64) -> Option<FrameReader> {
        self.files.get(&id).map(|file| FrameReader::new(file.file.clone(), &file.header))
    }

    fn corrupt(&self, file: u64, position: u64, lsn: Lsn, what: &'static str) -> OpenError {
        let groups = crate::error::Concerned::All;
        OpenError::Corrupt(Box::new(Corruption { file: self.path(file), position, lsn, groups, what }))
    }

    /// Reads backwards to the newest commit frame.
    fn find_start(&mut self) -> Result<Start, OpenError> {
        let ids: Vec<u64> = self.files.keys().rev().copied().collect();
        for id in ids {
            if let Some(commit) = self.last_commit(id)? {
                return Ok(Start { file: commit.first_file, lsn: commit.first_lsn });
            }
        }
        // A log that was never opened to the end: its first file holds no commit frame yet.
        match self.names.keys().next() {
            Some(1) => Ok(Start { file: 1, lsn: Lsn(1) }),
            first => {
                Err(self.corrupt(first.copied().unwrap_or(0), 0, Lsn(0), "no file holds a commit frame"))
            }
        }
    }

    fn last_commit(&mut self, id: u64) -> Result<Option<Commit>, OpenError> {
        let path = self.path(id);
        let Some(mut reader) = self.reader(id) else { return Ok(None) };
        let mut last = None;
        let mut position = FILE_HEADER_BYTES;
        let read = |error| io_error("read", path.clone(), error);
        while let Some(found) = reader.find_from(position).map_err(read)? {
            if found.header.kind == Kind::Commit {
                last = Commit::decode(reader.payload(&found).map_err(read)?).or(last);
            }
            position = found.end();
        }
        self.whole_ends.insert(id, position);
        Ok(last)
    }

    /// Proves that the log ends where the walk stopped; returns what is whole behind it.
    fn judge_tail(&mut self, walk: &Walk) -> Result<Behind, OpenError> {
        let behind = self.behind(walk)?;
        if behind.proves_damage(walk.expected, walk.file) {
            return Err(OpenError::Corrupt(Box::new(Corruption {
                file: self.path(walk.file),
                position: walk.position,
                lsn: walk.expected,
                groups: behind.concerned(walk.expected),
                what: walk.what,
            })));
        }
        Ok(behind)
    }

    /// Wipes what is whole behind the end of the log.
    fn settle_tail(&mut self, walk: &Walk) -> Result<Option<TornTail>, OpenError> {
        let behind = self.judge_tail(walk)?;
        let torn = TornTail { file: self.path(walk.file), position: walk.position, lsn: walk.expected };
        if let Some(end) = behind.end {
            self.wipe(walk.file, walk.position, end)?;
            return Ok(Some(torn));
        }
        Ok(walk.header_only.then_some(torn))
    }

    fn behind(&mut self, walk: &Walk) -> Result<Behind, OpenError> {
        let mut behind = Behind::default();
        let ids: Vec<u64> = self.files.range(walk.file..).map(|(&id, _)| id).collect();
        for id in ids {
            let from = if id == walk.file { walk.position } else { FILE_HEADER_BYTES };
            if self.whole_ends.get(&id).is_some_and(|&end| end <= from) {
                continue;
            }
            let path = self.path(id);
            let Some(mut reader) = self.reader(id) else { continue };
            damage::collect(&mut reader, id, from, &mut behind)
                .map_err(|error| io_error("read", path, error))?;
        }
        Ok(behind)
    }

    fn wipe(&self, id: u64, from: u64, to: u64) -> Result<(), OpenError> {
        let Some(file) = self.files.get(&id) else { return Ok(()) };
        let zeros = vec![0; (to - from) as usize];
        write_all_at(file.file.as_ref(), &mut [IoSlice::new(&zeros)], from)
            .map_err(|error| io_error("wipe the torn tail of", self.path(id), error))
    }

    /// What was read may so far be in memory only; it is about to be relied upon.
    fn sync_from(&self, first: u64) -> Result<(), OpenError> {
        for (&id, file) in self.files.range(first..) {
            file.file.sync_data().map_err(|error| io_error("sync", self.path(id), error))?;
        }
        self.disk.sync_directory().map_err(|error| io_error("sync", self.disk.path(""), error))
    }

    fn into_restored(mut self, walk: Walk, torn_tail: Option<TornTail>) -> Result<Restored, OpenError> {
        let Some(current) = self.files.remove(&walk.file) else {
            return Err(self.corrupt(walk.file, 0, walk.expected, "the file is missing"));
        };
        let spare = self.files.remove(&(walk.file + 1)).filter(is_full_length);
        let first = walk.ledger.first_needed().map_or(walk.file, |file| file.id).min(walk.start.file);
        let used = first..=walk.file + u64::from(spare.is_some());
        let mut before = Vec::new();
        while let Some(file) =
            self.files.get(&(first - 1 - before.len() as u64)).filter(|file| is_full_length(file))
        {
            before.push((file.header.id, file.header.file_bytes));
        }
        before.reverse();
        let free =
            self.names.into_iter().filter(|(id, _)| !used.contains(id)).map(|(_, name)| name).collect();
        let last_lsn = Lsn(walk.expected.0 - 1);
        let recovered = Recovered { groups: walk.replay.finish(), torn_tail, last_lsn };
        Ok(Restored { recovered, ledger: walk.ledger, current, position: walk.position, spare, free, before })
    }
}

/// The reading in order.
struct Walk {
    start: Start,
    file: u64,
    position: u64,
    expected: Lsn,
    /// A frame's header stands at `position`, but the frame is not whole.
    header_only: bool,
    what: &'static str,
    ledger: Ledger,
    replay: Replay,
}

impl Walk {
    fn new(start: Start, past: Past) -> Self {
        let mut ledger = Ledger::default();
        for (&group, &through) in past.void_entries.iter().chain(&past.void) {
            ledger.forget_entries(group, through.max(ledger.void_through(group)));
        }
        Walk {
            start,
            file: start.file,
            position: FILE_HEADER_BYTES,
            expected: start.lsn,
            header_only: false,
            what: "a frame is missing that later ones count on",
            ledger,
            replay: Replay::new(past),
        }
    }

    fn run(&mut self, scan: &mut Scan<'_>) -> Result<(), OpenError> {
        while let Some(next) = self.read_file(scan)? {
            self.file = next;
            self.position = FILE_HEADER_BYTES;
        }
        Ok(())
    }

    /// Reads one file; returns the next one's id if this one ends as it should.
    fn read_file(&mut self, scan: &mut Scan<'_>) -> Result<Option<u64>, OpenError> {
        let path = scan.path(self.file);
        let Some(file) = scan.files.get(&self.file) else {
            let there = scan.names.contains_key(&self.file);
            let what = if there { "the head of the file is unreadable" } else { "the file is missing" };
            return Err(scan.corrupt(self.file, 0, self.expected, what));
        };
        let bytes = file.file.bytes().map_err(|error| io_error("measure", path.clone(), error))?;
        let is_short = bytes < file.header.file_bytes;
        self.ledger.open_file(self.file, file.header.file_bytes, self.expected);
        let mut reader = FrameReader::new(file.file.clone(), &file.header);
        let next = self.read_frames(&mut reader).map_err(|error| io_error("read", path, error))?;
        if is_short {
            return Err(scan.corrupt(self.file, bytes, self.expected, "the file is cut short"));
        }
        Ok(next)
    }

    /// Plays the whole frames at and behind the place where the walk stopped; returns the last sequence number.
    fn play_behind(&mut self, scan: &Scan<'_>) -> Result<Lsn, OpenError> {
        let mut last = Lsn(self.expected.0.saturating_sub(1));
        for &id in scan.files.range(self.file..).map(|(id, _)| id) {
            let mut position = if id == self.file { self.position } else { FILE_HEADER_BYTES };
            let Some(mut reader) = scan.reader(id) else { continue };
            let read = |error| io_error("read", scan.path(id), error);
            while let Some(found) = reader.find_from(position).map_err(read)? {
                self.replay.play(&found.header, reader.payload(&found).map_err(read)?);
                position = found.end();
                last = last.max(found.header.lsn);
            }
        }
        Ok(last)
    }

    fn read_frames(&mut self, reader: &mut FrameReader) -> io::Result<Option<u64>> {
        loop {
            let found = reader.frame_at(self.position)?.filter(|found| found.header.lsn == self.expected);
            let Some(found) = found else {
                self.header_only = reader.header_at(self.position)?.is_some();
                return Ok(None);
            };
            let next = self.play(reader, &found)?;
            self.position = found.end();
            self.expected = Lsn(found.header.lsn.0 + 1);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn play(&mut self, reader: &mut FrameReader, found: &Found) -> io::Result<Option<u64>> {
        let payload = reader.payload(found)?;
        if self.replay.play(&found.header, payload) {
            self.ledger.note(&found.header, hard_state(&found.header, payload));
        }
        let commit = (found.header.kind == Kind::Commit).then(|| Commit::decode(payload)).flatten();
        Ok(commit.and_then(|commit| commit.next_file))
    }
}

/// Opens a file if its head is readable.
pub fn open_file(disk: &dyn Disk, name: &str) -> Result<Option<LogFile>, OpenError> {
    let failed = |operation, error| io_error(operation, disk.path(name), error);
    let file = disk.open(name).map_err(|error| failed("open", error))?;
    let mut head = [0; ENCODED_BYTES];
    let count = read_full_at(file.as_ref(), &mut head, 0).map_err(|error| failed("read", error))?;
    match FileHeader::decode(&head[..count]) {
        Head::Known(header) => Ok(Some(LogFile { header, file })),
        Head::Version(version) => Err(OpenError::Version { file: disk.path(name), version }),
        Head::Unreadable => Ok(None),
    }
}

fn is_full_length(file: &LogFile) -> bool {
    file.file.bytes().is_ok_and(|bytes| bytes == file.header.file_bytes)
}

fn io_error(operation: &'static str, file: PathBuf, error: io::Error) -> OpenError {
    OpenError::Io { operation, file, error }
}
