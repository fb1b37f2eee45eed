//! The handle of the log.

use crate::{
    config::Config,
    error::OpenError,
    frame::{Frame, GroupId, Lsn},
    recovered::Recovered,
};
use std::time::Duration;

/// Called on the writer thread once its frames are durable, with the sequence number of the last of them.
pub type Done = Box<dyn FnOnce(Lsn) + Send>;

/// A handle to the log; clones share it.
#[derive(Clone)]
pub struct Wal;

/// How full the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files that hold something that is still needed, the current one included.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// The groups whose unreleased entries keep the oldest file: checkpointing and releasing these gives it back.
    pub pinned_by: Vec<GroupId>,
}

#[expect(clippy::unimplemented, clippy::needless_pass_by_value, reason = "signatures first")]
impl Wal {
    /// Recovers the log in `config.dir` and starts its writer thread.
    pub fn open(config: Config) -> Result<(Wal, Recovered), OpenError> {
        unimplemented!("{config:?}")
    }

    /// Appends `frames`, in order, in one of the next group commits, then calls `done` on the writer thread.
    pub fn write(&self, frames: Vec<Frame>, done: Done) {
        done(Lsn(frames.len() as u64));
        unimplemented!()
    }

    /// Says that a durable checkpoint holds the group's entries up to `through_index`.
    pub fn release(&self, group: GroupId, through_index: u64) {
        unimplemented!("{group} {through_index}")
    }

    /// False while the disk has no room for the next file: the owner refuses proposals until it is true again.
    pub fn has_room(&self) -> bool {
        unimplemented!()
    }

    /// How long the disk write that is under way has been so; zero when there is none.
    pub fn write_stall(&self) -> Duration {
        unimplemented!()
    }

    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// The largest payload of one entry.
    pub fn payload_bytes_max(&self) -> usize {
        unimplemented!()
    }

    /// Writes what waits and one more commit frame, syncs, and ends the threads.
    pub fn close(self) {
        unimplemented!()
    }
}
