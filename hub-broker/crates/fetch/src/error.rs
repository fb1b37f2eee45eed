//! Why a read was refused.

use schemas::{LeaderEpoch, Offset};
use thiserror::Error;

/// Why a partition cannot be read here at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartitionError {
    #[error("the topic does not exist")]
    UnknownTopic,
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The metadata knows the partition, its shard has not opened it yet. A retry helps.
    #[error("the partition is not open yet")]
    NotOpen,
    /// The client's view of the leader is older than ours. A retry helps after it has refreshed its metadata.
    #[error("the leader epoch is {current}")]
    FencedEpoch { current: LeaderEpoch },
    /// The client's view of the leader is newer than ours. A retry helps.
    #[error("the leader epoch is still {current}")]
    UnknownEpoch { current: LeaderEpoch },
}

/// Why the bytes of an existing partition could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A retry with the same offset does not help.
    #[error("the partition holds the offsets {log_start} up to {high_watermark}")]
    OutOfRange { log_start: Offset, high_watermark: Offset },
    /// The stored bytes do not pass their checks. They are never served.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The disk did not answer as it should. A retry may help.
    #[error("cannot read: {0}")]
    Disk(String),
    /// The reader threads are gone, or one of them died on this read.
    #[error("the reader has stopped")]
    Stopped,
    #[error("a fetch names at most {} partitions", crate::limits::PARTITIONS_MAX)]
    TooManyPartitions,
}
