//! What is asked of the log, and what it says about itself.

use crate::frame::{Frame, GroupId, Lsn};

/// Called on the writer thread once its frames are durable, with the sequence number of the last of them. It must be
/// short, and must not wait for the log.
pub type Done = Box<dyn FnOnce(Lsn) + Send>;

/// Frames that wait for the next group commit.
pub struct Write {
    pub frames: Vec<Frame>,
    /// Set when the frames are copies of what is live in that file.
    pub copies_of: Option<u64>,
    pub done: Done,
}

/// How full the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files that hold something that is still needed, the current one included.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Bytes of the files that nothing needs and that are kept so that entries can be read back.
    pub kept_bytes: u64,
    /// The groups whose unreleased entries keep the oldest file: checkpointing and releasing these gives it back.
    pub pinned_by: Vec<GroupId>,
}
