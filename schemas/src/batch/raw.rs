//! One whole batch as bytes.

use bytes::Bytes;

use crate::batch::decompress::decompress;
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, PLACEMENT_BYTES, Records};

/// One whole batch: header read, length checked; CRC and body not yet.
#[derive(Clone, Debug)]
pub struct RawBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl RawBatch {
    /// Takes the first batch off `input`; `None` at its end. On an error `input` is as it was.
    pub fn split_first(input: &mut Bytes) -> Result<Option<RawBatch>, BatchError> {
        if input.is_empty() {
            return Ok(None);
        }
        let header = BatchHeader::parse(input)?;
        let total = header.total_bytes();
        if input.len() < total {
            return Err(BatchError::Truncated { needed: total, available: input.len() });
        }
        Ok(Some(RawBatch { header, bytes: input.split_to(total) }))
    }

    /// Exactly one batch.
    pub fn parse(mut input: Bytes) -> Result<RawBatch, BatchError> {
        let batch = RawBatch::split_first(&mut input)?
            .ok_or(BatchError::Truncated { needed: BATCH_HEADER_BYTES, available: 0 })?;
        if input.is_empty() { Ok(batch) } else { Err(BatchError::TrailingBytes { bytes: input.len() }) }
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[PLACEMENT_BYTES..]);
        let stored = self.header.crc;
        if computed == stored { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    /// The records' bytes, decompressed (bounded at 64 MiB); without compression a slice of the batch.
    pub fn body(&self) -> Result<Bytes, BatchError> {
        decompress(self.header.attributes.compression()?, self.bytes.slice(BATCH_HEADER_BYTES..))
    }

    /// Decompresses once and iterates. The CRC is not checked here.
    pub fn records(&self) -> Result<Records, BatchError> {
        let count = self.header.record_count;
        let count = usize::try_from(count).map_err(|_| BatchError::RecordCount { count })?;
        Ok(Records::new(self.body()?, count))
    }
}
