//! What may be configured about a partition.

use crate::limits::SEGMENT_BYTES_DEFAULT;

/// What a partition may be configured to; changed only by an entry of its shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that would grow beyond this is closed first. More than [`crate::SEGMENT_BYTES_MAX`] counts as
    /// that.
    pub segment_bytes: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES_DEFAULT }
    }
}
