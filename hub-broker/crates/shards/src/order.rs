//! What the checkpointer is told.

use std::sync::mpsc::SyncSender;

pub(crate) enum Order {
    /// Enough went into the WAL.
    Due,
    /// The hub stops: one last checkpoint, then say so and end.
    Finish(SyncSender<()>),
    /// End at once.
    Stop,
}
