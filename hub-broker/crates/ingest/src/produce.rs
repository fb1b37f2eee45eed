//! The Kafka producers' door.

use bytes::{Bytes, BytesMut};
use metadata::{CleanupPolicy, Principal, TimestampType, Topic};
use schemas::{OriginRules, PartitionIndex, RawBatch, Rules, patch_log_append_time, validate};
use shards::{Append, Origin, ShardId};

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
        Some(_) => return Err(ProduceError::BatchCount(2)),
        None => return Err(ProduceError::BatchCount(0)),
    };
    let (bytes, max) = (batch.bytes().len(), topic.config.max_message_bytes);
    if bytes > max {
        return Err(ProduceError::TooLarge { bytes, max });
    }
    let rules = Rules {
        origin: OriginRules::Kafka { allow_transactional: false },
        max_batch_bytes: max,
        depth: inner.config.depth,
    };
    validate(&batch, &rules)?;
    check_keys(topic, &batch)?;
    let batch = match topic.config.timestamp_type {
        TimestampType::LogAppend => stamped(&batch, (inner.config.clock)()),
        TimestampType::Create => batch.bytes().clone(),
    };
    Ok((shard, Append { partition: topic.partition_id(partition), origin: Origin::Kafka, batch }))
}

/// KIP-458 and Kafka's own check: without a key a record of a compacted topic could never be superseded.
fn check_keys(topic: &Topic, batch: &RawBatch) -> Result<(), ProduceError> {
    if topic.config.cleanup_policy != CleanupPolicy::Compact {
        return Ok(());
    }
    for record in batch.records()? {
        if record?.key.is_none() {
            return Err(ProduceError::KeyMissing);
        }
    }
    Ok(())
}

/// LogAppendTime: the hub's time takes the place of the records' own, before the first acknowledgement.
fn stamped(batch: &RawBatch, now_ms: i64) -> Bytes {
    let mut bytes = BytesMut::from(batch.bytes().as_ref());
    patch_log_append_time(&mut bytes, now_ms);
    bytes.freeze()
}
