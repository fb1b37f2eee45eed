//! Writing to a partition of `__consumer_offsets`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use metadata::Topic;
use schemas::{BatchBuilder, BuilderOptions, Offset, PartitionId, PartitionIndex, ShardId, Term, TopicId};
use shards::{Append, AppendError, Appended, Origin, ReadIndexError, Shards};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::CoordinatorError;
use crate::limits::BATCH_BYTES_TARGET;
use crate::records::TOPIC_ID;

/// A record to be written; without a value it is a tombstone.
pub(crate) struct Record {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
    /// The topic that an offset is of.
    pub(crate) topic: Option<TopicId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum WriteError {
    /// It can never be written.
    #[error("the record is too large")]
    TooLarge,
    /// This hub does not lead any more in the term for which the groups were read. It may be stored nevertheless.
    #[error("another hub coordinates the group")]
    NotCoordinator,
    #[error(transparent)]
    Append(AppendError),
}

impl From<AppendError> for WriteError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotLeader { .. } => Self::NotCoordinator,
            error => Self::Append(error),
        }
    }
}

/// How long this hub may speak for the groups of a partition.
#[derive(Clone)]
pub(crate) struct Tenure {
    /// In which they were read. Nothing is written in any other.
    pub(crate) term: Term,
    /// Cancelled when it has ended.
    pub(crate) over: CancellationToken,
    /// Told when a refused write has ended it.
    pub(crate) refused: Arc<Notify>,
}

/// The partition that keeps a group, for one tenure.
#[derive(Clone)]
pub(crate) struct OffsetsLog {
    shards: Shards,
    partition: PartitionId,
    shard: ShardId,
    tenure: Tenure,
}

impl OffsetsLog {
    pub(crate) fn new(shards: &Shards, topic: &Topic, index: PartitionIndex, tenure: Tenure) -> Option<Self> {
        let shard = topic.placement(index)?.shard();
        Some(Self { shards: shards.clone(), partition: topic.partition_id(index), shard, tenure })
    }

    pub(crate) fn over(&self) -> &CancellationToken {
        &self.tenure.over
    }

    /// Has a majority say that this hub leads in the tenure's term.
    pub(crate) async fn confirm(self) -> Result<(), CoordinatorError> {
        match self.shards.read_index(self.shard).await {
            Ok(term) if term == self.tenure.term => Ok(()),
            Ok(_) | Err(ReadIndexError::NotLeader { .. }) => Err(CoordinatorError::NotCoordinator),
            Err(_) => Err(CoordinatorError::NotAvailable),
        }
    }

    /// Hands the records to their shard, in order, before it returns; the future ends when all are durable. It
    /// tells for each where it lies, by the base offset of its batch.
    pub(crate) fn write(
        &self,
        records: &[Record],
        stamp_ms: i64,
    ) -> impl Future<Output = Result<Vec<Offset>, WriteError>> + Send + 'static {
        let appends = batches(records, stamp_ms)
            .map(|batches| batches.into_iter().map(|batch| self.append(batch)).collect::<Vec<_>>());
        async move {
            let written = try_join_all(appends?).await?;
            Ok(written.into_iter().flatten().collect())
        }
    }

    fn append(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<impl Iterator<Item = Offset>, WriteError>> + Send + 'static {
        let (done, answer) = oneshot::channel::<Result<Appended, AppendError>>();
        let request = Append {
            partition: self.partition,
            origin: Origin::Hub,
            batch: batch.bytes,
            expected_term: Some(self.tenure.term),
        };
        // Whoever gave up waiting does not want to hear of it.
        let done = Box::new(move |result| drop(done.send(result)));
        self.shards.append(self.shard, request, done);
        let tenure = self.tenure.clone();
        async move {
            let outcome = answer.await.unwrap_or(Err(AppendError::Stopping)).map_err(WriteError::from);
            if outcome == Err(WriteError::NotCoordinator) {
                tenure.end();
            }
            Ok(std::iter::repeat_n(outcome?.base_offset, batch.records))
        }
    }
}

impl Tenure {
    /// A write was refused: what is in memory may be behind the log, and must be read again before it counts.
    fn end(&self) {
        self.over.cancel();
        self.refused.notify_one();
    }
}

struct Batch {
    bytes: Bytes,
    records: usize,
}

fn batches(records: &[Record], stamp_ms: i64) -> Result<Vec<Batch>, WriteError> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for record in records {
        if builder.len_bytes() >= BATCH_BYTES_TARGET {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BuilderOptions::default()));
            batches.push(finish(full)?);
        }
        let topic = record.topic.as_ref().map(|topic| (TOPIC_ID, &topic.0.as_bytes()[..]));
        let pushed = builder.push(stamp_ms, Some(&record.key), record.value.as_deref(), topic.as_slice());
        pushed.map_err(|_| WriteError::TooLarge)?;
    }
    if !builder.is_empty() {
        batches.push(finish(builder)?);
    }
    Ok(batches)
}

fn finish(builder: BatchBuilder) -> Result<Batch, WriteError> {
    let records = builder.record_count();
    let bytes = builder.finish().map_err(|_| WriteError::TooLarge)?;
    Ok(Batch { bytes, records })
}

#[cfg(test)]
mod tests {
    use schemas::RawBatch;

    use super::*;

    #[test]
    fn many_records_become_several_batches_in_order() {
        let record = |n: usize| Record {
            key: Bytes::from(format!("key-{n}")),
            value: Some(Bytes::from(vec![0; 1_000])),
            topic: None,
        };
        let records: Vec<_> = (0..600).map(record).collect();
        let batches = batches(&records, 5).unwrap();
        assert!(batches.len() > 1);
        let mut keys = Vec::new();
        for batch in &batches {
            let parsed = RawBatch::parse(batch.bytes.clone()).unwrap();
            let records: Vec<_> = parsed.records().unwrap().map(Result::unwrap).collect();
            assert_eq!(records.len(), batch.records);
            keys.extend(records.into_iter().filter_map(|record| record.key));
        }
        assert_eq!(keys, records.iter().map(|record| record.key.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn an_offset_has_its_topic_in_a_header_and_nothing_else_has() {
        let record = |topic| Record { key: Bytes::from_static(b"k"), value: Some(Bytes::new()), topic };
        let topic = TopicId(uuid::Uuid::from_u128(0x0102));
        let batches = batches(&[record(Some(topic)), record(None)], 5).unwrap();
        let parsed = RawBatch::parse(batches[0].bytes.clone()).unwrap();
        let records: Vec<_> = parsed.records().unwrap().map(Result::unwrap).collect();
        let id: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2];
        let header = records[0].header("topic-id").flatten().map(|id| &id[..]);
        assert_eq!((header, records[0].headers.len(), records[1].headers.len()), (Some(id), 1, 0));
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_before_anything_is_written() {
        let value = Some(Bytes::from(vec![0; schemas::limits::RECORD_BYTES_MAX]));
        let records = [Record { key: Bytes::from_static(b"k"), value, topic: None }];
        assert!(matches!(batches(&records, 5), Err(WriteError::TooLarge)));
    }
}
