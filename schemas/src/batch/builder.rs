//! Builds one batch: records are encoded as they come, compressed once at the end.

use bytes::Bytes;

use crate::batch::compress::compress;
use crate::batch::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_BASE_TIMESTAMP, AT_BATCH_LENGTH, AT_LAST_OFFSET_DELTA,
    AT_LEADER_EPOCH, AT_MAGIC, AT_MAX_TIMESTAMP, AT_PRODUCER_EPOCH, AT_PRODUCER_ID, AT_RECORD_COUNT,
    LENGTH_PREFIX_BYTES, MAGIC,
};
use crate::batch::patch::{put, seal};
use crate::batch::varint::{len_i64, write_i64};
use crate::batch::{Attributes, BATCH_HEADER_BYTES, Compression};
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::limits::{BATCH_RECORDS_MAX, DECOMPRESSED_BYTES_MAX, MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use crate::stream::Sequence;

#[derive(Clone, Debug, Default)]
pub struct BuilderOptions {
    /// None, lz4 or zstd; a batch that does not become smaller is left uncompressed.
    pub compression: Compression,
    /// `None` for records without exactly-once.
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    /// The first record's timestamp where `None`.
    pub base_timestamp: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("the record has {bytes} bytes, allowed are {max}")]
    RecordTooLarge { bytes: usize, max: usize },
    #[error("the batch is full")]
    BatchFull,
    #[error("the record's timestamp is too far from the batch's")]
    TimestampSpan,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    #[error("a batch needs at least one record")]
    Empty,
    #[error("batches are built uncompressed or with lz4 or zstd, not with {0:?}")]
    CompressionNotBuilt(Compression),
    #[error("the compressor failed")]
    Compress,
    #[error("the batch has {bytes} bytes, allowed are {MESSAGE_BYTES_MAX}")]
    TooLarge { bytes: usize },
}

/// Base offset 0, leader epoch −1, create time. Timestamps may span any time.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BuilderOptions,
    record_bytes_max: usize,
    /// A header's room, then the records.
    bytes: Vec<u8>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    /// Offset delta of the next record.
    next_delta: i32,
    record_count: i32,
}

impl BatchBuilder {
    pub fn new(options: BuilderOptions) -> BatchBuilder {
        let base_timestamp = options.base_timestamp;
        BatchBuilder {
            options,
            record_bytes_max: RECORD_BYTES_MAX,
            bytes: vec![0; BATCH_HEADER_BYTES],
            base_timestamp,
            max_timestamp: i64::MIN,
            next_delta: 0,
            record_count: 0,
        }
    }

    /// For batches that no agent sends: a record may be as large as a batch.
    #[must_use]
    pub fn with_large_records(mut self) -> BatchBuilder {
        self.record_bytes_max = MESSAGE_BYTES_MAX;
        self
    }

    /// Adds a record; on an error the batch is as it was.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), PushError> {
        let base = self.base_timestamp.unwrap_or(timestamp_ms);
        let timestamp_delta = timestamp_ms.checked_sub(base).ok_or(PushError::TimestampSpan)?;
        let fields = Fields { timestamp_delta, offset_delta: self.next_delta, key, value, headers };
        let length = fields.encoded_bytes();
        let bytes = len_usize(length) + length;
        let max = self.record_bytes_max;
        if bytes > max {
            return Err(PushError::RecordTooLarge { bytes, max });
        }
        let body_bytes = self.bytes.len() - BATCH_HEADER_BYTES;
        if body_bytes + bytes > DECOMPRESSED_BYTES_MAX || self.record_count as usize >= BATCH_RECORDS_MAX {
            return Err(PushError::BatchFull);
        }
        write_usize(&mut self.bytes, length);
        fields.encode(&mut self.bytes);
        self.base_timestamp = Some(base);
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.next_delta += 1;
        self.record_count += 1;
        Ok(())
    }

    /// The batch as it would be without compression.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn record_count(&self) -> usize {
        self.record_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Leaves room for `records` offsets before the next record.
    pub(super) fn skip(&mut self, records: i32) {
        self.next_delta += records;
    }

    pub fn finish(self) -> Result<Bytes, FinishError> {
        if self.is_empty() {
            return Err(FinishError::Empty);
        }
        let mut batch = self.bytes;
        let mut attributes = Attributes::default();
        if let Some(compressed) = compress(self.options.compression, &batch)? {
            batch = compressed;
            attributes = attributes.with_compression(self.options.compression);
        }
        if batch.len() > MESSAGE_BYTES_MAX {
            return Err(FinishError::TooLarge { bytes: batch.len() });
        }
        let batch_length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("checked above");
        let (producer, epoch, sequence) =
            self.options.producer.unwrap_or((ProducerId::NONE, ProducerEpoch(-1), Sequence(-1)));
        put(&mut batch, AT_BATCH_LENGTH, batch_length.to_be_bytes());
        put(&mut batch, AT_LEADER_EPOCH, LeaderEpoch::NONE.0.to_be_bytes());
        put(&mut batch, AT_MAGIC, MAGIC.to_be_bytes());
        put(&mut batch, AT_ATTRIBUTES, attributes.0.to_be_bytes());
        put(&mut batch, AT_LAST_OFFSET_DELTA, (self.next_delta - 1).to_be_bytes());
        put(&mut batch, AT_BASE_TIMESTAMP, self.base_timestamp.unwrap_or(self.max_timestamp).to_be_bytes());
        put(&mut batch, AT_MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(&mut batch, AT_PRODUCER_ID, producer.0.to_be_bytes());
        put(&mut batch, AT_PRODUCER_EPOCH, epoch.0.to_be_bytes());
        put(&mut batch, AT_BASE_SEQUENCE, sequence.0.to_be_bytes());
        put(&mut batch, AT_RECORD_COUNT, self.record_count.to_be_bytes());
        seal(&mut batch);
        Ok(batch.into())
    }
}

struct Fields<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, &'a [u8])],
}

impl Fields<'_> {
    fn encoded_bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| len_usize(name.len()) + name.len() + len_usize(value.len()) + value.len())
            .sum();
        1 + len_i64(self.timestamp_delta)
            + len_i64(i64::from(self.offset_delta))
            + len_nullable(self.key)
            + len_nullable(self.value)
            + len_usize(self.headers.len())
            + headers
    }

    fn encode(&self, output: &mut Vec<u8>) {
        output.push(0);
        write_i64(output, self.timestamp_delta);
        write_i64(output, i64::from(self.offset_delta));
        write_nullable(output, self.key);
        write_nullable(output, self.value);
        write_usize(output, self.headers.len());
        for (name, value) in self.headers {
            write_nullable(output, Some(name.as_bytes()));
            write_nullable(output, Some(value));
        }
    }
}

fn len_nullable(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(len_i64(-1), |bytes| len_usize(bytes.len()) + bytes.len())
}

fn write_nullable(output: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write_i64(output, -1),
        Some(bytes) => {
            write_usize(output, bytes.len());
            output.extend_from_slice(bytes);
        }
    }
}

// A slice's length is at most isize::MAX, so it is an i64.
fn len_usize(length: usize) -> usize {
    len_i64(length as i64)
}

fn write_usize(output: &mut Vec<u8>, length: usize) {
    write_i64(output, length as i64);
}
