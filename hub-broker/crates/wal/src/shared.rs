//! What the handle, the writer thread and the keeper thread share.

use crate::{
    commit_times::CommitTimes,
    ledger::Change,
    recovery::LogFile,
    request::{Stats, Write},
};
use parking_lot::{Condvar, Mutex};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    #[default]
    No,
    /// Write what waits, then one more commit frame.
    Close,
    /// Write what waits; every handle is gone.
    Abandon,
}

/// The writer's mailbox. Bounded by the callers: each group has few entries in flight.
#[derive(Default)]
pub struct Inbox {
    pub writes: Vec<Write>,
    pub changes: Vec<Change>,
    /// The next file, ready for use.
    pub spare: Option<LogFile>,
    /// Files whose live entries have all been written again.
    pub rewritten: Vec<u64>,
    pub stop: Stop,
}

pub struct Shared {
    pub inbox: Mutex<Inbox>,
    pub arrived: Condvar,
    pub stats: Mutex<Stats>,
    room: AtomicBool,
    stopping: AtomicBool,
    opened: Instant,
    /// Nanoseconds since `opened` at which the write that is under way began; 0 when there is none.
    write_began: AtomicU64,
    /// The same for the last sign of the keeper while the writer waits for the next file.
    file_awaited: AtomicU64,
    commit_times: Mutex<CommitTimes>,
}

impl Shared {
    pub fn new(spare: Option<LogFile>) -> Self {
        Shared {
            inbox: Mutex::new(Inbox { spare, ..Inbox::default() }),
            arrived: Condvar::new(),
            stats: Mutex::default(),
            room: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            opened: Instant::now(),
            write_began: AtomicU64::new(0),
            file_awaited: AtomicU64::new(0),
            commit_times: Mutex::default(),
        }
    }

    /// Changes the mailbox and wakes the writer.
    pub fn post(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock());
        self.arrived.notify_one();
    }

    /// Nothing is written any more; what waits is dropped without its callbacks.
    pub fn poison(&self) {
        self.room.store(false, Ordering::Release);
        self.post(|inbox| *inbox = Inbox { stop: Stop::Abandon, ..Inbox::default() });
    }

    pub fn has_room(&self) -> bool {
        self.room.load(Ordering::Acquire)
    }

    /// Notes whether the next file could be made.
    pub fn set_room(&self, made: Result<(), &io::Error>) {
        // Time without room is no time without an answer.
        self.keeper_goes_on();
        if self.room.swap(made.is_ok(), Ordering::AcqRel) != made.is_ok() {
            match made {
                Ok(()) => tracing::info!("there is room for the next file of the write-ahead log again"),
                Err(error) => tracing::warn!(%error, "no room for the next file of the write-ahead log"),
            }
        }
        self.arrived.notify_one();
    }

    /// The writer is gone; the keeper leaves off what it does.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    pub fn write_begins(&self) {
        self.write_began.store(self.now(), Ordering::Release);
    }

    /// Returns how long the write took.
    pub fn write_ends(&self) -> Duration {
        let began = self.write_began.swap(0, Ordering::AcqRel);
        let nanos = self.now().saturating_sub(began);
        let took = Duration::from_nanos(nanos);
        self.commit_times.lock().add(took);
        took
    }

    /// The writer has nothing to write to until the keeper has made the next file.
    pub fn file_wait_begins(&self) {
        self.file_awaited.store(self.now(), Ordering::Release);
    }

    pub fn file_wait_ends(&self) {
        self.file_awaited.store(0, Ordering::Release);
    }

    /// The disk has answered the keeper.
    pub fn keeper_goes_on(&self) {
        let now = self.now();
        let restarted = |since| (since != 0).then_some(now);
        // Mostly nobody waits.
        let _ = self.file_awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, restarted);
    }

    pub fn commit_times(&self) -> CommitTimes {
        self.commit_times.lock().clone()
    }

    pub fn stats(&self) -> Stats {
        self.stats.lock().clone()
    }

    pub fn write_stall(&self) -> Duration {
        let since = |began: &AtomicU64| match began.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            began => Duration::from_nanos(self.now().saturating_sub(began)),
        };
        // In this order: whoever notes that there is room again has begun the wait anew before.
        let has_room = self.has_room();
        let awaited = if has_room { since(&self.file_awaited) } else { Duration::ZERO };
        since(&self.write_began).max(awaited)
    }
}
