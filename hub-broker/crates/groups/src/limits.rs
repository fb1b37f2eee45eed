//! Limits of the groups, and how they relate.

/// A group id, a member id, an instance id, a client id or host, a protocol's name.
pub const NAME_BYTES_MAX: usize = 255;
/// A client's own id and host, of which the rest is cut. A member id is made of it, or of an instance id, and a UUID.
pub const CLIENT_BYTES_MAX: usize = 200;
/// An offset's metadata (Kafka: `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
/// What the members of one group hand in together.
pub const GROUP_METADATA_BYTES_MAX: usize = 512 * 1024;
/// Protocols that one member may offer.
pub const PROTOCOLS_MAX: usize = 64;
/// Offsets that one group keeps.
pub const OFFSETS_PER_GROUP_MAX: usize = 100_000;
/// Where a batch for the offsets topic is closed.
pub const BATCH_BYTES_TARGET: usize = 256 * 1024;
/// Requests that wait for one group's task.
pub const GROUP_INBOX: usize = 1_024;
/// Writes of one group that are on their way; further commits wait in its inbox.
pub const GROUP_WRITES_MAX: usize = 64;
/// How long a JoinGroup of a new member may wait (Kafka: `classicGroupNewMemberJoinTimeoutMs`).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;
/// How much of a partition is read at once while loading.
pub const LOAD_BYTES: usize = 4 * 1024 * 1024;
/// Partitions of the offsets topic that are read at the same time.
pub const LOAD_CONCURRENCY: usize = 2;
/// Requests that wait for one partition's leadership to be confirmed.
pub const CONFIRMS_WAITING_MAX: usize = 4_096;
/// How long a load rests that came while the lead was moving.
pub const LOAD_AGAIN_MS: u64 = 50;
/// How long a failed load rests before it is tried again.
pub const LOAD_RETRY_MS: u64 = 1_000;

// A group is one record, and so is an offset with its names.
const _: () = assert!(GROUP_METADATA_BYTES_MAX < schemas::limits::RECORD_BYTES_MAX);
const _: () = assert!(OFFSET_METADATA_BYTES_MAX + 2 * NAME_BYTES_MAX < BATCH_BYTES_TARGET);
const _: () = assert!(BATCH_BYTES_TARGET < metadata::limits::MESSAGE_BYTES_DEFAULT);
// Lengths of strings are an i16 in Kafka's formats.
const _: () = assert!(OFFSET_METADATA_BYTES_MAX <= i16::MAX as usize);
