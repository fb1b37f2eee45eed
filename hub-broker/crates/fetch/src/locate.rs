//! From a partition's identity to its reader, or to the reason why it cannot be read here.

use metadata::Metadata;
use partition_log::PartitionReader;
use schemas::{LeaderEpoch, NodeId, PartitionId, ShardId, Term};
use shards::{Leader, ReadIndexError};

use crate::error::{FetchError, PartitionError};
use crate::request::Replica;

/// A partition that may be read here.
#[derive(Debug)]
pub(crate) struct Located {
    pub reader: PartitionReader,
    pub shard: ShardId,
    pub role: Role,
}

/// What this hub is to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It knows everything that is committed.
    Leader,
    /// What it has is committed, and may not be all.
    Follower,
}

pub(crate) fn locate(
    metadata: &Metadata,
    partition: PartitionId,
    client_epoch: Option<LeaderEpoch>,
    replica: Replica,
) -> Result<Located, PartitionError> {
    let shard = shard_of(metadata, partition)?;
    let shards = metadata.shards();
    let reader = shards.partition(partition);
    let leader = shards.leader(shard);
    // Who has heard of a later leader is none any more, even if it has not found out by itself.
    let is_latest = |term: &Term| leader.is_none_or(|leader| leader.term <= *term);
    let standing = Standing {
        node: shards.identity().node,
        serving: shards.is_serving(shard).filter(is_latest),
        leader,
        applied_epoch: reader.as_ref().map(PartitionReader::leader_epoch),
    };
    let role = standing.admit(client_epoch, replica)?;
    Ok(Located { reader: reader.ok_or(PartitionError::NotOpen)?, shard, role })
}

/// Whether there is such a partition, and on which shard.
pub(crate) fn shard_of(metadata: &Metadata, partition: PartitionId) -> Result<ShardId, PartitionError> {
    let view = metadata.view();
    let topic = view.topic_by_id(partition.topic).ok_or(PartitionError::UnknownTopic)?;
    Ok(topic.placement(partition.index).ok_or(PartitionError::UnknownPartition)?.shard())
}

/// The partition on the hub that leads it: a majority has said so after the call, and what was acknowledged before the
/// call lies before its end.
pub(crate) async fn led(
    metadata: &Metadata,
    shard: ShardId,
    partition: PartitionId,
) -> Result<PartitionReader, PartitionError> {
    let shards = metadata.shards();
    shards.read_index(shard).await.map_err(|error| match error {
        ReadIndexError::NotLeader { leader } => PartitionError::NotLeader { leader },
        ReadIndexError::NotServing => PartitionError::NewLeader,
        ReadIndexError::Stopping => PartitionError::NotOpen,
    })?;
    shards.partition(partition).ok_or(PartitionError::NotOpen)
}

/// What a reader is told of a read that has failed. What is damaged is fetched from other hubs, or costs this hub the
/// replica, unless none of them has it; and files that went with a partition are missed by nobody. In all these cases
/// whoever asks again is helped.
pub(crate) fn as_told(metadata: &Metadata, partition: PartitionId, error: FetchError) -> FetchError {
    let FetchError::Damaged { file, .. } = &error else { return error };
    let shard = match shard_of(metadata, partition) {
        Ok(shard) => shard,
        Err(error) => return error.into(),
    };
    let shards = metadata.shards();
    let group = group_of(shard);
    let has_others = shards.replicas(group).voters.len() > 1
        && !file.as_ref().is_some_and(|file| shards.is_lost(group, file));
    if has_others || shards.partition(partition).is_none() { PartitionError::NotOpen.into() } else { error }
}

/// The shard's number among the groups: the metadata's is 0.
pub(crate) fn group_of(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

/// What this hub knows of a partition's leadership.
struct Standing {
    node: NodeId,
    /// In which term this hub leads the shard and has applied an entry of its own.
    serving: Option<Term>,
    leader: Option<Leader>,
    /// The latest epoch that the replica here has applied, where there is a replica.
    applied_epoch: Option<LeaderEpoch>,
}

impl Standing {
    /// As what this hub may answer.
    fn admit(&self, client_epoch: Option<LeaderEpoch>, replica: Replica) -> Result<Role, PartitionError> {
        if let Some(current) = self.epoch() {
            check_epoch(client_epoch, current)?;
        }
        let has_replica = self.applied_epoch.is_some();
        match (self.serving, replica) {
            (Some(_), _) => Ok(Role::Leader),
            (None, Replica::Any) if has_replica => Ok(Role::Follower),
            _ if self.leader.is_some_and(|leader| leader.node == self.node) => Err(PartitionError::NewLeader),
            _ => Err(PartitionError::NotLeader { leader: self.leader.map(|leader| leader.node) }),
        }
    }

    /// The newest that is known of: a follower may have heard of a leader before it has applied anything of its term.
    fn epoch(&self) -> Option<LeaderEpoch> {
        let led = self.serving.or(self.leader.map(|leader| leader.term)).map(epoch_of);
        led.max(self.applied_epoch)
    }
}

/// The leader epoch is the raft term while a partition has never been moved.
fn epoch_of(term: Term) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(term.0).unwrap_or(i32::MAX))
}

