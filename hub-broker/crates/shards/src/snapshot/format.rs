//! What replicas ask each other for a snapshot, and the answers. Version 1; all numbers are big-endian.
//!
//! ```text
//! kind  8 OPEN    version u8 = 1 | group u32 | index u64 | term u64 | replica that asks u64
//!       answer    version u8 = 1 | session u64 | bytes of the listing u64 | CRC-32C of it u32
//!                 | length u32 of the group's state, then that
//! kind  9 READ    version u8 = 1 | session u64 | file: partition u32, segment u32 | position u64 | bytes u32
//!                 | flags u8: 1 = only the checksum
//!       answer    version u8 = 1 | flags u8: 1 = the sender's disk is slow | CRC-32C u32 | the bytes, or none
//! kind 10 CLOSE   version u8 = 1 | session u64 | outcome u8: 0 copied, 1 given up, 2 a file does not match
//!                 | that file: partition u32, segment u32
//!       answer    version u8 = 1
//! refusal         version u8 = 1 | reason u8: 1 gone, 2 malformed, 3 busy, 4 unreadable
//!
//! listing         version u8 = 1 | count u32, each, by rising key:
//!                 length u8 | key | length u32 | state
//! ```
//!
//! A file is named by the place of its partition in the listing and the place of its segment in the partition's state;
//! partition 0xffffffff is the listing itself, and with segment 1 the list of damaged segments:
//!
//! ```text
//! damaged         version u8 = 1 | count u32 | partition u32, segment u32 × count, rising
//! ```
//!
//! These are known to be damaged, and nobody is known to have them whole: of each, the bytes are given as they are,
//! zeros where the disk has none, and with the highest bit of `segment` set those of its index. A sender of before there
//! was this list refuses it as malformed, and a replica of before never asks for it: it takes no byte that does not
//! match its checksum.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};
use checkpoint::Key;
use consensus::ReplicaId;

use crate::limits::{SNAPSHOT_READ_BYTES_MAX, SNAPSHOT_STATE_BYTES_MAX};

pub(crate) const OPEN: u8 = 8;
pub(crate) const READ: u8 = 9;
pub(crate) const CLOSE: u8 = 10;

const VERSION: u8 = 1;
const ONLY_CHECKSUM: u8 = 1;
const SLOW: u8 = 1;
/// In a file's segment: its index.
const INDEX: u32 = 1 << 31;
/// Bytes of a list of damaged segments before the first of them.
pub(crate) const DAMAGED_HEAD_BYTES: u32 = 5;
const FILE_BYTES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub group: u32,
    pub index: u64,
    pub term: u64,
    pub to: ReplicaId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub session: u64,
    pub listing_bytes: u64,
    pub listing_checksum: u32,
    /// `GroupState`, encoded.
    pub state: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub partition: u32,
    pub segment: u32,
}

impl FileId {
    pub(crate) const LISTING: Self = Self { partition: u32::MAX, segment: 0 };
    pub(crate) const DAMAGED: Self = Self { partition: u32::MAX, segment: 1 };

    /// The index of this segment.
    pub(crate) fn index(self) -> Self {
        Self { segment: self.segment | INDEX, ..self }
    }

    /// The segment of which this is the index, if it is one.
    pub(crate) fn indexed(self) -> Option<Self> {
        (self.segment & INDEX != 0).then_some(Self { segment: self.segment & !INDEX, ..self })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub session: u64,
    pub file: FileId,
    pub position: u64,
    pub bytes: u32,
    pub only_checksum: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The sender's disk answers more slowly than it should.
    pub is_slow: bool,
    pub checksum: u32,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Copied,
    GivenUp,
    /// What was read is not what the state says.
    Mismatch(FileId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub session: u64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Another snapshot is to be asked for.
    #[error("the snapshot is not kept any more")]
    Gone,
    #[error("the request could not be read")]
    Malformed,
    /// Try again later.
    #[error("as many snapshots are being copied as may be")]
    Busy,
    #[error("a file cannot be read")]
    Unreadable,
}

impl Open {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u32(self.group);
        out.put_u64(self.index);
        out.put_u64(self.term);
        out.put_u64(self.to.0);
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        version(&mut bytes)?;
        let open = Self {
            group: bytes.try_get_u32().ok()?,
            index: bytes.try_get_u64().ok()?,
            term: bytes.try_get_u64().ok()?,
            to: ReplicaId(bytes.try_get_u64().ok()?),
        };
        bytes.is_empty().then_some(open)
    }
}

impl Opened {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u64(self.session);
        out.put_u64(self.listing_bytes);
        out.put_u32(self.listing_checksum);
        put_long(&mut out, &self.state);
        out.into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        version(&mut bytes)?;
        let opened = Self {
            session: bytes.try_get_u64().ok()?,
            listing_bytes: bytes.try_get_u64().ok()?,
            listing_checksum: bytes.try_get_u32().ok()?,
            state: long(&mut bytes)?,
        };
        bytes.is_empty().then_some(opened)
    }
}

impl Read {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u64(self.session);
        put_file(&mut out, self.file);
        out.put_u64(self.position);
        out.put_u32(self.bytes);
        out.put_u8(if self.only_checksum { ONLY_CHECKSUM } else { 0 });
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        version(&mut bytes)?;
        let read = Self {
            session: bytes.try_get_u64().ok()?,
            file: file(&mut bytes)?,
            position: bytes.try_get_u64().ok()?,
            bytes: bytes.try_get_u32().ok()?,
            only_checksum: flag(&mut bytes, ONLY_CHECKSUM)?,
        };
        let fits = read.only_checksum || read.bytes <= SNAPSHOT_READ_BYTES_MAX;
        (bytes.is_empty() && fits).then_some(read)
    }
}

