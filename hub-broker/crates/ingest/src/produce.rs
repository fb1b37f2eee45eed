//! The Kafka producers' door.

use bytes::{Bytes, BytesMut};
use metadata::{CleanupPolicy, Principal, TimestampType, Topic};
use schemas::{OriginRules, PartitionIndex, RawBatch, Rules, ShardId, patch_log_append_time, validate};
use shards::{Append, Origin};

use crate::error::ProduceError;
use crate::{Inner, ProduceDone, authorize};

pub(crate) fn produce(
    inner: &Inner,
    principal: &Principal,
    topic: &Topic,
    partition: PartitionIndex,
    records: Bytes,
    done: ProduceDone,
) {
    match prepare(inner, principal, topic, partition, records) {
        Ok((shard, append)) => inner.metadata.shards().append(
            shard,
            append,
            Box::new(move |outcome| done(outcome.map_err(ProduceError::from))),
        ),
        Err(error) => done(Err(error)),
    }
}

fn prepare(
    inner: &Inner,
    principal: &Principal,
    topic: &Topic,
    partition: PartitionIndex,
    mut records: Bytes,
) -> Result<(ShardId, Append), ProduceError> {
    authorize::write(principal, &topic.name)?;
    let shard = topic.placement(partition).ok_or(ProduceError::UnknownPartition)?.shard();
    let batch = match RawBatch::split_first(&mut records)? {
        Some(batch) if records.is_empty() => batch,
        Some(_) => return Err(ProduceError::NotOneBatch { found: "several batches" }),
        None => return Err(ProduceError::NotOneBatch { found: "nothing" }),
    };
    let rules = Rules {
        origin: OriginRules::Kafka { allow_transactional: false },
        max_batch_bytes: topic.config.max_message_bytes,
        depth: inner.config.depth,
        keys_required: topic.config.cleanup_policy == CleanupPolicy::Compact,
    };
    validate(&batch, &rules)?;
    let batch = match topic.config.timestamp_type {
        TimestampType::LogAppend => stamped(&batch, (inner.config.clock)()),
        TimestampType::Create => batch.bytes().clone(),
    };
    Ok((shard, Append { partition: topic.partition_id(partition), origin: Origin::Kafka, batch }))
}

/// LogAppendTime: the hub's time takes the place of the records' own, before the first acknowledgement.
fn stamped(batch: &RawBatch, now_ms: i64) -> Bytes {
    let mut bytes = BytesMut::from(batch.bytes().as_ref());
    patch_log_append_time(&mut bytes, now_ms);
    bytes.freeze()
}
