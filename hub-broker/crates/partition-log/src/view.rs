//! What readers see: a consistent picture, replaced as a whole whenever something is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use schemas::{Offset, PartitionId};
use tokio::sync::watch;

use crate::epochs::EpochHistory;
use crate::segment::SegmentView;

#[derive(Debug, Clone)]
pub(crate) struct View {
    pub log_start: Offset,
    /// High watermark: the end of the last published batch.
    pub end: Offset,
    pub epochs: Arc<EpochHistory>,
    pub closed: Arc<Vec<SegmentView>>,
    pub active: SegmentView,
}

/// Between the owner and its readers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub id: PartitionId,
    pub view: ArcSwap<View>,
    pub high_watermark: watch::Sender<Offset>,
    /// Logs that show themselves here: one, none after the partition is closed, two while one takes over.
    pub owners: AtomicUsize,
}

impl Shared {
    /// Whether the files of the view are to be there: those of a partition that was closed may be gone.
    pub fn has_owner(&self) -> bool {
        self.owners.load(Ordering::Acquire) > 0
    }
}

impl View {
    /// Segments in order from the one that holds `offset`.
    pub fn segments_from(&self, offset: Offset) -> impl Iterator<Item = &SegmentView> {
        let first = self.closed.partition_point(|segment| segment.state.end_offset <= offset);
        self.closed[first..].iter().chain([&self.active])
    }

    /// By file, not by id: an installed snapshot may have other files under the same ids.
    pub fn has_files_of(&self, segment: &SegmentView) -> bool {
        self.closed.iter().chain([&self.active]).any(|own| Arc::ptr_eq(&own.files, &segment.files))
    }

    pub fn bytes(&self) -> u64 {
        self.segments_from(self.log_start).map(|segment| u64::from(segment.state.bytes)).sum()
    }
}
