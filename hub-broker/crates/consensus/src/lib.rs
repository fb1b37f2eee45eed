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
//! - election timeouts come from the replica's seed, never from a random generator of the process.
//!
//! A follower that is further behind than its leader's in-memory tail needs a snapshot; none are sent yet.

mod action;
mod logger;
mod membership;
mod message;
mod replica;
mod tail;
mod types;

pub use action::{Action, Committed, Event, RefusedReason, SnapshotMark};
pub use membership::{Membership, MembershipChange};
pub use message::{Beat, DecodePeerMessageError, PeerMessage};
pub use replica::{Replica, ReplicaConfig};
pub use types::{HardState, LogEntry, Progress, ProgressState, ReplicaId, RestoreError, Restored, Role};
