//! What the metadata decides in a real cluster: which hubs are to have a replica of a group, and which replica id each
//! gets. A simulation's steward knows everything at once; the memberships themselves change through the groups' logs.

use std::collections::{BTreeMap, BTreeSet};

use schemas::NodeId;
use shards::GroupStatus;
use shards::simulation::{MembershipChange, ReplicaId};

/// A learner this close to the leader's end may vote.
const CAUGHT_UP_ENTRIES: u64 = 20;

#[derive(Debug)]
pub struct Steward {
    /// Per group, the replicas that there are to be, by hub.
    wanted: BTreeMap<u32, BTreeMap<NodeId, ReplicaId>>,
    /// Ids that were replaced or dropped, until their hubs have heard it.
    dropped: BTreeSet<(u32, ReplicaId)>,
    next_number: u32,
}

impl Steward {
    /// Everything lies on the founder, under number 1.
    pub fn new(groups: u32, founder: NodeId) -> Self {
        let only = BTreeMap::from([(founder, ReplicaId::new(founder.0, 1))]);
        Self {
            wanted: (0..groups).map(|group| (group, only.clone())).collect(),
            dropped: BTreeSet::new(),
            next_number: 2,
        }
    }

    /// Numbers up to here have been handed out.
    pub fn floor(&self) -> u32 {
        self.next_number - 1
    }

    fn number(&mut self, node: NodeId) -> ReplicaId {
        self.next_number += 1;
        ReplicaId::new(node.0, self.next_number - 1)
    }

    /// Every group is to lie on these hubs.
    pub fn want(&mut self, nodes: &BTreeSet<NodeId>) {
        let groups: Vec<u32> = self.wanted.keys().copied().collect();
        for group in groups {
            let now = self.wanted.get(&group).cloned().unwrap_or_default();
            let mut next = BTreeMap::new();
            for node in nodes {
                let id = now.get(node).copied().unwrap_or_else(|| self.number(*node));
                next.insert(*node, id);
            }
            let gone = now.iter().filter(|(node, _)| !nodes.contains(node)).map(|(_, id)| (group, *id));
            self.dropped.extend(gone.collect::<Vec<_>>());
            self.wanted.insert(group, next);
        }
    }

    /// The replica is lost: another takes its place on the same hub.
    pub fn replace(&mut self, group: u32, lost: ReplicaId) {
        let node = NodeId(lost.node());
        let is_wanted = self.wanted.get(&group).is_some_and(|now| now.get(&node) == Some(&lost));
        if is_wanted {
            let id = self.number(node);
            self.wanted.entry(group).or_default().insert(node, id);
            self.dropped.insert((group, lost));
        }
    }

    /// The hub is wiped: all its replicas are lost.
    pub fn replace_all(&mut self, node: NodeId) {
        let lost: Vec<(u32, ReplicaId)> =
            self.wanted.iter().filter_map(|(group, now)| Some((*group, *now.get(&node)?))).collect();
        lost.into_iter().for_each(|(group, id)| self.replace(group, id));
    }

    /// All replicas that there are to be.
    pub fn wanted(&self) -> impl Iterator<Item = (u32, ReplicaId)> + '_ {
        self.wanted.iter().flat_map(|(group, now)| now.values().map(|id| (*group, *id)))
    }

    /// Replicas of the group with the fewest.
    pub fn replicas_min(&self) -> usize {
        self.wanted.values().map(BTreeMap::len).min().unwrap_or(0)
    }

    pub fn is_dropped(&self, group: u32, id: ReplicaId) -> bool {
        self.dropped.contains(&(group, id))
    }

    /// Whether every group's members, as their leaders know them, are those wanted.
    pub fn is_settled(&self, memberships: &BTreeMap<u32, GroupStatus>) -> bool {
        self.wanted.iter().all(|(group, wanted)| {
            memberships.get(group).is_some_and(|status| {
                let members = &status.membership;
                let voters: BTreeSet<_> = members.voters.iter().copied().collect();
                let wanted: BTreeSet<_> = wanted.values().copied().collect();
                voters == wanted && members.learners.is_empty() && !members.is_joint()
            })
        })
    }

    /// The next change of a group's members, as its leader's status has it.
    pub fn next_step(&self, status: &GroupStatus) -> Option<Step> {
        let wanted: BTreeSet<ReplicaId> = self.wanted.get(&status.group)?.values().copied().collect();
        let members = &status.membership;
        if members.is_joint() {
            return None;
        }
        let present = members.replicas();
        let missing: Vec<ReplicaId> = wanted.iter().filter(|id| !present.contains(id)).copied().collect();
        if !missing.is_empty() {
            let change = MembershipChange { add_learners: missing, ..Default::default() };
            return Some(Step::Change(change));
        }
        let caught_up = |id: &ReplicaId| {
            let known = status.progress.iter().find(|progress| progress.id == *id);
            known.is_some_and(|known| known.matched + CAUGHT_UP_ENTRIES >= status.last)
        };
        let learners: Vec<ReplicaId> =
            members.learners.iter().filter(|id| wanted.contains(id)).copied().collect();
        let gone: Vec<ReplicaId> = present.iter().filter(|id| !wanted.contains(id)).copied().collect();
        if !learners.iter().all(caught_up) || (learners.is_empty() && gone.is_empty()) {
            return None;
        }
        let own = status.own?;
        if gone.contains(&own) {
            let successor = members.voters.iter().find(|id| wanted.contains(id) && caught_up(id));
            if let Some(successor) = successor {
                return Some(Step::Transfer(*successor));
            }
            // Nobody wanted votes yet.
            let change = MembershipChange { promote: learners, ..Default::default() };
            return (!change.promote.is_empty()).then_some(Step::Change(change));
        }
        Some(Step::Change(MembershipChange { promote: learners, remove: gone, ..Default::default() }))
    }
}

/// What a leader is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Change(MembershipChange),
    Transfer(ReplicaId),
}
