//! Every limit of the write-ahead log, and how they hang together.

use crate::codec::{COMMIT_FIXED_BYTES, FRAME_HEADER_BYTES};
use std::time::Duration;

/// Every write is filled up with zeros to the end of a page, so that the kernel never reads a page of a recycled file
/// from the disk only to change a part of it.
pub const PAGE_BYTES: u64 = 4096;
/// Space in front of the first frame of a file: a page of its own, so that no frame's write can tear the header.
pub const FILE_HEADER_BYTES: u64 = PAGE_BYTES;
/// Default size of one file.
pub const FILE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Smallest and largest size of one file.
pub const FILE_BYTES_MIN: u64 = 16 * 1024;
pub const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Largest payload of one frame. Above the largest message (16 MiB) plus what an entry wraps around it.
pub const PAYLOAD_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Payloads up to this size are copied beside their header: cheaper than a slice of their own in the gathered write.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 512;
/// Most groups that one group commit names. Beyond it, the group commit is ended and the next begun.
pub const COMMIT_GROUPS_MAX: usize = 1024;
/// Slices in one `pwritev` (IOV_MAX on Linux).
pub const SLICES_MAX: usize = 1024;
/// A new file is filled with zeros in steps of this size, each synced, so that no commit waits behind a large flush.
pub const FILL_STEP_BYTES: usize = 1024 * 1024;
/// Live frames of an idle group are rewritten in steps of this size.
pub const REWRITE_STEP_BYTES: usize = 256 * 1024;
/// Released files that wait to be used again; more are removed.
pub const FREE_FILES_MAX: usize = 4;
/// The oldest file is emptied by rewriting when this many files are in use.
pub const REWRITE_FILES: usize = 4;
/// A group that wrote nothing into this many of the newest files is idle.
pub const IDLE_FILES: u64 = 2;
/// The headers of a file's frames are looked at in steps of this size.
pub const SURVEY_WINDOW_BYTES: usize = 16 * 1024;
/// Places of entries that are remembered, of 16 bytes each; those of a few files in any case.
pub const SURVEYED_SPOTS_MAX: usize = 2 * 1024 * 1024;
pub const SURVEYS_MIN: usize = 3;
/// Entries that are read back at once, however small they are.
pub const READ_ENTRIES_MAX: usize = 1024;
/// Default pause without writes after which one more commit frame covers the last group commit.
pub const IDLE_COMMIT_DEFAULT: Duration = Duration::from_millis(100);
/// Default pause between two attempts to make a file when the disk is full.
pub const ROOM_RETRY_DEFAULT: Duration = Duration::from_millis(250);

/// Room that is always left for the commit frame that ends a file.
pub const SEAL_BYTES: u64 = (FRAME_HEADER_BYTES + COMMIT_FIXED_BYTES) as u64;
/// Room that group commits leave at the end of a file: for the frame that ends it, and for a few that name the first
/// file, so that released files can be used again when the disk has no room for a new one.
pub const TAIL_RESERVE_BYTES: u64 = 8 * SEAL_BYTES;
/// The largest commit frame that names groups.
const COMMIT_BYTES_MAX: u64 = SEAL_BYTES + 8 * COMMIT_GROUPS_MAX as u64;

const _: () = {
    assert!(FILE_BYTES_MIN > FILE_HEADER_BYTES + COMMIT_BYTES_MAX + TAIL_RESERVE_BYTES + 1024);
    assert!(FILE_BYTES_DEFAULT > 2 * PAYLOAD_BYTES_MAX as u64);
    assert!(PAYLOAD_BYTES_MAX < u32::MAX as usize);
    assert!(FILE_BYTES_MAX <= u32::MAX as u64);
    assert!(FILE_HEADER_BYTES.is_multiple_of(8) && SEAL_BYTES.is_multiple_of(8));
    assert!(REWRITE_FILES as u64 > IDLE_FILES);
};

/// The largest payload that a file of `file_bytes` can hold beside its header and commit frames.
pub fn payload_bytes_max(file_bytes: u64) -> usize {
    // A frame that is too large for what is left goes first into a file, alone in its group commit if need be.
    let around = FILE_HEADER_BYTES + FRAME_HEADER_BYTES as u64 + SEAL_BYTES + 8 + TAIL_RESERVE_BYTES + 8;
    usize::try_from(file_bytes.saturating_sub(around))
        .map_or(PAYLOAD_BYTES_MAX, |room| room.min(PAYLOAD_BYTES_MAX))
}
