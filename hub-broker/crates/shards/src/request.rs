//! What is asked of a shard, and what it answers.

use bytes::Bytes;
use partition_log::{LogOptions, Origin};
use schemas::{Offset, PartitionId, Term};

/// One validated batch for one partition.
#[derive(Debug, Clone)]
pub struct Append {
    pub partition: PartitionId,
    /// Whose rule of sequences decides about the batch.
    pub origin: Origin,
    /// Exactly one RecordBatch v2, validated; base offset and leader epoch are assigned when it is applied.
    pub batch: Bytes,
    /// Only in this term: in another the batch is refused with `NotLeader`, and is not in the log.
    pub expected_term: Option<Term>,
}

/// Where a batch came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The partition's first offset at that moment.
    pub log_start: Offset,
    /// The proposal stamp, ms since 1970: what retention counts from.
    pub append_time_ms: i64,
    /// The batch was stored before; the offsets are those of then.
    pub duplicate: bool,
}

/// A change of a shard's partitions. Each is an entry of the shard's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionCommand {
    /// Makes the partition; of one that exists it only sets the options.
    Open { partition: PartitionId, options: LogOptions },
    /// Sets the options of an open partition.
    Configure { partition: PartitionId, options: LogOptions },
    /// Ends the partition; its files go with the checkpoints that name them. Its id is never opened again.
    Close { partition: PartitionId },
    /// Moves the first offset forward. An offset beyond the end moves it to the end.
    AdvanceStart { partition: PartitionId, to: Offset },
    /// Closes the active segment, so that retention and compaction can reach it.
    Roll { partition: PartitionId },
    /// Forgets Kafka producers untouched for this long.
    ExpireProducers { partition: PartitionId, after_ms: i64 },
}

impl PartitionCommand {
    /// The partition that it is about.
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Open { partition, .. }
            | Self::Configure { partition, .. }
            | Self::Close { partition }
            | Self::AdvanceStart { partition, .. }
            | Self::Roll { partition }
            | Self::ExpireProducers { partition, .. } => *partition,
        }
    }
}

/// How much of a partition is kept. `None` keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Counted from the append time.
    pub ms: Option<i64>,
    pub bytes: Option<i64>,
}
