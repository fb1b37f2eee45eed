//! What goes into a replica and what comes out of it.

use bytes::Bytes;
use raft::eraftpb;

use crate::{HardState, LogEntry, Membership, MembershipChange, PeerMessage, ReplicaId, Role};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// One tick of the clock passed.
    Tick,
    /// Stand for election now.
    Campaign,
    /// Put this into the log. `token` comes back with [`Action::Apply`] or [`Action::Refused`], exactly once
    /// while the replica lives.
    Propose { payload: Bytes, token: u64 },
    /// Change who belongs to the group. `token` comes back as that of a proposal does.
    ChangeMembership { change: MembershipChange, token: u64 },
    /// Hand leadership over to this voter. It ends after one election timeout at the latest, whether it succeeded
    /// or not; until then every proposal is refused.
    TransferLeadership { to: ReplicaId },
    /// Ask for an index that everything acknowledged before now is at or below. `token` comes back with
    /// [`Action::ReadReady`] or [`Action::ReadRefused`].
    ReadIndex { token: u64 },
    /// Everything of this and all earlier [`Action::Persist`]s is durable. A snapshot among them is in place: the
    /// state is that of the snapshot.
    Persisted { ready: u64 },
    /// All entries up to this one have been applied.
    Applied { index: u64 },
    /// Another replica said something. A message that offers a snapshot comes back as [`Action::WantSnapshot`].
    Message(PeerMessage),
    /// What [`Action::WantSnapshot`] offered has been copied. If the replica still has use for it, an
    /// [`Action::Persist`] names it; otherwise what was copied may go.
    Snapshot(PeerMessage),
    /// There is a checkpoint of the state as of this entry that followers may copy. Only the newest counts.
    SnapshotReady { index: u64, term: u64, membership: Membership },
    /// A follower has copied the snapshot that it was sent (its acknowledgement follows when it is in place), or
    /// will not: then it is offered one again.
    SnapshotSent { to: ReplicaId, ok: bool },
    /// What [`Action::ReadEntries`] asked for: at least one entry, from `from` on without holes, and the term of the
    /// entry before.
    EntriesRead { from: u64, before_term: u64, entries: Vec<LogEntry> },
    /// The entry that [`Action::ReadEntries`] asked for is not to be had, or a snapshot would be less to copy: whoever
    /// needs it gets a snapshot.
    EntriesGone { from: u64 },
    /// Messages to this replica were probably lost.
    Unreachable { replica: ReplicaId },
    /// The leader's process is gone: nobody need wait for its lease to run out.
    LeaderGone,
    /// The disk does not answer: lead nobody, vote for nobody and stand for nothing until [`Event::Recovered`].
    StepDown,
    /// The disk answers again.
    Recovered,
    /// Stand for election no more, unless nobody else could or the leader asks for it: this replica is about to go.
    Resign,
}

/// Something to be done, in the order of the vector.
#[derive(Debug, Clone)]
pub enum Action {
    /// Make this durable, then report [`Event::Persisted`].
    Persist {
        ready: u64,
        hard_state: Option<HardState>,
        /// Takes the place of the whole state and log, before `entries` are written. What was handed out to be
        /// applied and is not yet applied is part of it.
        snapshot: Option<SnapshotMark>,
        /// Entries from this index on are gone, before `entries` are written.
        truncate_from: Option<u64>,
        entries: Vec<LogEntry>,
    },
    /// Send this, first in first out per receiver. It may be lost.
    Send(PeerMessage),
    /// These are committed: apply them in order, then report [`Event::Applied`].
    Apply(Vec<Committed>),
    /// The replica's view of who leads has changed.
    RoleChanged { role: Role, term: u64, leader: Option<ReplicaId> },
    /// A proposal or a change of the membership did not get into the log.
    Refused { token: u64, reason: RefusedReason },
    /// The replica leads, confirmed by a majority after the question: what is applied up to `index` contains all
    /// that was acknowledged before it.
    ReadReady { token: u64, index: u64 },
    /// The replica does not lead, or has not committed an entry of its own term yet.
    ReadRefused { token: u64 },
    /// The leader offers its state as of this entry. Copy it, then report `message` as [`Event::Snapshot`]. It may
    /// be offered again while it is being copied.
    WantSnapshot { from: ReplicaId, index: u64, term: u64, message: PeerMessage },
    /// A follower needs a snapshot, and there is none, or none that it could go on from: make a checkpoint and
    /// report [`Event::SnapshotReady`].
    NeedSnapshot { to: ReplicaId },
    /// A follower needs entries that are not in memory any more: read them back from `from` on, none beyond `through`,
    /// no more than `bytes_max` if that is more than one, and report [`Event::EntriesRead`] or
    /// [`Event::EntriesGone`]. All of them are applied. There is one such question at a time.
    ReadEntries { from: u64, through: u64, bytes_max: u64 },
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The last entry that it contains.
    pub index: u64,
    pub term: u64,
    pub membership: Membership,
}

impl SnapshotMark {
    pub(crate) fn to_raft(&self) -> eraftpb::Snapshot {
        let mut snapshot = eraftpb::Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.index, self.term);
        metadata.set_conf_state(self.membership.to_raft());
        snapshot
    }

    pub(crate) fn from_raft(snapshot: &eraftpb::Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        let membership = Membership::from_raft(metadata.get_conf_state());
        Self { index: metadata.index, term: metadata.term, membership }
    }
}

/// A committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub index: u64,
    pub term: u64,
    /// Empty for a new leader's first entry and for a change of the membership.
    pub payload: Bytes,
    /// Set if this replica proposed it in this life.
    pub token: Option<u64>,
    /// Who belongs to the group from this entry on, if the entry changed it. The replica goes by it already.
    pub membership: Option<Membership>,
}

/// Why a proposal is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// Nothing was written. No leader is named while leadership is being handed over.
    NotLeader { leader: Option<ReplicaId> },
    /// Nothing was written: too much is uncommitted.
    Full,
    /// Another leader's entry took its place.
    Overwritten,
    /// A snapshot took the place of its entry: it may be part of that or not.
    InDoubt,
    /// Nothing was written, but may be later: an earlier change of the membership is not through, the leader has not
    /// applied an entry of its own term, or a learner that is to vote still waits for its snapshot.
    ChangePending,
    /// Nothing was written: the group cannot change in this way, or is so already.
    InvalidChange,
}
