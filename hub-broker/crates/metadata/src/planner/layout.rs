//! The replicas as they will be when everything that was begun has ended.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use schemas::NodeId;

use super::Reach;
use crate::command::Command;
use crate::limits::{LEAVES_MAX, METADATA_GROUP, MOVES_MAX, REPAIRS_MAX};
use crate::replica::ReplicaRecord;
use crate::roles::Rack;
use crate::view::View;

/// What changes in a group. Each kind has its own allowance: one that does not come to an end holds up none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A replica joins that will take another's place.
    Move,
    /// A replica joins on this hub because there are too few.
    Repair(NodeId),
    Leave,
}

impl Change {
    /// Groups that may have it at the same time. A hub that takes nothing in holds up no repair on another.
    pub(super) fn allowance(self) -> usize {
        match self {
            Self::Move => MOVES_MAX,
            Self::Repair(_) => REPAIRS_MAX,
            Self::Leave => LEAVES_MAX,
        }
    }
}

pub(super) struct Layout<'a> {
    view: &'a View,
    reach: &'a Reach,
    /// The catalog's, with the commands of this round carried out.
    groups: Vec<Vec<ReplicaRecord>>,
    racks: BTreeMap<NodeId, Rack>,
    active: Vec<NodeId>,
    /// Replicas of data shards on each active hub, once what is on the move has arrived and left.
    load: BTreeMap<NodeId, usize>,
    /// Of groups with a replica too many, where it will go from.
    surplus: BTreeMap<u32, NodeId>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(view: &'a View, reach: &'a Reach) -> Self {
        let nodes = || view.hubs().map(|hub| hub.node);
        let mut layout = Self {
            view,
            reach,
            groups: view.groups.to_vec(),
            racks: nodes().map(|node| (node, view.rack(node))).collect(),
            active: nodes().filter(|node| view.is_active(*node)).collect(),
            load: BTreeMap::new(),
            surplus: BTreeMap::new(),
        };
        layout.project();
        layout
    }

    /// The next replica to be given up before it has joined: its hub is gone, takes nothing in, or is to be emptied. Its
    /// group may count its vote already, so it leaves as any other does.
    pub(super) fn give_up(&mut self, group: u32) -> Option<Command> {
        let is_hopeful = |node: NodeId| {
            let is_wanted = group == METADATA_GROUP || self.view.is_active(node);
            is_wanted && self.reach.lately.contains(&node) && !self.reach.stuck.contains(&(group, node))
        };
        let is_hopeless =
            |record: &&mut ReplicaRecord| !(record.joined || record.leaving || is_hopeful(record.node));
        let records = self.groups.get_mut(group as usize)?;
        if !records.iter().any(|record| record.joined && !record.leaving) {
            return None;
        }
        let record = records.iter_mut().find(is_hopeless)?;
        record.leaving = true;
        let number = record.number;
        self.project();
        Some(Command::LeaveReplica { group, number })
    }

    /// The next replica to go because there are enough others: one on a hub to be emptied, or the most crowded one.
    pub(super) fn let_go(&mut self, group: u32) -> Option<Command> {
        if group == METADATA_GROUP || self.is_changing(group) || !self.has_room_for(Change::Leave) {
            return None;
        }
        let staying = self.staying(group);
        let draining = self.records(group).iter().find(|record| !self.view.is_active(record.node));
        let node = match draining {
            Some(record) if staying.len() >= self.wanted() => record.node,
            _ => *self.surplus.get(&group)?,
        };
        if !self.is_connected_without(group, Some(node)) {
            return None;
        }
        let record = self.records_mut(group)?.iter_mut().find(|record| record.node == node)?;
        record.leaving = true;
        let number = record.number;
        self.project();
        Some(Command::LeaveReplica { group, number })
    }

    /// The next replica that a group lacks. Of the metadata every hub has one.
    pub(super) fn add_missing(&mut self, group: u32) -> Option<Command> {
        let is_metadata = group == METADATA_GROUP;
        let is_free = || !self.is_changing(group) && self.is_connected_without(group, None);
        // The metadata's own group agrees on this very plan, so it can take replicas in.
        if !is_metadata && !is_free() {
            return None;
        }
        let staying = self.staying(group);
        let node = if is_metadata {
            self.racks.keys().copied().find(|node| self.can_take(group, *node))
        } else if staying.len() < self.wanted() {
            let has_room = |node: &NodeId| self.has_room_for(Change::Repair(*node));
            let candidates = self.active.iter().copied().filter(|node| self.can_take(group, *node));
            candidates
                .filter(has_room)
                .min_by_key(|node| (self.in_rack_of(*node, &staying), self.load[node], *node))
        } else {
            None
        };
        node.map(|node| self.add(group, node))
    }

    /// The move that makes racks or load more even than any other.
    pub(super) fn even_out(&mut self) -> Option<Command> {
        if !self.has_room_for(Change::Move) {
            return None;
        }
        let groups = self.groups().skip(1);
        let best = groups.filter_map(|group| Some((self.best_move(group)?, group))).min();
        best.map(|((_, node), group)| self.add(group, node))
    }

    pub(super) fn groups(&self) -> Range<u32> {
        self.view.group_numbers()
    }

    /// Where a group's next replica would be best, with how good that would be: lower is better.
    fn best_move(&self, group: u32) -> Option<((i64, Reverse<usize>), NodeId)> {
        let staying = self.staying(group);
        let is_settled = staying.len() == self.wanted() && self.records(group).len() == staying.len();
        if !is_settled || self.is_changing(group) || !self.is_connected_without(group, None) {
            return None;
        }
        let to = self.active.iter().copied().filter(|node| self.can_take(group, *node));
        let moves = to.flat_map(|to| staying.iter().map(move |from| (*from, to)));
        let worth = moves.filter_map(|(from, to)| Some((self.worth(&staying, from, to)?, to)));
        worth.min()
    }

    /// How much better the group lies, and how uneven the two hubs are. None where the move would not pay.
    fn worth(&self, staying: &[NodeId], from: NodeId, to: NodeId) -> Option<(i64, Reverse<usize>)> {
        let others: Vec<_> = staying.iter().copied().filter(|node| *node != from).collect();
        let crowd = |node| i64::try_from(self.in_rack_of(node, &others)).unwrap_or(i64::MAX);
        let spread = crowd(to) - crowd(from);
        let uneven = self.load[&from].saturating_sub(self.load[&to]);
        (spread < 0 || spread == 0 && uneven >= 2).then_some((spread, Reverse(uneven)))
    }

    fn add(&mut self, group: u32, node: NodeId) -> Command {
        if let Some(records) = self.records_mut(group) {
            // The catalog gives it its number.
            records.push(ReplicaRecord::new(node, u32::MAX));
        }
        self.project();
        Command::AddReplica { group, node }
    }

    /// Counts the load as it will be when every group with a replica too many has lost its most crowded one.
    fn project(&mut self) {
        self.surplus.clear();
        self.load = self.active.iter().map(|node| (*node, 0)).collect();
        let groups: Vec<_> = self.groups().skip(1).map(|group| (group, self.staying(group))).collect();
        for node in groups.iter().flat_map(|(_, staying)| staying) {
            *self.load.entry(*node).or_default() += 1;
        }
        let wanted = self.wanted();
        for (group, staying) in groups.iter().filter(|(_, staying)| staying.len() > wanted) {
            let Some(node) = self.most_crowded(staying) else { continue };
            self.surplus.insert(*group, node);
            if let Some(load) = self.load.get_mut(&node) {
                *load -= 1;
            }
        }
    }

    fn most_crowded(&self, staying: &[NodeId]) -> Option<NodeId> {
        let crowd = |node: &NodeId| (self.in_rack_of(*node, staying), self.load[node], *node);
        staying.iter().copied().max_by_key(crowd)
    }

    fn in_rack_of(&self, node: NodeId, nodes: &[NodeId]) -> usize {
        nodes.iter().filter(|other| self.racks[*other] == self.racks[&node]).count()
    }

    /// Replicas that a data shard is to have.
    fn wanted(&self) -> usize {
        self.view.replication_factor()
    }

    /// Where the group is to stay, as far as it can be told now.
    fn staying(&self, group: u32) -> Vec<NodeId> {
        let staying = self.records(group).iter().filter(|record| !record.leaving);
        staying.map(|record| record.node).filter(|node| self.view.is_active(*node)).collect()
    }

    fn can_take(&self, group: u32, node: NodeId) -> bool {
        let has_one = self.records(group).iter().any(|record| record.node == node);
        !has_one && self.reach.connected.contains(&node) && !self.reach.stuck.contains(&(group, node))
    }

    fn is_changing(&self, group: u32) -> bool {
        self.records(group).iter().any(|record| !record.joined || record.leaving)
    }

    /// A group that cannot agree on anything cannot end its change either, and holds up no other.
    fn has_room_for(&self, change: Change) -> bool {
        let is_such = |group: &u32| self.change(*group) == Some(change);
        let such = self.groups().skip(1).filter(is_such);
        such.filter(|group| self.is_connected_without(*group, None)).count() < change.allowance()
    }

    /// What changes in the group, if anything does.
    pub(super) fn change(&self, group: u32) -> Option<Change> {
        let records = self.records(group);
        if records.iter().any(|record| record.leaving) {
            return Some(Change::Leave);
        }
        let joining = records.iter().find(|record| !record.joined)?;
        let has_joined = |record: &&ReplicaRecord| record.joined && self.view.is_active(record.node);
        let joined = records.iter().filter(has_joined).count();
        Some(if joined < self.wanted() { Change::Repair(joining.node) } else { Change::Move })
    }

    /// Whether a data shard's replicas that have joined, but for one, are a connected majority of themselves.
    fn is_connected_without(&self, group: u32, node: Option<NodeId>) -> bool {
        let counts = |record: &&ReplicaRecord| record.joined && !record.leaving && Some(record.node) != node;
        let remaining: Vec<_> = self.records(group).iter().filter(counts).collect();
        let is_connected = |record: &&&ReplicaRecord| self.reach.connected.contains(&record.node);
        remaining.iter().filter(is_connected).count() * 2 > remaining.len()
    }

    fn records(&self, group: u32) -> &[ReplicaRecord] {
        self.groups.get(group as usize).map_or(&[], Vec::as_slice)
    }

    fn records_mut(&mut self, group: u32) -> Option<&mut Vec<ReplicaRecord>> {
        self.groups.get_mut(group as usize)
    }
}
