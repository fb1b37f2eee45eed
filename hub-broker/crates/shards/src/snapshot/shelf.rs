//! Checkpoints that replicas of other hubs may copy. One owner; what it is asked for is answered at once, from the disk.
//!
//! A checkpoint lies here with its files pinned until nobody has read of it for a minute. Time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use checkpoint::{Key, Position};
use consensus::ReplicaId;
use partition_log::{PartitionState, SegmentState, is_unreadable};

use super::Notice;
use super::as_it_is::read_as_it_is;
use super::format::{
    Close, FileId, Open, Opened, Outcome, Piece, Read, Refusal, encode_damaged, encode_listing,
};
use crate::group_state::GroupState;
use crate::keys::key_partition;
use crate::limits::{SNAPSHOT_IDLE_MAX, SNAPSHOT_READ_BYTES_MAX, SNAPSHOT_SESSIONS_MAX};
use crate::observe::snapshots as observe;
use crate::partitions::generation_directory;
use crate::stored_group::Pin;

/// Where a file's bytes lie.
struct Source {
    path: PathBuf,
    bytes: u64,
    is_damaged: bool,
}

/// A checkpoint to be kept for those who need it.
pub(crate) struct Offer {
    pub group: u32,
    pub position: Position,
    pub state: GroupState,
    pub states: BTreeMap<Key, Bytes>,
    /// Files of its segments that nobody is known to have whole.
    pub damaged: Vec<PathBuf>,
    pub pin: Pin,
}

pub(crate) struct Shelf {
    log: PathBuf,
    kept: BTreeMap<(u32, u64), Kept>,
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    /// Replicas that were told of a checkpoint and have not asked for it yet.
    told: BTreeMap<(u32, ReplicaId), (u64, Instant)>,
}

struct Kept {
    /// Of the replica whose checkpoint it is.
    replica_number: u32,
    term: u64,
    state: Bytes,
    listing: Bytes,
    /// As in the listing; the metadata's state has no files.
    partitions: Vec<Option<Partition>>,
    /// Segments that are given as they are, and the list of them.
    damaged: BTreeSet<FileId>,
    damaged_list: Bytes,
    last_use: Instant,
    _pin: Pin,
}

struct Partition {
    directory: PathBuf,
    segments: Vec<SegmentState>,
}

struct Session {
    of: (u32, u64),
    to: ReplicaId,
    last_use: Instant,
    /// The file that was read last.
    open: Option<(FileId, File)>,
}