/// KIP-320: a client that names the epoch it believes in must not be answered from another.
fn check_epoch(client: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), PartitionError> {
    match client {
        Some(epoch) if epoch < current => Err(PartitionError::FencedEpoch { current }),
        Some(epoch) if epoch > current => Err(PartitionError::UnknownEpoch { current }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: NodeId = NodeId(1);
    const THERE: NodeId = NodeId(2);

    fn leads(node: NodeId, term: u64) -> Option<Leader> {
        Some(Leader { node, term: Term(term), serving: true })
    }

    fn serving(term: u64) -> Standing {
        let applied_epoch = Some(epoch_of(Term(term)));
        Standing { node: HERE, serving: Some(Term(term)), leader: leads(HERE, term), applied_epoch }
    }

    fn follower(applied: i32, leader: Option<Leader>) -> Standing {
        Standing { node: HERE, serving: None, leader, applied_epoch: Some(LeaderEpoch(applied)) }
    }

    #[test]
    fn the_leader_answers_whoever_it_was_that_was_asked_for() {
        assert_eq!(serving(4).admit(None, Replica::Leader), Ok(Role::Leader));
        assert_eq!(serving(4).admit(None, Replica::Any), Ok(Role::Leader));
    }

    #[test]
    fn a_follower_answers_only_who_may_be_answered_by_any() {
        let follower = follower(4, leads(THERE, 4));
        let elsewhere = PartitionError::NotLeader { leader: Some(THERE) };
        assert_eq!(follower.admit(None, Replica::Leader), Err(elsewhere));
        assert_eq!(follower.admit(None, Replica::Any), Ok(Role::Follower));
    }

    #[test]
    fn a_hub_without_a_replica_names_the_leader() {
        let stranger = Standing { applied_epoch: None, ..follower(0, leads(THERE, 4)) };
        let elsewhere = PartitionError::NotLeader { leader: Some(THERE) };
        assert_eq!(stranger.admit(None, Replica::Any), Err(elsewhere));
        let unknown = Standing { leader: None, ..stranger };
        assert_eq!(unknown.admit(None, Replica::Any), Err(PartitionError::NotLeader { leader: None }));
    }

    #[test]
    fn a_leader_that_has_applied_nothing_of_its_term_says_that_it_is_new() {
        let new = follower(3, leads(HERE, 4));
        assert_eq!(new.admit(None, Replica::Leader), Err(PartitionError::NewLeader));
        assert_eq!(new.admit(Some(LeaderEpoch(4)), Replica::Leader), Err(PartitionError::NewLeader));
    }

    #[test]
    fn a_client_with_another_epoch_is_told_the_current_one() {
        let current = LeaderEpoch(4);
        let (fenced, unknown) =
            (PartitionError::FencedEpoch { current }, PartitionError::UnknownEpoch { current });
        for replica in [Replica::Leader, Replica::Any] {
            let admit = |epoch| serving(4).admit(Some(LeaderEpoch(epoch)), replica);
            assert_eq!((admit(3), admit(4), admit(5)), (Err(fenced), Ok(Role::Leader), Err(unknown)));
        }
    }

    #[test]
    fn a_follower_knows_the_epoch_of_a_leader_that_it_has_only_heard_of() {
        let current = LeaderEpoch(6);
        let behind = follower(4, leads(THERE, 6));
        let admit = |epoch| behind.admit(Some(LeaderEpoch(epoch)), Replica::Any);
        assert_eq!(admit(6), Ok(Role::Follower));
        assert_eq!(admit(4), Err(PartitionError::FencedEpoch { current }));
        let leaderless = follower(4, None);
        assert_eq!(
            leaderless.admit(Some(current), Replica::Any),
            Err(PartitionError::UnknownEpoch { current: LeaderEpoch(4) })
        );
    }
}
