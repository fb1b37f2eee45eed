//! Every limit of this crate.

/// What one job of a reader thread reads before it lets the next job have the thread, in bytes. A batch that
/// is larger is still read whole.
pub const SLICE_BYTES: usize = 1 << 20;

/// What one answer of a follower holds, in bytes (whole batches, at least one).
pub const FOLLOW_BYTES: usize = 256 << 10;

/// A read that begins within this many offsets of the high watermark counts as a tail read: its bytes are
/// in the page cache, so it must not wait behind readers that need the disk.
pub const TAIL_OFFSETS: i64 = 65_536;

/// Jobs that may wait for one pool of reader threads. A caller has at most one there at a time.
pub const QUEUED_JOBS_MAX: usize = 1024;

/// Most partitions that one fetch may name.
pub const PARTITIONS_MAX: usize = 10_000;

const _: () = assert!(FOLLOW_BYTES <= SLICE_BYTES, "a follower's read is a slice at most");

/// A slice in permits of the semaphore that stands for the memory of answers, one permit a byte.
#[expect(clippy::cast_possible_truncation, reason = "a slice is far below 4 GiB, as asserted below")]
pub const SLICE_PERMITS: u32 = SLICE_BYTES as u32;

const _: () = assert!(SLICE_PERMITS as usize == SLICE_BYTES);
