//! A batch without some of its records.

use bytes::Bytes;
use schemas::{BATCH_HEADER_BYTES, Compression, Offset, PLACEMENT_BYTES, RawBatch, Record, TimestampType};

use crate::error::CompactError;

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Retained {
    All,
    None,
    Some(Vec<u8>),
}

// Fields of the header that change; the whole of it is laid out in `schemas::batch`.
const BATCH_LENGTH: usize = 8;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const MAX_TIMESTAMP: usize = 35;
const RECORD_COUNT: usize = 57;
/// What the batch length does not count.
const LENGTH_PREFIX_BYTES: usize = 12;

pub(super) fn walk(batch: &RawBatch, mut visit: impl FnMut(Offset, &Record)) -> Result<(), CompactError> {
    let at = Offset(batch.header().base_offset);
    let failed = |source| CompactError::Records { at, source };
    // Markers of transactions have keys of their own kind.
    if batch.header().attributes.is_control() {
        return Ok(());
    }
    for record in batch.records().map_err(failed)? {
        let record = record.map_err(failed)?;
        visit(at.plus(i64::from(record.offset_delta)), &record);
    }
    Ok(())
}

/// Records keep their bytes, since their deltas are measured from the batch's base, which stays.
pub(super) fn retain(
    batch: &RawBatch,
    mut keeps: impl FnMut(Offset, &Record) -> bool,
) -> Result<Retained, CompactError> {
    let mut kept = Vec::new();
    let mut max_delta = i64::MIN;
    walk(batch, |offset, record| {
        let stays = keeps(offset, record);
        kept.push(stays);
        if stays {
            max_delta = max_delta.max(record.timestamp_delta);
        }
    })?;
    if kept.iter().all(|stays| *stays) {
        return Ok(Retained::All);
    }
    if !kept.contains(&true) {
        return Ok(Retained::None);
    }
    let at = Offset(batch.header().base_offset);
    let body = batch.body().map_err(|source| CompactError::Records { at, source })?;
    let records = kept_bytes(&body, &kept);
    Ok(Retained::Some(assemble(batch, &records, &kept, max_delta)))
}

fn kept_bytes(body: &Bytes, kept: &[bool]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = &body[..];
    for stays in kept {
        let (record, after) = rest.split_at(record_bytes(rest));
        if *stays {
            out.extend_from_slice(record);
        }
        rest = after;
    }
    out
}

/// The first record's bytes with its length, a zigzag varint, in front. The walk before has checked all of it.
fn record_bytes(input: &[u8]) -> usize {
    let mut length = 0u64;
    for (at, byte) in input.iter().enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return at + 1 + usize::try_from(length >> 1).expect("the record was walked before");
        }
    }
    unreachable!("the record was walked before")
}

/// The batch is written uncompressed: what is compacted is small and read by hubs.
fn assemble(batch: &RawBatch, records: &[u8], kept: &[bool], max_delta: i64) -> Vec<u8> {
    let header = batch.header();
    let mut out = Vec::with_capacity(BATCH_HEADER_BYTES + records.len());
    out.extend_from_slice(&batch.bytes()[..BATCH_HEADER_BYTES]);
    out.extend_from_slice(records);
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).expect("decompressed batches are bounded");
    let count = kept.iter().filter(|stays| **stays).count();
    let count = i32::try_from(count).expect("not more than before");
    put(&mut out, BATCH_LENGTH, length.to_be_bytes());
    put(&mut out, ATTRIBUTES, header.attributes.with_compression(Compression::None).0.to_be_bytes());
    if header.attributes.timestamp_type() == TimestampType::Create {
        let max_timestamp = header.base_timestamp.saturating_add(max_delta);
        put(&mut out, MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    }
    put(&mut out, RECORD_COUNT, count.to_be_bytes());
    let crc = crc32c::crc32c(&out[PLACEMENT_BYTES..]);
    put(&mut out, CRC, crc.to_be_bytes());
    out
}

fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    batch[at..at + N].copy_from_slice(&field);
}
