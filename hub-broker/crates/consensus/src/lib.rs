//! One replica of one raft group as a state machine: events in, actions out.
//!
//! The protocol is raft-rs' `RawNode`; this crate drives it. It does no I/O, reads no clock and starts no thread,
//! so a whole cluster runs in one thread from a seed. Whoever runs a [`Replica`] performs its [`Action`]s in
//! order and reports back: [`Event::Persisted`] when a [`Action::Persist`] is on the disk for good,
//! [`Event::Applied`] when a [`Action::Apply`] has been applied.
//!
//! What raft-rs 0.7.0 leaves to its user is kept here and nowhere else:
//! - at load, commit is the larger of the hard state's and what was applied, and the log must reach it;
//! - proposals are made only while leading (a follower would forward them);
//! - messages that promise something leave only after what they promise is persisted;
//! - a leader's messages wait until its term is durable, even where it won alone: otherwise it could forget the
//!   term, win it again and give learners two entries of one index and term;
//! - a leader that is removed from the group steps down at once;
//! - nobody stands for election while a part of its log or a snapshot is on its way to the disk;
//! - election timeouts come from the replica's seed, never from a random generator of the process;
//! - what raft-rs would end the process over is not let in (module `guard`).
//!
//! A follower that is further behind than its leader's in-memory tail is sent what whoever runs the replicas can read
//! back of the log, and where that does not reach, a snapshot. Messages only name it, by index, term and membership:
//! whoever runs the replicas copies what it consists of, *before* the message reaches the replica. A new replica always begins with one: the tail gives entry 1 away once it is applied, so that a
//! replica without state can never be led through the log alone.

mod action;
mod budget;
mod config;
mod guard;
mod id;
mod logger;
mod membership;
mod message;
mod read_back;
mod replica;
mod restore;
mod tail;
mod types;

pub use action::{Action, Committed, Event, RefusedReason, SnapshotMark};
pub use budget::TailBudget;
pub use config::ReplicaConfig;
pub use id::ReplicaId;
pub use membership::{Membership, MembershipChange};
pub use message::{Beat, DecodePeerMessageError, PeerMessage};
pub use replica::Replica;
pub use types::{
    HardState, LogEntry, Progress, ProgressState, RestoreError, Restored, Role, changes_membership,
};
