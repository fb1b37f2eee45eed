//! Everything about a partition that a checkpoint keeps. Files are cut back to what it names, and the same
//! batches appended again give the same files.

mod codec;

use schemas::{Offset, PartitionId};

use crate::epochs::EpochHistory;
use crate::error::DecodeStateError;
use crate::index;
use crate::names::{INDEX_EXTENSION, LOG_EXTENSION, file_name};
use crate::options::LogOptions;
use crate::sequence::{Producers, Streams};

/// One segment: which file, which offsets, and what its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentState {
    /// Unique within the partition and never used again; part of the file's name.
    pub id: u64,
    pub base_offset: Offset,
    /// The offset after the segment's last. In a compacted one it may lie beyond the last batch that is left.
    pub end_offset: Offset,
    /// Length of the segment file.
    pub bytes: u32,
    /// Batches, which is also the number of index entries.
    pub batches: u32,
    /// CRC-32C of the segment file's bytes.
    pub checksum: u32,
    /// Proposal stamps of the first and last append, from which retention counts.
    pub first_stamp_ms: i64,
    pub last_stamp_ms: i64,
    /// The largest record timestamp, `i64::MIN` without a batch, and the base offset of the first batch with it.
    pub max_timestamp: i64,
    pub max_timestamp_at: Offset,
    /// Offsets may have holes.
    pub compacted: bool,
}

impl SegmentState {
    /// The name of the file with the segment's batches, within its partition's directory.
    pub fn file_name(&self) -> String {
        file_name(self.base_offset, self.id, LOG_EXTENSION)
    }

    /// The name of the file with what is known about each of them.
    pub fn index_name(&self) -> String {
        file_name(self.base_offset, self.id, INDEX_EXTENSION)
    }

    /// Length of that file.
    pub fn index_bytes(&self) -> u64 {
        index::position_of(self.batches)
    }

    pub(crate) fn empty(id: u64, base_offset: Offset) -> Self {
        Self {
            id,
            base_offset,
            end_offset: base_offset,
            bytes: 0,
            batches: 0,
            checksum: 0,
            first_stamp_ms: 0,
            last_stamp_ms: 0,
            max_timestamp: i64::MIN,
            max_timestamp_at: base_offset,
            compacted: false,
        }
    }
}

/// A partition at one applied index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub id: PartitionId,
    pub options: LogOptions,
    pub log_start: Offset,
    /// Everything below may be read with isolation level read-committed. The end of the log while there are
    /// no transactions.
    pub last_stable_offset: Offset,
    pub next_segment_id: u64,
    /// CRC-32C over (base offset, batch CRC) of every batch ever appended, to compare replicas by.
    pub running_hash: u32,
    /// In order of offsets, each beginning where the one before ended. The last is the active one.
    pub segments: Vec<SegmentState>,
    pub epochs: EpochHistory,
    pub producers: Producers,
    pub streams: Streams,
}

impl PartitionState {
    /// Where the next batch goes: the high watermark.
    pub fn end_offset(&self) -> Offset {
        self.segments.last().map_or(self.log_start, |segment| segment.end_offset)
    }

    /// The checkpoint's bytes, in the newest format version. Equal states have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads any version that was ever written, checksum first.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeStateError> {
        codec::decode(bytes)
    }

    pub(crate) fn is_consistent(&self) -> bool {
        let Some(first) = self.segments.first() else {
            return false;
        };
        let joined = self.segments.windows(2).all(|pair| pair[0].end_offset == pair[1].base_offset);
        let sane = self
            .segments
            .iter()
            .all(|segment| segment.base_offset <= segment.end_offset && segment.id < self.next_segment_id);
        joined && sane && first.base_offset <= self.log_start && self.log_start <= self.end_offset()
    }
}
