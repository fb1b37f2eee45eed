//! The handle by which everyone else speaks to the shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use partition_log::{CompactOptions, PartitionReader};
use peers::Peers;
use schemas::{Offset, PartitionId, ShardId};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::ClockState;
use crate::data_dir::{DataDir, Identity};
use crate::doors::Doors;
use crate::lanes::Lanes;
use crate::limits::{HAND_OVER_MAX, TOMBSTONE_RETENTION_MS};
use crate::message::Message;
use crate::order::Order;
use crate::start::Running;
use crate::{
    Append, AppendError, Appended, CommandError, Config, PartitionCommand, ProposeError, Retention,
    StartError, StateMachine,
};

/// Called exactly once with the outcome, on an executor thread, a thread of the runtime or the caller's own: it must
/// not block.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// What the shards are doing right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub partitions: usize,
    /// Bytes of requests not answered yet.
    pub queued_bytes: u64,
    /// Shards that wait for room on the disk.
    pub paused_shards: usize,
    /// Appends are refused because the disk is nearly full.
    pub disk_full: bool,
    /// The wall clock is not believed; nothing expires here by time.
    pub clock_held: bool,
}

/// A cheap handle to all shards of this hub. When the last one is dropped without [`Shards::shutdown`], the
/// threads end without a checkpoint; nothing that was acknowledged is lost by that.
#[derive(Clone)]
pub struct Shards {
    pub(crate) doors: Arc<Doors>,
    pub(crate) running: Arc<Mutex<Option<Running>>>,
}

impl Shards {
    /// Recovers everything. A founder that is its groups' only voter gets them back when each leads itself and has
    /// applied what was committed; everyone else when everything is recovered. Blocks. With other hubs it needs a
    /// tokio runtime around it; the peers stay the caller's, to be ended after [`Shards::shutdown`].
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is for one start")]
    pub fn start(
        config: Config,
        dir: DataDir,
        peers: Peers,
        metadata: Box<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        let mut running = crate::start::start(&config, dir, peers, metadata)?;
        let doors = Arc::new(Doors {
            shared: running.shared.clone(),
            inboxes: running.inboxes.as_slice().into(),
            shard_count: config.shard_count,
            identity: running.dir.identity(),
            lanes: Lanes::new(config.shard_count),
            runtime: (!running.shared.peers.is_alone()).then(Handle::current),
        });
        let peers = &doors.shared.peers;
        if let Some(id) = running.dir.cluster().and_then(|cluster| cluster.id) {
            peers.set_cluster(id);
        }
        if !peers.is_alone() {
            crate::inbound::connect(&doors);
            crate::forward::serve(&doors);
            crate::gossip::connect(&doors);
            crate::room::connect(&doors);
            crate::mender::connect(&doors);
            if let Some(asked) = running.asked.take() {
                crate::exchange::connect(&doors, asked);
            }
        }
        Ok(Self { doors, running: Arc::new(Mutex::new(Some(running))) })
    }

    /// A hub without others: founds its cluster where there is none.
    pub fn start_alone(config: Config, metadata: Box<dyn StateMachine>) -> Result<Self, StartError> {
        let mut dir = DataDir::open(&config)?;
        dir.found()?;
        let Identity { node, incarnation } = dir.identity();
        Self::start(config, dir, Peers::alone(node, incarnation), metadata)
    }

    /// Hands one batch to its shard, if this hub leads it. Never blocks; `done` hears what became of it.
    pub fn append(&self, shard: ShardId, request: Append, done: AppendDone) {
        self.append_all(std::iter::once((shard, request, done)));
    }

    /// Hands batches to their shards, in their order. Those that arrive together are written together, so batches of
    /// one request do not wait for two writes. Never blocks.
    pub fn append_all(&self, requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>) {
        self.doors.append_all(requests);
    }

