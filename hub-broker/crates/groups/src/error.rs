//! Refusals. Each variant is one error of Kafka's protocol, named in its comment; where one variant is shared by
//! several operations it means the same in all of them.

use thiserror::Error;

/// The coordinator cannot serve the group. Trying again helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CoordinatorError {
    /// `COORDINATOR_LOAD_IN_PROGRESS`.
    #[error("the group's offsets are still being read")]
    LoadInProgress,
    /// `COORDINATOR_NOT_AVAILABLE`: the hub cannot write just now, holds as much work as it may, or stops.
    #[error("the group's coordinator is not available")]
    NotAvailable,
    /// `NOT_COORDINATOR`: helps after asking which hub does. What was to be written may have been.
    #[error("another hub coordinates this group")]
    NotCoordinator,
    /// `INVALID_GROUP_ID`. Trying again does not help.
    #[error("a group id must not be empty and has at most {max} bytes")]
    InvalidGroupId { max: usize },
    /// `GROUP_MAX_SIZE_REACHED`. Trying again does not help until others are gone.
    #[error("this hub coordinates as many groups as it may")]
    TooManyGroups,
}

/// Joining, syncing, heartbeats and leaving.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemberError {
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// `MEMBER_ID_REQUIRED`: join again with this id.
    #[error("join again as {member_id}")]
    MemberIdRequired { member_id: String },
    /// `UNKNOWN_MEMBER_ID`.
    #[error("the group has no such member")]
    UnknownMember,
    /// `ILLEGAL_GENERATION`.
    #[error("the group is at another generation")]
    IllegalGeneration,
    /// `REBALANCE_IN_PROGRESS`.
    #[error("the group is rebalancing: join again")]
    RebalanceInProgress,
    /// `INCONSISTENT_GROUP_PROTOCOL`.
    #[error("no protocol is common to this member and the group")]
    InconsistentProtocol,
    /// `INVALID_SESSION_TIMEOUT`.
    #[error("session timeout {given} ms: {min} to {max} ms are allowed")]
    InvalidSessionTimeout { given: i32, min: i32, max: i32 },
    /// `FENCED_INSTANCE_ID`.
    #[error("another member has taken this instance id")]
    FencedInstance,
    /// `INVALID_REQUEST`.
    #[error("too many protocols, or a name of more than {max} bytes")]
    InvalidName { max: usize },
    /// `GROUP_MAX_SIZE_REACHED`: too many members, or more bytes of member metadata than a group may have.
    #[error("the group is as large as it may be")]
    GroupFull,
}

/// A whole commit.
pub type CommitError = MemberError;

/// One partition of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CommitPartitionError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("there is no such partition")]
    UnknownPartition,
    /// `OFFSET_METADATA_TOO_LARGE`.
    #[error("an offset's metadata has at most {max} bytes")]
    MetadataTooLarge { max: usize },
    /// `INVALID_COMMIT_OFFSET_SIZE`: the group keeps as many offsets as it may.
    #[error("the group keeps as many offsets as it may")]
    TooManyOffsets,
    /// `COORDINATOR_NOT_AVAILABLE`: it was not stored, or nobody knows whether it was. Trying again helps.
    #[error("the offset could not be stored")]
    NotStored,
}

/// Deleting a group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeleteGroupError {
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// `NON_EMPTY_GROUP`.
    #[error("the group has members")]
    NotEmpty,
    /// `GROUP_ID_NOT_FOUND`.
    #[error("there is no such group")]
    UnknownGroup,
}

/// The groups could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("{what} must be {must}")]
    Invalid { what: &'static str, must: &'static str },
}
