//! Under which keys a checkpoint keeps what.

use bytes::{BufMut, Bytes};
use checkpoint::Key;
use schemas::{PartitionId, PartitionIndex, TopicId};
use uuid::Uuid;

/// The key of the metadata machine's snapshot.
pub(crate) fn metadata_key() -> Key {
    Key(Bytes::from_static(b"metadata"))
}

/// The key of a partition's state: its topic's UUID and its index, big-endian.
pub(crate) fn partition_key(id: PartitionId) -> Key {
    let mut bytes = Vec::with_capacity(20);
    bytes.put_slice(id.topic.0.as_bytes());
    bytes.put_i32(id.index.0);
    Key(Bytes::from(bytes))
}

/// The partition that a key names.
pub(crate) fn key_partition(key: &Key) -> Option<PartitionId> {
    let (topic, index) = key.0.split_at_checked(16)?;
    let index = i32::from_be_bytes(index.try_into().ok()?);
    Some(PartitionId { topic: TopicId(Uuid::from_slice(topic).ok()?), index: PartitionIndex(index) })
}

#[cfg(test)]
mod tests;
