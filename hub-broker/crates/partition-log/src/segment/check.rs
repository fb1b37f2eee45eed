//! One batch against its index entry and its own CRC: no bit of it is left unguarded.

use schemas::{BatchHeader, PLACEMENT_BYTES};

use crate::error::DamageKind;
use crate::index::IndexEntry;

/// Whether `bytes` are the batch that its index entry describes.
pub(super) fn check_batch(bytes: &[u8], entry: &IndexEntry) -> Result<BatchHeader, DamageKind> {
    let (placement, covered) = bytes.split_at_checked(PLACEMENT_BYTES).ok_or(DamageKind::BatchShape)?;
    if crc32c::crc32c(placement) != entry.placement_checksum {
        return Err(DamageKind::PlacementChecksum);
    }
    let header = BatchHeader::parse(bytes).map_err(|_| DamageKind::BatchShape)?;
    if header.total_bytes() != bytes.len() || header.base_offset != entry.offset.0 {
        return Err(DamageKind::BatchShape);
    }
    if crc32c::crc32c(covered) != header.crc {
        return Err(DamageKind::BatchChecksum);
    }
    Ok(header)
}
