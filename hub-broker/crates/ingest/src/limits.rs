//! Every limit of this crate, and how they relate.

/// Where a batch that the hub builds is closed, in bytes. What one call brings is never split, so a batch may
/// be larger by one call.
pub const PLAIN_BATCH_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of plain messages that one partition holds unanswered before it answers `Overloaded`.
pub const PLAIN_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the batch around one plain message costs at most, beside its key, value and headers.
pub const PLAIN_RECORD_OVERHEAD_BYTES: usize = 64;

/// What one header costs beside its name and value.
pub const PLAIN_HEADER_OVERHEAD_BYTES: usize = 10;

/// How often a batch of the hub's own is proposed under a fresh producer id before it is given up.
pub const PLAIN_ATTEMPTS_MAX: u32 = 2;

/// How long a batch that nobody has taken rests before it is tried again, in ms.
pub const PLAIN_RETRY_MS: u64 = 50;

/// How often a batch of the hub's own is tried again while nobody is known to lead its shard, or the lead moves: some
/// ten seconds with the rests alone, beside what each try takes.
pub const PLAIN_RETRIES_MAX: u32 = 200;

/// Batches that one agent publish may carry. A batch has at least its header and one record.
pub const AGENT_BATCHES_PER_PUBLISH_MAX: usize = 4096;

const _: () = assert!(PLAIN_BATCH_BYTES_TARGET * 8 <= PLAIN_PENDING_BYTES_MAX);
const _: () = assert!(PLAIN_BATCH_BYTES_TARGET < schemas::limits::MESSAGE_BYTES_MAX);
