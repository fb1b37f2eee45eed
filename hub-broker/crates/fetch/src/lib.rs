//! Reading partitions: the long poll of Kafka's fetch, offsets by time, and the tail for MQTT subscribers.
//!
//! Kafka's readers are answered by the leader, or by a follower that they were sent to; the tail comes from wherever
//! the partition is.
//!
//! Knows no wire format. Every blocking read runs on threads of this crate: one pool for readers near the
//! end of a partition, one for those that catch up, so that a consumer a week behind holds up neither the
//! front ends nor the consumers at the tail. The memory of answers that are not sent yet is bounded.

mod doubt;
mod end;
mod error;
mod follow;
mod gather;
pub mod limits;
mod list_offsets;
mod locate;
mod long_poll;
mod pool;
mod remote;
mod request;

use std::sync::Arc;

use metadata::Metadata;
use tokio::sync::Semaphore;

pub use error::{EndError, FetchError, PartitionError};
pub use follow::{Follow, FollowError, FollowFrom};
pub use list_offsets::{ListedOffset, OffsetSpec};
pub use request::{FetchPartition, FetchRequest, FetchResponse, Fetched, FetchedPartition, Held, Replica};

use pool::ReaderPool;

#[derive(Debug, Clone)]
pub struct Config {
    /// Threads for reads near the end of a partition. Default: 2.
    pub tail_threads: usize,
    /// Threads for everything else, which usually waits for the disk. Default: 2.
    pub catch_up_threads: usize,
    /// No answer is larger than this many bytes, whatever the client asks for, save for its first batch.
    /// Default: 32 MiB.
    pub answer_bytes_max: usize,
    /// All answers that are not sent yet hold at most this many bytes together. Default: 256 MiB.
    pub held_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { tail_threads: 2, catch_up_threads: 2, answer_bytes_max: 32 << 20, held_bytes_max: 256 << 20 }
    }
}

/// A cheap handle; all clones share the reader threads.
#[derive(Clone)]
pub struct Fetch {
    inner: Arc<Inner>,
}

struct Inner {
    metadata: Metadata,
    config: Config,
    tail: ReaderPool,
    catch_up: ReaderPool,
    /// One permit a byte.
    memory: Arc<Semaphore>,
}

impl Fetch {
    /// Starts the reader threads, and answers other hubs that follow partitions of this one. Must be called within a
    /// tokio runtime. Fails only where the system has no more threads to give.
    pub fn new(metadata: Metadata, config: Config) -> std::io::Result<Self> {
        let tail = ReaderPool::start("tail-reader", config.tail_threads, limits::QUEUED_JOBS_MAX)?;
        let catch_up =
            ReaderPool::start("catch-up-reader", config.catch_up_threads, limits::QUEUED_JOBS_MAX)?;
        let memory = Arc::new(Semaphore::new(config.held_bytes_max.max(limits::SLICE_BYTES)));
        let inner = Arc::new(Inner { metadata, config, tail, catch_up, memory });
        remote::serve(&inner);
        Ok(Self { inner })
    }
}