impl Shelf {
    /// `log`: the directory of the partitions' directories.
    pub(crate) fn new(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            kept: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn offer(&mut self, offer: Offer, now: Instant) {
        let generation = offer.state.origin.generation;
        let partition = |(key, state): (&Key, &Bytes)| {
            let id = key_partition(key)?;
            let segments = PartitionState::decode(state).ok()?.segments;
            Some(Partition { directory: generation_directory(&self.log, id, generation), segments })
        };
        let partitions: Vec<Option<Partition>> = offer.states.iter().map(partition).collect();
        let damaged = damaged_of(&partitions, &offer.damaged);
        let kept = Kept {
            replica_number: offer.state.origin.replica_number,
            term: offer.position.term,
            state: offer.state.encode(),
            partitions,
            damaged_list: encode_damaged(&damaged),
            damaged,
            listing: encode_listing(&offer.states),
            last_use: now,
            _pin: offer.pin,
        };
        self.kept.insert((offer.group, offer.position.applied), kept);
    }

    /// The replica is told of the checkpoint at `index` now. As long as somebody may ask for it, it is kept.
    pub(crate) fn tell(&mut self, group: u32, index: u64, to: ReplicaId, now: Instant) {
        self.told.insert((group, to), (index, now));
        if let Some(kept) = self.kept.get_mut(&(group, index)) {
            kept.last_use = now;
        }
    }

    pub(crate) fn open(&mut self, open: Open, now: Instant) -> Result<Opened, Refusal> {
        if self.told.get(&(open.group, open.to)).is_some_and(|(index, _)| *index == open.index) {
            self.told.remove(&(open.group, open.to));
        }
        let of = (open.group, open.index);
        let kept = self.kept.get_mut(&of).filter(|kept| kept.term == open.term).ok_or(Refusal::Gone)?;
        kept.last_use = now;
        let opened = Opened {
            session: self.last_session + 1,
            listing_bytes: kept.listing.len() as u64,
            listing_checksum: crc32c::crc32c(&kept.listing),
            state: kept.state.clone(),
        };
        // Asked again, the replica has begun anew.
        self.sessions.retain(|_, session| session.to != open.to || session.of.0 != open.group);
        if self.sessions.len() >= SNAPSHOT_SESSIONS_MAX {
            return Err(Refusal::Busy);
        }
        self.last_session += 1;
        self.sessions.insert(self.last_session, Session { of, to: open.to, last_use: now, open: None });
        Ok(opened)
    }

    pub(crate) fn read(&mut self, read: &Read, is_slow: bool, now: Instant) -> Result<Piece, Refusal> {
        let session = self.sessions.get_mut(&read.session).ok_or(Refusal::Gone)?;
        let kept = self.kept.get_mut(&session.of).ok_or(Refusal::Gone)?;
        (session.last_use, kept.last_use) = (now, now);
        match read.file {
            FileId::LISTING => return piece_of(&kept.listing, read, is_slow),
            FileId::DAMAGED => return piece_of(&kept.damaged_list, read, is_slow),
            _ => {}
        }
        let Source { path, bytes, is_damaged } = kept.source(read.file).ok_or(Refusal::Malformed)?;
        let end = read.position.checked_add(u64::from(read.bytes)).ok_or(Refusal::Malformed)?;
        if end > bytes {
            return Err(Refusal::Malformed);
        }
        if is_damaged && !read.only_checksum {
            let bytes = read_as_it_is(&path, read.position, read.bytes as usize);
            let bytes = bytes.map_err(|error| unreadable(&path, &error))?;
            observe::sent(bytes.len() as u64);
            return Ok(Piece { is_slow, checksum: crc32c::crc32c(&bytes), bytes });
        }
        let file = match session.open.take().filter(|(id, _)| *id == read.file) {
            Some((_, file)) => file,
            None => File::open(&path).map_err(|error| unreadable(&path, &error))?,
        };
        let piece = piece_at(&file, read, is_slow).map_err(|error| unreadable(&path, &error))?;
        session.open = Some((read.file, file));
        observe::sent(piece.bytes.len() as u64);
        Ok(piece)
    }

    /// Ends a session; says what the groups are to hear of it.
    pub(crate) fn close(&mut self, close: Close) -> Vec<Notice> {
        let Some(session) = self.sessions.remove(&close.session) else { return Vec::new() };
        let group = session.of.0;
        let ok = close.outcome == Outcome::Copied;
        let mut notices = vec![Notice::Sent { group, to: session.to, ok }];
        match close.outcome {
            Outcome::Copied => observe::served(),
            Outcome::GivenUp => {}
            Outcome::Mismatch(file) => {
                let Some(kept) = self.kept.get(&session.of) else { return notices };
                let file = kept.file(file).filter(|(path, segment)| is_damaged(path, segment));
                if let Some((file, _)) = file {
                    observe::damage();
                    notices.push(Notice::Damaged { group, replica_number: kept.replica_number, file });
                }
            }
        }
        notices
    }

    /// Lets go of what nobody has asked for in a while.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Notice> {
        let is_idle = |last: Instant| now.saturating_duration_since(last) >= SNAPSHOT_IDLE_MAX;
        let mut notices = Vec::new();
        self.told.retain(|&(group, to), (_, told)| {
            if is_idle(*told) {
                notices.push(Notice::Sent { group, to, ok: false });
            }
            !is_idle(*told)
        });
        self.sessions.retain(|_, session| {
            if is_idle(session.last_use) {
                tracing::debug!(group = session.of.0, to = %session.to, "nobody reads the snapshot any more");
                notices.push(Notice::Sent { group: session.of.0, to: session.to, ok: false });
            }
            !is_idle(session.last_use)
        });
        self.kept.retain(|_, kept| !is_idle(kept.last_use));
        notices
    }
}

