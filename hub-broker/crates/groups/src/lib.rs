//! Consumer groups: who reads what, and how far they have come.
//!
//! ```text
//!  Groups (handle) ──inbox──> GroupTask, one a group ──events──> Group (no I/O) ──actions──┐
//!                                 │  ^                                                     │
//!                                 │  └── durable ── OffsetsLog ── shards <── Store ────────┘
//!                                 └── Offsets: what is durable
//! ```
//!
//! Groups and their offsets live in `__consumer_offsets`, a compacted topic in Kafka's own formats ([`records`]). A
//! partition's groups are coordinated by the hub that serves its shard, for one term: it has a majority confirm that
//! it leads, reads the partition from end to end, and only then takes requests. When the term ends it forgets them,
//! and whoever waits hears that another hub coordinates.
//!
//! Invariants, said as absences: no answer says that an offset is kept before it is durable; nothing is written in
//! another term than the one that was read for, nor forwarded; no committed offset is told before a majority has
//! confirmed the leadership since it was asked for; the state machine in `group` knows no clock, socket or log;
//! nothing here knows Kafka's requests on the wire.

mod api;
mod background;
mod config;
mod confirm;
mod context;
mod coordinator;
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
mod standing;
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
