//! The layout of frames, version 1 (the file header holds the version). All numbers are little-endian.
//!
//! A frame starts at a multiple of 8 bytes:
//!
//! ```text
//!  0  u32  magic 0xA7574846
//!  4  u32  payload length
//!  8  u64  log sequence number (LSN)
//! 16  u8   kind: 1 entry, 2 hard state, 3 truncate, 4 commit
//! 17  u8   entry kind (entry), else 0
//! 18  u8   flags: bit 0 = a copy of a live entry of an older file (entry), else 0
//! 19  u8   0
//! 20  u32  group (0 in a commit)
//! 24  u64  index (entry) · commit index (hard state) · first index removed (truncate) · 0 (commit)
//! 32  u64  term (0 in a commit)
//! 40  u32  CRC-32C over the file's generation (8 bytes) and bytes 0..40
//! 44  u32  CRC-32C over the file's generation, bytes 0..40 and the payload
//! 48  …    payload, then zeros up to a multiple of 8
//! ```
//!
//! Payloads: an entry's own bytes; a hard state's vote (u64); nothing for a truncate; for a commit
//!
//! ```text
//!  0  u64  the LSN up to which everything was durable before this group commit was written
//!  8  u64  id of the first file that was still needed then
//! 16  u64  LSN of that file's first frame
//! 24  u64  id of the next file if this frame ends the file, else 0
//! 32  u32… the groups with frames in this group commit, ascending
//! ```
//!
//! The header has a checksum of its own so that a frame with a damaged payload still says whose it is and where the
//! next one starts, and so that a payload that looks like frames does not make the search for frames slow.

use crate::frame::{GroupId, Lsn};
use crc32c::crc32c_append;

pub const FRAME_HEADER_BYTES: usize = 48;
/// A commit frame's payload without its groups.
pub const COMMIT_FIXED_BYTES: usize = 32;
pub const FRAME_MAGIC: u32 = 0xA757_4846;
const FLAG_COPY: u8 = 1;

/// The random number of one life of a file; it starts every checksum of the file's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    number: u64,
    /// The checksum of the number, so that it is not computed again for each frame.
    seed: u32,
}

impl Generation {
    pub fn new(number: u64) -> Self {
        Generation { number, seed: crc32c_append(0, &number.to_le_bytes()) }
    }

    pub fn number(self) -> u64 {
        self.number
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c_append(self.seed, bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entry { entry_kind: u8, copy: bool },
    HardState,
    Truncate,
    Commit,
}

impl Kind {
    fn to_bytes(self) -> [u8; 4] {
        match self {
            Kind::Entry { entry_kind, copy } => [1, entry_kind, if copy { FLAG_COPY } else { 0 }, 0],
            Kind::HardState => [2, 0, 0, 0],
            Kind::Truncate => [3, 0, 0, 0],
            Kind::Commit => [4, 0, 0, 0],
        }
    }

    fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        match bytes {
            [1, entry_kind, flags, 0] if flags & !FLAG_COPY == 0 => {
                Some(Kind::Entry { entry_kind, copy: flags == FLAG_COPY })
            }
            [2, 0, 0, 0] => Some(Kind::HardState),
            [3, 0, 0, 0] => Some(Kind::Truncate),
            [4, 0, 0, 0] => Some(Kind::Commit),
            _ => None,
        }
    }
}

/// A frame's header without magic and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub lsn: Lsn,
    pub kind: Kind,
    pub group: GroupId,
    pub index: u64,
    pub term: u64,
    pub payload_bytes: u32,
}

impl FrameHeader {
    pub fn encode(&self, generation: Generation, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.kind.to_bytes());
        bytes[20..24].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.term.to_le_bytes());
        let header_crc = generation.checksum(&bytes[0..40]);
        bytes[40..44].copy_from_slice(&header_crc.to_le_bytes());
        let crc = crc32c_append(header_crc, payload);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, if it is one of this generation.
    pub fn decode(generation: Generation, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        if u32_at(bytes, 0)? != FRAME_MAGIC || u32_at(bytes, 40)? != generation.checksum(&bytes[0..40]) {
            return None;
        }
        Some(FrameHeader {
            payload_bytes: u32_at(bytes, 4)?,
            lsn: Lsn(u64_at(bytes, 8)?),
            kind: Kind::from_bytes(*bytes[16..].first_chunk()?)?,
            group: GroupId(u32_at(bytes, 20)?),
            index: u64_at(bytes, 24)?,
            term: u64_at(bytes, 32)?,
        })
    }

    /// Bytes of the whole frame in the file.
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize)
    }
}

/// Bytes that a frame with such a payload takes in the file.
pub fn frame_bytes(payload_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES + payload_bytes + padding_bytes(payload_bytes)) as u64
}

pub fn padding_bytes(payload_bytes: usize) -> usize {
    payload_bytes.wrapping_neg() % 8
}

/// True when `frame`, a whole frame whose header has been decoded, is as it was written.
pub fn is_whole(generation: Generation, header: &FrameHeader, frame: &[u8]) -> bool {
    let payload_end = FRAME_HEADER_BYTES + header.payload_bytes as usize;
    let (Some(before), Some(payload), Some(padding)) =
        (frame.get(0..40), frame.get(FRAME_HEADER_BYTES..payload_end), frame.get(payload_end..))
    else {
        return false;
    };
    u32_at(frame, 44) == Some(crc32c_append(generation.checksum(before), payload))
        && padding.iter().all(|&byte| byte == 0)
}

/// The payload of a commit frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub durable: Lsn,
    pub first_file: u64,
    pub first_lsn: Lsn,
    pub next_file: Option<u64>,
    pub groups: Vec<GroupId>,
}

impl Commit {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMIT_FIXED_BYTES + 4 * self.groups.len());
        for number in [self.durable.0, self.first_file, self.first_lsn.0, self.next_file.unwrap_or(0)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for group in &self.groups {
            bytes.extend_from_slice(&group.0.to_le_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let groups = bytes.get(COMMIT_FIXED_BYTES..)?.chunks_exact(4);
        if !groups.remainder().is_empty() {
            return None;
        }
        Some(Commit {
            durable: Lsn(u64_at(bytes, 0)?),
            first_file: u64_at(bytes, 8)?,
            first_lsn: Lsn(u64_at(bytes, 16)?),
            next_file: Some(u64_at(bytes, 24)?).filter(|&id| id != 0),
            groups: groups.filter_map(|group| u32_at(group, 0)).map(GroupId).collect(),
        })
    }
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight))
}
