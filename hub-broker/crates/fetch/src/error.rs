//! Why a read was refused.

use std::path::PathBuf;

use schemas::{LeaderEpoch, NodeId, Offset};
use thiserror::Error;

/// Why a partition cannot be read here at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartitionError {
    #[error("the topic does not exist")]
    UnknownTopic,
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The metadata knows the partition; its shard has not opened it here yet, or fetches it anew. A retry helps.
    #[error("the partition is not open yet")]
    NotOpen,
    /// This hub does not lead the partition's shard. A retry helps at the leader, which may not be known yet.
    #[error("this hub does not lead the partition")]
    NotLeader { leader: Option<NodeId> },
    /// This hub leads the shard, but has not applied anything of its own term yet, so it does not know what is
    /// committed. A retry helps.
    #[error("this hub has just become the partition's leader")]
    NewLeader,
    /// The client's view of the leader is older than ours. A retry helps after it has refreshed its metadata.
    #[error("the leader epoch is {current}")]
    FencedEpoch { current: LeaderEpoch },
    /// The client's view of the leader is newer than ours. A retry helps.
    #[error("the leader epoch is still {current}")]
    UnknownEpoch { current: LeaderEpoch },
}

/// Why it is not known where a partition ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A retry may help, there or at another leader.
    #[error("hub {node} does not say where the partition ends: {why}")]
    NoAnswer { node: NodeId, why: String },
}

/// Why the bytes of an existing partition could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Said by the leader, or about offsets that are deleted for certain. A retry with the same offset does not help.
    #[error("the partition holds the offsets {log_start} up to {high_watermark}")]
    OutOfRange { log_start: Offset, high_watermark: Offset },
    /// Beyond what this follower has. The leader may have it; a retry helps, here or there.
    #[error("this replica ends at {high_watermark}")]
    NotYetHere { high_watermark: Offset },
    /// The stored bytes do not pass their checks. They are never served.
    #[error("damaged: {why}")]
    Damaged {
        why: String,
        /// Where they lie, if it is known.
        file: Option<PathBuf>,
    },
    /// The disk did not answer as it should. A retry may help.
    #[error("cannot read: {0}")]
    Disk(String),
    /// The reader threads are gone, or one of them died on this read.
    #[error("the reader has stopped")]
    Stopped,
    #[error("a fetch names at most {} partitions", crate::limits::PARTITIONS_MAX)]
    TooManyPartitions,
}
