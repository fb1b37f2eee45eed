//! From a data directory to running groups.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use checkpoint::{Loaded, Store};
use consensus::{LogEntry, Membership, Replica, ReplicaConfig, ReplicaId, Restored};
use partition_log::{FileCache, PartitionLog, PartitionState};
use peers::Peers;
use rustix::process::{Resource, getrlimit};
use schemas::PartitionId;
use wal::{GroupId, GroupLog, SyncMode, Wal};

use crate::capture::{GroupState, StateOrigin, key_partition, metadata_key};
use crate::checkpointer::Checkpointer;
use crate::clock::{Anchor, Clock, Reading, boot_id};
use crate::data_dir::DataDir;
use crate::entry::APPEND_OVERHEAD_BYTES;
use crate::executor::{Executor, Message, Place};
use crate::fail::StopOnPanic;
use crate::group::{Group, Machine};
use crate::inbox::Inbox;
use crate::leaders::Leaders;
use crate::limits::{BATCH_BYTES_MAX, READ_FILES_MAX, READ_FILES_SHARE, SHARD_COUNT_MAX};
use crate::order::Order;
use crate::partitions::{PartitionSet, generation_directory, named_directories};
use crate::readers::Readers;
use crate::replicas::Replicas;
use crate::shared::Shared;
use crate::space::Space;
use crate::stored_group::StoredGroup;
use crate::{Config, StartError, StateMachine};

/// The one replica of every group of a single hub.
const ALONE: ReplicaId = ReplicaId(1);

/// Everything that runs.
pub(crate) struct Running {
    pub dir: DataDir,
    pub shared: Arc<Shared>,
    pub inboxes: Vec<Inbox<Message>>,
    pub executors: Vec<JoinHandle<()>>,
    pub checkpointer: Option<JoinHandle<()>>,
    pub wal: Wal,
}

/// What was found of one group, before it runs.
struct Found {
    id: GroupId,
    loaded: Option<Loaded>,
    log: GroupLog,
    machine: Option<Box<dyn StateMachine>>,
}

/// What every executor needs to make its groups.
#[derive(Clone)]
struct Ground {
    log: PathBuf,
    files: FileCache,
    readers: Readers,
    seed: u64,
}

pub(crate) fn start(
    config: &Config,
    dir: DataDir,
    peers: Peers,
    metadata: Box<dyn StateMachine>,
) -> Result<Running, StartError> {
    check(config)?;
    let cluster = dir.cluster().ok_or(StartError::NoCluster)?;
    let replicas = dir.replicas(&cluster)?;
    let (stores, loaded) = open_checkpoints(&dir, u32::from(config.shard_count) + 1)?;
    let (wal, mut recovered) = Wal::open(wal_config(config, &dir, &loaded))?;
    remove_unnamed_partitions(&dir, &loaded)?;
    let mut machine = Some(metadata);
    let mut found: Vec<Found> = Vec::new();
    for (group, loaded) in (0..).zip(loaded) {
        let log = recovered.groups.remove(&GroupId(group)).unwrap_or_default();
        found.push(Found { id: GroupId(group), loaded, log, machine: machine.take() });
    }
    if let Some(unknown) = recovered.groups.keys().next() {
        return Err(StartError::UnknownGroup { group: unknown.0 });
    }
    run(config, Home { dir, peers, replicas }, wal, stores, found)
}

/// Where the shards live, and with whom.
struct Home {
    dir: DataDir,
    peers: Peers,
    replicas: Replicas,
}

fn check(config: &Config) -> Result<(), StartError> {
    if config.shard_count == 0 || config.shard_count > SHARD_COUNT_MAX {
        return Err(StartError::Config("shard_count must be from 1 to 1024"));
    }
    if config.executor_threads == 0 {
        return Err(StartError::Config("executor_threads must be at least 1"));
    }
    Ok(())
}

type Checkpoints = (Vec<StoredGroup>, Vec<Option<Loaded>>);

fn open_checkpoints(dir: &DataDir, groups: u32) -> Result<Checkpoints, StartError> {
    let (mut stores, mut all) = (Vec::new(), Vec::new());
    for group in 0..groups {
        let opened = Store::open(&dir.checkpoint(group));
        let (store, loaded, damage) = opened.map_err(|source| StartError::Checkpoint { group, source })?;
        for damage in damage {
            tracing::error!(group, %damage, "a checkpoint is damaged; the older one is used");
        }
        stores.push(StoredGroup::new(store, loaded.as_ref().map(|loaded| loaded.position.applied)));
        all.push(loaded);
    }
    Ok((stores, all))
}

fn wal_config(config: &Config, dir: &DataDir, loaded: &[Option<Loaded>]) -> wal::Config {
    let applied = |loaded: &Option<Loaded>| loaded.as_ref().map_or(0, |loaded| loaded.position.applied);
    let replay_after: BTreeMap<_, _> =
        (0..).zip(loaded).map(|(group, loaded)| (GroupId(group), applied(loaded))).collect();
    wal::Config {
        file_bytes: config.wal_file_bytes,
        sync: config.sync,
        replay_after,
        ..wal::Config::new(dir.wal())
    }
}

