//! Keeping the last record of each key.
//!
//! A [`Compaction`] is taken from the log by its owner, run on any other thread, and what it wrote is swapped in
//! by the owner again. Records keep their offsets; batches keep their base offset and last offset delta, lose
//! the records that a later one of the same key replaces, and vanish when nothing is left of them. A batch of
//! which everything stays is copied byte by byte.
//!
//! A record without a value (a tombstone) stays until its segment was last appended to
//! `tombstone_retention_ms` ago. Records without a key, and control batches, always stay.

mod keys;
mod rewrite;
mod writer;

use std::path::Path;
use std::sync::Arc;

use schemas::RawBatch;

use crate::epochs::EpochHistory;
use crate::error::CompactError;
use crate::files::FileCache;
use crate::segment::SegmentView;

use keys::LastOffsets;
use rewrite::{Retained, retain};
use writer::Writer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactOptions {
    /// The stamp to which the age of tombstones is measured.
    pub stamp_ms: i64,
    /// How long a tombstone stays readable, counted from its segment's last append.
    pub tombstone_retention_ms: i64,
}

/// Closed segments, and room for what is left of them.
#[derive(Debug)]
pub struct Compaction {
    pub(crate) dir: Arc<Path>,
    pub(crate) files: FileCache,
    pub(crate) segments: Vec<SegmentView>,
    pub(crate) epochs: Arc<EpochHistory>,
    pub(crate) segment_bytes: u32,
    /// From here on as many ids as there are segments are for the new ones.
    pub(crate) first_id: u64,
    pub(crate) options: CompactOptions,
}

/// New segments in place of old ones: durable, but not part of the log yet.
#[derive(Debug)]
pub struct Compacted {
    pub(crate) replaced: Vec<SegmentView>,
    pub(crate) segments: Vec<SegmentView>,
}

impl Compacted {
    /// Bytes of the new segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.state.bytes)).sum()
    }
}

impl Compaction {
    /// Bytes that will be read, twice.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.state.bytes)).sum()
    }

    /// Reads, writes and syncs. Blocks; holds at most [`COMPACTION_KEY_BYTES_MAX`] of keys in memory.
    ///
    /// [`COMPACTION_KEY_BYTES_MAX`]: crate::limits::COMPACTION_KEY_BYTES_MAX
    pub fn run(self) -> Result<Compacted, CompactError> {
        let mut writer = Writer::new(&self);
        match self.write(&mut writer) {
            Ok(()) => Ok(Compacted { replaced: self.segments.clone(), segments: writer.into_segments() }),
            Err(error) => {
                writer.discard();
                Err(error)
            }
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), CompactError> {
        let last = LastOffsets::collect(&self.segments, &self.epochs)?;
        for segment in &self.segments {
            writer.begin(&segment.state)?;
            let drops_tombstones = self.is_old(segment.state.last_stamp_ms);
            each_batch(segment, &self.epochs, |batch| {
                match retain(batch, |offset, record| last.keeps(offset, record, drops_tombstones))? {
                    Retained::All => writer.push(batch.bytes())?,
                    Retained::Some(bytes) => writer.push(&bytes)?,
                    Retained::None => {}
                }
                Ok(true)
            })?;
        }
        writer.finish()?;
        Ok(())
    }

    /// Whether tombstones appended then may go.
    fn is_old(&self, stamp_ms: i64) -> bool {
        self.options.stamp_ms.saturating_sub(stamp_ms) >= self.options.tombstone_retention_ms
    }
}

/// Every batch in turn, verified, until `visit` says no.
fn each_batch(
    segment: &SegmentView,
    epochs: &EpochHistory,
    mut visit: impl FnMut(&RawBatch) -> Result<bool, CompactError>,
) -> Result<(), CompactError> {
    for number in 0..segment.state.batches {
        let batch = segment.with_good_index(epochs, || segment.batch(number))?;
        if !visit(&batch)? {
            break;
        }
    }
    Ok(())
}
