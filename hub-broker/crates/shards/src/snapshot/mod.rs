//! Snapshots by copy of segments: a replica that is too far behind its leader's log gets the leader's newest
//! checkpoint, states and segment files, into directories of the next *generation*, and one manifest switches them in.
//!
//! ```text
//!   leader                                              follower
//!   NeedSnapshot ─> Order::Checkpoint ─> SnapshotReady
//!   MsgSnapshot(index, term) ─────────────────────────> WantSnapshot ─> Snapshots::fetch
//!   Shelf (files pinned)  <── OPEN, READ …, CLOSE ─────  copies, verifies, syncs: `TOPIC-INDEX.gN`
//!   Notice::Sent ─> SnapshotSent                        Arrived ─> Event::Snapshot ─> Persist{snapshot}
//!                                                       Wal::write_barrier ─> Order::Install ─> Persisted
//! ```
//!
//! Until the manifest is durable the old state stands whole; from then on the new one does. Nothing that a crash can
//! bring back counts on what only the other has: the directories of the new generation are in no manifest before, the entries in the WAL
//! are void only by the new manifest, and the old generation's directories go only after it.

mod as_it_is;
mod copy;
mod fetch;
pub(crate) mod format;
mod progress;
mod serve;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use consensus::{ReplicaId, SnapshotMark};
use partition_log::{FileCache, ImportError};
use peers::Peers;

use crate::mend::DamagedFiles;
use crate::observe::snapshots as observe;
use crate::order::Order;
use crate::pacer::Pacer;

use fetch::Fetches;
use format::Refusal;
use serve::Serving;

pub(crate) use crate::arrived::{Arrived, ArrivedMachine};
pub(crate) use copy::{Ask, Target, copy};
pub use progress::CopyProgress;
pub(crate) use shelf::{Offer, Shelf};

/// What the groups are told by whoever serves, fetches or reads their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// `Event::SnapshotReady`: made without having been ordered, because a replica asked for an earlier one that is gone.
    Ready { group: u32, mark: SnapshotMark },
    /// `Event::SnapshotSent`: the replica has copied the snapshot, or has not asked for it any more.
    Sent { group: u32, to: ReplicaId, ok: bool },
    /// Damage was found in this file of the replica with this number, which may be here no more.
    Damaged { group: u32, replica_number: u32, file: PathBuf },
}

/// Called on any thread; must not block.
pub(crate) type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

/// The open files, for logs of the group's replica with this number, whose damage is told.
pub(crate) fn watched(files: &FileCache, group: u32, replica_number: u32, tell: &Tell) -> FileCache {
    let tell = tell.clone();
    files.watched(Arc::new(move |damage| {
        observe::damage();
        tell(Notice::Damaged { group, replica_number, file: damage.file.clone() });
    }))
}

/// What serving and fetching need.
pub(crate) struct Ground {
    pub peers: Peers,
    pub orders: Sender<Order>,
    pub pacer: Pacer,
    /// The directory of the partitions' directories.
    pub log: PathBuf,
    /// The directory of the groups' checkpoints.
    pub checkpoints: PathBuf,
    pub files: FileCache,
    /// What the copies must leave free on the disk.
    pub reserve_bytes: u64,
    pub tell: Tell,
}

/// A snapshot that a replica here is to have: `Action::WantSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub group: u32,
    pub index: u64,
    pub term: u64,
    /// The leader's replica, and the one here.
    pub from: ReplicaId,
    pub to: ReplicaId,
    /// The generation to be made: one above that of the group's state now.
    pub generation: u32,
    /// Files of the group's state now, until it is replaced: nothing is taken from them unread.
    pub damaged: DamagedFiles,
}

/// Why a snapshot was not copied. The leader hears of it and offers one again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Another fetch for the group took its place, or the hub stops.
    #[error("given up")]
    Cancelled,
    #[error("the other hub has not answered for a long time")]
    Silent,
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("the other hub's answer cannot be read")]
    Malformed,
    #[error("{needed} bytes are needed on the disk")]
    NoRoom { needed: u64 },
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// Called with what has become of a fetch; must not block.
pub(crate) type Fetched = Box<dyn FnOnce(Result<Arrived, FetchError>) + Send>;

/// The hub's snapshots, those that it serves and those that it fetches. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots {
    serving: Serving,
    fetches: Fetches,
}

impl Snapshots {
    /// Serves from now on what is offered.
    pub(crate) fn start(ground: Ground) -> io::Result<Self> {
        let ground = Arc::new(ground);
        Ok(Self { serving: Serving::start(&ground)?, fetches: Fetches::new(ground) })
    }

    /// Copies in the background, at most two snapshots at a time. Another call for the same group takes the place
    /// of the earlier one, which is told that it was given up.
    pub(crate) fn fetch(&self, wanted: Wanted, done: Fetched) {
        self.fetches.fetch(wanted, done);
    }

    /// Gives up what is fetched for the group, if anything is.
    pub(crate) fn cancel(&self, group: u32) {
        self.fetches.cancel(group);
    }

    /// How far the copies are that are under way, by group.
    pub(crate) fn copies(&self) -> BTreeMap<u32, CopyProgress> {
        self.fetches.copies()
    }

    /// A message about the snapshot at `index` left for `to`: if it does not ask for it, `Notice::Sent` says so.
    pub(crate) fn sent(&self, group: u32, index: u64, to: ReplicaId) {
        self.serving.tell(group, index, to);
    }

    /// Keeps a checkpoint for replicas that need it.
    pub(crate) fn offer(&self, offer: Offer) {
        self.serving.offer(offer);
    }

    /// Ends all copies, and waits until none is at work. Nothing is fetched or served any more.
    pub(crate) fn stop(&self) {
        self.fetches.stop();
        self.serving.stop();
    }
}
