//! The owner's side of a partition.

use std::path::Path;

use schemas::{LeaderEpoch, Offset, PartitionId, RawBatch};

use crate::error::{Damage, LogError, RecoverError};
use crate::files::{DirtyFile, FileCache, ObsoleteFiles};
use crate::origin::Origin;
use crate::reader::PartitionReader;
use crate::sequence::SequenceVerdict;
use crate::state::PartitionState;

/// What a partition may be configured to; changed only by an entry of its shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that would grow beyond this is closed first. At most [`crate::SEGMENT_BYTES_MAX`].
    pub segment_bytes: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: crate::limits::SEGMENT_BYTES_DEFAULT }
    }
}

#[derive(Debug)]
pub struct PartitionLog;

#[allow(unused_variables, clippy::unimplemented)]
impl PartitionLog {
    /// A new, empty partition in the directory `dir`, which is its own. What lies there from an earlier life
    /// that no checkpoint knew is removed.
    pub fn create(
        dir: &Path,
        id: PartitionId,
        options: LogOptions,
        files: &FileCache,
    ) -> Result<Self, LogError> {
        unimplemented!()
    }

    /// Cuts the files in `dir` back to exactly `state`. Damage is reported, and never served.
    pub fn recover(
        dir: &Path,
        state: &PartitionState,
        files: &FileCache,
    ) -> Result<(Self, Vec<Damage>), RecoverError> {
        unimplemented!()
    }

    pub fn id(&self) -> PartitionId {
        unimplemented!()
    }
    pub fn options(&self) -> LogOptions {
        unimplemented!()
    }
    pub fn configure(&mut self, options: LogOptions) {
        unimplemented!()
    }
    pub fn log_start(&self) -> Offset {
        unimplemented!()
    }
    /// Where the next batch goes, staged ones counted.
    pub fn end_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Whether the batch is the next one of its sender. Call before every [`append`](Self::append); staged
    /// batches count.
    pub fn check(&self, batch: &RawBatch, origin: &Origin) -> SequenceVerdict {
        unimplemented!()
    }

    /// Stages the batch and returns its base offset. On `NoSpace` nothing has changed (staged batches could not
    /// be written to make room): call again when there is room.
    pub fn append(
        &mut self,
        batch: &RawBatch,
        origin: &Origin,
        epoch: LeaderEpoch,
        stamp_ms: i64,
    ) -> Result<Offset, LogError> {
        unimplemented!()
    }

    /// Writes what is staged and shows it to readers. On `NoSpace` the partial write is cut off, everything
    /// stays staged, and the call may be made again.
    pub fn publish(&mut self) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Notes a new leader's epoch from the log's end on, even before it appends.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Publishes, then lists what was written since the last call. A checkpoint takes this list and `state`
    /// together, and syncs the list before it makes the state durable.
    pub fn take_dirty(&mut self) -> Result<Vec<DirtyFile>, LogError> {
        unimplemented!()
    }
    /// For the checkpoint. Nothing may be staged.
    pub fn state(&self) -> PartitionState {
        unimplemented!()
    }
    /// Files that the log needs no more; delete them when no manifest names them that a start could use.
    pub fn take_obsolete(&mut self) -> Vec<ObsoleteFiles> {
        unimplemented!()
    }

    /// Closes the active segment; one without batches stays.
    pub fn roll(&mut self) -> Result<(), LogError> {
        unimplemented!()
    }
    /// Moves the first offset forward, at most to the end, and drops the segments wholly below it.
    pub fn advance_start(&mut self, to: Offset) -> Result<(), LogError> {
        unimplemented!()
    }
    /// Where the log should start, by append time and by size, or `None` if it may stay as it is.
    pub fn retention_target(
        &self,
        now_ms: i64,
        retention_ms: Option<i64>,
        retention_bytes: Option<i64>,
    ) -> Option<Offset> {
        unimplemented!()
    }
    /// Forgets Kafka producers that have not appended for `after_ms`; returns how many.
    pub fn expire_producers(&mut self, stamp_ms: i64, after_ms: i64) -> usize {
        unimplemented!()
    }

    /// Work for another thread: keep the last record of each key in the closed segments. `None` if there are none.
    pub fn compaction(&mut self, options: crate::CompactOptions) -> Option<crate::Compaction> {
        unimplemented!()
    }
    /// Swaps in what a compaction wrote. Discards it when its segments are no longer there.
    pub fn install(&mut self, compacted: crate::Compacted) {
        unimplemented!()
    }

    pub fn reader(&self) -> PartitionReader {
        unimplemented!()
    }
}
