//! Who leads a partition, as clients may be told.
//!
//! A leader whose hub cannot be reached from here is not named: clients would go on asking it, and the hub that takes
//! over is known soon.

use std::time::Instant;

use metadata::limits::METADATA_GROUP;
use metadata::{NoMajority, PartitionPlacement, Topic, View};
use schemas::{LeaderEpoch, NodeId, PartitionIndex, ShardId, Term};

use crate::session::{Context, Session};
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

/// Whom to ask about partitions without a leader and groups without a coordinator, where this hub has seen no majority
/// for a while: a client that is connected to this hub alone would ask it for ever. The others lead, or know who does,
/// or are gone too: it is another's turn from time to time.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Those that clients are told of.
    named: Vec<NodeId>,
    turn: usize,
}

impl Others {
    /// Nobody where this hub sees a majority, or did a moment ago.
    pub(crate) fn now(session: &Session, view: &View) -> Self {
        let Context { metadata, config, cut_off, .. } = &*session.context;
        let is_cut_off = metadata.no_majority(METADATA_GROUP).is_some();
        let Some(turn) = cut_off.turn(is_cut_off, Instant::now()) else {
            return Self::default();
        };
        let others = view.hubs().filter(|hub| hub.node != config.node);
        let named = others.filter(|hub| hub.listener(&config.listener).is_some());
        Self { named: named.map(|hub| hub.node).collect(), turn }
    }

    pub(crate) fn any(&self) -> Option<NodeId> {
        self.turn.checked_rem(self.named.len()).map(|at| self.named[at])
    }

    pub(crate) fn of(&self, replicas: &Replicas, index: i32) -> Option<NodeId> {
        let named: Vec<_> = replicas.all.iter().filter(|node| self.named.contains(node)).collect();
        let turn = self.turn.wrapping_add(usize::try_from(index).unwrap_or(0));
        turn.checked_rem(named.len()).map(|at| *named[at])
    }
}

/// The epoch that is told beside a hub that may lead the partition or know who does: that of the last leader. Without
/// one a client would believe what it is told of leaders before that one.
pub(crate) fn last_epoch(session: &Session, placement: &PartitionPlacement) -> LeaderEpoch {
    let last = session.context.metadata.shards().last_led(placement.shard());
    last.map_or(LeaderEpoch(-1), |term| epoch(placement, term))
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

    #[test]
    fn one_after_the_other_is_asked_about_a_partition_without_a_leader() {
        let nodes = |ids: &[u32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let replicas = Replicas { all: nodes(&[1, 2, 3]), ..Replicas::default() };
        let of = |named: &[u32], turn, index| Others { named: nodes(named), turn }.of(&replicas, index);
        let asked = (0..4).map(|turn| of(&[1, 2], turn, 0).map(|node| node.0));
        assert_eq!(asked.collect::<Vec<_>>(), [Some(1), Some(2), Some(1), Some(2)]);
        assert_ne!(of(&[1, 2], 0, 0), of(&[1, 2], 0, 1), "not all partitions at the same");
        assert_eq!(of(&[2, 4], usize::MAX, 5), Some(NodeId(2)), "who has it, and can be told of");
        assert_eq!(of(&[], 0, 0), None);
    }
}
