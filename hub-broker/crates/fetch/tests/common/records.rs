//! What was fetched.

use bytes::Bytes;
use schemas::BatchHeader;

/// The base offsets of whole batches, one after another.
pub fn base_offsets(mut records: Bytes) -> Vec<i64> {
    let mut offsets = Vec::new();
    while !records.is_empty() {
        let header = BatchHeader::parse(&records).unwrap();
        offsets.push(header.base_offset);
        let _ = records.split_to(header.total_bytes());
    }
    offsets
}
