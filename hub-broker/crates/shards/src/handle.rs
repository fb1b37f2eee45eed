//! The handle by which everyone else speaks to the shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use parking_lot::Mutex;
use partition_log::{CompactOptions, PartitionReader};
use peers::Peers;
use schemas::{BatchHeader, Offset, PartitionId, ShardId, Term};
use tokio::sync::{oneshot, watch};

use crate::answer::{Answer, Permit, Refusal};
use crate::data_dir::{DataDir, Identity};
use crate::entry::Command;
use crate::executor::{Message, Place};
use crate::group::Request;
use crate::inbox::Inbox;
use crate::limits::{METADATA_COMMAND_BYTES_MAX, REQUEST_OVERHEAD_BYTES, TOMBSTONE_RETENTION_MS};
use crate::order::Order;
use crate::shared::Shared;
use crate::start::Running;
use crate::{
    Append, AppendError, Appended, CommandError, Config, GroupView, Leader, PartitionCommand, ProposeError,
    Retention, StartError, StateMachine,
};

/// Called exactly once with the outcome, on an executor thread or on the caller's own: it must not block.
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
    /// The wall clock jumped and is not believed; retention by time is held.
    pub clock_held: bool,
}

/// A cheap handle to all shards of this hub. When the last one is dropped without [`Shards::shutdown`], the
/// threads end without a checkpoint; nothing that was acknowledged is lost by that.
#[derive(Clone)]
pub struct Shards {
    shared: Arc<Shared>,
    inboxes: Arc<[Inbox<Message>]>,
    running: Arc<Mutex<Option<Running>>>,
    shard_count: u16,
    identity: Identity,
}

impl Shards {
    /// Recovers everything. A founder that is its groups' only voter gets them back when each leads itself and has
    /// applied what was committed; everyone else when everything is recovered. Blocks.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is for one start")]
    pub fn start(
        config: Config,
        dir: DataDir,
        peers: Peers,
        metadata: Box<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        let running = crate::start::start(&config, dir, peers, metadata)?;
        Ok(Self {
            shared: running.shared.clone(),
            inboxes: running.inboxes.as_slice().into(),
            shard_count: config.shard_count,
            identity: running.dir.identity(),
            running: Arc::new(Mutex::new(Some(running))),
        })
    }

    /// A hub without others: founds its cluster where there is none.
    pub fn start_alone(config: Config, metadata: Box<dyn StateMachine>) -> Result<Self, StartError> {
        let mut dir = DataDir::open(&config)?;
        dir.found()?;
        let Identity { node, incarnation } = dir.identity();
        Self::start(config, dir, Peers::alone(node, incarnation), metadata)
    }

    /// Hands one batch to its shard. Never blocks; `done` hears what became of it.
    pub fn append(&self, shard: ShardId, request: Append, done: AppendDone) {
        self.append_all(std::iter::once((shard, request, done)));
    }

    /// Hands batches to their shards, in their order. Those that arrive together are written together, so batches of
    /// one request do not wait for two writes. Never blocks.
    pub fn append_all(&self, requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>) {
        let mut ways: Vec<Vec<Message>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for (shard, request, done) in requests {
            match self.admit(shard, &request) {
                Ok((place, permit)) => {
                    let answer = Answer::append(done, permit);
                    let request = Request { command: Command::Append(request), answer };
                    ways[place.executor].push(Message::Request { slot: place.slot, request });
                }
                Err(error) => done(Err(error)),
            }
        }
        for (inbox, messages) in self.inboxes.iter().zip(ways).filter(|(_, messages)| !messages.is_empty()) {
            inbox.push_all(messages.into_iter());
        }
    }

    /// Where a batch goes, and the room for it.
    fn admit(&self, shard: ShardId, request: &Append) -> Result<(Place, Permit), AppendError> {
        let bytes = request.batch.len();
        let max = self.shared.batch_bytes_max;
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        if !BatchHeader::parse(&request.batch).is_ok_and(|header| header.total_bytes() == bytes) {
            return Err(AppendError::Malformed);
        }
        let place = self.place(shard).ok_or(AppendError::UnknownPartition)?;
        Ok((place, self.permit(bytes as u64, true)?))
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

    /// Changes a partition; answered when the change is applied.
    pub async fn command(&self, shard: ShardId, command: PartitionCommand) -> Result<(), CommandError> {
        let place = self.place(shard).ok_or(CommandError::UnknownPartition)?;
        let needs_room = matches!(command, PartitionCommand::Open { .. });
        let permit = self.permit(0, needs_room)?;
        let (tell, told) = oneshot::channel();
        let answer = Answer::command(Box::new(move |result| drop(tell.send(result))), permit);
        self.request(place, Request { command: Command::Partition(command), answer });
        told.await.unwrap_or(Err(CommandError::Stopping))
    }

    /// Drops closed segments beyond `retention`, by the shard's own time. Returns the new first offset if it moved.
    pub async fn enforce_retention(
        &self,
        shard: ShardId,
        partition: PartitionId,
        retention: Retention,
    ) -> Result<Option<Offset>, CommandError> {
        let place = self.place(shard).ok_or(CommandError::UnknownPartition)?;
        let permit = self.permit(0, false)?;
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| drop(tell.send(result)));
        self.send(place, Message::Retain { slot: place.slot, partition, retention, done, permit });
        told.await.unwrap_or(Err(CommandError::Stopping))
    }

