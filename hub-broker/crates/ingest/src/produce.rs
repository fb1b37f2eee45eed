//! The Kafka producers' door.

use bytes::{Bytes, BytesMut};
use metadata::{CleanupPolicy, Principal, TimestampType, Topic};
use schemas::{OriginRules, PartitionIndex, RawBatch, Rules, ShardId, patch_log_append_time, validate};
use shards::{Append, AppendDone, AppendError, Appended, Origin, Shards};

use crate::error::ProduceError;
use crate::observe::{self, Path, Size};
use crate::{Inner, ProduceDone, authorize};

/// What a producer sends to one partition.
pub struct Produced<'a> {
    pub topic: &'a Topic,
    pub partition: PartitionIndex,
    /// Exactly one RecordBatch of magic 2, as it came.
    pub records: Bytes,
    pub done: ProduceDone,
}

pub(crate) fn produce<'a>(
    inner: &Inner,
    principal: &Principal,
    batches: impl IntoIterator<Item = Produced<'a>>,
) {
    let mut good: Vec<(ShardId, Append, AppendDone)> = Vec::new();
    for Produced { topic, partition, records, done } in batches {
        match prepare(inner, principal, topic, partition, records) {
            Ok(Prepared { shard, append, size }) => {
                let done = Box::new(move |outcome: Result<Appended, AppendError>| {
                    let outcome = outcome.map_err(ProduceError::from);
                    count(&outcome, size);
                    done(outcome);
                });
                good.push((shard, append, done));
            }
            Err(error) => {
                let outcome = Err(error);
                count(&outcome, Size { records: 0, bytes: 0 });
                done(outcome);
            }
        }
    }
    inner.metadata.shards().append_all(good);
}

fn count(outcome: &Result<Appended, ProduceError>, size: Size) {
    match outcome {
        Ok(appended) => observe::stored(Path::Kafka, size, appended.duplicate),
        Err(error) => observe::refused(Path::Kafka, error.reason(), 1),
    }
}

struct Prepared {
    shard: ShardId,
    append: Append,
    size: Size,
}

fn prepare(
    inner: &Inner,
    principal: &Principal,
    topic: &Topic,
    partition: PartitionIndex,
    mut records: Bytes,
) -> Result<Prepared, ProduceError> {
    authorize::write(principal, &topic.name)?;
    let shard = topic.placement(partition).ok_or(ProduceError::UnknownPartition)?.shard();
    check_leads(inner.metadata.shards(), shard)?;
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
    let size = Size { records: batch.header().record_count, bytes: batch.bytes().len() };
    let batch = match topic.config.timestamp_type {
        TimestampType::LogAppend => stamped(&batch, (inner.config.clock)()),
        TimestampType::Create => batch.bytes().clone(),
    };
    let append = Append {
        partition: topic.partition_id(partition),
        origin: Origin::Kafka,
        batch,
        expected_term: None,
    };
    Ok(Prepared { shard, append, size })
}

/// Kafka's producers find the leader themselves, so nothing of theirs is forwarded: the order of their requests in
/// flight would be lost when the lead moves. Whoever is wrong hears so before its batch is looked at.
fn check_leads(shards: &Shards, shard: ShardId) -> Result<(), ProduceError> {
    match shards.is_serving(shard) {
        Some(_) => Ok(()),
        None => Err(ProduceError::NotLeader { leader: shards.leader(shard).map(|leader| leader.node) }),
    }
}

/// LogAppendTime: the hub's time takes the place of the records' own, before the first acknowledgement.
fn stamped(batch: &RawBatch, now_ms: i64) -> Bytes {
    let mut bytes = BytesMut::from(batch.bytes().as_ref());
    patch_log_append_time(&mut bytes, now_ms);
    bytes.freeze()
}
