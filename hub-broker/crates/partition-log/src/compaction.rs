//! Keeping the last record of each key.

use crate::error::CompactError;

#[derive(Debug, Clone, Copy)]
pub struct CompactOptions {
    /// The stamp that tombstones' age is measured to.
    pub stamp_ms: i64,
    /// A tombstone (a record without a value) goes when its segment was appended to for the last time this long ago.
    pub tombstone_retention_ms: i64,
}

/// Closed segments, and where to write what is left of them.
#[derive(Debug)]
pub struct Compaction;

/// New segments in place of old ones, durable but not yet part of the log.
#[derive(Debug)]
pub struct Compacted;

impl Compaction {
    #[allow(clippy::unimplemented)]
    pub fn run(self) -> Result<Compacted, CompactError> {
        unimplemented!()
    }
}
