//! What an executor's groups want done, gathered over one turn: one write to the WAL, one handful of messages for each
//! hub, and what takes others longer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use consensus::{HardState, LogEntry, PeerMessage, ReplicaId};
use peers::{Parcel, ParcelBody};
use schemas::NodeId;
use wal::{EntriesWanted, Frame, GroupId, Lsn};

use crate::compare::Question;
use crate::incoming::Switch;
use crate::known_damage::KnownDamage;
use crate::leaders::OwnView;
use crate::leave::Plea;
use crate::mend::Damaged;
use crate::snapshot::Wanted;

/// What a frame costs in the WAL besides its payload, roughly.
const FRAME_OVERHEAD_BYTES: u64 = 64;

#[derive(Default)]
pub(crate) struct Outbox {
    pub frames: Vec<Frame>,
    /// Which group waits for which ready, in order.
    pub readies: Vec<(GroupId, u64)>,
    pub bytes: u64,
    /// What replicas say to those of other hubs.
    pub parcels: BTreeMap<NodeId, Vec<Parcel>>,
    /// After the frames are handed to the WAL, in this order.
    pub wishes: Vec<Wish>,
    /// Groups of which there is news; `None`: no replica of it is here any more.
    pub views: Vec<(u32, Option<OwnView>)>,
}

/// What others are to do for a group, and which message is to say that it is done.
pub(crate) enum Wish {
    /// Write a barrier to the WAL; then `Message::Barrier`.
    Barrier {
        group: GroupId,
        hard_state: wal::HardState,
    },
    /// Write down that this hub has the replica; then `Message::Begun`.
    Begin {
        group: GroupId,
        number: u32,
    },
    /// Write down that the replica is no more, and remove what it has left; then `Message::GivenUp`.
    GiveUp {
        group: GroupId,
        number: u32,
        void: Lsn,
        directories: Vec<PathBuf>,
    },
    /// Make a checkpoint for replicas that need a snapshot; then `Message::Checkpointed`.
    Checkpoint {
        group: GroupId,
    },
    /// Make a checkpoint soon: who belongs to the group has changed.
    CheckpointSoon {
        group: GroupId,
    },
    /// Read old entries back; then `Message::LogRead`.
    ReadLog(EntriesWanted),
    /// Keep what the log has of the group from there on, though it may be released; or nothing any more.
    KeepLog {
        group: GroupId,
        from: Option<u64>,
    },
    /// Ask another replica; then perhaps `Message::Compared`.
    Compare(Box<Question>),
    /// Ask the leader to let the replica go; then perhaps `Message::PleaAnswered`.
    Plead(Plea),
    /// Write down what is known to be damaged, of the replica's state of this generation.
    NoteDamage {
        group: GroupId,
        generation: u32,
        damage: Box<KnownDamage>,
    },
    /// Make a damaged segment again; then `Message::Mended`.
    Mend(Box<Damaged>),
    /// The offer of the snapshot at `index` has left.
    Offered {
        group: GroupId,
        index: u64,
        to: ReplicaId,
    },
    /// Copy a snapshot; then `Message::SnapshotArrived`.
    Fetch(Wanted),
    CancelFetch {
        group: GroupId,
    },
    /// Switch the snapshot in; then `Message::SnapshotInstalled`.
    Install(Box<Switch>),
}

impl Outbox {
    pub(crate) fn persist(
        &mut self,
        group: GroupId,
        ready: u64,
        term: u64,
        hard_state: Option<HardState>,
        truncate_from: Option<u64>,
        entries: Vec<LogEntry>,
    ) {
        if let Some(HardState { term, vote, commit }) = hard_state {
            self.push(Frame::HardState { group, term, vote, commit }, 0);
        }
        if let Some(from_index) = truncate_from {
            self.push(Frame::Truncate { group, from_index, term }, 0);
        }
        for LogEntry { index, term, kind, payload } in entries {
            let bytes = payload.len() as u64;
            self.push(Frame::Entry { group, index, term, entry_kind: kind, payload }, bytes);
        }
        self.readies.push((group, ready));
    }

    pub(crate) fn send(&mut self, group: GroupId, message: &PeerMessage) {
        let (from, to) = (message.from(), message.to());
        let body = match message.as_beat() {
            Some(beat) => ParcelBody::Beat {
                response: beat.response,
                term: beat.term,
                commit: beat.commit,
                context: beat.context,
            },
            None => ParcelBody::Message(message.encode()),
        };
        let parcel = Parcel { group: group.0, from: from.0, to: to.0, body };
        self.parcels.entry(NodeId(to.node())).or_default().push(parcel);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.readies.is_empty() && self.parcels.is_empty() && self.wishes.is_empty() && self.views.is_empty()
    }

    fn push(&mut self, frame: Frame, payload_bytes: u64) {
        self.frames.push(frame);
        self.bytes += FRAME_OVERHEAD_BYTES + payload_bytes;
    }
}
