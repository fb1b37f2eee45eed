//! Whether the disk has room for more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wal::Wal;

/// Bytes admitted between two looks at the file system.
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// Refuses appends while less than the reserve is left, so that what is in flight can be applied.
pub(crate) struct Space {
    dir: PathBuf,
    wal: Wal,
    reserve_bytes: u64,
    /// Admitted and not yet written twice: to the WAL and to a segment.
    queued_bytes: Arc<AtomicU64>,
    admitted_bytes: AtomicU64,
    full: AtomicBool,
}

impl Space {
    pub(crate) fn new(dir: PathBuf, wal: Wal, reserve_bytes: u64, queued_bytes: Arc<AtomicU64>) -> Self {
        let (admitted_bytes, full) = (AtomicU64::new(0), AtomicBool::new(false));
        let space = Self { dir, wal, reserve_bytes, queued_bytes, admitted_bytes, full };
        space.look();
        space
    }

    /// Whether this much more may come in.
    pub(crate) fn admit(&self, bytes: u64) -> bool {
        if self.is_full() {
            return false;
        }
        if self.admitted_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > LOOK_EVERY_BYTES {
            self.look();
        }
        !self.is_full()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Looks at the file system. Called with every tick too, so that it is noticed when there is room again.
    pub(crate) fn look(&self) {
        self.admitted_bytes.store(0, Ordering::Relaxed);
        let needed = self.reserve_bytes + 2 * self.queued_bytes.load(Ordering::Relaxed);
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            // Without an answer the writes themselves will say when there is no room.
            Err(_) => u64::MAX,
        };
        if free < 2 * needed && self.wal.stats().kept_bytes > 0 {
            // Replicas that are behind can have a snapshot instead.
            self.wal.give_way();
        }
        let full = free < needed || !self.wal.has_room();
        if self.full.swap(full, Ordering::Relaxed) != full {
            match full {
                true => tracing::warn!(free, needed, "there is no room: appends are refused"),
                false => tracing::info!(free, "there is room again"),
            }
        }
    }
}
