//! The write-ahead log of a simulated hub: the program's, on a disk that answers when it is told to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use wal::simulation::{self, Run, SimDisk};
use wal::{EntriesWanted, Frame, GroupId, GroupLog, HardState, LogReader, Lsn, OpenError, PastDamage, Wal};

use super::hub::Hub;
use crate::data_dir::DataDir;
use crate::faults::Faults;
use crate::log_reads::{OldEntries, old_entries};
use crate::message::Message;
use crate::opening::{LogPlace, can_spare};
use crate::{SalvageError, salvage};

/// Ticks without a write after which a commit frame covers the last ones: 100 ms of the program's.
const IDLE_TICKS: u32 = 2;

/// What of the log is found after a crash.
#[derive(Debug, Clone, Copy)]
pub enum Crash {
    /// The process goes after so many more operations of the disk: all that it did is there.
    Kill { operations: u64 },
    /// The machine goes: of what was not synced, this seed says what is there.
    PowerCut { operations: u64, seed: u64 },
    /// The first frames of what waits, and no more.
    After { frames: usize },
}

/// What has become durable.
enum Durable {
    Readies(Vec<(GroupId, u64)>),
    Barrier(GroupId, Lsn),
}

pub(super) struct Log {
    pub wal: Wal,
    run: Run,
    reader: LogReader,
    durable: Arc<Mutex<Vec<Durable>>>,
    /// Ticks since when something waits to be written, and since when nothing does.
    stalled_ticks: u32,
    idle_ticks: u32,
}

impl Log {
    pub fn new((wal, run): (Wal, Run)) -> Self {
        let reader = wal.reader();
        Self { wal, run, reader, durable: Arc::default(), stalled_ticks: 0, idle_ticks: 0 }
    }

    pub fn write(&self, frames: Vec<Frame>, readies: Vec<(GroupId, u64)>) {
        let durable = self.durable.clone();
        self.wal.write(frames, Box::new(move |_| durable.lock().push(Durable::Readies(readies))));
    }

    pub fn write_barrier(&self, group: GroupId, hard_state: HardState) {
        let durable = self.durable.clone();
        let done = Box::new(move |lsn| durable.lock().push(Durable::Barrier(group, lsn)));
        self.wal.write_barrier(group, hard_state, done);
    }

    /// What the log's reader finds.
    pub fn read(&mut self, wanted: &EntriesWanted) -> Option<OldEntries> {
        old_entries(self.reader.read(wanted))
    }

    /// One tick passes; says for how many the disk has not answered.
    pub fn tick(&mut self) -> u32 {
        let is_idle = !self.run.has_work() && self.run.owes_commit();
        self.idle_ticks = if is_idle { self.idle_ticks + 1 } else { 0 };
        self.stalled_ticks = if self.run.has_writes() { self.stalled_ticks + 1 } else { 0 };
        self.stalled_ticks
    }

    fn wants_sync(&self) -> bool {
        self.run.has_work() || self.idle_ticks >= IDLE_TICKS
    }

    fn sync(&mut self) -> Vec<Durable> {
        let done = if self.run.has_work() { self.run.work() } else { self.run.rest() };
        done.expect("a simulated disk does what it is asked to");
        (self.stalled_ticks, self.idle_ticks) = (0, 0);
        std::mem::take(&mut *self.durable.lock())
    }

    pub fn crash(mut self, crash: Crash) -> SimDisk {
        match crash {
            Crash::Kill { operations } => self.run.stop_after(operations).after_kill(),
            Crash::PowerCut { operations, seed } => self.run.stop_after(operations).after_power_cut(seed),
            Crash::After { frames } => {
                self.run.keep_first(frames).expect("a simulated disk does what it is asked to");
                self.run.stop_after(0).after_kill()
            }
        }
    }
}

impl Hub {
    /// Something is to be made durable, with [`Hub::sync`].
    pub fn wants_sync(&self) -> bool {
        self.write_ahead.wants_sync()
    }

    /// Frames that a crash now could lose.
    pub fn unsynced_frames(&self) -> usize {
        self.write_ahead.run.waiting_frames()
    }

    /// The number of the last frame that is durable.
    pub fn durable_through(&self) -> u64 {
        self.write_ahead.run.durable().0
    }

    /// What is written is durable, and whoever waits for that hears of it.
    pub fn sync(&mut self) {
        for durable in self.write_ahead.sync() {
            self.core.handle(match durable {
                Durable::Readies(readies) => Message::Persisted(readies),
                Durable::Barrier(group, lsn) => Message::Barrier { slot: group.0 as usize, lsn },
            });
        }
    }

    /// When the hub started, its log was damaged.
    pub fn found_its_log_damaged(&self) -> bool {
        self.is_log_replaced
    }

    /// Every group can do without its replica here, as far as the checkpoints tell.
    pub fn is_spared(&self) -> bool {
        (0..).zip(&self.stores).all(|(group, store)| {
            let Some(own) = self.replicas.get(group).current else { return true };
            let newest = store.newest().ok().flatten();
            can_spare(newest.as_ref(), consensus::ReplicaId::new(self.node.0, own))
        })
    }
}

/// On a simulated disk.
pub(super) struct OnDisk<'a> {
    pub disk: &'a SimDisk,
    pub faults: Faults,
    /// The log was damaged, and what is whole of it is in a new one.
    pub is_replaced: Cell<bool>,
}

impl OnDisk<'_> {
    fn reopen(&self, config: &wal::Config) -> Result<simulation::Opened, OpenError> {
        match simulation::open(self.disk, config) {
            Err(OpenError::Corrupt(damage)) if self.faults.cut_damage => {
                let name = damage.file.file_name().unwrap_or_default().to_string_lossy();
                self.disk.cut(&name, damage.position);
                simulation::open(self.disk, config)
            }
            opened => opened,
        }
    }
}

impl LogPlace for OnDisk<'_> {
    type Log = (Wal, Run);

    fn open(&self, config: wal::Config) -> Result<((Wal, Run), wal::Recovered), OpenError> {
        let simulation::Opened { wal, run, mut recovered } = self.reopen(&config)?;
        if self.faults.skip_truncate_frame {
            recovered.groups = simulation::nothing_gave_way(self.disk, &config, recovered.groups);
        }
        Ok(((wal, run), recovered))
    }

    fn read_past_damage(&self, config: &wal::Config) -> Result<Option<PastDamage>, OpenError> {
        simulation::read_past_damage(self.disk, config)
    }

    fn replace(
        &self,
        dir: &DataDir,
        groups: BTreeMap<GroupId, GroupLog>,
        file_bytes: Option<u64>,
        first_lsn: Lsn,
    ) -> Result<PathBuf, SalvageError> {
        let mut config = wal::Config { first_lsn, ..wal::Config::new(dir.wal()) };
        if let Some(bytes) = file_bytes {
            config.file_bytes = bytes;
        }
        let frames = groups.into_iter().flat_map(|(group, log)| salvage::frames(group, log));
        simulation::write_new(self.disk, &config, frames.collect())?;
        self.is_replaced.set(true);
        Ok(dir.wal())
    }
}
