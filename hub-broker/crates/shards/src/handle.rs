//! The handle by which everyone else speaks to the shards.

use std::future::Future;

use bytes::Bytes;
use partition_log::PartitionReader;
use schemas::{Offset, PartitionId, ShardId};

use crate::{
    Append, AppendError, Appended, CommandError, Config, PartitionCommand, ProposeError, Retention,
    StartError, StateMachine,
};

/// Called exactly once with the outcome, on an executor thread or on the caller's own: it must not block.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// What the shards are doing right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub partitions: usize,
    /// Bytes of appends not answered yet.
    pub queued_bytes: u64,
    /// Shards that wait for room on the disk.
    pub paused_shards: usize,
    /// Appends are refused because the disk is nearly full.
    pub disk_full: bool,
    /// The wall clock jumped and is not believed; retention by time is held.
    pub clock_held: bool,
}

/// A cheap handle to all shards of this hub.
#[derive(Clone)]
pub struct Shards {}

impl Shards {
    /// Recovers everything and returns when every group leads itself and has applied what was committed.
    pub fn start(_config: Config, _metadata: Box<dyn StateMachine>) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Hands one batch to its shard. Never blocks; `done` hears what became of it.
    pub fn append(&self, _shard: ShardId, _request: Append, _done: AppendDone) {
        unimplemented!()
    }

    /// The same as a future.
    pub fn append_future(
        &self,
        _shard: ShardId,
        _request: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static {
        async { unimplemented!() }
    }

    /// Changes a partition; answered when the change is applied.
    pub async fn command(&self, _shard: ShardId, _command: PartitionCommand) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Drops closed segments beyond `retention`, by the shard's own time. Returns the new first offset if it moved.
    pub async fn enforce_retention(
        &self,
        _shard: ShardId,
        _partition: PartitionId,
        _retention: Retention,
    ) -> Result<Option<Offset>, CommandError> {
        unimplemented!()
    }

    /// Rewrites closed segments with the last record of each key.
    pub async fn compact(&self, _shard: ShardId, _partition: PartitionId) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Has the metadata machine apply `command`; returns its answer.
    pub async fn propose_metadata(&self, _command: Bytes) -> Result<Bytes, ProposeError> {
        unimplemented!()
    }

    /// The reader of an open partition.
    pub fn partition(&self, _id: PartitionId) -> Option<PartitionReader> {
        unimplemented!()
    }

    /// The shards' own time, ms since 1970: the wall clock as far as it is believed.
    pub fn now_ms(&self) -> i64 {
        unimplemented!()
    }

    /// Takes the wall clock as it is, however far it jumped.
    pub fn accept_clock(&self) {
        unimplemented!()
    }

    /// What the shards are doing.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// Number of data shards.
    pub fn shard_count(&self) -> u16 {
        unimplemented!()
    }

    /// Answers what waits with `Stopping`, writes a last checkpoint and ends the threads.
    pub async fn shutdown(self) {
        unimplemented!()
    }
}
