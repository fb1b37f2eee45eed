//! Every limit of this crate.

use std::time::Duration;

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

/// How long a hub that is asked for a partition's tail waits for more, in ms.
pub const REMOTE_WAIT_MS: u32 = 1_000;

/// How much longer than that one waits for its answer, in ms.
pub const REMOTE_GRACE_MS: u32 = 5_000;

/// Other hubs' reads that one hub works on at a time; the next are refused.
pub const REMOTE_READS_MAX: usize = 256;

/// How long a follower waits before it asks another hub, or the same again, in ms.
pub const REMOTE_PAUSE_MS: u32 = 200;

/// How often a follower that waits looks whether its replica is still the one to read, in ms.
pub const FOLLOW_LOOK_MS: u32 = 1_000;

/// How long a hub looks for what it can read behind what is damaged.
pub const PASSING_MAX: Duration = Duration::from_secs(2);

/// Who asks waits for that.
const _: () = assert!(PASSING_MAX.as_millis() < REMOTE_GRACE_MS as u128);

/// Where many follow, their waits must not look like connections that have stalled.
const _: () = assert!(REMOTE_WAIT_MS < REMOTE_GRACE_MS);

/// A slice in permits of the semaphore that stands for the memory of answers, one permit a byte.
#[expect(clippy::cast_possible_truncation, reason = "a slice is far below 4 GiB, as asserted below")]
pub const SLICE_PERMITS: u32 = SLICE_BYTES as u32;

const _: () = assert!(SLICE_PERMITS as usize == SLICE_BYTES);
