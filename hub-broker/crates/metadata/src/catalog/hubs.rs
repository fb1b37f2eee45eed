//! What commands about hubs do to the catalog.

use schemas::NodeId;
use shards::feature::REGISTERED_LEVELS;
use uuid::Uuid;

use super::{Catalog, Member};
use crate::limits::{HUBS_MAX, METADATA_GROUP};
use crate::replica::{HubState, ReplicaRecord};
use crate::response::{Outcome, Refusal, Response};
use crate::topic::Hub;

/// The number of the replicas that a founder begins with, in every group.
pub(super) const FOUNDERS_REPLICA: u32 = 1;

impl Catalog {
    /// A hub that is new, or comes with another incarnation than before, has none of the replicas that were ever
    /// handed out: those of its former self are struck off, and the planner gives it others. Where the others are
    /// no majority without the former self, its place is kept for it. One that does not support the cluster's feature level
    /// is no hub of it.
    pub(super) fn register_hub(&mut self, hub: Hub) -> Response {
        if !hub.supports(self.feature_level) {
            return Err(Refusal::HubTooOld);
        }
        let hub = hub.at_level(self.feature_level);
        let node = hub.node;
        let known = self.hubs.get(&node);
        if known.is_none() && self.hubs.len() >= HUBS_MAX {
            return Err(Refusal::TooManyHubs);
        }
        let state = known.map_or_else(HubState::default, |known| known.state);
        let same = known.filter(|known| known.hub.incarnation == hub.incarnation);
        if same.is_none() && self.is_needed(node) {
            return Err(Refusal::LastReplica);
        }
        let replica_floor = same.map_or(self.next_replica.saturating_sub(1), |known| known.replica_floor);
        let is_new = same.is_none();
        let member = Member { hub, state, replica_floor };
        if self.hubs.get(&node) != Some(&member) {
            self.hubs.insert(node, member);
            if is_new {
                self.retire_all(node);
            }
            self.version += 1;
        }
        Ok(Outcome::Registered { version: self.version, replica_floor })
    }

    /// Whoever judged the claim did so by what it knew then; it is decided here, where all hubs see the same. The second
    /// of two claims finds another holder than it was made for. One that comes twice finds its own hub.
    pub(super) fn claim_node(&mut self, hub: Hub, held_by: Option<Uuid>) -> Response {
        let holder = self.hubs.get(&hub.node).map(|known| known.hub.incarnation);
        match holder {
            Some(holder) if holder != hub.incarnation && Some(holder) != held_by => Err(Refusal::NodeTaken),
            None if held_by.is_some() => Err(Refusal::UnknownHub),
            _ => self.register_hub(hub),
        }
    }

    /// Whether the hub supports a level that is to come. One that had no room to say so was asked.
    pub(super) fn may_follow(&self, hub: &Hub, level: u16) -> bool {
        hub.levels.map_or(self.feature_level < REGISTERED_LEVELS, |levels| levels.contains(level))
    }

    /// Whether there may be a group that can agree on nothing without what this hub has. Its vote may be counted before
    /// the catalog hears that it has joined, and one that leaves may be out already.
    fn is_needed(&self, node: NodeId) -> bool {
        self.groups.iter().any(|records| {
            let stays = |record: &&ReplicaRecord| record.node != node && record.joined && !record.leaving;
            let elsewhere = records.iter().filter(stays).count();
            let voters = elsewhere + 1;
            elsewhere * 2 <= voters && records.iter().any(|record| record.node == node)
        })
    }

    fn retire_all(&mut self, node: NodeId) {
        for records in self.groups_mut() {
            records.retain(|record| record.node != node);
        }
    }

    /// The hub that the cluster began with has the first replica of every group.
    pub(super) fn adopt_founder(&mut self, node: NodeId, incarnation: Uuid) -> Response {
        let formed = self.formed.ok_or(Refusal::NotFormed)?;
        if !self.groups.is_empty() {
            return self.unchanged();
        }
        let known = self.hubs.get(&node).ok_or(Refusal::UnknownHub)?;
        if known.hub.incarnation != incarnation {
            return Err(Refusal::UnknownHub);
        }
        let first = ReplicaRecord { joined: true, ..ReplicaRecord::new(node, FOUNDERS_REPLICA) };
        *self.groups_mut() = vec![vec![first]; usize::from(formed.data_shards) + 1];
        self.next_replica = FOUNDERS_REPLICA + 1;
        self.changed()
    }

    pub(super) fn drain_hub(&mut self, node: NodeId, draining: bool) -> Response {
        let is_last = !self.is_other_active(node);
        let member = self.hubs.get_mut(&node).ok_or(Refusal::UnknownHub)?;
        let state = if draining { HubState::Draining } else { HubState::Active };
        if member.state == state {
            return self.unchanged();
        }
        if draining && is_last {
            return Err(Refusal::LastHub);
        }
        member.state = state;
        self.changed()
    }

    /// A drained hub keeps its replica of the metadata, so that it knows what it forwards; that goes with it.
    pub(super) fn remove_hub(&mut self, node: NodeId) -> Response {
        if !self.hubs.contains_key(&node) {
            return Err(Refusal::UnknownHub);
        }
        let metadata = METADATA_GROUP as usize;
        let has_one = |records: &Vec<ReplicaRecord>| records.iter().any(|record| record.node == node);
        if self.groups.iter().skip(metadata + 1).any(has_one) {
            return Err(Refusal::HubHasReplicas);
        }
        let mut others = self.groups.get(metadata).into_iter().flatten();
        if !self.is_other_active(node) || !others.any(|record| record.node != node && record.joined) {
            return Err(Refusal::LastHub);
        }
        self.retire_all(node);
        self.hubs.remove(&node);
        self.changed()
    }

    fn is_other_active(&self, node: NodeId) -> bool {
        self.hubs.iter().any(|(other, member)| *other != node && member.state == HubState::Active)
    }
}
