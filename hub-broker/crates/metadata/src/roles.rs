//! Who votes in a group, and who leads it when everyone can: read off the catalog, the same on every hub.

use std::collections::{BTreeMap, BTreeSet};

use schemas::NodeId;

use crate::limits::{METADATA_GROUP, METADATA_VOTERS_MAX};
use crate::replica::{HubState, ReplicaRecord};
use crate::view::View;

/// What keeps hubs from failing alone: a named rack, or a hub of which no rack is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rack {
    Named(String),
    Of(NodeId),
}

impl View {
    pub(crate) fn rack(&self, node: NodeId) -> Rack {
        let rack = self.hub(node).and_then(|hub| hub.rack.clone());
        rack.map_or(Rack::Of(node), Rack::Named)
    }

    pub(crate) fn is_active(&self, node: NodeId) -> bool {
        self.hub_state(node) == Some(HubState::Active)
    }

    /// Numbers of the replicas that are to vote. Of a data shard's all; of the metadata's, which every hub has, those
    /// of a few active hubs in as many racks as can be.
    pub(crate) fn voters(&self, group: u32) -> BTreeSet<u32> {
        let staying = self.replicas(group).iter().filter(|record| !record.leaving);
        if group != METADATA_GROUP {
            return staying.map(|record| record.number).collect();
        }
        let mut left: Vec<_> = staying.filter(|record| self.is_active(record.node)).collect();
        // By number, so that neither leader preference nor a newer hub of the same rack changes the choice.
        left.sort_by_key(|record| record.number);
        let mut in_rack: BTreeMap<Rack, usize> = BTreeMap::new();
        let mut chosen = BTreeSet::new();
        while chosen.len() < METADATA_VOTERS_MAX && !left.is_empty() {
            let crowd = |record: &&ReplicaRecord| in_rack.get(&self.rack(record.node)).copied().unwrap_or(0);
            let Some(at) = (0..left.len()).min_by_key(|at| crowd(&left[*at])) else { break };
            let record = left.remove(at);
            *in_rack.entry(self.rack(record.node)).or_default() += 1;
            chosen.insert(record.number);
        }
        chosen
    }

    /// How many replicas of a group are to vote once all that is on the way has arrived.
    pub(crate) fn voters_wanted(&self, group: u32) -> usize {
        match group {
            METADATA_GROUP => self.active_hub_count().min(METADATA_VOTERS_MAX),
            _ => self.replication_factor(),
        }
    }

    /// The replicas that may be made the leader, the preferred one first.
    pub(crate) fn leaders(&self, group: u32) -> Vec<ReplicaRecord> {
        let voters = self.voters(group);
        let can_lead = |record: &&ReplicaRecord| {
            record.joined && voters.contains(&record.number) && self.is_active(record.node)
        };
        self.replicas(group).iter().filter(can_lead).copied().collect()
    }

    /// How many groups there are, the metadata's included; none before the founder is adopted.
    pub(crate) fn group_numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.groups.len()).unwrap_or(0)
    }
}
