//! Consumer groups: who reads what, and how far they have come.
#![expect(clippy::unimplemented, reason = "the bodies follow")]

mod api;
mod error;
mod group;
mod handle;
pub mod limits;

pub use api::{
    CommittedOffset, DescribedGroup, DescribedMember, GroupState, Join, Joined, JoinedMember, Leaving,
    ListedGroup, Membership, OffsetToCommit, Protocol, Sync, Synced,
};
pub use error::{
    CommitError, CommitPartitionError, ConfigError, CoordinatorError, DeleteGroupError, MemberError,
};
pub use handle::{CommitResult, Config, FetchedOffset, Groups};
