//! Limits of the metadata, and how they relate.

use schemas::NodeId;

/// Topics that a cluster may have, internal ones included.
pub const TOPICS_MAX: usize = 10_000;
/// Partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 1_024;
/// Partitions of all topics: each costs file handles and a checkpoint entry on its shard's hub.
pub const PARTITIONS_MAX: usize = 50_000;
/// Partitions of a topic that is created without a number.
pub const PARTITIONS_DEFAULT: i32 = 4;
/// Topics whose partitions the reconciler opens or closes at the same time, and partitions of each.
pub const RECONCILE_TOPICS: usize = 64;
pub const RECONCILE_PARTITIONS: usize = 64;
/// How long the reconciler lets a topic rest after a failure.
pub const RECONCILE_RETRY_MS: u64 = 200;
/// Smaller than this, a compacted partition is left alone.
pub const COMPACTION_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Producer ids that a hub takes from the metadata at once.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;
/// The first id that is a stream's and never a Kafka producer's (`design/batch.md`).
pub const PRODUCER_IDS_END: i64 = schemas::limits::STREAM_ID_MIN;
/// A name, a host or a rack in a hub's registration.
pub const HUB_TEXT_BYTES_MAX: usize = 255;
/// A setting's value.
pub const SETTING_BYTES_MAX: usize = 1_024;
/// The metadata's group; data shard n is group n + 1.
pub const METADATA_GROUP: u32 = 0;
/// Hubs of a cluster.
pub const HUBS_MAX: usize = 64;
/// `max.message.bytes` of a topic that sets none: Kafka's own default.
pub const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
/// Bounds of `segment.bytes`.
pub const SEGMENT_BYTES_MIN: u32 = 1024 * 1024;
pub const SEGMENT_BYTES_DEFAULT: u32 = 256 * 1024 * 1024;
pub const SEGMENT_BYTES_MAX: u32 = 1024 * 1024 * 1024;

/// The hub of a cluster that has only one.
pub const FIRST_NODE: NodeId = NodeId(1);

const _: () = assert!(PARTITIONS_PER_TOPIC_MAX as usize <= PARTITIONS_MAX);
const _: () = assert!(PARTITIONS_DEFAULT <= PARTITIONS_PER_TOPIC_MAX);
const _: () = assert!(MESSAGE_BYTES_DEFAULT >= schemas::limits::AGENT_BATCH_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_DEFAULT <= schemas::limits::MESSAGE_BYTES_MAX);
const _: () =
    assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
