//! Taking segments out for compaction, and the new ones in.

use std::sync::Arc;

use super::PartitionLog;
use crate::compaction::{CompactOptions, Compacted, Compaction};
use crate::segment::SegmentView;

impl PartitionLog {
    /// Work for another thread, over all closed segments. `None` if none was closed since the last compaction.
    pub fn compaction(&mut self, options: CompactOptions) -> Option<Compaction> {
        if self.closed.iter().all(|segment| segment.state.compacted) {
            return None;
        }
        let first_id = self.next_segment_id;
        self.next_segment_id += self.closed.len() as u64;
        Some(Compaction {
            dir: self.dir.clone(),
            files: self.files.clone(),
            segments: self.closed.to_vec(),
            epochs: self.epochs.clone(),
            segment_bytes: self.options.segment_bytes.min(crate::limits::SEGMENT_BYTES_MAX),
            first_id,
            options,
        })
    }

    /// Swaps in what a compaction wrote. If the log has lost one of its segments meanwhile, the new ones are
    /// discarded. Returns whether they are in.
    pub fn install(&mut self, compacted: Compacted) -> bool {
        let Compacted { replaced, segments } = compacted;
        // By file, not by id: an installed snapshot may have other files under the same ids.
        let is_same =
            |(own, replaced): (&SegmentView, &SegmentView)| Arc::ptr_eq(&own.files, &replaced.files);
        let fits = !replaced.is_empty()
            && replaced.len() <= self.closed.len()
            && self.closed.iter().zip(&replaced).all(is_same);
        let obsolete = if fits {
            Arc::make_mut(&mut self.closed).splice(..replaced.len(), segments).collect()
        } else {
            segments
        };
        self.obsolete.extend(obsolete.iter().map(|segment| segment.files.obsolete()));
        if fits {
            self.directory_dirty = true;
            self.show();
        }
        fits
    }
}
