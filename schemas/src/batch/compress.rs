//! Compression of a batch that is being built.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::batch::{BATCH_HEADER_BYTES, Compression, FinishError};

/// zstd's default: a good ratio still at hundreds of MB/s on a PC and tens on the smallest devices.
const ZSTD_LEVEL: i32 = 3;

/// `batch` (a header's room, then records) with its records compressed; `None` where it stays as it is,
/// because that was asked for or because it would not become smaller.
pub fn compress(compression: Compression, batch: &[u8]) -> Result<Option<Vec<u8>>, FinishError> {
    let (header, records) = batch.split_at(BATCH_HEADER_BYTES);
    let compressed = match compression {
        Compression::None => return Ok(None),
        Compression::Zstd => zstd::bulk::compress(records, ZSTD_LEVEL).map_err(|_| FinishError::Compress)?,
        Compression::Lz4 => lz4(records)?,
        other => return Err(FinishError::CompressionNotBuilt(other)),
    };
    Ok((compressed.len() < records.len()).then(|| [header, &compressed].concat()))
}

/// The Java client reads independent blocks only.
fn lz4(records: &[u8]) -> Result<Vec<u8>, FinishError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records).map_err(|_| FinishError::Compress)?;
    encoder.finish().map_err(|_| FinishError::Compress)
}