/// Directories that no checkpoint knows: partitions closed since, or opened since and about to be made again.
fn remove_unnamed_partitions(dir: &DataDir, loaded: &[Option<Loaded>]) -> Result<(), StartError> {
    let log = dir.log();
    let named: HashSet<PathBuf> =
        loaded.iter().flatten().flat_map(|loaded| named_directories(&log, loaded)).collect();
    let io = |path: &Path, source| crate::DataDirError::Io { path: path.to_owned(), source };
    for entry in fs::read_dir(&log).map_err(|source| io(&log, source))? {
        let path = entry.map_err(|source| io(&log, source))?.path();
        if path.is_dir() && !named.contains(&path) {
            fs::remove_dir_all(&path).map_err(|source| io(&path, source))?;
        }
    }
    Ok(())
}

/// How many files to keep open for readers.
fn read_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(READ_FILES_MAX, |limit| READ_FILES_MAX.min(limit / READ_FILES_SHARE))
}

fn run(
    config: &Config,
    home: Home,
    wal: Wal,
    stores: Vec<StoredGroup>,
    found: Vec<Found>,
) -> Result<Running, StartError> {
    let Home { dir, peers, replicas } = home;
    let count = config.executor_threads.min(found.len());
    let (orders, received) = channel();
    let readers = Readers::default();
    let around = Around { peers, replicas, leaders: leaders(config, &dir) };
    let shared = Arc::new(shared(config, &dir, &wal, &readers, orders, around));
    let ground =
        Ground { log: dir.log(), files: FileCache::new(read_files_max()), readers, seed: config.seed };
    let inboxes: Vec<Inbox<Message>> = (0..count).map(|_| Inbox::new()).collect();
    let mut parts: Vec<Vec<Found>> = (0..count).map(|_| Vec::new()).collect();
    for found in found {
        parts[Place::of(found.id.0, count).executor].push(found);
    }
    let anchor = fs::read(dir.clock()).ok().and_then(|bytes| Anchor::decode(&bytes));
    let clock_file = dir.clock();
    let mut running = Running { dir, shared, inboxes, executors: Vec::new(), checkpointer: None, wal };
    let (started, outcomes) = channel();
    for (at, part) in parts.into_iter().enumerate() {
        running.spawn_executor(at, part, &ground, started.clone())?;
    }
    drop(started);
    let mut last_stamp_ms = i64::MIN;
    for outcome in outcomes {
        last_stamp_ms = last_stamp_ms.max(outcome?);
    }
    running.go_on_with_clock(anchor, last_stamp_ms);
    let checkpointer = Checkpointer {
        groups: stores,
        executors: running.inboxes.clone(),
        wal: running.wal.clone(),
        shared: running.shared.clone(),
        orders: received,
        interval: config.checkpoint_interval,
        clock_file,
        sync: config.sync == SyncMode::Full,
    };
    running.checkpointer = Some(spawn("checkpoint".to_owned(), move || checkpointer.run())?);
    Ok(running)
}

/// The cluster around this hub.
struct Around {
    peers: Peers,
    replicas: Replicas,
    leaders: Leaders,
}

fn leaders(config: &Config, dir: &DataDir) -> Leaders {
    Leaders::new(dir.identity().node, u32::from(config.shard_count) + 1)
}

fn shared(
    config: &Config,
    dir: &DataDir,
    wal: &Wal,
    readers: &Readers,
    orders: Sender<Order>,
    around: Around,
) -> Shared {
    let Around { peers, replicas, leaders } = around;
    let queued_bytes = Arc::new(AtomicU64::new(0));
    let room = wal.payload_bytes_max().saturating_sub(APPEND_OVERHEAD_BYTES);
    Shared {
        clock: Clock::new(),
        space: Space::new(dir.path().to_owned(), wal.clone(), config.reserve_bytes, queued_bytes.clone()),
        readers: readers.clone(),
        queued_bytes,
        queued_bytes_max: config.queued_bytes_max,
        batch_bytes_max: room.min(BATCH_BYTES_MAX),
        paused_shards: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        tick: config.tick,
        orders,
        checkpoint_bytes: config.checkpoint_bytes,
        wal_bytes: AtomicU64::new(0),
        peers,
        replicas,
        leaders,
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let guarded = move || {
        let _guard = StopOnPanic;
        run();
    };
    std::thread::Builder::new().name(name).spawn(guarded).map_err(StartError::Thread)
}

impl Running {
    /// The groups are recovered on their executor's thread, so that all cores help.
    fn spawn_executor(
        &mut self,
        at: usize,
        part: Vec<Found>,
        ground: &Ground,
        started: Sender<Result<i64, StartError>>,
    ) -> Result<(), StartError> {
        let (inbox, executors) = (self.inboxes[at].clone(), self.inboxes.len());
        let (shared, wal, ground) = (self.shared.clone(), self.wal.clone(), ground.clone());
        let run = move || {
            let groups: Result<Vec<Group>, StartError> =
                part.into_iter().map(|found| recover(found, &ground)).collect();
            match groups {
                Ok(groups) => {
                    let up = Box::new(move |last_stamp_ms| drop(started.send(Ok(last_stamp_ms))));
                    Executor::new(inbox, groups, executors, shared, wal, up).run();
                }
                Err(error) => {
                    inbox.close();
                    drop(started.send(Err(error)));
                }
            }
        };
        self.executors.push(spawn(format!("shards-{at}"), run)?);
        Ok(())
    }

    /// Time goes on from the last stamp, and from the anchor if that is of this boot.
    fn go_on_with_clock(&self, anchor: Option<Anchor>, last_stamp_ms: i64) {
        let by_anchor = anchor.and_then(|anchor| anchor.expected_ms(boot_id(), Reading::now()));
        let by_stamps = (last_stamp_ms != i64::MIN).then_some(last_stamp_ms);
        self.shared.clock.go_on_from(by_anchor.max(by_stamps));
    }
}

/// Ends all threads; also after a start that failed half way. Nothing is written but what was acknowledged.
impl Drop for Running {
    fn drop(&mut self) {
        // Gone already after an orderly stop.
        let _ = self.shared.orders.send(Order::Stop);
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Stop));
        let own = std::thread::current().id();
        for thread in self.executors.drain(..).chain(self.checkpointer.take()) {
            // The last handle may go in a callback on one of these threads.
            if thread.thread().id() != own {
                // A panic would have ended the process.
                let _ = thread.join();
            }
        }
        self.wal.clone().close();
    }
}

