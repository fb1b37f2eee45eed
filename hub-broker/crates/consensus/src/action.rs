//! What goes into a replica and what comes out of it.

use bytes::Bytes;

use crate::{HardState, LogEntry, PeerMessage, ReplicaId, Role};

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
    /// Everything of this and all earlier [`Action::Persist`]s is durable.
    Persisted { ready: u64 },
    /// All entries up to this one have been applied.
    Applied { index: u64 },
    /// Another replica said something.
    Message(PeerMessage),
}

/// Something to be done, in the order of the vector.
#[derive(Debug, Clone)]
pub enum Action {
    /// Make this durable, then report [`Event::Persisted`].
    Persist {
        ready: u64,
        hard_state: Option<HardState>,
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
    /// A proposal did not get into the log.
    Refused { token: u64, reason: RefusedReason },
}

/// A committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub index: u64,
    pub term: u64,
    /// Empty for a new leader's first entry.
    pub payload: Bytes,
    /// Set if this replica proposed it in this life.
    pub token: Option<u64>,
}

/// Why a proposal is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// Nothing was written.
    NotLeader { leader: Option<ReplicaId> },
    /// Nothing was written: too much is uncommitted.
    Full,
    /// Another leader's entry took its place.
    Overwritten,
}