impl Piece {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(6 + self.bytes.len());
        out.put_u8(VERSION);
        out.put_u8(if self.is_slow { SLOW } else { 0 });
        out.put_u32(self.checksum);
        out.put_slice(&self.bytes);
        out.into()
    }

    /// The answer to `read`: as many bytes as it asked for, unharmed.
    pub(crate) fn decode(mut bytes: Bytes, read: &Read) -> Option<Self> {
        version(&mut bytes)?;
        let is_slow = flag(&mut bytes, SLOW)?;
        let checksum = bytes.try_get_u32().ok()?;
        let is_right = match read.only_checksum {
            true => bytes.is_empty(),
            false => bytes.len() == read.bytes as usize && crc32c::crc32c(&bytes) == checksum,
        };
        is_right.then_some(Self { is_slow, checksum, bytes })
    }
}

impl Close {
    pub(crate) fn encode(&self) -> Bytes {
        let (outcome, file) = match self.outcome {
            Outcome::Copied => (0, FileId::LISTING),
            Outcome::GivenUp => (1, FileId::LISTING),
            Outcome::Mismatch(file) => (2, file),
        };
        let mut out = vec![VERSION];
        out.put_u64(self.session);
        out.put_u8(outcome);
        put_file(&mut out, file);
        out.into()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        version(&mut bytes)?;
        let (session, outcome) = (bytes.try_get_u64().ok()?, bytes.try_get_u8().ok()?);
        let file = file(&mut bytes)?;
        let outcome = match outcome {
            0 => Outcome::Copied,
            1 => Outcome::GivenUp,
            2 => Outcome::Mismatch(file),
            _ => return None,
        };
        bytes.is_empty().then_some(Self { session, outcome })
    }
}

/// The answer to a CLOSE.
pub(crate) fn closed() -> Bytes {
    Bytes::from_static(&[VERSION])
}

impl Refusal {
    pub(crate) fn encode(self) -> Bytes {
        let reason = match self {
            Self::Gone => 1,
            Self::Malformed => 2,
            Self::Busy => 3,
            Self::Unreadable => 4,
        };
        Bytes::copy_from_slice(&[VERSION, reason])
    }

    /// What is not known is taken for the reason after which nothing is tried again.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        match bytes {
            [VERSION, 2] => Self::Malformed,
            [VERSION, 3] => Self::Busy,
            [VERSION, 4] => Self::Unreadable,
            _ => Self::Gone,
        }
    }
}

pub(crate) fn encode_listing(states: &BTreeMap<Key, Bytes>) -> Bytes {
    let mut out = vec![VERSION];
    out.put_u32(u32::try_from(states.len()).expect("a group has not that many states"));
    for (key, state) in states {
        out.put_u8(u8::try_from(key.0.len()).expect("a key has at most 255 bytes"));
        out.put_slice(&key.0);
        put_long(&mut out, state);
    }
    out.into()
}

pub(crate) fn decode_listing(bytes: &Bytes) -> Option<BTreeMap<Key, Bytes>> {
    let mut bytes = bytes.clone();
    version(&mut bytes)?;
    let count = bytes.try_get_u32().ok()?;
    let mut states = BTreeMap::new();
    for _ in 0..count {
        let length = usize::from(bytes.try_get_u8().ok()?);
        let key = Key(take(&mut bytes, length)?);
        if states.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        states.insert(key, long(&mut bytes)?);
    }
    bytes.is_empty().then_some(states)
}

pub(crate) fn encode_damaged(files: &BTreeSet<FileId>) -> Bytes {
    let mut out = vec![VERSION];
    out.put_u32(u32::try_from(files.len()).expect("as many as segments at most"));
    files.iter().for_each(|file| put_file(&mut out, *file));
    out.into()
}

/// How many bytes follow the head of a list of damaged segments.
pub(crate) fn damaged_bytes(mut head: &[u8]) -> Option<u32> {
    version(&mut head)?;
    let count = usize::try_from(head.try_get_u32().ok()?).ok()?;
    let bytes = count.checked_mul(FILE_BYTES).filter(|bytes| *bytes <= SNAPSHOT_STATE_BYTES_MAX)?;
    u32::try_from(bytes).ok().filter(|_| head.is_empty())
}

/// The list behind its head.
pub(crate) fn decode_damaged(mut bytes: &[u8]) -> Option<BTreeSet<FileId>> {
    let mut files = BTreeSet::new();
    while !bytes.is_empty() {
        let next = file(&mut bytes)?;
        if files.last().is_some_and(|last| *last >= next) {
            return None;
        }
        files.insert(next);
    }
    Some(files)
}

fn version(bytes: &mut impl Buf) -> Option<()> {
    bytes.try_get_u8().ok().filter(|version| *version == VERSION).map(drop)
}

fn flag(bytes: &mut impl Buf, flag: u8) -> Option<bool> {
    let flags = bytes.try_get_u8().ok()?;
    (flags & !flag == 0).then_some(flags == flag)
}

fn put_file(out: &mut Vec<u8>, file: FileId) {
    out.put_u32(file.partition);
    out.put_u32(file.segment);
}

fn file(bytes: &mut impl Buf) -> Option<FileId> {
    Some(FileId { partition: bytes.try_get_u32().ok()?, segment: bytes.try_get_u32().ok()? })
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("a state has less than 4 GiB"));
    out.put_slice(bytes);
}

fn long(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32().ok()? as usize;
    if length > SNAPSHOT_STATE_BYTES_MAX {
        return None;
    }
    take(bytes, length)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests;
