//! What a fetch asks for and what it is given.

use std::time::Duration;

use bytes::Bytes;
use schemas::{LeaderEpoch, Offset, PartitionId};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::FetchError;

/// A long poll over several partitions (KIP-74).
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// The answer is given as soon as this many bytes are there.
    pub min_bytes: usize,
    /// The answer is not larger than this, save for its first batch, which is always given whole.
    pub max_bytes: usize,
    /// Who may answer.
    pub replica: Replica,
    pub partitions: Vec<FetchPartition>,
}

/// Which replica of a partition may answer a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replica {
    /// The leader alone.
    #[default]
    Leader,
    /// Any that has the partition: the reader has been sent to one that is near (KIP-392).
    Any,
}

#[derive(Debug, Clone)]
pub struct FetchPartition {
    pub partition: PartitionId,
    /// The first record wanted. The batch that holds it is given whole.
    pub offset: Offset,
    /// Most bytes from this partition, with the same exception.
    pub max_bytes: usize,
    /// The epoch that the client believes the leader to be in, where it says so.
    pub current_leader_epoch: Option<LeaderEpoch>,
}

/// The answer, one partition after another in the order of the request.
#[derive(Debug)]
pub struct FetchResponse {
    pub partitions: Vec<FetchedPartition>,
    /// Keep this until the bytes are sent: it is their share of the memory set aside for answers.
    pub held: Held,
}

#[derive(Debug)]
pub struct FetchedPartition {
    pub partition: PartitionId,
    pub result: Result<Fetched, FetchError>,
}

#[derive(Debug, Clone)]
pub struct Fetched {
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// Whole batches, in order, as they are stored.
    pub records: Vec<Bytes>,
}

impl Fetched {
    pub fn len_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// A share of the memory set aside for answers, given back when dropped.
#[derive(Debug, Default)]
pub struct Held(pub(crate) Option<OwnedSemaphorePermit>);