impl Kept {
    fn file(&self, id: FileId) -> Option<(PathBuf, SegmentState)> {
        let partition = self.partitions.get(usize::try_from(id.partition).ok()?)?.as_ref()?;
        let segment = partition.segments.get(usize::try_from(id.segment).ok()?)?;
        Some((partition.directory.join(segment.file_name()), *segment))
    }

    /// A segment, or the index of a damaged one: of others the replica makes it itself.
    fn source(&self, id: FileId) -> Option<Source> {
        if let Some(of) = id.indexed() {
            let (log, segment) = self.file(of).filter(|_| self.damaged.contains(&of))?;
            let path = log.with_file_name(segment.index_name());
            return Some(Source { path, bytes: segment.index_bytes(), is_damaged: true });
        }
        let (path, segment) = self.file(id)?;
        Some(Source { path, bytes: u64::from(segment.bytes), is_damaged: self.damaged.contains(&id) })
    }
}

/// The segments with these files.
fn damaged_of(partitions: &[Option<Partition>], files: &[PathBuf]) -> BTreeSet<FileId> {
    let mut damaged = BTreeSet::new();
    if files.is_empty() {
        return damaged;
    }
    for (number, partition) in (0..).zip(partitions) {
        for (segment, state) in (0..).zip(partition.iter().flat_map(|partition| &partition.segments)) {
            let directory = partition.iter().map(|partition| &partition.directory);
            let mut path = directory.map(|directory| directory.join(state.file_name()));
            if state.bytes > 0 && path.any(|path| files.contains(&path)) {
                damaged.insert(FileId { partition: number, segment });
            }
        }
    }
    damaged
}

fn piece_of(bytes: &Bytes, read: &Read, is_slow: bool) -> Result<Piece, Refusal> {
    let from = usize::try_from(read.position).map_err(|_| Refusal::Malformed)?;
    let end = from.checked_add(read.bytes as usize).filter(|end| *end <= bytes.len());
    let bytes = bytes.slice(from..end.ok_or(Refusal::Malformed)?);
    Ok(Piece {
        is_slow,
        checksum: crc32c::crc32c(&bytes),
        bytes: if read.only_checksum { Bytes::new() } else { bytes },
    })
}

fn piece_at(file: &File, read: &Read, is_slow: bool) -> io::Result<Piece> {
    if read.only_checksum {
        let checksum = checksum_at(file, read.position, u64::from(read.bytes))?;
        return Ok(Piece { is_slow, checksum, bytes: Bytes::new() });
    }
    let mut bytes = vec![0; read.bytes as usize];
    file.read_exact_at(&mut bytes, read.position)?;
    Ok(Piece { is_slow, checksum: crc32c::crc32c(&bytes), bytes: bytes.into() })
}

fn checksum_at(file: &File, mut position: u64, mut left: u64) -> io::Result<u32> {
    let mut buffer = vec![0; SNAPSHOT_READ_BYTES_MAX as usize];
    let mut checksum = 0;
    while left > 0 {
        let step = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..step], position)?;
        checksum = crc32c::crc32c_append(checksum, &buffer[..step]);
        position += step as u64;
        left -= step as u64;
    }
    Ok(checksum)
}

/// Another replica says that what it read is not what the state says: is it so on this disk?
fn is_damaged(path: &Path, segment: &SegmentState) -> bool {
    let checksum = File::open(path).and_then(|file| checksum_at(&file, 0, u64::from(segment.bytes)));
    match checksum {
        Ok(checksum) if checksum == segment.checksum => false,
        Ok(_) => {
            tracing::error!(file = %path.display(), "a segment does not match the checksum of its state");
            true
        }
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "a segment cannot be read");
            let is_short = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
            is_short || is_unreadable(&error)
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Refusal {
    tracing::error!(file = %path.display(), %error, "a file of a snapshot cannot be read");
    Refusal::Unreadable
}
