//! Decompression of a batch's records, bounded.
//!
//! Nothing is allocated because a length on the wire says so: output grows as it is produced.

use std::io::Read;

use bytes::Bytes;

use crate::batch::{BatchError, Compression};
use crate::limits::{DECOMPRESSED_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};

mod lz4;
mod snappy;

/// The records' bytes, at most 64 MiB.
pub fn decompress(compression: Compression, body: Bytes) -> Result<Bytes, BatchError> {
    let damaged = BatchError::Decompress { compression };
    let decompressed = match compression {
        Compression::None if body.len() <= DECOMPRESSED_BYTES_MAX => return Ok(body),
        Compression::None => Err(Failure::TooLarge),
        Compression::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(&body[..])),
        Compression::Snappy => snappy::decompress(&body),
        Compression::Lz4 => lz4::decompress(&body),
        Compression::Zstd => zstd(&body),
    };
    match decompressed {
        Ok(records) => Ok(records.into()),
        Err(Failure::Damaged) => Err(damaged),
        Err(Failure::TooLarge) => Err(BatchError::DecompressedTooLarge { max: DECOMPRESSED_BYTES_MAX }),
    }
}

pub enum Failure {
    Damaged,
    TooLarge,
}

fn zstd(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| Failure::Damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Failure::Damaged)?;
    read_bounded(decoder)
}

/// Reads to the end, which must come within the bound.
fn read_bounded(decoder: impl Read) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let bound = DECOMPRESSED_BYTES_MAX as u64 + 1;
    decoder.take(bound).read_to_end(&mut output).map_err(|_| Failure::Damaged)?;
    if output.len() > DECOMPRESSED_BYTES_MAX { Err(Failure::TooLarge) } else { Ok(output) }
}
