//! From a data directory to running groups.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use consensus::TailBudget;
use partition_log::FileCache;
use peers::Peers;
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;
use uuid::Uuid;
use wal::{SyncMode, Wal};

use crate::checkpointer::Checkpointer;
use crate::clock::{Anchor, Clock, Reading, boot_id};
use crate::core::{Core, Surroundings};
use crate::data_dir::DataDir;
use crate::entry::APPEND_OVERHEAD_BYTES;
use crate::exchange::{Asked, Exchange};
use crate::executor::{Executor, Message, Place};
use crate::fail::StopOnPanic;
use crate::faults::Faults;
use crate::inbox::Inbox;
use crate::leaders::Leaders;
use crate::limits::{
    BATCH_BYTES_MAX, READ_FILES_MAX, READ_FILES_SHARE, SCRUB_RATE_BYTES_MAX, SCRUB_RATE_BYTES_MIN,
    SHARD_COUNT_MAX, TAIL_BYTES_MAX, TAILS_SHARED_BYTES_MAX,
};
use crate::log_reads::{LogReads, ReadingThread};
use crate::mend::Damaged;
use crate::mender::Mender;
use crate::opening::{InDirectory, Opened, open_all};
use crate::order::Order;
use crate::pacer::Pacer;
use crate::readers::Readers;
use crate::recovery::{Found, Ground};
use crate::registrar::{Record, Registrar};
use crate::replicas::Replicas;
use crate::scrubber::Scrubber;
use crate::shared::Shared;
use crate::snapshot::{self, Notice, Snapshots, Tell};
use crate::space::Space;
use crate::watch::{Steps, Watch};
use crate::{Config, StartError, StateMachine};

/// Everything that runs.
pub(crate) struct Running {
    pub dir: DataDir,
    pub shared: Arc<Shared>,
    pub inboxes: Vec<Inbox<Message>>,
    pub executors: Vec<JoinHandle<()>>,
    pub checkpointer: Option<JoinHandle<()>>,
    pub registrar: Option<JoinHandle<()>>,
    pub scrubber: Option<(SyncSender<()>, JoinHandle<()>)>,
    pub mender: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    pub log_reading: Option<ReadingThread>,
    /// Looks whether there is room.
    pub looks: Option<JoinHandle<()>>,
    pub watch: Option<(SyncSender<()>, JoinHandle<()>)>,
    pub snapshots: Snapshots,
    /// What the groups ask other replicas, until somebody takes it from here.
    pub asked: Option<tokio::sync::mpsc::Receiver<Asked>>,
    pub wal: Wal,
}

/// Where the shards live, and with whom.
struct Home {
    dir: DataDir,
    peers: Peers,
    replicas: Arc<Replicas>,
    founder: bool,
}

/// What every executor is made with.
#[derive(Clone)]
struct Parts {
    ground: Ground,
    snapshots: Snapshots,
    log_reads: LogReads,
    exchange: Exchange,
    records: Sender<Record>,
    damaged: Sender<Damaged>,
}

pub(crate) fn start(
    config: &Config,
    dir: DataDir,
    peers: Peers,
    metadata: Box<dyn StateMachine>,
) -> Result<Running, StartError> {
    check(config)?;
    let cluster = dir.cluster().ok_or(StartError::NoCluster)?;
    let replicas = Arc::new(dir.replicas(&cluster)?);
    // Where there are no other hubs, nobody is behind.
    let wal_keep_bytes = if peers.is_alone() { 0 } else { config.wal_keep_bytes };
    let config = &Config { wal_keep_bytes, ..config.clone() };
    let opened = open_all(&InDirectory, config, &dir, &replicas, metadata)?;
    let home = Home { dir, peers, replicas, founder: cluster.founder };
    run(config, home, opened)
}

