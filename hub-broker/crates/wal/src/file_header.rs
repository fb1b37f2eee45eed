//! The head of each file and its name. A file is called by its id, 16 hexadecimal digits and `.wal`; ids go up by one.
//! Little-endian, in the first page of the file, which is otherwise zeros:
//!
//! ```text
//!  0  8 bytes  "HWWALOG\n"
//!  8  u16      version 1
//! 10  u16      0
//! 12  u32      CRC-32C over bytes 0..12 and 16..40
//! 16  u64      id of the file
//! 24  u64      generation: random, new at each use of the file
//! 32  u64      size of the file in bytes
//! ```
//!
//! The header is durable before the file's first frame. A file is renamed before its header is written anew, so a
//! header whose id is not the file's name marks a file that was being recycled.

use crate::codec::{Generation, u32_at, u64_at};
use crc32c::crc32c_append;

const MAGIC: &[u8; 8] = b"HWWALOG\n";
pub const VERSION: u16 = 1;
pub const ENCODED_BYTES: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub id: u64,
    pub generation: Generation,
    pub file_bytes: u64,
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Known(FileHeader),
    /// Whole, but of another release.
    Version(u16),
    Unreadable,
}

impl FileHeader {
    pub fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut bytes = [0; ENCODED_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.number().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Head {
        Self::try_decode(bytes).unwrap_or(Head::Unreadable)
    }

    fn try_decode(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; ENCODED_BYTES] = bytes.first_chunk()?;
        if bytes[0..8] != *MAGIC || u32_at(bytes, 12)? != checksum(bytes) {
            return None;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Some(Head::Version(version));
        }
        Some(Head::Known(FileHeader {
            id: u64_at(bytes, 16)?,
            generation: Generation::new(u64_at(bytes, 24)?),
            file_bytes: u64_at(bytes, 32)?,
        }))
    }
}

fn checksum(bytes: &[u8; ENCODED_BYTES]) -> u32 {
    crc32c_append(crc32c_append(0, &bytes[0..12]), &bytes[16..])
}

pub fn file_name(id: u64) -> String {
    format!("{id:016x}.wal")
}

/// The name of a file that is still being filled with zeros.
pub fn unfinished_name(id: u64) -> String {
    format!("{id:016x}.new")
}

pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

pub fn is_unfinished_name(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|digits| digits.len() == 16)
}
