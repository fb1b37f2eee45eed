//! Runs a log without threads: whoever has it says when the disk answers.

use crate::{
    assembly::{Parts, assemble},
    config::Config,
    core::{Core, Halt, Patience},
    disk::Disk,
    error::OpenError,
    fail::Failure,
    frame::{Frame, Lsn},
    handle::Wal,
    keeper::Keeper,
    recovered::Recovered,
    recovery::{self, PastDamage},
    shared::{Inbox, Shared},
    simulation::disk::SimDisk,
};
use parking_lot::{Mutex, MutexGuard};
use std::{io, sync::Arc};

/// A log that was opened.
pub struct Opened {
    pub wal: Wal,
    pub run: Run,
    pub recovered: Recovered,
}

/// What the log's threads are in the program. Without it nothing is written.
pub struct Run {
    core: Core,
    keeper: Arc<Mutex<Keeper>>,
    disk: SimDisk,
}

/// Recovers the log on `disk`, as [`Wal::open`] does.
pub fn open(disk: &SimDisk, config: &Config) -> Result<Opened, OpenError> {
    let shared_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let known_disk = Arc::downgrade(&shared_disk);
    let late = Late::default();
    let Parts { recovered, core, keeper, library } =
        assemble(shared_disk, config, Box::new(KeeperWorks(late.clone())))?;
    let keeper = Arc::new(Mutex::new(keeper));
    *late.lock() = Some(keeper.clone());
    let wal = Wal::of(core.shared.clone(), library, known_disk, config.file_bytes, Vec::new());
    Ok(Opened { wal, run: Run { core, keeper, disk: disk.clone() }, recovered })
}

/// A new log with these frames in the place of what is on the disk.
pub fn write_new(disk: &SimDisk, config: &Config, frames: Vec<Frame>) -> Result<(), OpenError> {
    let new = SimDisk::new(disk.draw());
    let Opened { wal, mut run, .. } = open(&new, config)?;
    let failed = |failure: Failure| OpenError::Io {
        operation: failure.operation,
        file: failure.file,
        error: failure.error,
    };
    wal.write(frames, Box::new(|_| {}));
    run.work().and_then(|()| run.rest()).map_err(failed)?;
    disk.take_over(&new);
    Ok(())
}

/// Reads past the damage on `disk`, as [`Wal::read_past_damage`] does.
pub fn read_past_damage(disk: &SimDisk, config: &Config) -> Result<Option<PastDamage>, OpenError> {
    recovery::read_past_damage(disk, &crate::recovered::Past::of(config))
}

type Late = Arc<Mutex<Option<Arc<Mutex<Keeper>>>>>;

/// Of one thread: while the core waits for the next file, the keeper makes it.
struct KeeperWorks(Late);

impl Patience for KeeperWorks {
    fn wait(&mut self, shared: &Shared, inbox: &mut MutexGuard<'_, Inbox>) -> Result<(), Failure> {
        let keeper = self.0.lock().clone();
        MutexGuard::unlocked(inbox, || keeper.map_or(Ok(()), |keeper| keeper.lock().work_off()))?;
        let has_come = inbox.spare.is_some() || !inbox.changes.is_empty() || !inbox.rewritten.is_empty();
        if has_come || shared.has_room() {
            return Ok(());
        }
        // Nobody else is there who could make room.
        Err(Failure {
            operation: "go on in",
            file: "/sim".into(),
            position: 0,
            error: io::ErrorKind::StorageFull.into(),
        })
    }
}

impl Run {
    /// Something is to be written.
    pub fn has_writes(&self) -> bool {
        !self.core.shared.inbox.lock().writes.is_empty()
    }

    /// Something is to be written, or looked at.
    pub fn has_work(&self) -> bool {
        let inbox = self.core.shared.inbox.lock();
        !(inbox.writes.is_empty() && inbox.changes.is_empty() && inbox.rewritten.is_empty())
    }

    /// After a while without work, [`rest`](Self::rest) is due.
    pub fn owes_commit(&self) -> bool {
        self.core.owes_commit()
    }

    /// Frames that wait to be written.
    pub fn waiting_frames(&self) -> usize {
        self.core.shared.inbox.lock().writes.iter().map(|write| write.frames.len()).sum()
    }

    /// The last sequence number that is durable.
    pub fn durable(&self) -> Lsn {
        self.core.tail.durable
    }

    /// The disk answers: the keeper does what it was left with, then everything that waits is written and synced.
    pub fn work(&mut self) -> Result<(), Failure> {
        self.keeper.lock().work_off()?;
        let shared = self.core.shared.clone();
        let writes = self.core.take(&mut shared.inbox.lock());
        writes.map_or(Ok(()), |writes| self.core.commit(writes)).or_else(go_on)
    }

    /// One more commit frame, if one is owed.
    pub fn rest(&mut self) -> Result<(), Failure> {
        self.core.commit_idle().or_else(go_on)
    }

    /// Writes and syncs the first `kept` frames of what waits; nobody hears of it.
    pub fn keep_first(&mut self, kept: usize) -> Result<(), Failure> {
        self.core.shared.post(|inbox| {
            let mut left = kept;
            for write in &mut inbox.writes {
                write.frames.truncate(left);
                left -= write.frames.len();
            }
        });
        self.work()
    }

    /// The machine stops after so many more operations of its disk on what waits. Whoever has the disk says what of
    /// that is found there.
    pub fn stop_after(mut self, operations: u64) -> SimDisk {
        self.disk.stop_after(operations);
        // It fails in the middle, or there was less to do.
        let _ = self.work();
        self.disk
    }
}

/// Nobody tells this log to stop.
fn go_on(halt: Halt) -> Result<(), Failure> {
    match halt {
        Halt::Failed(failure) => Err(failure),
        Halt::Stopped => Ok(()),
    }
}
