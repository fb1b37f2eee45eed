//! The fixed part of a batch.

use crate::batch::{Attributes, BatchError};

pub const BATCH_HEADER_BYTES: usize = 61;

/// `baseOffset` to `crc`: what the CRC does not cover.
pub const PLACEMENT_BYTES: usize = 21;

/// `baseOffset` and `batchLength`, which `batchLength` does not count.
pub(super) const LENGTH_PREFIX_BYTES: usize = 12;

pub(super) const MAGIC: i8 = 2;

pub(super) const AT_BATCH_LENGTH: usize = 8;
pub(super) const AT_LEADER_EPOCH: usize = 12;
pub(super) const AT_MAGIC: usize = 16;
pub(super) const AT_CRC: usize = 17;
pub(super) const AT_ATTRIBUTES: usize = 21;
pub(super) const AT_LAST_OFFSET_DELTA: usize = 23;
pub(super) const AT_BASE_TIMESTAMP: usize = 27;
pub(super) const AT_MAX_TIMESTAMP: usize = 35;
pub(super) const AT_PRODUCER_ID: usize = 43;
pub(super) const AT_PRODUCER_EPOCH: usize = 51;
pub(super) const AT_BASE_SEQUENCE: usize = 53;
pub(super) const AT_RECORD_COUNT: usize = 57;

const _: () = assert!(AT_ATTRIBUTES == PLACEMENT_BYTES && AT_RECORD_COUNT + 4 == BATCH_HEADER_BYTES);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field; at least 49.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the first 61 bytes; checks magic and that the length holds at least a header, no more.
    pub fn parse(input: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(bytes) = input.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: BATCH_HEADER_BYTES, available: input.len() });
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, AT_BATCH_LENGTH)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, AT_LEADER_EPOCH)),
            magic: i8::from_be_bytes(field(bytes, AT_MAGIC)),
            crc: u32::from_be_bytes(field(bytes, AT_CRC)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, AT_ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(field(bytes, AT_LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(bytes, AT_BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, AT_MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, AT_PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, AT_PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, AT_BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(bytes, AT_RECORD_COUNT)),
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic { magic: header.magic });
        }
        if header.total_bytes() < BATCH_HEADER_BYTES {
            return Err(BatchError::LengthField { batch_length: header.batch_length });
        }
        Ok(header)
    }

    /// Length of the whole batch as its length field says.
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |length| length + LENGTH_PREFIX_BYTES)
    }

    /// How many offsets (and sequences) the batch uses up.
    pub fn offset_span(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }
}

fn field<const N: usize>(bytes: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("every field lies inside the header")
}