    /// The same as a future.
    pub fn append_future(
        &self,
        shard: ShardId,
        request: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static {
        let (tell, told) = oneshot::channel();
        // Whoever no longer listens does not need to know.
        self.append(shard, request, Box::new(move |result| drop(tell.send(result))));
        async move { told.await.unwrap_or(Err(AppendError::Stopping)) }
    }

    /// Hands one batch to its shard, wherever that is led. See [`Shards::append_anywhere_all`].
    pub fn append_anywhere(&self, shard: ShardId, request: Append, done: AppendDone) {
        self.append_anywhere_all(std::iter::once((shard, request, done)));
    }

    /// Hands batches to their shards, wherever those are led. Batches of one shard keep their order, also between
    /// calls. Never blocks.
    ///
    /// While nobody is known to lead the shard a batch waits, up to 5 s. `NotLeader` says that the batch is in doubt:
    /// it may be stored, or may still be; so may those that were handed in after it. A batch with a producer's
    /// sequence can be handed in again: it is stored once.
    pub fn append_anywhere_all(&self, requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>) {
        crate::forward::append_all(&self.doors, requests);
    }

    /// Changes a partition; answered when the change is applied by the shard's leader, wherever that is. A command may
    /// be carried out twice: each has the same effect then.
    pub async fn command(&self, shard: ShardId, command: PartitionCommand) -> Result<(), CommandError> {
        crate::forward::command(&self.doors, shard, command).await
    }

    /// Drops closed segments beyond `retention`, by the shard's own time. Returns the new first offset if it moved.
    pub async fn enforce_retention(
        &self,
        shard: ShardId,
        partition: PartitionId,
        retention: Retention,
    ) -> Result<Option<Offset>, CommandError> {
        crate::forward::enforce_retention(&self.doors, shard, partition, retention).await
    }

    /// Has the metadata machine apply `command`, wherever it is led; returns its answer. `NotLeader` says that the
    /// command is in doubt: it may have been applied, or may still be.
    pub async fn propose_metadata(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        crate::forward::propose_metadata(&self.doors, command).await
    }

    /// Rewrites closed segments of this hub's replica with the last record of each key, on a thread of the runtime's
    /// blocking pool.
    pub async fn compact(&self, shard: ShardId, partition: PartitionId) -> Result<(), CommandError> {
        let place = self.doors.place(shard).ok_or(CommandError::UnknownPartition)?;
        // While the time is in doubt, no tombstone is old enough to go.
        let now_ms = Some(self.clock()).filter(|clock| clock.held.is_none()).and_then(|clock| clock.known_ms);
        let options = CompactOptions {
            stamp_ms: now_ms.unwrap_or(i64::MIN),
            tombstone_retention_ms: TOMBSTONE_RETENTION_MS,
        };
        let (reply, told) = oneshot::channel();
        self.doors.send(place, Message::Compaction { slot: place.slot, partition, options, reply });
        let Some(compaction) = told.await.unwrap_or(Err(CommandError::Stopping))? else { return Ok(()) };
        let compacted = match tokio::task::spawn_blocking(move || compaction.run()).await {
            Ok(Ok(compacted)) => compacted,
            Ok(Err(error)) => return Err(compaction_failed(&error)),
            Err(_) => return Err(CommandError::Stopping),
        };
        let (reply, told) = oneshot::channel();
        self.doors.send(place, Message::Install { slot: place.slot, partition, compacted, reply });
        told.await.map_err(|_| CommandError::Stopping)
    }

    /// The reader of an open partition of this hub's replica.
    pub fn partition(&self, id: PartitionId) -> Option<PartitionReader> {
        self.doors.shared.readers.get(id)
    }

    /// The shards' own time, ms since 1970: the wall clock as far as it is believed.
    pub fn now_ms(&self) -> i64 {
        self.doors.shared.clock.now_ms()
    }

    /// What this hub's clock shows, and whether it is believed.
    pub fn clock(&self) -> ClockState {
        self.doors.shared.clock.state()
    }

    /// A majority of the hubs' wall clocks agree within [`CLOCK_AGREEMENT_MS`](crate::limits::CLOCK_AGREEMENT_MS) that it
    /// is `majority_ms` now. A hub with the same time is believed from now on; one that is more than an hour from it is
    /// not, and goes by the majority's.
    pub fn judge_clock(&self, majority_ms: i64) {
        self.doors.shared.clock.judge(majority_ms);
    }

    /// Takes the wall clock as it is, however far it jumped, and whatever the others' clocks show, until it jumps again
    /// or the hub starts anew.
    pub fn accept_clock(&self) {
        self.doors.shared.clock.accept();
    }

    /// What the shards are doing.
    pub fn stats(&self) -> Stats {
        let shared = &self.doors.shared;
        Stats {
            partitions: shared.readers.len(),
            queued_bytes: shared.queued_bytes.load(Ordering::Relaxed),
            paused_shards: shared.paused_shards.load(Ordering::Relaxed),
            disk_full: shared.space.is_full(),
            clock_held: shared.clock.is_held(),
        }
    }

    /// Number of data shards.
    pub fn shard_count(&self) -> u16 {
        self.doors.shard_count
    }

    /// Whose data directory it is.
    pub fn identity(&self) -> Identity {
        self.doors.identity
    }

    /// Has other hubs lead what this one leads, for 3 s at most; what is not led here any more is answered with
    /// `NotLeader`, everything else goes on. `false`: there is no other hub.
    pub async fn hand_over(&self) -> bool {
        if self.peers().is_alone() {
            return false;
        }
        let doors = Arc::clone(&self.doors);
        let groups = doors.shared.leaders.led_here().len();
        tracing::info!("this hub leads {groups} groups and hands them over where another hub can lead them");
        if tokio::task::spawn_blocking(move || hand_over(&doors.inboxes, HAND_OVER_MAX)).await.is_err() {
            tracing::error!("handing the shards over has panicked");
        }
        true
    }

    /// Hands over what is led here to other hubs, for 3 s at most; lets what is in flight be answered, refuses the rest
    /// with `Stopping`, writes a last checkpoint and ends the threads. Of several callers the first does it.
    pub async fn shutdown(self) {
        let Some(running) = self.running.lock().take() else { return };
        if tokio::task::spawn_blocking(move || stop(running)).await.is_err() {
            tracing::error!("stopping the shards has panicked");
        }
    }
}

fn compaction_failed(error: &partition_log::CompactError) -> CommandError {
    tracing::warn!(%error, "a partition could not be compacted; it is as it was");
    match error {
        partition_log::CompactError::Write(partition_log::LogError::NoSpace { .. }) => CommandError::NoSpace,
        _ => CommandError::NotCompacted,
    }
}

/// An orderly end: nothing is led, then nothing is in flight, then everything is in a checkpoint, then the threads go.
fn stop(running: Running) {
    if !running.shared.peers.is_alone() {
        hand_over(&running.inboxes, HAND_OVER_MAX);
    }
    running.shared.stopping.store(true, Ordering::Relaxed);
    for inbox in &running.inboxes {
        let (reply, drained) = sync_channel(1);
        inbox.push(Message::Drain(reply));
        // An executor that is gone has nothing in flight.
        let _ = drained.recv();
    }
    let (reply, finished) = sync_channel(1);
    if running.shared.orders.send(Order::Finish(reply)).is_ok() {
        let _ = finished.recv();
    }
    drop(running);
}

/// All executors at the same time; whoever is not done in time is left to the others' election.
fn hand_over(inboxes: &[crate::inbox::Inbox<Message>], time_max: Duration) {
    let deadline = Instant::now() + time_max;
    let ask = |inbox: &crate::inbox::Inbox<Message>| {
        let (reply, done) = sync_channel(1);
        inbox.push(Message::HandOver(reply));
        done
    };
    let waits: Vec<_> = inboxes.iter().map(ask).collect();
    for done in waits {
        if done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            tracing::warn!("not every shard could be handed over to another hub in time");
        }
    }
}
