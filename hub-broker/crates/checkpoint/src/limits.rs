//! Every limit of a checkpoint.

pub const KEY_BYTES_MAX: usize = 255;
pub const STATE_BYTES_MAX: usize = 1024 * 1024 * 1024;
pub const MEMBERSHIP_BYTES_MAX: usize = 1024 * 1024;
/// Largest number of states in one checkpoint.
pub const STATES_MAX: usize = 1024 * 1024;
/// A manifest larger than this is not read.
pub const MANIFEST_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A checkpoint names at most so many state files; beyond it the smaller half of them is written together.
pub const STATE_FILES_MAX: usize = 8;

const _: () = {
    assert!(KEY_BYTES_MAX <= u8::MAX as usize);
    assert!(STATE_BYTES_MAX <= u32::MAX as usize);
    // A key, its length and the place of its state take less than 512 bytes in a manifest.
    assert!((STATES_MAX * 300 + MEMBERSHIP_BYTES_MAX) as u64 <= MANIFEST_BYTES_MAX);
    assert!(STATE_FILES_MAX >= 2);
};
