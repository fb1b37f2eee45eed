//! What a checkpoint takes from a partition.

use schemas::Offset;

use super::PartitionLog;
use crate::epochs::EpochHistory;
use crate::error::LogError;
use crate::files::{DirtyFile, ObsoleteFiles};
use crate::state::PartitionState;

impl PartitionLog {
    /// Publishes, then lists what was written since the last call. A checkpoint takes this list and
    /// [`state`](Self::state) together, and syncs all of the list before it makes the state durable. Until the
    /// first of these calls a file stays open, so a hub may hold two files for every partition written to.
    pub fn take_dirty(&mut self) -> Result<Vec<DirtyFile>, LogError> {
        self.publish()?;
        let written = self.active.write_index();
        self.guard(written)?;
        self.active.take_dirty(&mut self.dirty);
        let dir = self.dir.clone();
        if self.directory_dirty {
            self.push_directory(&dir)?;
            self.directory_dirty = false;
        }
        if self.parent_dirty {
            if let Some(parent) = dir.parent() {
                self.push_directory(parent)?;
            }
            self.parent_dirty = false;
        }
        Ok(std::mem::take(&mut self.dirty))
    }

    fn push_directory(&mut self, dir: &std::path::Path) -> Result<(), LogError> {
        let opened = DirtyFile::directory(dir, &self.files);
        let opened = opened.map_err(|source| LogError::from_io(dir, source));
        let directory = self.guard(opened)?;
        self.dirty.push(directory);
        Ok(())
    }

    /// Everything that the checkpoint keeps about this partition. Nothing may be staged: it is called after
    /// [`take_dirty`](Self::take_dirty) or [`publish`](Self::publish).
    pub fn state(&self) -> PartitionState {
        assert!(!self.active.is_staged(), "staged batches are not part of any state");
        let active = self.active.view().state;
        PartitionState {
            id: self.id(),
            options: self.options,
            log_start: self.log_start,
            last_stable_offset: active.end_offset,
            next_segment_id: self.next_segment_id,
            running_hash: self.running_hash,
            segments: self.closed.iter().map(|segment| segment.state).chain([active]).collect(),
            epochs: EpochHistory::clone(&self.epochs),
            producers: self.producers.clone(),
            streams: self.streams.clone(),
        }
    }

    /// Files that the log needs no more. They are to be deleted when no manifest names them that a start could
    /// use, so usually two checkpoints later. What is not deleted before a restart is found again by recovery.
    pub fn take_obsolete(&mut self) -> Vec<ObsoleteFiles> {
        std::mem::take(&mut self.obsolete)
    }

    /// CRC-32C over (base offset, batch CRC) of every batch ever appended: equal on replicas at equal offsets.
    pub fn running_hash(&self) -> (Offset, u32) {
        (self.end_offset(), self.running_hash)
    }
}
