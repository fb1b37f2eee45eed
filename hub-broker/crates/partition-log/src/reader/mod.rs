//! The readers' side of a partition.

mod scrub;
mod time;

use std::sync::Arc;

use bytes::Bytes;
use schemas::{LeaderEpoch, Offset, PartitionId};
use tokio::sync::watch;

use crate::error::{DamageKind, ReadError};
use crate::view::{Shared, View};

pub use scrub::ScrubStep;

/// Reads what was published. Cheap to clone, usable from any thread; reading blocks on the disk, so async code
/// calls it from threads of its own.
#[derive(Debug, Clone)]
pub struct PartitionReader {
    shared: Arc<Shared>,
}

impl PartitionReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn id(&self) -> PartitionId {
        self.shared.id
    }

    pub fn log_start(&self) -> Offset {
        self.shared.view.load().log_start
    }

    pub fn high_watermark(&self) -> Offset {
        self.shared.view.load().end
    }

    /// What a read-committed consumer may read up to: the high watermark while there are no transactions.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// The latest epoch that wrote or led here; −1 before the first.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.shared.view.load().epochs.latest().unwrap_or(LeaderEpoch::NONE)
    }

    /// The largest epoch not above `epoch`, or itself where that is forgotten, and its end offset.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let view = self.shared.view.load();
        view.epochs.end_of(epoch, view.end)
    }

    /// The high watermark, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<Offset> {
        self.shared.high_watermark.subscribe()
    }

    /// Bytes of the segments that are kept.
    pub fn size_bytes(&self) -> u64 {
        self.shared.view.load().bytes()
    }

    /// Whole batches from the one that holds `from` on (in a compacted partition: or the next one), at least
    /// one if there is one, else up to `max_bytes`; empty at the high watermark. Every byte is verified.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Bytes, ReadError> {
        self.on_view(|view| {
            if from < view.log_start || from > view.end {
                return Err(ReadError::OutOfRange { start: view.log_start, end: view.end });
            }
            for segment in view.segments_from(from) {
                let bytes =
                    segment.with_good_index(&view.epochs, || segment.read(segment.find(from)?, max_bytes))?;
                if !bytes.is_empty() {
                    return Ok(bytes);
                }
            }
            Ok(Bytes::new())
        })
    }

    /// Runs `read` on the current view; again if its files were deleted because the view has been replaced.
    fn on_view<T>(&self, read: impl Fn(&View) -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            let view = self.shared.view.load_full();
            let result = read(&view);
            let Err(ReadError::Damaged(damage)) = &result else {
                return result;
            };
            let replaced = damage.what == DamageKind::FileMissing && !self.still_has_segments_of(&view);
            if !replaced {
                if self.shared.has_owner() {
                    view.active.files.damaged(damage);
                }
                return result;
            }
        }
    }

    fn still_has_segments_of(&self, view: &View) -> bool {
        let now = self.shared.view.load();
        view.segments_from(view.log_start).all(|segment| now.has_files_of(segment))
    }
}
