//! Changes of a batch in place. Everything but the placement recomputes the CRC.
//!
//! Each function takes exactly one whole batch and panics where it is shorter than a header: callers hold
//! batches that were built or validated.

use crate::batch::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_BASE_TIMESTAMP, AT_CRC, AT_LEADER_EPOCH, AT_MAX_TIMESTAMP,
    AT_PRODUCER_EPOCH, AT_PRODUCER_ID,
};
use crate::batch::{Attributes, PLACEMENT_BYTES};
use crate::ids::{LeaderEpoch, Offset, ProducerId};
use crate::stream::Sequence;

/// The first 21 bytes as the log stores them: the hub's offset and epoch, the rest as it is.
pub fn placement(batch: &[u8], base_offset: Offset, epoch: LeaderEpoch) -> [u8; PLACEMENT_BYTES] {
    let mut placed = *batch.first_chunk::<PLACEMENT_BYTES>().expect("a whole batch");
    put(&mut placed, 0, base_offset.0.to_be_bytes());
    put(&mut placed, AT_LEADER_EPOCH, epoch.0.to_be_bytes());
    placed
}

/// Stamps an untimed batch. The records' deltas stand, so both times move by the same amount.
pub fn patch_times(batch: &mut [u8], base_timestamp: i64, max_timestamp: i64) {
    put(batch, AT_BASE_TIMESTAMP, base_timestamp.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    seal(batch);
}

/// Moves a batch to another stream.
pub fn patch_stream(batch: &mut [u8], producer: ProducerId, base_sequence: Sequence) {
    put(batch, AT_PRODUCER_ID, producer.0.to_be_bytes());
    put(batch, AT_PRODUCER_EPOCH, 0i16.to_be_bytes());
    put(batch, AT_BASE_SEQUENCE, base_sequence.0.to_be_bytes());
    seal(batch);
}

/// Sets the timestamp type to log append time and the max timestamp, which then holds for every record.
pub fn patch_log_append_time(batch: &mut [u8], max_timestamp: i64) {
    let attributes = Attributes(i16::from_be_bytes([batch[AT_ATTRIBUTES], batch[AT_ATTRIBUTES + 1]]));
    put(batch, AT_ATTRIBUTES, attributes.with_log_append_time().0.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    seal(batch);
}

/// Computes the CRC anew.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[PLACEMENT_BYTES..]);
    put(batch, AT_CRC, crc.to_be_bytes());
}

pub(super) fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    batch[at..at + N].copy_from_slice(&field);
}
