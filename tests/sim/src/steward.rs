//! What the metadata decides in a real cluster: which hubs are to have a replica of a group, and which replica id each
//! gets. A simulation's steward knows everything at once; the memberships themselves change through the groups' logs.

use std::collections::{BTreeMap, BTreeSet};

use schemas::NodeId;
use shards::GroupStatus;
use shards::simulation::{MembershipChange, ProgressState, ReplicaId};

/// A learner this close to the leader's end may vote.
const CAUGHT_UP_ENTRIES: u64 = 20;

#[derive(Debug)]
pub struct Steward {
    groups: BTreeMap<u32, Group>,
    /// Ids that were replaced or let go.
    gone: BTreeSet<(u32, ReplicaId)>,
    next_number: u32,
}

#[derive(Debug)]
struct Group {
    /// Where it is to lie.
    nodes: BTreeSet<NodeId>,
    records: BTreeMap<NodeId, Record>,
}

/// A hub has one replica of a group at a time: the next only once the group has let the former go.
#[derive(Debug, Clone, Copy)]
struct Record {
    id: ReplicaId,
    leaving: bool,
}

impl Steward {
    /// Everything lies on the founder, under number 1.
    pub fn new(groups: u32, founder: NodeId) -> Self {
        let group = |_| Group {
            nodes: BTreeSet::from([founder]),
            records: BTreeMap::from([(founder, Record { id: ReplicaId::new(founder.0, 1), leaving: false })]),
        };
        Self {
            groups: (0..groups).map(|id| (id, group(id))).collect(),
            gone: BTreeSet::new(),
            next_number: 2,
        }
    }

    /// Numbers up to here have been handed out.
    pub fn floor(&self) -> u32 {
        self.next_number - 1
    }

    /// The group is to lie on these hubs.
    pub fn want(&mut self, group: u32, nodes: BTreeSet<NodeId>) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.nodes = nodes;
            group.arrange(&mut self.next_number);
        }
    }

    /// Takes note of those whom the group has let go, as its leader knows it.
    pub fn look(&mut self, status: &GroupStatus) {
        let Some(group) = self.groups.get_mut(&status.group) else { return };
        let members = &status.membership;
        let let_go = |record: &Record| record.leaving && !members.contains(record.id);
        let ids = group.records.values().filter(|record| let_go(record)).map(|it| (status.group, it.id));
        self.gone.extend(ids.collect::<Vec<_>>());
        group.records.retain(|_, record| !let_go(record));
        group.arrange(&mut self.next_number);
    }

    /// The replica is lost: another takes its place on the same hub, unless it was on its way out.
    pub fn replace(&mut self, group: u32, lost: ReplicaId) {
        let node = NodeId(lost.node());
        let Some(known) = self.groups.get_mut(&group) else { return };
        if known.records.get(&node).is_some_and(|record| record.id == lost && !record.leaving) {
            known.records.remove(&node);
            known.arrange(&mut self.next_number);
            self.gone.insert((group, lost));
        }
    }

    /// The hub was wiped: all its replicas up to this number are lost. What it was given since is not.
    pub fn replace_all(&mut self, node: NodeId, floor: u32) {
        let replicas = self.groups.iter().filter_map(|(id, group)| Some((*id, group.records.get(&node)?.id)));
        let lost = replicas.filter(|(_, id)| id.number() <= floor);
        lost.collect::<Vec<_>>().into_iter().for_each(|(group, id)| self.replace(group, id));
    }

    /// All replicas that there are to be.
    pub fn wanted(&self) -> impl Iterator<Item = (u32, ReplicaId)> + '_ {
        self.groups.iter().flat_map(|(id, group)| group.records.values().map(|record| (*id, record.id)))
    }

    /// Replicas of the group with the fewest.
    pub fn replicas_min(&self) -> usize {
        self.groups.values().map(|group| group.records.len()).min().unwrap_or(0)
    }

    /// Whether the replica is one that was replaced or let go.
    pub fn is_gone(&self, group: u32, id: ReplicaId) -> bool {
        self.gone.contains(&(group, id))
    }

    /// Whether the replica is, or is to be, without a place in its group.
    pub fn is_going(&self, group: u32, id: ReplicaId) -> bool {
        let of_group = self.groups.get(&group);
        let record = of_group.and_then(|group| group.records.get(&NodeId(id.node())));
        self.is_gone(group, id) || record.is_some_and(|record| record.id == id && record.leaving)
    }

    /// Whether every group's members, as their leaders know them, are those wanted.
    pub fn is_settled(&self, leaders: &BTreeMap<u32, GroupStatus>) -> bool {
        self.groups.iter().all(|(id, group)| {
            leaders.get(id).is_some_and(|status| {
                let members = &status.membership;
                let voters: BTreeSet<_> = members.voters.iter().copied().collect();
                let is_rid = members.learners.is_empty() && !members.is_joint();
                is_rid && group.records.values().all(|record| !record.leaving) && voters == group.ids()
            })
        })
    }

    /// The next change of a group's members, as its leader's status has it.
    pub fn next_step(&self, status: &GroupStatus) -> Option<Step> {
        let wanted = self.groups.get(&status.group)?.ids();
        let members = &status.membership;
        if members.is_joint() {
            return None;
        }
        let present = members.replicas();
        let missing: Vec<ReplicaId> = wanted.iter().filter(|id| !present.contains(id)).copied().collect();
        if !missing.is_empty() {
            return Some(Step::Change(MembershipChange { add_learners: missing, ..Default::default() }));
        }
        let learners: Vec<ReplicaId> =
            members.learners.iter().filter(|id| wanted.contains(id)).copied().collect();
        let gone: Vec<ReplicaId> = present.iter().filter(|id| !wanted.contains(id)).copied().collect();
        if !learners.iter().all(|id| is_caught_up(status, *id)) || (learners.is_empty() && gone.is_empty()) {
            return None;
        }
        let own = status.own?;
        if gone.contains(&own) {
            let heir = members.voters.iter().find(|id| wanted.contains(id) && is_caught_up(status, **id));
            if let Some(heir) = heir {
                return Some(Step::Transfer(*heir));
            }
            // Nobody wanted votes yet: those who can come first, and where there is no room yet the others go.
            let remove = if learners.is_empty() {
                gone.into_iter().filter(|id| *id != own).collect()
            } else {
                Vec::new()
            };
            let change = MembershipChange { promote: learners, remove, ..Default::default() };
            return (change != MembershipChange::default()).then_some(Step::Change(change));
        }
        Some(Step::Change(MembershipChange { promote: learners, remove: gone, ..Default::default() }))
    }
}

