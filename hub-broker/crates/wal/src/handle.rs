//! The handle of the log, and how the log is opened.

use crate::{
    assembly::{Parts, assemble},
    commit_times::CommitTimes,
    config::{Config, SyncMode},
    disk::{Disk, RealDisk},
    error::OpenError,
    frame::{Frame, GroupId, HardState},
    ledger::Change,
    library::Library,
    limits::payload_bytes_max,
    log_reader::LogReader,
    recovered::{Past, Recovered},
    recovery::{self, PastDamage},
    request::{Done, Stats, Write},
    shared::{Shared, Stop},
    writer::{Sleep, Writer},
};
use parking_lot::Mutex;
use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::Duration,
};

/// A handle to the log; clones share it. When the last one is dropped without `close`, what waits is still written.
#[derive(Clone)]
pub struct Wal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    library: Arc<Library>,
    /// The log's threads have it: with them it is let go, whoever still has a handle.
    disk: Weak<dyn Disk>,
    payload_bytes_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Wal {
    /// Recovers the log in `config.dir`, makes durable what it returns, and starts the log's threads.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is used once")]
    pub fn open(config: Config) -> Result<(Wal, Recovered), OpenError> {
        Wal::open_on(Arc::new(open_disk(&config.dir, config.sync)?), &config)
    }

    /// Reads past the damage for which `open` refuses the log in `config.dir`. Changes nothing. `None` where the log
    /// is not damaged.
    pub fn read_past_damage(config: &Config) -> Result<Option<PastDamage>, OpenError> {
        recovery::read_past_damage(&open_disk(&config.dir, SyncMode::Full)?, &Past::of(config))
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, config: &Config) -> Result<(Wal, Recovered), OpenError> {
        let known_disk = Arc::downgrade(&disk);
        let Parts { recovered, core, keeper, library } = assemble(disk, config, Box::new(Sleep))?;
        let shared = core.shared.clone();
        let writer = Writer { core, fail: config.fail.clone(), idle_commit: config.idle_commit };
        let threads =
            vec![spawn("wal-writer", move || writer.run())?, spawn("wal-keeper", move || keeper.run())?];
        Ok((Wal::of(shared, library, known_disk, config.file_bytes, threads), recovered))
    }

    /// The handle of a log that these threads run.
    pub(crate) fn of(
        shared: Arc<Shared>,
        library: Arc<Library>,
        disk: Weak<dyn Disk>,
        file_bytes: u64,
        threads: Vec<JoinHandle<()>>,
    ) -> Wal {
        let payload_bytes_max = payload_bytes_max(file_bytes);
        let threads = Mutex::new(threads);
        Wal { inner: Arc::new(Inner { shared, library, disk, payload_bytes_max, threads }) }
    }

    /// Appends `frames`, in order, in one of the next group commits, then calls `done`. After `close` or a failure
    /// nothing is written and `done` is dropped. Callers bound what they have in flight.
    ///
    /// # Panics
    /// If a payload is larger than `payload_bytes_max`.
    pub fn write(&self, frames: Vec<Frame>, done: Done) {
        let max = self.inner.payload_bytes_max;
        let fits = |frame: &Frame| !matches!(frame, Frame::Entry { payload, .. } if payload.len() > max);
        assert!(frames.iter().all(fits), "an entry's payload is larger than {max} bytes");
        let write = Write { frames, copies_of: None, done };
        self.inner.shared.post(|inbox| {
            if inbox.stop == Stop::No {
                inbox.writes.push(write);
            }
        });
    }

    /// Says that durable checkpoints hold the group's entries up to `through_index`. A file whose entries are all
    /// released is used again.
    pub fn release(&self, group: GroupId, through_index: u64) {
        self.inner.shared.post(|inbox| inbox.changes.push(Change::Release(group, through_index)));
    }

    /// Says that the group's entries from this index on are wanted for reading back, released or not: files with such
    /// entries are kept, up to `Config::kept_bytes_max`. `None`: none are. Not remembered across a restart; what is
    /// there then is kept until the first release after it.
    pub fn keep(&self, group: GroupId, from: Option<u64>) {
        self.inner.shared.post(|inbox| inbox.changes.push(Change::Keep(group, from)));
    }

    /// Gives up the oldest file that is only kept for reading, if there is one: there is little room on the disk.
    pub fn give_way(&self) {
        self.inner.shared.post(|inbox| inbox.changes.push(Change::GiveWay));
    }

    /// A reader of what is in the log's files; each has a memory of its own.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.inner.library.clone(), self.inner.disk.clone())
    }

    /// Writes a barrier: the group's hard state, in front of which nothing of the group lies any more once the owner
    /// has durably said so (`Config::void`, `Config::void_entries`), with the sequence number that `done` is told.
    /// From now on no older frame of the group is copied behind the barrier; what is there stays until
    /// [`forget`](Self::forget) or [`forget_entries`](Self::forget_entries) says that the barrier holds.
    pub fn write_barrier(&self, group: GroupId, hard_state: HardState, done: Done) {
        let HardState { term, vote, commit } = hard_state;
        let frames = vec![Frame::HardState { group, term, vote, commit }];
        self.inner.shared.post(|inbox| {
            if inbox.stop == Stop::No {
                inbox.changes.push(Change::Hold(group));
                inbox.writes.push(Write { frames, copies_of: None, done });
            }
        });
    }

    /// A barrier voids all that is there of the group: its replica is no more.
    pub fn forget(&self, group: GroupId) {
        self.inner.shared.post(|inbox| inbox.changes.push(Change::Forget(group)));
    }

    /// A barrier voids the entries that are there of the group: an installed snapshot has replaced them.
    pub fn forget_entries(&self, group: GroupId) {
        self.inner.shared.post(|inbox| inbox.changes.push(Change::ForgetEntries(group)));
    }

    /// False while the next file cannot be made, for want of room on the disk or of file descriptors: the owner refuses proposals until it is true again. What
    /// is in flight then still fits into the current file, or waits for room.
    pub fn has_room(&self) -> bool {
        self.inner.shared.has_room()
    }

    /// How long the disk write that is under way has been so, or the next file has been waited for since the disk last
    /// answered; zero when there is neither. Waiting for room is neither.
    pub fn write_stall(&self) -> Duration {
        self.inner.shared.write_stall()
    }

    pub fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }

    pub fn commit_times(&self) -> CommitTimes {
        self.inner.shared.commit_times()
    }

    /// The largest payload of one entry.
    pub fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max
    }

    /// Writes what waits and one more commit frame, syncs, and ends the threads. Not from within a callback.
    pub fn close(self) {
        self.inner.stop(Stop::Close);
    }
}

impl Inner {
    fn stop(&self, how: Stop) {
        self.shared.post(|inbox| {
            if inbox.stop == Stop::No {
                inbox.stop = how;
            }
        });
        let threads = std::mem::take(&mut *self.threads.lock());
        // The last handle may be dropped by a callback, on a thread that cannot wait for itself.
        if threads.iter().any(|thread| thread.thread().id() == std::thread::current().id()) {
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the write-ahead log panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(Stop::Abandon);
    }
}

fn open_disk(dir: &Path, sync: SyncMode) -> Result<RealDisk, OpenError> {
    RealDisk::open(dir, sync).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
        _ => OpenError::Io { operation: "open", file: dir.to_owned(), error },
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| OpenError::Io { operation: "start a thread for", file: name.into(), error })
}
