//! One entry for every batch of a segment, in a file beside it.
//!
//! ```text
//! header, 16 bytes:  "HWIX" | version u8 = 1 | 3 zero bytes | segment id u64
//! entries, 32 bytes each, in the order of the batches:
//!     base offset i64 | last offset delta u32 | position of the batch in the segment file u32
//!     timestamp i64: the largest record timestamp of the segment up to and with this batch
//!     CRC-32C u32 of the batch's first 21 bytes, which its own CRC leaves out
//!     CRC-32C u32 of segment id u64, number of the entry u32, and the 28 bytes before
//! ```
//!
//! All numbers are big-endian. The timestamp never falls from entry to entry, so the first batch that reaches
//! a time is found by bisection even where records came in disorder. An entry's checksum covers its place, so
//! an entry of another segment or another number is never taken for this one. Everything in the file follows
//! from the segment and the history of leader epochs: a damaged index is made again.

mod tail;

use bytes::{Buf, BufMut};
use schemas::Offset;

pub(crate) use tail::IndexTail;

pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const ENTRY_BYTES: usize = 32;
const MAGIC: &[u8; 4] = b"HWIX";
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = ENTRY_BYTES - 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub offset: Offset,
    pub last_offset_delta: u32,
    pub position: u32,
    pub timestamp: i64,
    pub placement_checksum: u32,
}

pub(crate) fn header(segment_id: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut out = &mut bytes[..];
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_bytes(0, 3);
    out.put_u64(segment_id);
    bytes
}

/// The file's length with this many entries; also where the entry of that number lies.
pub(crate) fn position_of(number: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(number) * ENTRY_BYTES as u64
}

impl IndexEntry {
    pub fn end_offset(&self) -> Offset {
        self.offset.plus(i64::from(self.last_offset_delta) + 1)
    }

    pub fn encode(&self, segment_id: u64, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_i64(self.offset.0);
        out.put_u32(self.last_offset_delta);
        out.put_u32(self.position);
        out.put_i64(self.timestamp);
        out.put_u32(self.placement_checksum);
        let checksum = checksum(segment_id, number, &out[start..]);
        out.put_u32(checksum);
    }

    /// `None` where the bytes are not what was written at this place.
    pub fn decode(segment_id: u64, number: u32, bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let expected = checksum(segment_id, number, &bytes[..CHECKED_BYTES]);
        let mut input = &bytes[..];
        let entry = Self {
            offset: Offset(input.get_i64()),
            last_offset_delta: input.get_u32(),
            position: input.get_u32(),
            timestamp: input.get_i64(),
            placement_checksum: input.get_u32(),
        };
        (input.get_u32() == expected).then_some(entry)
    }
}

fn checksum(segment_id: u64, number: u32, fields: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&segment_id.to_be_bytes()), &number.to_be_bytes());
    crc32c::crc32c_append(place, fields)
}

/// Entries from `first` on, as the file holds them.
pub(crate) fn encode_all(segment_id: u64, first: u32, entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    if first == 0 {
        out.put_slice(&header(segment_id));
    }
    for (number, entry) in (first..).zip(entries) {
        entry.encode(segment_id, number, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: IndexEntry = IndexEntry {
        offset: Offset(0x0102),
        last_offset_delta: 0x0304,
        position: 0x0506,
        timestamp: 0x0708,
        placement_checksum: 0x090a_0b0c,
    };

    #[test]
    fn version_1_has_these_bytes() {
        let bytes = encode_all(0x11, 0, &[ENTRY]);
        let expected = [
            &b"HWIX\x01\0\0\0\0\0\0\0\0\0\0\x11"[..],
            b"\0\0\0\0\0\0\x01\x02\0\0\x03\x04\0\0\x05\x06\0\0\0\0\0\0\x07\x08\x09\x0a\x0b\x0c",
            b"\xc7\xd7\x86\x03",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn an_entry_is_good_only_at_its_own_place_and_with_every_bit() {
        let bytes = encode_all(7, 3, &[ENTRY]);
        let entry: [u8; ENTRY_BYTES] = bytes.try_into().expect("one entry");
        assert_eq!(IndexEntry::decode(7, 3, &entry), Some(ENTRY));
        assert_eq!(IndexEntry::decode(7, 4, &entry), None);
        assert_eq!(IndexEntry::decode(8, 3, &entry), None);
        for bit in 0..ENTRY_BYTES * 8 {
            let mut flipped = entry;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IndexEntry::decode(7, 3, &flipped), None, "bit {bit}");
        }
    }
}
