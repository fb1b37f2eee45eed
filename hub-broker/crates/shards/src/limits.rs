//! Every limit of the shards, and how they relate.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Data shards of a new cluster.
pub const SHARD_COUNT_DEFAULT: u16 = 64;
/// Data shards that a cluster can have.
pub const SHARD_COUNT_MAX: u16 = 1024;
/// Executor threads beyond this bring nothing: the WAL's one writer is the limit.
pub const EXECUTOR_THREADS_MAX: usize = 4;
/// An entry is closed when it holds this much; one larger batch may exceed it.
pub const ENTRY_BYTES_TARGET: usize = 1024 * 1024;
/// Entries of one shard that may be on their way at a time.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Largest batch that an append may carry.
pub const BATCH_BYTES_MAX: usize = schemas::limits::MESSAGE_BYTES_MAX;
/// Largest command for the metadata machine.
pub const METADATA_COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Commands in one entry.
pub const ENTRY_COMMANDS_MAX: usize = 65_536;
/// Bytes of one WAL file.
pub const WAL_FILE_BYTES_DEFAULT: u64 = 64 * MIB;
/// WAL bytes between two checkpoints.
pub const CHECKPOINT_BYTES_DEFAULT: u64 = 128 * MIB;
/// What the reserve holds beside one WAL file: room for entries in flight and for a checkpoint.
pub const RESERVE_MARGIN_BYTES: u64 = 16 * MIB;
/// Unanswered bytes that a hub holds.
pub const QUEUED_BYTES_MAX_DEFAULT: u64 = 128 * MIB;
/// What one queued request costs besides its batch.
pub const REQUEST_OVERHEAD_BYTES: u64 = 256;
/// Segment and index files that are kept open for readers, over all partitions.
pub const READ_FILES_MAX: usize = 512;
/// But no more than this part of what the process may open: most is for connections and for what is written.
pub const READ_FILES_SHARE: usize = 16;
/// A write to the WAL that takes longer than this ends the process.
pub const WAL_STALL_MAX: Duration = Duration::from_secs(30);
/// A tombstone of a compacted partition stays this long, so that every reader of the whole log meets it.
pub const TOMBSTONE_RETENTION_MS: i64 = 24 * 3_600_000;
/// Further than this the wall clock may not run from what the uptime accounts for.
pub const CLOCK_JUMP_MS_MAX: i64 = 3_600_000;

const _: () = assert!(QUEUED_BYTES_MAX_DEFAULT > 2 * BATCH_BYTES_MAX as u64);
const _: () = assert!(ENTRY_BYTES_TARGET <= BATCH_BYTES_MAX);
const _: () = assert!(METADATA_COMMAND_BYTES_MAX <= BATCH_BYTES_MAX);
