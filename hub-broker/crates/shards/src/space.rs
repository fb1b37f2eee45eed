//! Whether the disk has room for more, and the other hubs' disks have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use schemas::NodeId;
use wal::Wal;

use crate::limits::{AMPLE_ROOM_PERCENT, SHORT_TICKS};

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
    shortage: Mutex<Shortage>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Less than the reserve.
    Less,
    /// Appends are taken, but the reserve is near.
    Little,
    Ample,
}

/// Whether shards had better be led by hubs that have room. Neither a moment without begins it, nor the first room that
/// there is again ends it: leads go from hub to hub each time.
#[derive(Debug, Default)]
struct Shortage {
    full_ticks: u32,
    is_short: bool,
}

impl Shortage {
    fn tick(&mut self, left: Left) {
        self.full_ticks = if left == Left::Less { self.full_ticks.saturating_add(1) } else { 0 };
        self.is_short = self.full_ticks >= SHORT_TICKS || (self.is_short && left != Left::Ample);
    }
}

impl Space {
    pub(crate) fn new(dir: PathBuf, wal: Wal, reserve_bytes: u64, queued_bytes: Arc<AtomicU64>) -> Self {
        let (admitted_bytes, full) = (AtomicU64::new(0), AtomicBool::new(false));
        let shortage = Mutex::default();
        let space = Self { dir, wal, reserve_bytes, queued_bytes, admitted_bytes, full, shortage };
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

    /// It has been full for a while, and there is not much room again.
    pub(crate) fn is_short(&self) -> bool {
        self.shortage.lock().is_short
    }

    /// With every tick, so that it is noticed when there is room again.
    pub(crate) fn tick(&self) {
        let left = self.look();
        self.shortage.lock().tick(left);
    }

    /// Looks at the file system.
    fn look(&self) -> Left {
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
        let left = left(free, needed, self.wal.has_room());
        let full = left == Left::Less;
        if self.full.swap(full, Ordering::Relaxed) != full {
            match full {
                true => tracing::warn!(free, needed, "there is no room: appends are refused"),
                false => tracing::info!(free, "there is room again"),
            }
        }
        left
    }
}

/// What is known of the room on the hubs' disks.
#[derive(Default)]
pub(crate) struct Room {
    /// This hub takes no appends, or has hardly begun to again: shards are better led elsewhere.
    pub is_short: bool,
    /// Whether the others are short, as they say.
    others: BTreeMap<NodeId, bool>,
}

impl Room {
    pub(crate) fn hear(&mut self, node: NodeId, waits: bool) {
        self.others.insert(node, waits);
    }

    /// That hub has said that it is short.
    pub(crate) fn waits(&self, node: NodeId) -> bool {
        self.others.get(&node) == Some(&true)
    }

    /// That hub has said that it is not.
    pub(crate) fn is_there(&self, node: NodeId) -> bool {
        self.others.get(&node) == Some(&false)
    }
}

fn left(free: u64, needed: u64, log_has_room: bool) -> Left {
    if free < needed || !log_has_room {
        return Left::Less;
    }
    let ample = needed.saturating_mul(AMPLE_ROOM_PERCENT) / 100;
    if free < ample { Left::Little } else { Left::Ample }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_begins_after_a_while_and_ends_with_room_to_spare() {
        let mut shortage = Shortage::default();
        let mut after = |left: Left, ticks: u32| {
            (0..ticks).for_each(|_| shortage.tick(left));
            shortage.is_short
        };
        assert!(!after(Left::Less, SHORT_TICKS - 1), "it may pass");
        assert!(!after(Left::Little, 1));
        assert!(!after(Left::Less, SHORT_TICKS - 1), "counted anew");
        assert!(after(Left::Less, 1));
        assert!(after(Left::Little, 10 * SHORT_TICKS), "it would soon be full again");
        assert!(after(Left::Less, 1));
        assert!(!after(Left::Ample, 1));
    }

    #[test]
    fn room_is_ample_well_above_what_must_be_left() {
        assert_eq!(left(99, 100, true), Left::Less);
        assert_eq!(left(100, 100, true), Left::Little);
        assert_eq!(left(149, 100, true), Left::Little);
        assert_eq!(left(150, 100, true), Left::Ample);
        assert_eq!(left(150, 100, false), Left::Less, "the next file of the write-ahead log has no room");
    }
}
