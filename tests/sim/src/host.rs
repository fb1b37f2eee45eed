//! A machine: its disk, its clock, and the hub that runs on it while it is up.

use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schemas::{NodeId, Term};
use shards::StartError;
use shards::simulation::{Crash, Faults, Hub, HubConfig, Part, ReplicaId, SimDisk, Wipe};
use uuid::Uuid;

use crate::machine::Tally;
use crate::plan::{GROUPS, SHARDS, WAL_FILE_BYTES, WAL_KEEP_BYTES, WALL_MS};

pub const CLUSTER: Uuid = Uuid::from_u128(1);
/// What a disk does within one group commit and the making of a file, at most.
const OPERATIONS_MAX: u64 = 16;

pub struct Host {
    pub node: NodeId,
    dir: PathBuf,
    state: State,
    part: Part,
    faults: Faults,
    seed: u64,
    /// How often a hub was started here.
    starts: u64,
    /// Counts the crashes: what was on its way to an earlier life is dropped.
    pub epoch: u64,
    /// The terms in which it served the groups after the last event.
    pub serving: Vec<Option<Term>>,
    /// By how much its wall clock is wrong, and whether its clocks stand still.
    pub skew_ms: i64,
    pub frozen_at: Option<u64>,
    /// Its disk does not answer before this time.
    pub stalled_until: u64,
    /// Its disk is full before this time, and has not been full for long after that.
    pub full_until: u64,
    /// Its disk has less room than appends must leave: it takes none, until the cluster has gone on without it.
    pub is_short: bool,
    /// A sync of its disk is under way.
    pub syncing: bool,
    /// Groups in the order in which they are checkpointed next.
    to_checkpoint: Vec<u32>,
    wiped: Wipe,
    /// What of its write-ahead log went bad.
    pub corroded: Option<Corroded>,
}

/// A byte of a write-ahead log is another than was written: the hub finds that when it starts.
#[derive(Debug)]
pub struct Corroded {
    pub lsn: u64,
    /// Those that the hub had.
    pub replicas: Vec<(u32, ReplicaId)>,
}

enum State {
    Up(Box<Hub>),
    /// The disk of the write-ahead log.
    Down(SimDisk),
}

impl Host {
    pub fn new(root: &Path, node: NodeId, part: Part, faults: Faults, seed: u64) -> Self {
        Self {
            node,
            dir: root.join(format!("hub-{node}")),
            state: State::Down(SimDisk::new(seed ^ u64::from(node.0))),
            part,
            faults,
            seed,
            starts: 0,
            epoch: 0,
            serving: Vec::new(),
            skew_ms: 0,
            frozen_at: None,
            stalled_until: 0,
            full_until: 0,
            is_short: false,
            syncing: false,
            to_checkpoint: Vec::new(),
            wiped: Wipe::default(),
            corroded: None,
        }
    }

    pub fn hub(&mut self) -> Option<&mut Hub> {
        match &mut self.state {
            State::Up(hub) => Some(hub),
            State::Down(_) => None,
        }
    }

    /// The group that is checkpointed next: each in its turn, since one that waits long is not compared for long.
    pub fn next_to_checkpoint(&mut self, random: &mut StdRng) -> u32 {
        if self.to_checkpoint.is_empty() {
            self.to_checkpoint.extend(0..GROUPS);
            self.to_checkpoint.shuffle(random);
        }
        self.to_checkpoint.pop().unwrap_or_default()
    }

    pub fn is_full(&self, now_ms: u64) -> bool {
        now_ms < self.full_until
    }

    /// Whether it takes appends.
    pub fn has_room(&self, now_ms: u64) -> bool {
        !self.is_full(now_ms) && !self.is_short
    }

    /// The disk of its write-ahead log, while no hub is up that goes on writing.
    pub fn disk(&self) -> Option<&SimDisk> {
        match &self.state {
            State::Up(_) => None,
            State::Down(disk) => Some(disk),
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Wall and boot clock at a time of the world.
    fn clocks(&self, now_ms: u64) -> (i64, i64) {
        let now_ms = i64::try_from(self.frozen_at.unwrap_or(now_ms)).unwrap_or(i64::MAX);
        (WALL_MS + now_ms + self.skew_ms, now_ms)
    }

    pub fn set_clock(&mut self, now_ms: u64) {
        let (wall_ms, boot_ms) = self.clocks(now_ms);
        if let State::Up(hub) = &mut self.state {
            hub.set_clock(wall_ms, boot_ms);
        }
    }

    pub fn start(&mut self, now_ms: u64) -> Result<(), StartError> {
        let State::Down(disk) = &self.state else { return Ok(()) };
        self.starts += 1;
        let (wall_ms, boot_ms) = self.clocks(now_ms);
        let config = HubConfig {
            dir: self.dir.clone(),
            node: self.node,
            shard_count: SHARDS,
            seed: self.seed ^ (self.starts << 32) ^ u64::from(self.node.0),
            faults: self.faults,
            part: self.part.clone(),
            wal_file_bytes: WAL_FILE_BYTES,
            wal_keep_bytes: WAL_KEEP_BYTES,
            wall_ms,
            boot_ms,
        };
        let mut hub = Hub::start(&config, disk, Box::new(Tally::default()), &self.wiped)?;
        self.wiped = Wipe::default();
        hub.starve(self.is_full(now_ms));
        self.state = State::Up(Box::new(hub));
        Ok(())
    }

    /// The process or the machine is gone in the middle of what its disk was doing: some of it is done, and where the
    /// machine is gone, any part of what was not synced is lost.
    pub fn crash(&mut self, random: &mut StdRng) {
        let fresh = State::Down(SimDisk::new(random.r#gen()));
        let before = std::mem::replace(&mut self.state, fresh);
        self.state = match before {
            State::Up(hub) => {
                let operations = random.gen_range(0..OPERATIONS_MAX);
                let crash = match random.gen_bool(0.5) {
                    true => Crash::Kill { operations },
                    false => Crash::PowerCut { operations, seed: random.r#gen() },
                };
                State::Down(hub.crash(crash, &mut |durable, written| {
                    if random.gen_bool(0.5) { written } else { random.gen_range(durable..=written) }
                }))
            }
            down @ State::Down(_) => down,
        };
        self.syncing = false;
        self.epoch += 1;
        self.serving.clear();
    }

    /// The disk is lost with everything on it; the hub comes back as one of a new incarnation, which takes part in
    /// no replica with a number up to `replica_floor` (but for the fault that this proves to be found).
    pub fn wipe(&mut self, random: &mut StdRng, replica_floor: u32) {
        if let State::Up(hub) = &mut self.state {
            self.wiped = hub.wipe();
        }
        self.crash(random);
        self.state = State::Down(SimDisk::new(random.r#gen()));
        self.corroded = None;
        self.part = Part::Member { cluster: CLUSTER, replica_floor };
        // What was never there need not go.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