fn check(config: &Config) -> Result<(), StartError> {
    if config.shard_count == 0 || config.shard_count > SHARD_COUNT_MAX {
        return Err(StartError::Config("shard_count must be from 1 to 1024"));
    }
    if config.executor_threads == 0 {
        return Err(StartError::Config("executor_threads must be at least 1"));
    }
    let scrub_rates = SCRUB_RATE_BYTES_MIN..=SCRUB_RATE_BYTES_MAX;
    if config.scrub_rate_bytes != 0 && !scrub_rates.contains(&config.scrub_rate_bytes) {
        return Err(StartError::Config("scrub_rate_bytes must be 0 or from 64 KiB to 1 GiB"));
    }
    Ok(())
}

/// How many files to keep open for readers.
fn read_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(READ_FILES_MAX, |limit| READ_FILES_MAX.min(limit / READ_FILES_SHARE))
}

fn run(config: &Config, home: Home, opened: Opened<Wal>) -> Result<Running, StartError> {
    let Home { dir, peers, replicas, founder } = home;
    let Opened { stores, found, wal } = opened;
    let count = config.executor_threads.min(found.len());
    let (orders, received) = channel();
    let (records, to_record) = channel();
    let (damaged, to_mend) = channel();
    let inboxes: Vec<Inbox<Message>> = (0..count).map(|_| Inbox::new()).collect();
    let tell = tell(inboxes.clone());
    let ground = Ground {
        log: dir.log(),
        files: FileCache::new(read_files_max()),
        readers: Readers::default(),
        node: dir.identity().node,
        founder,
        seed: config.seed,
        tails: TailBudget::new(TAILS_SHARED_BYTES_MAX),
        tail_bytes_max: TAIL_BYTES_MAX,
        tell,
    };
    let around = Around { peers, replicas, leaders: leaders(config, &dir) };
    let shared = Arc::new(shared(config, &dir, &wal, &ground.readers, orders, around));
    let pacer = Pacer::new(&wal, config.catch_up_rate_bytes);
    let snapshots = snapshots(config, &dir, &shared, &pacer, &ground)?;
    let (exchange, asked) = Exchange::new();
    let anchor = fs::read(dir.clock()).ok().and_then(|bytes| Anchor::decode(&bytes));
    let clock_file = dir.clock();
    let mut running = Running {
        dir,
        shared,
        inboxes,
        executors: Vec::new(),
        checkpointer: None,
        registrar: None,
        scrubber: None,
        mender: None,
        log_reading: None,
        looks: None,
        watch: None,
        snapshots: snapshots.clone(),
        asked: Some(asked),
        wal,
    };
    running.spawn_registrar(to_record)?;
    running.spawn_mender(to_mend)?;
    let (log_reads, reading) = LogReads::start(&running.wal, pacer).map_err(StartError::Thread)?;
    running.log_reading = Some(reading);
    let parts = Parts { ground, snapshots: snapshots.clone(), log_reads, exchange, records, damaged };
    let last_stamp_ms = running.spawn_executors(found, &parts)?;
    drop(parts);
    // The executors have opened the partitions.
    if config.scrub_rate_bytes > 0 {
        running.spawn_scrubber(config.scrub_rate_bytes)?;
    }
    running.go_on_with_clock(anchor, last_stamp_ms, founder);
    let checkpointer = Checkpointer {
        groups: stores,
        executors: running.inboxes.clone(),
        wal: running.wal.clone(),
        shared: running.shared.clone(),
        orders: received,
        interval: config.checkpoint_interval,
        clock_file,
        sync: config.sync == SyncMode::Full,
        snapshots,
        installs: VecDeque::new(),
    };
    running.checkpointer = Some(spawn("checkpoint".to_owned(), move || checkpointer.run())?);
    Ok(running)
}

/// A way back to the groups for those who serve, fetch and read their files.
fn tell(inboxes: Vec<Inbox<Message>>) -> Tell {
    Arc::new(move |notice: Notice| {
        let group = match &notice {
            Notice::Ready { group, .. } | Notice::Sent { group, .. } | Notice::Damaged { group, .. } => {
                *group
            }
        };
        let Place { executor, slot } = Place::of(group, inboxes.len());
        inboxes[executor].push(match notice {
            Notice::Ready { mark, .. } => Message::Checkpointed { slot, made: Some(mark) },
            Notice::Sent { to, ok, .. } => Message::SnapshotSent { slot, to, ok },
            Notice::Damaged { replica_number, file, .. } => {
                Message::Damaged { slot, number: replica_number, file: Some(file) }
            }
        });
    })
}