fn is_caught_up(status: &GroupStatus, id: ReplicaId) -> bool {
    let known = status.progress.iter().find(|progress| progress.id == id);
    known.is_some_and(|known| {
        let is_close = known.matched + CAUGHT_UP_ENTRIES >= status.last;
        is_close && known.recently_active && known.state == ProgressState::Replicate
    })
}

impl Group {
    /// Those who are to stay.
    fn ids(&self) -> BTreeSet<ReplicaId> {
        self.records.values().filter(|record| !record.leaving).map(|record| record.id).collect()
    }

    fn arrange(&mut self, next_number: &mut u32) {
        for (node, record) in &mut self.records {
            record.leaving |= !self.nodes.contains(node);
        }
        for node in &self.nodes {
            self.records.entry(*node).or_insert_with(|| {
                *next_number += 1;
                Record { id: ReplicaId::new(node.0, *next_number - 1), leaving: false }
            });
        }
    }
}

/// What a leader is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Change(MembershipChange),
    Transfer(ReplicaId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wipe_that_is_heard_of_late_costs_no_replica_that_came_after_it() {
        let (founder, wiped) = (NodeId(1), NodeId(2));
        let mut steward = Steward::new(2, founder);
        let both = BTreeSet::from([founder, wiped]);
        steward.want(0, both.clone());
        let floor = steward.floor();
        steward.want(1, both);
        steward.replace_all(wiped, floor);

        let of_wiped = steward.wanted().filter(|(_, id)| id.node() == wiped.0);
        let of_wiped: Vec<_> = of_wiped.map(|(group, id)| (group, id.number())).collect();
        assert_eq!(of_wiped, [(0, 4), (1, 3)]);
        assert!(steward.is_gone(0, ReplicaId::new(wiped.0, 2)));
    }
}
