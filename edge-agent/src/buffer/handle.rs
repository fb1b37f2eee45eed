//! The buffer as the rest of the agent sees it: cheap handles to the writer's inbox and to what it published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use schemas::{DeviceId, TopicName};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::append::{Marks, NewBatch};
use super::environment::Durability;
use super::guard::this_program;
use super::opening::{OpenError, Opening};
use super::policy::Retention;
use super::reader::Reader;
use super::rescue::{disk_bytes, kept_dir};
use super::stage::Stage;
use super::state::{BootOffset, Counters, State};
use super::wear::{Meter, WearBudget};
use super::work::{Amendment, GapAnswer, WorkError};
use super::writer::{Append, Backlog, Command, InFlight, Writer};
use crate::data_dir::DataDir;
use crate::destination::{Destination, Priority};
use crate::limits::{APPENDS_BYTES_MAX, WRITER_INBOX};
use crate::time::{Clock, Source};

#[derive(Debug, Error)]
pub enum WriteError {
    /// The batch or amendment cannot be taken; others can.
    #[error(transparent)]
    Refused(#[from] WorkError),
    /// There was no room, and the policy drops what is new: a gap stands for its records.
    #[error("the buffer is full")]
    Full,
    /// The buffer cannot be written any more: the process should end and say so.
    #[error("the buffer failed: {0}")]
    Failed(String),
    #[error("the buffer is closed")]
    Closed,
}

/// How a buffer is opened.
#[derive(Clone, Debug)]
pub struct BufferOptions {
    pub dir: DataDir,
    pub device: DeviceId,
    pub retention: Retention,
    pub durability: Durability,
    /// Whether a new buffer takes all of the disk that it may ever need at once.
    pub is_preallocated: bool,
    /// What may be written to the flash, in bytes a day; beyond it batches are to be filled for longer.
    pub flash_bytes_per_day_max: Option<u64>,
    /// Where batches go that are salvaged without knowing their topic.
    pub default_topic: TopicName,
    /// The clock by which ages are told, and whose boot this is.
    pub clock: Arc<Clock>,
    /// The program that checks a buffer after an unclean stop; this one where `None`.
    pub checker: Option<PathBuf>,
    /// Tells what is being done while it is opened.
    pub stage: Stage,
}

impl BufferOptions {
    /// A buffer of so many bytes that is as durable as can be and keeps the newest.
    pub fn new(dir: DataDir, device: DeviceId, default_topic: TopicName, cap_bytes: u64) -> Self {
        Self {
            dir,
            device,
            retention: Retention::up_to(cap_bytes),
            durability: Durability::default(),
            is_preallocated: false,
            flash_bytes_per_day_max: None,
            default_topic,
            clock: Arc::new(Clock::of_this_machine()),
            checker: None,
            stage: Stage::default(),
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Records that were dropped to make room for it.
    pub dropped: u64,
}

/// What is in the buffer as of the last commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub lanes: Vec<LaneView>,
    pub counters: Counters,
    pub boots: Vec<BootOffset>,
    /// How far inputs had read, by their names.
    pub marks: BTreeMap<String, String>,
    /// Bytes of pages that entries take up.
    pub bytes: u64,
    pub cap_bytes: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LaneView {
    pub id: u8,
    pub topic: TopicName,
    pub priority: Priority,
    /// It takes nothing more and is gone when it is empty; what comes goes to another lane of the same destination.
    pub is_backlog: bool,
    /// The number of the first entry, `next` where there is none.
    pub first: u64,
    /// The number after the last that may be shipped.
    pub next: u64,
    pub records: u64,
    /// Bytes of pages that its entries take up.
    pub bytes: u64,
    /// The stream that is shipped or was shipped last, as it travels, and its partition.
    pub shipping: Option<(i64, Option<i32>)>,
    /// The stream that is appended to.
    pub open: Option<i64>,
}

impl Snapshot {
    pub(super) fn of(state: &State, cap_bytes: u64) -> Self {
        let lanes = state.lanes.iter().map(|lane| LaneView {
            id: lane.id,
            topic: lane.topic.clone(),
            priority: lane.priority,
            is_backlog: lane.is_backlog,
            first: lane.first,
            next: lane.unsynced_marks_from.unwrap_or(lane.next),
            records: lane.records,
            bytes: lane.cost,
            shipping: lane.shipping.as_ref().and_then(|shipping| {
                let wire = shipping.wire(shipping.acked).or_else(|| shipping.wires.last())?;
                Some((wire.stream.0, wire.partition.map(|partition| partition.0)))
            }),
            open: lane.open.map(|open| open.id.0),
        });
        Self {
            lanes: lanes.collect(),
            counters: state.counters,
            boots: state.boots.clone(),
            marks: state.marks.clone(),
            bytes: state.cost(),
            cap_bytes,
        }
    }

    /// What is to be made durable of this boot's clock, if anything: provisionally, unless something is to be stamped by
    /// it now (`is_final`) or nobody knows better than who told the time.
    pub fn stamping(&self, clock: &Clock, is_final: bool) -> Option<Amendment> {
        let (own, boot) = (clock.own()?, clock.boot());
        let is_provisional = !is_final && own.source < Source::Hub;
        let known = self.boots.iter().find(|known| known.boot == boot);
        let is_known = known.is_some_and(|known| !known.is_provisional || is_provisional);
        let told = BootOffset { boot, offset_ms: own.offset_ms, is_provisional };
        (!is_known).then_some(Amendment::StampBoot(told))
    }

    /// Records in all lanes.
    pub fn records(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.records).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// A handle to an open buffer. The environment is closed when the last one is gone.
#[derive(Clone)]
pub struct Buffer {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reader: Reader,
    in_flight: InFlight,
    wear: Arc<WearBudget>,
    /// The data directory.
    root: Arc<Path>,
    /// Of each priority, the room for batches that are not answered, in units of 1 KiB.
    waiting: Arc<[Arc<Semaphore>; 3]>,
    failure: Arc<OnceLock<String>>,
}

const WAITING_UNIT: usize = 1 << 10;

impl Buffer {
    /// Opens the buffer of a data directory whose lock the caller holds, and starts its writer.
    pub fn open(options: &BufferOptions) -> Result<Self, OpenError> {
        let clock = options.clock.clone();
        let checker = options.checker.clone().unwrap_or_else(this_program);
        let opening = Opening {
            dir: &options.dir,
            cap_bytes: options.retention.cap_bytes,
            durability: options.durability,
            is_preallocated: options.is_preallocated,
            boot: clock.boot(),
            default_topic: &options.default_topic,
            checker: &checker,
            stage: &options.stage,
        };
        let opened = opening.open()?;
        let (commands, inbox) = mpsc::channel(WRITER_INBOX);
        let snapshot = Snapshot::of(&opened.state, opened.cap_bytes);
        let (publisher, snapshots) = watch::channel(Arc::new(snapshot));
        if let Some(offset_ms) = opened.state.offset_of(clock.boot()) {
            clock.recall(Source::EarlierRun, offset_ms);
        }
        let in_flight: InFlight = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let wear = Arc::new(WearBudget::new(options.flash_bytes_per_day_max, Instant::now()));
        let failure = Arc::new(OnceLock::new());
        let writer = Writer {
            environment: opened.environment.clone(),
            state: opened.state,
            marker: opened.marker,
            retention: Retention { cap_bytes: opened.cap_bytes, ..options.retention },
            quarantine: options.dir.quarantine(),
            inbox,
            snapshots: publisher,
            in_flight: in_flight.clone(),
            clock,
            wear: wear.clone(),
            meter: Meter::default(),
            relaxed: opened.relaxed,
            backlog: Backlog::owing(opened.owed),
            failure: failure.clone(),
        };
        start(writer).map_err(|source| OpenError::Io { path: options.dir.buffer(), source })?;
        let (environment, device) = (opened.environment, options.device.clone());
        let reader = Reader { environment, device, boot: options.clock.boot() };
        let room = || Arc::new(Semaphore::new(APPENDS_BYTES_MAX / WAITING_UNIT));
        let waiting = Arc::new(std::array::from_fn(|_| room()));
        let root = options.dir.root().into();
        Ok(Self { commands, snapshots, reader, in_flight, wear, root, waiting, failure })
    }

    /// Hands over a batch as `append_marked` does, without marks.
    pub async fn append(
        &self,
        destination: &Destination,
        boot: Option<Uuid>,
        batch: Bytes,
    ) -> Result<oneshot::Receiver<Result<Appended, WriteError>>, WriteError> {
        self.append_marked(destination, boot, batch, Marks::default()).await
    }

    /// Hands over a batch whose producer is still empty; the answer comes when it is durable, or lost, or, with the
    /// policy *block*, when there is room for it. `boot` is given where its times are of that boot's clock. `marks`
    /// become durable together with it, or not at all. Waits while much of the same priority is not answered.
    pub async fn append_marked(
        &self,
        destination: &Destination,
        boot: Option<Uuid>,
        batch: Bytes,
        marks: Marks,
    ) -> Result<oneshot::Receiver<Result<Appended, WriteError>>, WriteError> {
        let (done, answer) = oneshot::channel();
        let room = self.waiting[destination.priority as usize].clone();
        let units = u32::try_from(batch.len().min(APPENDS_BYTES_MAX).div_ceil(WAITING_UNIT)).unwrap_or(1);
        let _room = room.acquire_many_owned(units).await.map_err(|_| WriteError::Closed)?;
        let new = NewBatch { destination: destination.clone(), boot, batch, marks };
        let command = Command::Append(Append { new, done, _room });
        self.commands.send(command).await.map_err(|_| WriteError::Closed)?;
        Ok(answer)
    }

    /// Returns when everything that was answered is on the disk.
    pub async fn sync(&self) -> Result<(), WriteError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Sync { done }).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Changes what is buffered; durable when this returns.
    pub async fn amend(&self, amendment: Amendment) -> Result<(), WriteError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Amend { amendment, done }).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Notes that a hub has the entries of a lane up to a number. They leave with the next append, after a
    /// second, or at once.
    pub async fn trim(
        &self,
        lane: u8,
        through: u64,
        gaps: Vec<GapAnswer>,
        at_once: bool,
    ) -> Result<(), WriteError> {
        let command = Command::Trim { lane, through, gaps, at_once };
        self.commands.send(command).await.map_err(|_| WriteError::Closed)
    }

    /// Keeps so much from now on. The whole buffer's cap stays as it was opened.
    pub async fn retain(
        &self,
        retention: Retention,
        flash_bytes_per_day_max: Option<u64>,
    ) -> Result<(), WriteError> {
        self.wear.set_budget(flash_bytes_per_day_max);
        self.commands.send(Command::Retain(retention)).await.map_err(|_| WriteError::Closed)
    }

    /// Entries of a lane below `end` are on their way and are not dropped; 0 where none are.
    pub fn set_in_flight(&self, lane: u8, end: u64) {
        self.in_flight[usize::from(lane)].store(end, Ordering::Release);
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Whether the writer has not taken everything yet that it was told.
    pub fn is_writer_behind(&self) -> bool {
        self.commands.capacity() < self.commands.max_capacity()
    }

    /// Changes with every commit; ends when the buffer is closed or has failed.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// How long batches are to be filled, so that the flash lasts.
    pub fn wear(&self) -> &WearBudget {
        &self.wear
    }

    /// What a damaged buffer of which not all could be salvaged takes of the disk, if one is kept.
    pub fn set_aside_bytes(&self) -> Option<u64> {
        disk_bytes(&kept_dir(&self.root))
    }

    /// Says why the buffer cannot be written any more, once that is so.
    pub fn failure(&self) -> Arc<OnceLock<String>> {
        self.failure.clone()
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Makes everything durable and notes a clean stop. Other handles get `Closed` from then on.
    pub async fn close(self) -> Result<(), WriteError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Close { done }).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }
}

/// Waits for an append's answer.
pub async fn durable(
    answer: oneshot::Receiver<Result<Appended, WriteError>>,
) -> Result<Appended, WriteError> {
    answer.await.map_err(|_| WriteError::Closed)?
}

fn start(writer: Writer) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("buffer-writer".to_owned())
        .stack_size(512 << 10)
        .spawn(move || runtime.block_on(writer.run()))?;
    Ok(())
}