fn snapshots(
    config: &Config,
    dir: &DataDir,
    shared: &Shared,
    pacer: &Pacer,
    ground: &Ground,
) -> Result<Snapshots, StartError> {
    let ground = snapshot::Ground {
        peers: shared.peers.clone(),
        orders: shared.orders.clone(),
        pacer: pacer.clone(),
        log: ground.log.clone(),
        checkpoints: dir.checkpoints(),
        files: ground.files.clone(),
        reserve_bytes: config.reserve_bytes,
        tell: ground.tell.clone(),
    };
    Snapshots::start(ground).map_err(StartError::Thread)
}

/// The cluster around this hub.
struct Around {
    peers: Peers,
    replicas: Arc<Replicas>,
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
        feature_level: AtomicU16::new(0),
        clock: Arc::new(Clock::new()),
        space: Space::new(dir.path().to_owned(), wal.clone(), config.reserve_bytes, queued_bytes.clone()),
        readers: readers.clone(),
        queued_bytes,
        queued_bytes_max: config.queued_bytes_max,
        batch_bytes_max: room.min(BATCH_BYTES_MAX),
        paused_shards: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        is_read_through: Arc::default(),
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
    /// Returns when all groups are recovered, and lead themselves where nobody else is there, with the last stamp of any.
    fn spawn_executors(&mut self, found: Vec<Found>, parts: &Parts) -> Result<i64, StartError> {
        let mut shares: Vec<Vec<Found>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for found in found {
            shares[Place::of(found.id.0, self.inboxes.len()).executor].push(found);
        }
        let (started, outcomes) = channel();
        let steps: Vec<Arc<Steps>> = shares.iter().map(|_| Arc::default()).collect();
        for ((at, share), steps) in shares.into_iter().enumerate().zip(&steps) {
            self.spawn_executor(at, share, parts.clone(), (started.clone(), steps.clone()))?;
        }
        drop(started);
        let last_ms: Result<i64, StartError> =
            outcomes.into_iter().try_fold(i64::MIN, |last_ms, outcome| Ok(last_ms.max(outcome?)));
        self.spawn_looks()?;
        self.spawn_watch(steps)?;
        last_ms
    }

    /// The groups are recovered on their executor's thread, so that all cores help.
    fn spawn_executor(
        &mut self,
        at: usize,
        share: Vec<Found>,
        parts: Parts,
        (started, steps): (Sender<Result<i64, StartError>>, Arc<Steps>),
    ) -> Result<(), StartError> {
        let (inbox, executors) = (self.inboxes[at].clone(), self.inboxes.len());
        let (shared, wal) = (self.shared.clone(), self.wal.clone());
        let Parts { ground, snapshots, log_reads, exchange, records, damaged } = parts;
        let run = move || {
            let recovered: Result<Vec<_>, StartError> =
                share.into_iter().map(|found| ground.recover(found)).collect();
            let recovered = match recovered {
                Ok(recovered) => recovered,
                Err(error) => {
                    inbox.close();
                    return drop(started.send(Err(error)));
                }
            };
            let around = Surroundings {
                node: ground.node,
                executors,
                clock: shared.clock.clone(),
                replicas: shared.replicas.clone(),
                ground,
                faults: Faults::default(),
            };
            let executor = Executor {
                inbox,
                core: Core::new(around, recovered),
                executors,
                is_first: at == 0,
                shared,
                wal,
                snapshots,
                log_reads,
                exchange,
                records,
                damaged,
                started: Some(Box::new(move |last_stamp_ms| drop(started.send(Ok(last_stamp_ms))))),
                paused: 0,
                steps,
            };
            executor.run();
        };
        self.executors.push(spawn(format!("shards-{at}"), run)?);
        Ok(())
    }

