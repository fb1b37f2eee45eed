//! Who leads a partition, as clients may be told.
//!
//! A leader whose hub cannot be reached from here is not named: clients would go on asking it, and the hub that takes
//! over is known soon.

use metadata::limits::METADATA_GROUP;
use metadata::{NoMajority, PartitionPlacement, Topic, View};
use schemas::{LeaderEpoch, NodeId, PartitionIndex, ShardId, Term};

use crate::session::Session;
use crate::topics::TopicRef;

/// The leader of a partition, and its epoch (KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) node: NodeId,
    pub(crate) epoch: LeaderEpoch,
}

/// The hubs of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// The preferred leader first.
    pub(crate) all: Vec<NodeId>,
    pub(crate) in_sync: Vec<NodeId>,
    pub(crate) offline: Vec<NodeId>,
}

/// `None` while nobody leads the partition, as far as this hub knows.
pub(crate) fn of(session: &Session, placement: &PartitionPlacement) -> Option<Leadership> {
    let shards = session.context.metadata.shards();
    let leader = shards.leader(placement.shard())?;
    shards
        .peers()
        .reaches(leader.node)
        .then(|| Leadership { node: leader.node, epoch: epoch(placement, leader.term) })
}

fn epoch(placement: &PartitionPlacement, term: Term) -> LeaderEpoch {
    let base = placement.steps().last().map_or(0, |step| step.epoch_base.0);
    LeaderEpoch(i32::try_from(term.0).unwrap_or(i32::MAX).saturating_add(base))
}

pub(crate) fn of_partition(session: &Session, topic: &Topic, index: i32) -> Option<Leadership> {
    of(session, topic.placement(PartitionIndex(index))?)
}

/// Whom to ask about a partition without a leader, where this hub sees no majority: a client that knows this hub alone
/// would ask it for ever. The other one leads, or knows who does.
pub(crate) fn elsewhere(session: &Session, replicas: &Replicas) -> Option<NodeId> {
    session.context.metadata.no_majority(METADATA_GROUP)?;
    replicas.all.iter().copied().find(|node| *node != session.context.config.node)
}

/// Why nobody can lead a partition, where too few of its hubs are there.
pub(crate) fn obstacle(session: &Session, view: &View, topic: &TopicRef, index: i32) -> Option<NoMajority> {
    let shard = topic.find(view)?.placement(PartitionIndex(index))?.shard();
    session.context.metadata.no_majority(u32::from(shard.0) + 1)
}

pub(crate) fn replicas(session: &Session, view: &View, shard: ShardId) -> Replicas {
    let shards = session.context.metadata.shards();
    let group = u32::from(shard.0) + 1;
    let now = shards.replicas(group);
    let planned = view.replicas(group).iter().filter(|record| !record.leaving).map(|record| record.node);
    let all = ordered(planned, now.voters.iter().chain(&now.learners).copied());
    let offline: Vec<_> = all.iter().copied().filter(|node| !shards.peers().reaches(*node)).collect();
    let is_in_sync = |node: &&NodeId| now.in_sync.contains(node) && !offline.contains(node);
    let in_sync = all.iter().filter(is_in_sync).copied().collect();
    Replicas { all, in_sync, offline }
}

/// Those that there are, in the order in which they are preferred; those that nobody has planned come last.
fn ordered(planned: impl Iterator<Item = NodeId>, present: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let present: Vec<_> = present.collect();
    let mut all: Vec<NodeId> = planned.filter(|node| present.contains(node)).collect();
    for node in present {
        if !all.contains(&node) {
            all.push(node);
        }
    }
    all
}

/// The hub in the client's rack that it shall read from instead of here (KIP-392), for a partition that is led here.
pub(crate) fn preferred_replica(
    session: &Session,
    view: &View,
    placement: &PartitionPlacement,
    client_rack: &str,
) -> Option<NodeId> {
    let own = session.context.config.node;
    let rack_of = |node: NodeId| view.hub(node).and_then(|hub| hub.rack.as_deref());
    if client_rack.is_empty() || rack_of(own) == Some(client_rack) {
        return None;
    }
    let is_near = |node: &NodeId| *node != own && rack_of(*node) == Some(client_rack);
    replicas(session, view, placement.shard()).in_sync.into_iter().find(is_near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_stand_in_the_order_in_which_they_are_preferred() {
        let nodes = |ids: &[u32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let ordered = |planned, present| ordered(nodes(planned).into_iter(), nodes(present).into_iter());
        assert_eq!(ordered(&[3, 1, 2], &[1, 2, 3]), nodes(&[3, 1, 2]));
        assert_eq!(ordered(&[3, 4], &[1, 3]), nodes(&[3, 1]), "what is not there yet is not told");
        assert_eq!(ordered(&[], &[1]), nodes(&[1]));
    }
}