fn recover(found: Found, ground: &Ground) -> Result<Group, StartError> {
    let group = found.id.0;
    let state = match &found.loaded {
        Some(loaded) => GroupState::decode(&loaded.membership)
            .ok_or_else(|| StartError::State { group, what: "not a group's state".to_owned() })?,
        None => GroupState {
            origin: StateOrigin::first(1),
            membership: Membership { voters: vec![ALONE], ..Membership::default() },
            last_stamp_ms: i64::MIN,
            is_installed: false,
        },
    };
    let position = found.loaded.as_ref().map(|loaded| loaded.position).unwrap_or_default();
    let states = found.loaded.map(|loaded| loaded.states).unwrap_or_default();
    let machine = match found.machine {
        Some(machine) => restore_metadata(machine, &states)?,
        None => Machine::Partitions(recover_partitions(group, state.origin.generation, &states, ground)?),
    };
    let replica = replica(found.id, &state.membership, position, found.log, ground.seed)?;
    let mut recovered = Group::new(found.id, replica, machine, state.membership);
    recovered.applied = (position.applied, position.term);
    recovered.last_stamp_ms = state.last_stamp_ms;
    recovered.origin = state.origin;
    Ok(recovered)
}

fn replica(
    id: GroupId,
    membership: &Membership,
    position: checkpoint::Position,
    log: GroupLog,
    seed: u64,
) -> Result<Replica, StartError> {
    let hard_state = log.hard_state.unwrap_or_default();
    let to_entry = |entry: wal::Entry| LogEntry {
        index: entry.index,
        term: entry.term,
        kind: entry.entry_kind,
        payload: entry.payload,
    };
    let restored = Restored {
        hard_state: consensus::HardState {
            term: hard_state.term,
            vote: hard_state.vote,
            commit: hard_state.commit,
        },
        applied: position.applied,
        applied_term: position.term,
        entries: log.entries.into_iter().map(to_entry).collect(),
        membership: membership.clone(),
    };
    let config = ReplicaConfig::new(ALONE, seed ^ (u64::from(id.0) << 16));
    Replica::new(&config, restored).map_err(|source| StartError::Log { group: id.0, source })
}

type StoredStates = BTreeMap<checkpoint::Key, bytes::Bytes>;

fn restore_metadata(
    mut machine: Box<dyn StateMachine>,
    states: &StoredStates,
) -> Result<Machine, StartError> {
    if let Some(snapshot) = states.get(&metadata_key()) {
        let failed = |error: crate::RestoreError| StartError::State { group: 0, what: error.to_string() };
        machine.restore(snapshot).map_err(failed)?;
    }
    Ok(Machine::Metadata(machine))
}

fn recover_partitions(
    group: u32,
    generation: u32,
    states: &StoredStates,
    ground: &Ground,
) -> Result<PartitionSet, StartError> {
    let mut partitions = PartitionSet::new(&ground.log, generation, &ground.files, &ground.readers);
    for (key, bytes) in states {
        let unreadable = |what: String| StartError::State { group, what };
        let id: PartitionId = key_partition(key).ok_or_else(|| unreadable(format!("unknown key {key}")))?;
        let state = PartitionState::decode(bytes).map_err(|error| unreadable(format!("{id}: {error}")))?;
        let recovered = PartitionLog::recover(&generation_directory(&ground.log, id, generation), &state, &ground.files);
        let (log, damage) =
            recovered.map_err(|source| StartError::Partition { group, partition: id, source })?;
        for damage in damage {
            tracing::error!(partition = %id, %damage, "a partition is damaged; what is damaged is not served");
        }
        partitions.insert(log);
    }
    Ok(partitions)
}
