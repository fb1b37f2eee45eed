//! The metadata group's state: a pure function of the commands applied to it.

mod apply;
mod hubs;
mod replicas;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::{NodeId, ShardId, TopicId, TopicName};
use uuid::Uuid;

use crate::replica::{HubState, ReplicaRecord};
use crate::topic::{Hub, PartitionPlacement, Topic};
use crate::view::View;

/// Everything that the hubs of a cluster agree on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Catalog {
    /// Rises with every command that changes something.
    version: u64,
    formed: Option<Formed>,
    feature_level: u16,
    next_producer_id: i64,
    hubs: BTreeMap<NodeId, Member>,
    /// Of every group, the replicas that it should have, the preferred leader first. Empty until the founder is adopted.
    groups: Arc<Vec<Vec<ReplicaRecord>>>,
    /// The next replica's number, whichever group's it will be.
    next_replica: u32,
    topics: BTreeMap<TopicName, Arc<Topic>>,
    names: BTreeMap<TopicId, TopicName>,
    /// Deleted, but perhaps still open on their shards.
    closing: BTreeMap<TopicId, Arc<Topic>>,
}

/// What the cluster got when it was formed, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Formed {
    cluster_id: Uuid,
    data_shards: u16,
}

/// A hub of the cluster.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    hub: Hub,
    state: HubState,
    /// No replica number up to this is of this incarnation of the hub, a founder's first replicas excepted.
    replica_floor: u32,
}

impl Catalog {
    pub(crate) fn view(&self) -> View {
        View {
            cluster_id: self.formed.map(|formed| formed.cluster_id.to_string()).unwrap_or_default(),
            version: self.version,
            feature_level: self.feature_level,
            topics: self.topics.clone(),
            by_id: self.topics.values().map(|topic| (topic.id, topic.clone())).collect(),
            closing: self.closing.values().cloned().collect(),
            hubs: self.hubs.iter().map(|(node, member)| (*node, member.hub.clone())).collect(),
            states: self.hubs.iter().map(|(node, member)| (*node, member.state)).collect(),
            replica_floors: self.hubs.iter().map(|(node, member)| (*node, member.replica_floor)).collect(),
            groups: self.groups.clone(),
            next_replica: self.next_replica,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    fn put_topic(&mut self, topic: Topic) {
        self.names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), Arc::new(topic));
    }

    fn partition_count(&self) -> usize {
        self.topics.values().chain(self.closing.values()).map(|topic| topic.partitions.len()).sum()
    }

    /// Puts each partition on the shard that has fewest, the lowest id first: a topic's partitions lie on
    /// different shards for as long as there are enough, and all shards fill evenly.
    fn place(&self, partitions: i32, data_shards: u16) -> Vec<PartitionPlacement> {
        let mut load = vec![0_usize; usize::from(data_shards)];
        for topic in self.topics.values() {
            for (_, shard) in topic.placed() {
                if let Some(count) = load.get_mut(usize::from(shard.0)) {
                    *count += 1;
                }
            }
        }
        let mut free: BTreeSet<(usize, u16)> = load.into_iter().zip(0..data_shards).collect();
        let mut placed = Vec::new();
        for _ in 0..partitions {
            let Some((count, shard)) = free.pop_first() else { break };
            placed.push(PartitionPlacement::on(ShardId(shard)));
            free.insert((count + 1, shard));
        }
        placed
    }
}
