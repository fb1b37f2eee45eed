//! What lies where, and how long things take. All times are virtual, in milliseconds.

use schemas::{PartitionId, PartitionIndex, ShardId, TopicId};
use uuid::Uuid;

/// Data shards of a simulated cluster. Group 0 is the metadata's, group n + 1 is shard n.
pub const SHARDS: u16 = 2;
pub const GROUPS: u32 = SHARDS as u32 + 1;
/// Partitions, spread over the shards: the last is compacted.
pub const PARTITIONS: i32 = 5;
pub const COMPACTED_PARTITION: i32 = PARTITIONS - 1;
pub const SEGMENT_BYTES: u32 = 8 * 1024;

/// Small, so that files fill up, are let go and used again all the time.
pub const WAL_FILE_BYTES: u64 = 64 * 1024;
pub const WAL_KEEP_BYTES: u64 = 2 * WAL_FILE_BYTES;

pub const TICK_MS: u64 = 50;
pub const STEWARD_MS: u64 = 300;
pub const OBSERVE_MS: u64 = 40;
pub const CHECKPOINT_MS: u64 = 1500;
/// All partitions are open by then.
pub const OPENED_MS: u64 = 1000;
/// Nothing goes wrong before.
pub const CALM_MS: u64 = 3000;
/// Producers and agents, how often each looks at its answers, and how long it waits for them.
pub const CLIENTS: i32 = 5;
pub const CLIENT_MS: u64 = 100;
pub const ANSWER_MS: u64 = 1000;
/// Those who write to the compacted partition, and how many keys they write under.
pub const KEYED_CLIENTS: i32 = 2;
pub const KEYS: u64 = 10;
/// How often a hub compacts, and how long a tombstone stays.
pub const COMPACT_MS: u64 = 1200;
pub const TOMBSTONE_MS: i64 = 1500;
/// How often a hub reads one of its partitions through.
pub const SCRUB_MS: u64 = 400;
/// A hub goes on so long after its disk has room again.
pub const GOES_ON_MS: u64 = 3 * TICK_MS;
/// A replica that is to be changed so is waited for so long, until its group is whole.
pub const ALTER_MS: u64 = 8_000;
/// A change that no checksum tells is found in this time where nothing else goes wrong.
pub const FOUND_MS: u64 = 25_000;
/// How often a coordinator looks at its answers; each partition of those before the visited one has one.
pub const COORDINATOR_MS: u64 = 150;
pub const CONSUMERS: i32 = 4;
pub const CONSUMER_MS: u64 = 120;
/// How often a producer comes that writes once, to a partition where such are forgotten after a while. Nobody who
/// sends again after a long time may write there but agents, whose streams are not forgotten.
pub const VISITOR_MS: u64 = 400;
pub const VISITED_PARTITION: i32 = 3;
pub const EXPIRE_MS: i64 = 2000;
/// How often the oldest batches of a partition are let go, and how many offsets it keeps.
pub const RETAIN_MS: u64 = 900;
pub const RETAINED_PARTITION: i32 = 2;
pub const RETAINED_OFFSETS: i64 = 200;
/// A copy of a snapshot takes this long, more or less.
pub const COPY_MS: u64 = 80;
/// The metadata hears so late that a hub is a new incarnation.
pub const REGISTER_MS: u64 = 1500;
/// A healed cluster comes to rest in this time, and is looked at so often meanwhile.
pub const REST_MS: u64 = 40_000;
pub const LOOK_MS: u64 = 250;

/// The wall clock when a simulation begins: 2026-01-01.
pub const WALL_MS: i64 = 1_767_225_600_000;

pub fn partition(index: i32) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(index) }
}

pub fn shard(index: i32) -> ShardId {
    ShardId(u16::try_from(index).unwrap_or(0) % SHARDS)
}

pub fn group(index: i32) -> u32 {
    u32::from(shard(index).0) + 1
}