    fn spawn_looks(&mut self) -> Result<(), StartError> {
        let shared = self.shared.clone();
        self.looks = Some(spawn("shards-room".to_owned(), move || shared.space.run(shared.tick))?);
        Ok(())
    }

    fn spawn_watch(&mut self, steps: Vec<Arc<Steps>>) -> Result<(), StartError> {
        let (stop, stopped) = sync_channel(0);
        let watch = Watch::new(self.wal.clone(), self.shared.clone(), steps);
        self.watch = Some((stop, spawn("shards-watch".to_owned(), move || watch.run(&stopped))?));
        Ok(())
    }

    fn spawn_registrar(&mut self, records: Receiver<Record>) -> Result<(), StartError> {
        let registrar = Registrar {
            records,
            replicas: self.shared.replicas.clone(),
            orders: self.shared.orders.clone(),
            wal: self.wal.clone(),
            executors: self.inboxes.clone(),
        };
        self.registrar = Some(spawn("shards-records".to_owned(), move || registrar.run())?);
        Ok(())
    }

    fn spawn_mender(&mut self, damaged: Receiver<Damaged>) -> Result<(), StartError> {
        let (stop, stopped) = watch::channel(false);
        let mender = Mender {
            damaged,
            readers: self.shared.readers.clone(),
            peers: self.shared.peers.clone(),
            executors: self.inboxes.clone(),
            stop: stopped,
        };
        self.mender = Some((stop, spawn("shards-mend".to_owned(), move || mender.run())?));
        Ok(())
    }

    fn spawn_scrubber(&mut self, rate_bytes: u64) -> Result<(), StartError> {
        let (stop, stopped) = sync_channel(0);
        let (drawn, _) = Uuid::new_v4().as_u64_pair();
        let mut scrubber = Scrubber::new(self.shared.readers.clone(), rate_bytes, drawn);
        scrubber.is_read_through = self.shared.is_read_through.clone();
        self.scrubber = Some((stop, spawn("shards-scrub".to_owned(), move || scrubber.run(&stopped))?));
        Ok(())
    }

    /// Time goes on from the last stamp, and from the anchor if that is of this boot.
    fn go_on_with_clock(&self, anchor: Option<Anchor>, last_stamp_ms: i64, founder: bool) {
        let by_anchor = anchor.and_then(|anchor| anchor.expected_ms(boot_id(), Reading::now()));
        let by_stamps = (last_stamp_ms != i64::MIN).then_some(last_stamp_ms);
        self.shared.clock.go_on_from(by_anchor.max(by_stamps), founder);
    }
}

/// Ends all threads; also after a start that failed half way. Nothing is written but what was acknowledged.
impl Drop for Running {
    fn drop(&mut self) {
        self.snapshots.stop();
        // Gone already after an orderly stop.
        let _ = self.shared.orders.send(Order::Stop);
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Stop));
        let own = std::thread::current().id();
        // Its end of the channel goes, and that stops it.
        let scrubber = self.scrubber.take().map(|(_, thread)| thread);
        // Once the executors are gone it has nothing more to do; what it is about ends now.
        let mender = self.mender.take().map(|(stop, thread)| {
            stop.send_replace(true);
            thread
        });
        let log_reading = self.log_reading.take().map(|(_, thread)| thread);
        let threads = self.executors.drain(..).chain(self.checkpointer.take());
        self.shared.space.end();
        let looks = self.looks.take();
        let threads = threads.chain(scrubber).chain(mender).chain(log_reading).chain(looks);
        for thread in threads.chain(self.registrar.take()) {
            // The last handle may go in a callback on one of these threads.
            if thread.thread().id() != own {
                // A panic would have ended the process.
                let _ = thread.join();
            }
        }
        self.wal.clone().close();
        // The disk may fail to answer to the very end.
        if let Some((stop, thread)) = self.watch.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
