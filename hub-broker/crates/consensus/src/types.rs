//! The words that a group's log is spoken of in.

use bytes::Bytes;
use raft::eraftpb;

use crate::{Membership, ReplicaId};

/// One entry of a group's log. `kind` 0 is an ordinary entry, an empty payload then a new leader's first entry;
/// kind 2 is a change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub payload: Bytes,
}

/// Whether an entry of this kind changes who belongs to the group.
pub fn changes_membership(kind: u8) -> bool {
    kind == KIND_CHANGE || kind == KIND_OLD_CHANGE
}

impl LogEntry {
    pub(crate) fn from_raft(entry: &eraftpb::Entry) -> Self {
        let kind = match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => KIND_NORMAL,
            eraftpb::EntryType::EntryConfChange => KIND_OLD_CHANGE,
            eraftpb::EntryType::EntryConfChangeV2 => KIND_CHANGE,
        };
        Self { index: entry.index, term: entry.term, kind, payload: entry.data.clone() }
    }

    pub(crate) fn into_raft(self) -> eraftpb::Entry {
        let kind = match self.kind {
            KIND_CHANGE => eraftpb::EntryType::EntryConfChangeV2,
            _ => eraftpb::EntryType::EntryNormal,
        };
        eraftpb::Entry {
            entry_type: kind,
            index: self.index,
            term: self.term,
            data: self.payload,
            ..Default::default()
        }
    }
}

pub(crate) const KIND_NORMAL: u8 = 0;
/// raft-rs' older form of a change. Nobody here has ever written one.
const KIND_OLD_CHANGE: u8 = 1;
/// raft-rs' `ConfChangeV2`, as protobuf.
pub(crate) const KIND_CHANGE: u8 = 2;

/// What a replica promised: it must survive everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: u64,
    /// The replica voted for in this term, 0 for none.
    pub vote: u64,
    pub commit: u64,
}

impl From<&eraftpb::HardState> for HardState {
    fn from(state: &eraftpb::HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }
}

/// What a replica was when it went down.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    pub hard_state: HardState,
    /// Index and term of the last entry that the state machine's checkpoint contains.
    pub applied: u64,
    pub applied_term: u64,
    /// The log after `applied`, without holes. It may begin earlier, for the sake of followers that are behind.
    pub entries: Vec<LogEntry>,
    /// Who belonged to the group as of `applied`. Empty if the replica still waits for its first snapshot: until it
    /// has that, it takes nothing else, stands for nothing and votes for nobody.
    pub membership: Membership,
}

/// Why a replica cannot go on from what was found: the log lost something that it had acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("the log should go on with entry {expected}, but has {found}")]
    Hole { expected: u64, found: u64 },
    #[error("the log ends with entry {last}, but entry {commit} was committed")]
    TooShort { last: u64, commit: u64 },
    #[error("entry {index} has term {term}, after term {previous}")]
    TermWentBack { index: u64, term: u64, previous: u64 },
    #[error("the log is at term {log}, the hard state only at {hard_state}")]
    HardStateBehind { log: u64, hard_state: u64 },
    #[error("entry {index} is of kind {kind}, which this version does not know")]
    UnknownKind { index: u64, kind: u8 },
    #[error("nobody can belong to a group in this way: {0:?}")]
    Membership(Membership),
    #[error("configuration: {0}")]
    Config(String),
}

/// What a replica is in its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Follower,
    Candidate,
    Leader,
}

impl From<raft::StateRole> for Role {
    fn from(role: raft::StateRole) -> Self {
        match role {
            raft::StateRole::Follower => Self::Follower,
            raft::StateRole::Candidate | raft::StateRole::PreCandidate => Self::Candidate,
            raft::StateRole::Leader => Self::Leader,
        }
    }
}

/// How far a replica has come, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub id: ReplicaId,
    /// Its log is known to agree with the leader's up to here.
    pub matched: u64,
    /// The next entry to be sent to it.
    pub next: u64,
    pub state: ProgressState,
    /// It was heard of within the last election timeout.
    pub recently_active: bool,
    pub is_learner: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressState {
    /// The leader is finding out where its log ends.
    Probe,
    /// Entries are streamed to it.
    Replicate,
    /// It has been sent a snapshot and has not come back with it yet.
    Snapshot,
}

impl From<raft::ProgressState> for ProgressState {
    fn from(state: raft::ProgressState) -> Self {
        match state {
            raft::ProgressState::Probe => Self::Probe,
            raft::ProgressState::Replicate => Self::Replicate,
            raft::ProgressState::Snapshot => Self::Snapshot,
        }
    }
}
