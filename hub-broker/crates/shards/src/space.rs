//! Whether the disk has room for more, and the other hubs' disks have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use schemas::NodeId;
use wal::Wal;

use crate::limits::{AMPLE_ROOM_PERCENT, SHORT_TICKS};

/// Bytes admitted after which there is another look at the file system.
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// Refuses appends while less than the reserve is left, so that what is in flight can be applied. A thread of its own
/// looks at the file system, and whoever appends goes by what it saw: a disk may not answer.
pub(crate) struct Space {
    dir: PathBuf,
    wal: Wal,
    reserve_bytes: u64,
    /// Admitted and not yet written twice: to the WAL and to a segment.
    queued_bytes: Arc<AtomicU64>,
    /// Since the last look.
    admitted_bytes: AtomicU64,
    /// May be admitted before the next.
    admissible_bytes: AtomicU64,
    full: AtomicBool,
    short: AtomicBool,
    turn: Mutex<Turn>,
    called: Condvar,
}

/// What the thread that looks is to do, and does.
#[derive(Default)]
struct Turn {
    is_called: bool,
    is_over: bool,
    /// When the look began that is under way.
    began: Option<Instant>,
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
        let space = Self {
            dir,
            wal,
            reserve_bytes,
            queued_bytes,
            admitted_bytes: AtomicU64::new(0),
            admissible_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            short: AtomicBool::new(false),
            turn: Mutex::default(),
            called: Condvar::new(),
        };
        space.look();
        space
    }

    /// Whether this much more may come in.
    pub(crate) fn admit(&self, bytes: u64) -> bool {
        if self.is_full() {
            return false;
        }
        let before = self.admitted_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before <= LOOK_EVERY_BYTES && before + bytes > LOOK_EVERY_BYTES {
            self.turn.lock().is_called = true;
            self.called.notify_one();
        }
        before < self.admissible_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// It has been full for a while, and there is not much room again.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// How long the look that is under way has been so; zero when there is none.
    pub(crate) fn look_stall(&self) -> Duration {
        self.turn.lock().began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Looks with every tick, so that it is noticed when there is room again, and when much was admitted; until the end.
    pub(crate) fn run(&self, tick: Duration) {
        let mut shortage = Shortage::default();
        let mut next_tick = Instant::now() + tick;
        while self.wait(next_tick) {
            let left = self.look();
            if Instant::now() >= next_tick {
                shortage.tick(left);
                self.short.store(shortage.is_short, Ordering::Relaxed);
                next_tick = Instant::now() + tick;
            }
        }
    }

    pub(crate) fn end(&self) {
        self.turn.lock().is_over = true;
        self.called.notify_one();
    }

    /// Whether it goes on.
    fn wait(&self, until: Instant) -> bool {
        let mut turn = self.turn.lock();
        while !turn.is_over && !turn.is_called {
            if self.called.wait_until(&mut turn, until).timed_out() {
                break;
            }
        }
        turn.is_called = false;
        !turn.is_over
    }

    fn look(&self) -> Left {
        self.admitted_bytes.store(0, Ordering::Relaxed);
        let needed = self.reserve_bytes + 2 * self.queued_bytes.load(Ordering::Relaxed);
        let free = self.free_bytes();
        if free < 2 * needed && self.wal.stats().kept_bytes > 0 {
            // Replicas that are behind can have a snapshot instead.
            self.wal.give_way();
        }
        let admissible = (free.saturating_sub(needed) / 2).max(LOOK_EVERY_BYTES);
        self.admissible_bytes.store(admissible, Ordering::Relaxed);
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

    fn free_bytes(&self) -> u64 {
        self.turn.lock().began = Some(Instant::now());
        let answer = rustix::fs::statvfs(&self.dir);
        self.turn.lock().began = None;
        match answer {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            // Without an answer the writes themselves will say when there is no room.
            Err(_) => u64::MAX,
        }
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
