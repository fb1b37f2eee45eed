//! `/api/v1/topics`

use metadata::{Metadata, Topic};
use schemas::PartitionIndex;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct TopicAnswer {
    name: String,
    id: String,
    internal: bool,
    partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Serialize)]
struct PartitionAnswer {
    partition: i32,
    shard: u16,
    /// The node id of the hub that leads it; none while nobody who can be reached is known to.
    leader: Option<u32>,
    /// What this hub's replica holds; none where it has none.
    #[serde(flatten)]
    stored: Option<Stored>,
}

#[derive(Debug, Serialize)]
struct Stored {
    /// The first offset that is kept.
    first_offset: i64,
    /// The offset of the next record: the high watermark.
    next_offset: i64,
    bytes: u64,
}

/// All topics, by name.
pub fn all(metadata: &Metadata) -> Vec<TopicAnswer> {
    metadata.view().topics().map(|topic| described(metadata, topic)).collect()
}

fn described(metadata: &Metadata, topic: &Topic) -> TopicAnswer {
    let shards = metadata.shards();
    let partitions = topic.placed().map(|(id, shard)| {
        let PartitionIndex(partition) = id.index;
        let stored = shards.partition(id).map(|reader| Stored {
            first_offset: reader.log_start().0,
            next_offset: reader.high_watermark().0,
            bytes: reader.size_bytes(),
        });
        let leader = shards.leader(shard).map(|leader| leader.node);
        let leader = leader.filter(|node| shards.peers().reaches(*node)).map(|node| node.0);
        PartitionAnswer { partition, shard: shard.0, leader, stored }
    });
    TopicAnswer {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: topic.name.is_internal(),
        partitions: partitions.collect(),
    }
}
