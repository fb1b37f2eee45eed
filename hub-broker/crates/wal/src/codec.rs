//! The layout of files and frames.

pub const FRAME_HEADER_BYTES: usize = 48;
pub const COMMIT_FIXED_BYTES: usize = 32;