    /// Rewrites closed segments with the last record of each key, on a thread of the runtime's blocking pool.
    pub async fn compact(&self, shard: ShardId, partition: PartitionId) -> Result<(), CommandError> {
        let place = self.place(shard).ok_or(CommandError::UnknownPartition)?;
        let options = CompactOptions {
            stamp_ms: self.shared.clock.now_ms(),
            tombstone_retention_ms: TOMBSTONE_RETENTION_MS,
        };
        let (reply, told) = oneshot::channel();
        self.send(place, Message::Compaction { slot: place.slot, partition, options, reply });
        let Some(compaction) = told.await.unwrap_or(Err(CommandError::Stopping))? else { return Ok(()) };
        let compacted = match tokio::task::spawn_blocking(move || compaction.run()).await {
            Ok(Ok(compacted)) => compacted,
            Ok(Err(error)) => return Err(compaction_failed(&error)),
            Err(_) => return Err(CommandError::Stopping),
        };
        let (reply, told) = oneshot::channel();
        self.send(place, Message::Install { slot: place.slot, partition, compacted, reply });
        told.await.map_err(|_| CommandError::Stopping)
    }

    /// Has the metadata machine apply `command`; returns its answer.
    pub async fn propose_metadata(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let bytes = command.len();
        let max = METADATA_COMMAND_BYTES_MAX.min(self.shared.batch_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let permit = self.permit(bytes as u64, false)?;
        let (tell, told) = oneshot::channel();
        let answer = Answer::propose(Box::new(move |result| drop(tell.send(result))), permit);
        let place = Place::of(METADATA_GROUP, self.inboxes.len());
        self.request(place, Request { command: Command::Metadata(command), answer });
        told.await.unwrap_or(Err(ProposeError::Stopping))
    }

    /// The other hubs.
    pub fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    /// Who leads the shard, as far as this hub knows.
    pub fn leader(&self, shard: ShardId) -> Option<Leader> {
        self.shared.leaders.leader(group_of(shard))
    }

    /// Who leads the metadata, as far as this hub knows.
    pub fn metadata_leader(&self) -> Option<Leader> {
        self.shared.leaders.leader(METADATA_GROUP)
    }

    /// Who has a replica of the group, as far as this hub knows. Group 0 is the metadata's, shard n is n + 1.
    pub fn replicas(&self, group: u32) -> GroupView {
        self.shared.leaders.view(group)
    }

    /// Ticks with every change of what [`Shards::leader`], [`Shards::replicas`] and [`Shards::is_serving`] say.
    pub fn leadership(&self) -> watch::Receiver<u64> {
        self.shared.leaders.watch()
    }

    /// The term in which this hub leads the shard and has applied an entry of its own.
    pub fn is_serving(&self, shard: ShardId) -> Option<Term> {
        self.shared.leaders.serving(group_of(shard))
    }

    /// The reader of an open partition.
    pub fn partition(&self, id: PartitionId) -> Option<PartitionReader> {
        self.shared.readers.get(id)
    }

    /// The shards' own time, ms since 1970: the wall clock as far as it is believed.
    pub fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Takes the wall clock as it is, however far it jumped.
    pub fn accept_clock(&self) {
        self.shared.clock.accept();
    }

    /// What the shards are doing.
    pub fn stats(&self) -> Stats {
        Stats {
            partitions: self.shared.readers.len(),
            queued_bytes: self.shared.queued_bytes.load(Ordering::Relaxed),
            paused_shards: self.shared.paused_shards.load(Ordering::Relaxed),
            disk_full: self.shared.space.is_full(),
            clock_held: self.shared.clock.is_held(),
        }
    }

    /// Number of data shards.
    pub fn shard_count(&self) -> u16 {
        self.shard_count
    }

    /// Whose data directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Lets what is in flight be answered, refuses the rest with `Stopping`, writes a last checkpoint and ends the
    /// threads. Of several callers the first does it.
    pub async fn shutdown(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let Some(running) = self.running.lock().take() else { return };
        if tokio::task::spawn_blocking(move || stop(running)).await.is_err() {
            tracing::error!("stopping the shards has panicked");
        }
    }

    /// The group of a shard, and where it lives.
    fn place(&self, shard: ShardId) -> Option<Place> {
        (shard.0 < self.shard_count).then(|| Place::of(group_of(shard), self.inboxes.len()))
    }

    fn permit(&self, bytes: u64, needs_room: bool) -> Result<Permit, Refusal> {
        if self.shared.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        if needs_room && !self.shared.space.admit(bytes) {
            return Err(Refusal::NoSpace);
        }
        let bytes = bytes + REQUEST_OVERHEAD_BYTES;
        Permit::take(&self.shared.queued_bytes, bytes, self.shared.queued_bytes_max)
            .ok_or(Refusal::Overloaded)
    }

    fn request(&self, place: Place, request: Request) {
        self.send(place, Message::Request { slot: place.slot, request });
    }

    fn send(&self, place: Place, message: Message) {
        self.inboxes[place.executor].push(message);
    }
}

/// The metadata's group; shard n is group n + 1.
const METADATA_GROUP: u32 = 0;

fn group_of(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

fn compaction_failed(error: &partition_log::CompactError) -> CommandError {
    tracing::warn!(%error, "a partition could not be compacted; it is as it was");
    match error {
        partition_log::CompactError::Write(partition_log::LogError::NoSpace { .. }) => CommandError::NoSpace,
        _ => CommandError::NotCompacted,
    }
}

/// An orderly end: nothing is in flight, then everything is in a checkpoint, then the threads go.
fn stop(running: Running) {
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
