//! What a consumer group is asked, and what it answers. The words are those of Kafka's group protocol.

use bytes::Bytes;
use schemas::{Offset, PartitionIndex, TopicName};

use crate::error::CommitPartitionError;
use crate::state::GroupState;

/// A consumer that wants to be a member, new or again.
#[derive(Clone, Debug)]
pub struct Join {
    pub group_id: String,
    /// Empty: it has none yet.
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    /// JoinGroup v0 has none: the session timeout counts.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// JoinGroup v4 and later: a new dynamic member is sent away with an id first (KIP-394).
    pub requires_known_member_id: bool,
    /// JoinGroup v9 and later: a leader may be told not to assign again (KIP-814).
    pub supports_skipping_assignment: bool,
}

/// One way in which a member can have partitions assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol_name: String,
    pub leader: String,
    pub member_id: String,
    /// Only the leader is told.
    pub members: Vec<JoinedMember>,
    pub skip_assignment: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub metadata: Bytes,
}

/// A member, as it names itself in sync, heartbeat and commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub group_id: String,
    /// Empty in a commit by a consumer that is in no group.
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Negative in a commit by a consumer that is in no group.
    pub generation: i32,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub member: Membership,
    /// SyncGroup v5 and later.
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// From the leader: what each member is to have.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol_name: String,
    pub assignment: Bytes,
}

/// One that leaves, or is removed by its instance id with an empty member id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// An offset that a consumer wants kept.
#[derive(Clone, Debug)]
pub struct OffsetToCommit {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    pub offset: Offset,
    /// −1: not known.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// An offset that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    /// −1: not known.
    pub leader_epoch: i32,
    pub metadata: String,
    /// When it was committed, ms since 1970.
    pub commit_ms: i64,
}

/// What became of one partition of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitResult {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    pub result: Result<(), CommitPartitionError>,
}

/// A partition's committed offset, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    pub committed: Option<CommittedOffset>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group_id: String,
    /// Empty for a group that only keeps offsets.
    pub protocol_type: String,
    pub state: GroupState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    pub group_id: String,
    pub state: GroupState,
    pub protocol_type: String,
    /// Empty unless the group is stable, as are the members' metadata and assignments.
    pub protocol_name: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}
