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
    let partitions = topic.placed().filter_map(|(id, shard)| {
        let PartitionIndex(partition) = id.index;
        let reader = metadata.shards().partition(id)?;
        Some(PartitionAnswer {
            partition,
            shard: shard.0,
            first_offset: reader.log_start().0,
            next_offset: reader.high_watermark().0,
            bytes: reader.size_bytes(),
        })
    });
    TopicAnswer {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: topic.name.is_internal(),
        partitions: partitions.collect(),
    }
}
