//! Limits of the metadata, and how they relate.

use std::time::Duration;

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
/// Replicas of a data shard, where there are as many hubs.
pub const REPLICATION_FACTOR: usize = 3;
/// Replicas of the metadata that vote.
pub const METADATA_VOTERS_MAX: usize = 5;
/// Groups that at the same time get a replica only to be spread more evenly: each may be copying a whole shard.
pub const MOVES_MAX: usize = 8;
/// Groups that at the same time get a replica that they lack on the same hub.
pub const REPAIRS_MAX: usize = 8;
/// Groups that at the same time lose a replica that they do not need.
pub const LEAVES_MAX: usize = 8;
/// How long a replica may be joining without getting on, apart from the time to copy what there is.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long a group and a hub are left apart after that.
pub const JOIN_REST: Duration = Duration::from_secs(10 * 60);
/// How often it is looked at how replicas get on that are joining.
pub const JOIN_LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Preferred leaders that are changed in one round of planning.
pub const LEADER_CHANGES_MAX: usize = 16;
/// Entries that a replica may be behind and still count as caught up: what is in flight while a group is written.
pub const CAUGHT_UP_ENTRIES: u64 = 16;
/// How often the groups that are led here are looked at.
pub const STEWARD_INTERVAL: Duration = Duration::from_millis(200);
/// How long a group is left alone after a step that failed, and after its leader was asked to hand over.
pub const STEWARD_REST: Duration = Duration::from_millis(300);
/// A group that refuses its steps for so long is worth a line, and all that do are worth one each time.
pub const REFUSAL_PATIENCE: Duration = Duration::from_secs(30);
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// One that has refused nothing for so long is led elsewhere, or has nothing to do.
pub const REFUSAL_FORGOTTEN: Duration = Duration::from_secs(10);
pub const TRANSFER_REST: Duration = Duration::from_secs(2);
/// Doublings of that rest while the same replica does not take the lead.
pub const TRANSFER_DOUBLINGS_MAX: u32 = 8;
/// How long a hub waits before it asks again whether the vote of a replica that the catalog forgot still counts.
pub const CONFIRM_REST: Duration = Duration::from_secs(2);
/// A hub that was away leads again when it has been back for so long, and the leader of now has led for so long.
pub const HAND_BACK_AFTER: Duration = Duration::from_secs(3);
/// How often a plan is made when nothing has changed: hubs come and go.
pub const PLAN_INTERVAL: Duration = Duration::from_millis(500);
/// A hub that was lost longer ago is not waited for by replicas that have not joined yet.
pub const LATELY: Duration = Duration::from_secs(60);
/// How often it is looked at whether anything that a hub has set aside can go.
pub const SET_ASIDE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a report to the metadata rests after a failure.
pub const LOST_RETRY: Duration = Duration::from_millis(500);
/// How often a hub without a cluster looks again, and how often it says what it waits for.
pub const FORMING_INTERVAL: Duration = Duration::from_millis(100);
pub const FORMING_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// What is waited for is worth a line when it has held this long.
pub const FORMING_LOG_AFTER: Duration = Duration::from_secs(1);
/// The number of groups led is worth a line when it has held this long.
pub const LEADERSHIP_LOG_INTERVAL: Duration = Duration::from_secs(3);
/// How long a hub waits for the answer to its request to join.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a hub asks the others whether they know a newer catalog than it does.
pub const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);
/// How often a hub compares its clock with the others', and how often while it does not believe its own.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(10);
pub const CLOCK_INTERVAL_HELD: Duration = Duration::from_secs(1);
/// How long a hub waits for another's report.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a hub waits to hear of a topic that the leader says is there.
pub const HEARSAY: Duration = Duration::from_secs(1);
/// How long a command is proposed again and again while the metadata changes its leader.
pub const PROPOSE_MAX: Duration = Duration::from_secs(10);
pub const PROPOSE_RETRY: Duration = Duration::from_millis(50);
/// How long no majority may be there before whoever waits for an agreement is told so: a hub that restarts, or a
/// connection that breaks and is made again, takes less.
pub const MAJORITY_PATIENCE: Duration = Duration::from_secs(2);
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
const _: () = assert!(MAJORITY_PATIENCE.as_millis() < PROPOSE_MAX.as_millis());
const _: () = assert!(MESSAGE_BYTES_DEFAULT >= schemas::limits::AGENT_BATCH_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_DEFAULT <= schemas::limits::MESSAGE_BYTES_MAX);
const _: () =
    assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
