use std::time::Duration;

use metadata::{Metadata, Principal};
use schemas::{NodeId, PartitionIndex, TopicName};

use crate::api::{
    CommittedOffset, DescribedGroup, Join, Joined, Leaving, ListedGroup, Membership, OffsetToCommit, Sync,
    Synced,
};
use crate::error::{
    CommitError, CommitPartitionError, ConfigError, CoordinatorError, DeleteGroupError, MemberError,
};

/// How groups behave. Names and defaults are Kafka's unless said otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members. Default 300 ms
    /// (Kafka: 3 s).
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`. Default 30 min.
    pub session_timeout_max: Duration,
    /// `group.max.size`: members of one group. Default 1,000.
    pub members_max: usize,
    /// Groups that this hub coordinates. Default 10,000.
    pub groups_max: usize,
    /// `offsets.retention.minutes`. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 min.
    pub expiry_interval: Duration,
    /// `offsets.topic.num.partitions`, when the topic is made. Default 16 (Kafka: 50).
    pub offsets_partitions: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_millis(300),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            members_max: 1_000,
            groups_max: 10_000,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            expiry_interval: Duration::from_secs(10 * 60),
            offsets_partitions: 16,
        }
    }
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

/// A cheap handle to the consumer groups of this hub.
#[derive(Clone)]
pub struct Groups {}

#[allow(unused_variables, clippy::unused_async, clippy::needless_pass_by_value)]
impl Groups {
    /// Begins to read what groups have committed; returns at once.
    ///
    /// # Errors
    /// A setting that cannot be.
    pub fn start(metadata: Metadata, config: Config) -> Result<Self, ConfigError> {
        unimplemented!()
    }

    /// The hub that coordinates a group.
    ///
    /// # Errors
    /// The coordinator is not known yet.
    pub fn coordinator(&self, principal: &Principal, group_id: &str) -> Result<NodeId, CoordinatorError> {
        unimplemented!()
    }

    /// Joins a group; answered when the group's next generation begins.
    pub async fn join(&self, principal: &Principal, request: Join) -> Result<Joined, MemberError> {
        unimplemented!()
    }

    /// Hands in the leader's assignment, or waits for it.
    pub async fn sync(&self, principal: &Principal, request: Sync) -> Result<Synced, MemberError> {
        unimplemented!()
    }

    pub async fn heartbeat(&self, principal: &Principal, member: Membership) -> Result<(), MemberError> {
        unimplemented!()
    }

    /// Each member has its own result, in the order given.
    pub async fn leave(
        &self,
        principal: &Principal,
        group_id: &str,
        members: Vec<Leaving>,
    ) -> Result<Vec<Result<(), MemberError>>, MemberError> {
        unimplemented!()
    }

    /// Keeps offsets; answered when they are durable. Results are in the order given.
    pub async fn commit(
        &self,
        principal: &Principal,
        member: Membership,
        offsets: Vec<OffsetToCommit>,
    ) -> Result<Vec<CommitResult>, CommitError> {
        unimplemented!()
    }

    /// What a group has committed for these partitions, in the order given; `None`: for all that it has.
    pub async fn committed(
        &self,
        principal: &Principal,
        group_id: &str,
        partitions: Option<Vec<(TopicName, PartitionIndex)>>,
    ) -> Result<Vec<FetchedOffset>, CoordinatorError> {
        unimplemented!()
    }

    /// Every group of this hub.
    pub async fn list(&self, principal: &Principal) -> Result<Vec<ListedGroup>, CoordinatorError> {
        unimplemented!()
    }

    /// A group; one that is not known is `Dead`.
    pub async fn describe(
        &self,
        principal: &Principal,
        group_id: &str,
    ) -> Result<DescribedGroup, CoordinatorError> {
        unimplemented!()
    }

    /// Deletes a group without members, and its offsets.
    pub async fn delete(&self, principal: &Principal, group_id: &str) -> Result<(), DeleteGroupError> {
        unimplemented!()
    }

    /// Ends the groups' work; what waits is answered with `NotAvailable`.
    pub fn stop(&self) {
        unimplemented!()
    }
}
