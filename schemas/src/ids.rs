//! Identities and positions, each a type of its own so that they cannot be confused.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A record's position in its partition; the first is 0.
    Offset(i64)
);
number!(
    /// A partition's number within its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// A data shard: one raft group that holds many partitions.
    ShardId(u16)
);
number!(
    /// A raft term.
    Term(u64)
);
number!(
    /// A hub within its cluster, from 1.
    NodeId(u32)
);
number!(
    /// The leader epoch of a partition; −1 where none is known.
    LeaderEpoch(i32)
);
number!(
    /// A Kafka producer id, or an agent's stream id (see [`crate::is_stream_id`]); −1 is none.
    ProducerId(i64)
);
number!(
    /// A Kafka producer's epoch; 0 for streams, −1 is none.
    ProducerEpoch(i16)
);

impl Offset {
    pub fn plus(self, records: i64) -> Offset {
        Offset(self.0 + records)
    }
}

impl LeaderEpoch {
    /// What an agent's batch carries before a leader has placed it.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

/// A topic's identity for life; its name may be used again after it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition's identity, on disk too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    pub topic: TopicId,
    pub index: PartitionIndex,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}
