//! The manifest: where a checkpoint stands and where its states lie. Version 1, little-endian:
//!
//! ```text
//!  0  8 bytes  "HWCHKPT\n"
//!  8  u16      version 1
//! 10  u16      0
//! 12  u32      CRC-32C over bytes 0..12 and 16 to the end
//! 16  u64      sequence number of the checkpoint
//! 24  u64      applied index · 32 u64 its term · 40 u64 commit index
//! 48  u32      length of the membership · 52 u32 number of states
//! 56  …        membership
//!  then per state, ascending by key:
//!     u8       length of the key, then the key
//!     u64      sequence number of the state file
//!     u64      position in it · u32 length · u32 CRC-32C of the state
//! ```
//!
//! A manifest is called `manifest-` and its sequence number, 16 hexadecimal digits.

use crate::{
    checkpoint::{Key, Position},
    error::DamageKind,
    limits::{MEMBERSHIP_BYTES_MAX, STATES_MAX},
};
use bytes::{Buf, Bytes};
use crc32c::crc32c_append;
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"HWCHKPT\n";
pub const VERSION: u16 = 1;
const FIXED_BYTES: usize = 56;
const PLACE_BYTES: usize = 24;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub sequence: u64,
    pub position: Position,
    pub membership: Bytes,
    pub states: BTreeMap<Key, Place>,
}

/// Where a state lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Sequence number of the state file.
    pub file: u64,
    pub position: u64,
    pub bytes: u32,
    pub crc: u32,
}

/// Why a manifest cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Version(u16),
    Damaged(DamageKind),
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.membership.len() + 64 * self.states.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        let Position { applied, term, commit } = self.position;
        for number in [self.sequence, applied, term, commit] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.membership.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.states.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.membership);
        for (key, place) in &self.states {
            bytes.push(key.0.len() as u8);
            bytes.extend_from_slice(&key.0);
            bytes.extend_from_slice(&place.file.to_le_bytes());
            bytes.extend_from_slice(&place.position.to_le_bytes());
            bytes.extend_from_slice(&place.bytes.to_le_bytes());
            bytes.extend_from_slice(&place.crc.to_le_bytes());
        }
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        if bytes.len() < FIXED_BYTES {
            return Err(Unreadable::Damaged(DamageKind::Truncated));
        }
        if bytes[0..8] != *MAGIC {
            return Err(Unreadable::Damaged(DamageKind::Format));
        }
        let mut fixed = bytes.slice(8..16);
        let (version, _, crc) = (fixed.get_u16_le(), fixed.get_u16_le(), fixed.get_u32_le());
        if crc != checksum(bytes) {
            return Err(Unreadable::Damaged(DamageKind::Checksum));
        }
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        Self::decode_body(bytes.slice(16..)).ok_or(Unreadable::Damaged(DamageKind::Format))
    }

    fn decode_body(mut bytes: Bytes) -> Option<Self> {
        let sequence = bytes.get_u64_le();
        let position =
            Position { applied: bytes.get_u64_le(), term: bytes.get_u64_le(), commit: bytes.get_u64_le() };
        let (membership_bytes, count) = (bytes.get_u32_le() as usize, bytes.get_u32_le() as usize);
        if membership_bytes > MEMBERSHIP_BYTES_MAX.min(bytes.len()) || count > STATES_MAX {
            return None;
        }
        let membership = Bytes::copy_from_slice(&bytes.split_to(membership_bytes));
        let mut states = BTreeMap::new();
        for _ in 0..count {
            let (key, place) = decode_state(&mut bytes)?;
            states.insert(key, place);
        }
        (bytes.is_empty() && states.len() == count).then_some(Manifest {
            sequence,
            position,
            membership,
            states,
        })
    }
}

fn decode_state(bytes: &mut Bytes) -> Option<(Key, Place)> {
    if bytes.is_empty() {
        return None;
    }
    let key_bytes = bytes.get_u8() as usize;
    if bytes.len() < key_bytes + PLACE_BYTES {
        return None;
    }
    let key = Key(Bytes::copy_from_slice(&bytes.split_to(key_bytes)));
    let (file, position) = (bytes.get_u64_le(), bytes.get_u64_le());
    Some((key, Place { file, position, bytes: bytes.get_u32_le(), crc: bytes.get_u32_le() }))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c_append(crc32c_append(0, &bytes[0..12]), &bytes[16..])
}
