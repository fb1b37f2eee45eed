//! Kafka's RecordBatch v2 (KIP-98): the one format from the device to the log.
//!
//! All numbers big-endian. The CRC-32C covers everything from `attributes` to the end.
//!
//! ```text
//!  0  baseOffset            i64   filled in by the hub ┐
//!  8  batchLength           i32   bytes after this     │ PLACEMENT_BYTES, outside the CRC
//! 12  partitionLeaderEpoch  i32   filled in by the hub │
//! 16  magic                 i8    2                    │
//! 17  crc                   u32                        ┘
//! 21  attributes            i16   see Attributes
//! 23  lastOffsetDelta       i32
//! 27  baseTimestamp         i64   ms
//! 35  maxTimestamp          i64   ms
//! 43  producerId            i64   a stream id on the agent's path
//! 51  producerEpoch         i16
//! 53  baseSequence          i32
//! 57  recordCount           i32
//! 61  records, compressed as a whole where attributes say so
//! ```

mod attributes;
mod builder;
mod compress;
mod decompress;
mod error;
mod gap_batch;
mod header;
mod patch;
mod raw;
mod record;
mod validate;
mod varint;

pub use attributes::{Attributes, Compression, TimestampType};
pub use builder::{BatchBuilder, BuilderOptions, FinishError, PushError};
pub use error::BatchError;
pub use gap_batch::{build_gap, read_gap};
pub use header::{BATCH_HEADER_BYTES, BatchHeader, PLACEMENT_BYTES};
pub use patch::{patch_log_append_time, patch_stream, patch_times, placement};
pub use raw::RawBatch;
pub use record::{Record, RecordHeader, Records};
pub use validate::{Depth, OriginRules, Rules, validate};
