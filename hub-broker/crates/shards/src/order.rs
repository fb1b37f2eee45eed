//! What the checkpointer is told.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use consensus::{Membership, SnapshotMark};
use wal::Lsn;

use crate::arrived::Arrived;
use crate::known_damage::KnownDamage;

/// How the checkpointer answers. Called on its thread; must not block.
pub(crate) type Answer<T> = Box<dyn FnOnce(T) + Send>;

pub(crate) enum Order {
    /// Enough went into the WAL.
    Due,
    /// A checkpoint of the group now, if there is news of it.
    Soon { group: u32 },
    /// A checkpoint of the group now, kept for replicas that need a snapshot: `Event::SnapshotReady`. `None` if it
    /// cannot be made now: no replica here, an entry half applied, or no room.
    Checkpoint { group: u32, reply: Answer<Option<SnapshotMark>> },
    /// Makes a snapshot that has arrived the group's state. Answered when that is durable; until then the old state stands.
    Install(Box<Install>),
    /// What is known to be damaged of the group's state of this generation, for the next start.
    NoteDamage { group: u32, generation: u32, damage: Box<KnownDamage> },
    /// The group's replica is no more, durably so: removes its checkpoints and the given directories.
    Destroy { group: u32, directories: Vec<PathBuf>, reply: Answer<()> },
    /// The hub stops: one last checkpoint, then say so and end.
    Finish(SyncSender<()>),
    /// End at once.
    Stop,
}

/// A snapshot to be switched in. The group is captured and applied to no more until the answer is there.
pub(crate) struct Install {
    pub group: u32,
    /// Of this hub's own replica.
    pub replica_number: u32,
    pub membership: Membership,
    /// The sequence number of the barrier that was written with `Wal::write_barrier`: its hard state has the new term and vote, but
    /// a commit index that the *old* log reaches.
    pub void_entries_through: Lsn,
    pub arrived: Arrived,
    /// Gets `arrived` back, to take its machine over.
    pub reply: Answer<Arrived>,
}
