//! What can be wrong with a batch: one variant per rule. None is mended by sending the same bytes again.

use crate::batch::Compression;
use crate::gap::GapError;

/// `record` counts from 0 within the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    // Framing.
    #[error("the batch needs {needed} bytes and there are {available}")]
    Truncated { needed: usize, available: usize },
    #[error("batch length {batch_length} is shorter than a header")]
    LengthField { batch_length: i32 },
    #[error("the batch has {bytes} bytes, allowed are {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("{bytes} bytes follow where exactly one batch was expected")]
    TrailingBytes { bytes: usize },
    #[error("magic {magic} is not 2")]
    Magic { magic: i8 },
    #[error("the CRC says {stored:#010x} and the bytes give {computed:#010x}")]
    Crc { stored: u32, computed: u32 },

    // Header fields.
    #[error("compression type {code} is unknown")]
    UnknownCompression { code: i16 },
    #[error("a batch of {count} records")]
    RecordCount { count: i32 },
    #[error("{record_count} records do not fit the last offset delta {last_offset_delta}")]
    CountMismatch { record_count: i32, last_offset_delta: i32 },
    #[error("a control batch may come from a hub only")]
    Control,
    #[error("a transactional batch is not allowed here")]
    Transactional,
    #[error("a delete horizon may be set by a hub only")]
    DeleteHorizon,
    #[error("the timestamp type must be create time")]
    LogAppendTime,
    #[error("producer id {id}, epoch {epoch} and sequence {sequence} do not go together")]
    ProducerFields { id: i64, epoch: i16, sequence: i32 },

    // The body.
    #[error("the {compression:?} data is damaged")]
    Decompress { compression: Compression },
    #[error("the records decompress to more than {max} bytes")]
    DecompressedTooLarge { max: usize },
    #[error("record {record} is {length} bytes long and {available} are there")]
    RecordLength { record: usize, length: i64, available: usize },
    #[error("record {record}: its fields do not fill its length")]
    RecordFields { record: usize },
    #[error("record {record}: a header has no name")]
    HeaderName { record: usize },
    #[error("record {record} has offset delta {found}, expected was {expected}")]
    OffsetDelta { record: usize, expected: i32, found: i32 },
    #[error("record {record}: its timestamp is out of range")]
    Timestamp { record: usize },
    #[error("{stated} records are announced and {found} are there")]
    MissingRecords { stated: usize, found: usize },
    #[error("{bytes} bytes follow the last record")]
    SurplusBytes { bytes: usize },
    #[error("record {record} has no key; a compacted topic needs one")]
    KeyMissing { record: usize },

    // Kafka's path only.
    #[error("producer id {id} is in the range of agents' streams")]
    StreamIdFromKafka { id: i64 },

    // The agent's path only.
    #[error("base offset {base_offset} and leader epoch {epoch} must be 0 and -1")]
    Placement { base_offset: i64, epoch: i32 },
    #[error("producer id {id} is not a stream id")]
    NotAStream { id: i64 },
    #[error("a stream's epoch is 0, not {epoch}")]
    StreamEpoch { epoch: i16 },
    #[error("{records} records from sequence {base_sequence} do not fit a stream")]
    StreamRange { base_sequence: i32, records: i64 },
    #[error("record {record} has {bytes} bytes, allowed are {max}")]
    RecordTooLarge { record: usize, bytes: usize, max: usize },
    #[error("record {record}: its key is neither the device nor a child granted to it")]
    KeyNotAllowed { record: usize },
    #[error("the max timestamp is {stated} and the latest record's is {found}")]
    MaxTimestamp { stated: i64, found: i64 },
    #[error("a gap of {records} records, allowed are {max}")]
    GapTooLong { records: i64, max: u32 },
    #[error("record {record} is a gap and not alone in its batch")]
    GapNotAlone { record: usize },
    #[error(transparent)]
    Gap(#[from] GapError),
}
