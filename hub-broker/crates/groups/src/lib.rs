//! Consumer groups: who reads what, and how far they have come.
//!
//! ```text
//!  Groups (handle) ──inbox──> GroupTask, one a group ──events──> Group (no I/O) ──actions──┐
//!                                 │  ^                                                     │
//!                                 │  └── durable ── OffsetsLog ── shards <── Store ────────┘
//!                                 └── Offsets: what is durable
//! ```
//!
//! Groups and their offsets live in `__consumer_offsets`, a compacted topic in Kafka's own formats ([`records`]).
//! At the start it is read from end to end; until its partition has been read, a group takes no requests.
//!
//! Invariants, said as absences: no answer says that an offset is kept before it is durable; the state machine in
//! `group` knows no clock, socket or log; nothing here knows Kafka's requests on the wire.

mod api;
mod background;
mod config;
mod context;
mod error;
mod group;
mod handle;
pub mod limits;
mod load;
mod offsets;
mod offsets_log;
mod partitioner;
mod records;
mod runtime;
mod state;
mod task;

pub use api::{
    CommitResult, CommittedOffset, DescribedGroup, DescribedMember, FetchedOffset, Join, Joined,
    JoinedMember, Leaving, ListedGroup, Membership, OffsetToCommit, Protocol, Sync, Synced,
};
pub use config::Config;
pub use error::{
    CommitError, CommitPartitionError, ConfigError, CoordinatorError, DeleteGroupError, MemberError,
};
pub use handle::Groups;
pub use state::GroupState;
