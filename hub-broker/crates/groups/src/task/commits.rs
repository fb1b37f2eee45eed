//! OffsetCommit and OffsetFetch.

use std::collections::HashSet;

use metadata::View;
use schemas::{Offset, TopicId};

use super::{GroupTask, Reply, Written};
use crate::api::{CommitResult, CommittedOffset, FetchedOffset, Membership, OffsetToCommit};
use crate::error::{CommitPartitionError, CoordinatorError, MemberError};
use crate::group::Now;
use crate::limits::{OFFSET_METADATA_BYTES_MAX, OFFSETS_PER_GROUP_MAX};
use crate::offsets::{Entry, NamedPartition};
use crate::offsets_log::{Record, WriteError};
use crate::records::{self, Key};

/// A commit that is being written.
pub(super) struct Commit {
    /// For every partition of the request its result so far, and what is to be kept if it is written.
    partitions: Vec<(NamedPartition, Result<Kept, CommitPartitionError>)>,
    reply: Reply<Result<Vec<CommitResult>, MemberError>>,
}

struct Kept {
    committed: CommittedOffset,
    topic: TopicId,
}

impl GroupTask {
    pub(super) fn commit(
        &mut self,
        now: Now,
        from: &Membership,
        offsets: Vec<OffsetToCommit>,
        reply: Reply<Result<Vec<CommitResult>, MemberError>>,
    ) {
        if let Err(error) = self.group.check_commit(now, from) {
            let _ = reply.send(Err(error));
            return;
        }
        let view = self.context.view();
        let mut added = HashSet::new();
        let mut partitions = Vec::with_capacity(offsets.len());
        let mut records = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let partition = (offset.topic.clone(), offset.partition);
            let kept = self.check_offset(&view, offset, &mut added, now);
            if let Ok(kept) = &kept {
                records.push(self.record(&partition, kept));
            }
            partitions.push((partition, kept));
        }
        let commit = Commit { partitions, reply };
        if records.is_empty() {
            return self.commit_written(commit, Ok(Vec::new()));
        }
        let write = self.log.write(&records, now.wall_ms);
        self.writes.push(Box::pin(async move { Written::Commit { commit, result: write.await } }));
    }

    fn check_offset(
        &self,
        view: &View,
        offset: OffsetToCommit,
        added: &mut HashSet<NamedPartition>,
        now: Now,
    ) -> Result<Kept, CommitPartitionError> {
        let topic = view.topic(&offset.topic).filter(|topic| topic.placement(offset.partition).is_some());
        let topic = topic.ok_or(CommitPartitionError::UnknownPartition)?.id;
        if offset.metadata.len() > OFFSET_METADATA_BYTES_MAX {
            return Err(CommitPartitionError::MetadataTooLarge { max: OFFSET_METADATA_BYTES_MAX });
        }
        let partition = (offset.topic, offset.partition);
        if !self.offsets.contains(&partition) && !added.contains(&partition) {
            if self.offsets.len() + added.len() >= OFFSETS_PER_GROUP_MAX {
                return Err(CommitPartitionError::TooManyOffsets);
            }
            added.insert(partition);
        }
        let committed = CommittedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            commit_ms: now.wall_ms,
        };
        Ok(Kept { committed, topic })
    }

    fn record(&self, (topic, partition): &NamedPartition, kept: &Kept) -> Record {
        let key = Key::Offset { group: self.id.clone(), topic: topic.clone(), partition: *partition };
        let value = Some(records::encode_offset(&kept.committed));
        Record { key: key.encode(), value, topic: Some(kept.topic) }
    }

    pub(super) fn commit_written(&mut self, commit: Commit, result: Result<Vec<Offset>, WriteError>) {
        if let Err(error) = &result {
            tracing::warn!(group = %self.id, %error, "offsets were not stored");
        }
        if result == Err(WriteError::NotCoordinator) {
            let _ = commit.reply.send(Err(CoordinatorError::NotCoordinator.into()));
            return;
        }
        let mut stored = result.map(Vec::into_iter);
        let mut results = Vec::with_capacity(commit.partitions.len());
        for ((topic, partition), kept) in commit.partitions {
            let result = kept.and_then(|kept| {
                let stored = stored.as_mut().ok().and_then(Iterator::next);
                let stored_at = stored.ok_or(CommitPartitionError::NotStored)?;
                let entry = Entry { committed: kept.committed, topic: kept.topic, stored_at };
                self.offsets.put((topic.clone(), partition), entry);
                Ok(())
            });
            results.push(CommitResult { topic, partition, result });
        }
        let _ = commit.reply.send(Ok(results));
    }

    pub(super) fn committed(&self, partitions: Option<Vec<NamedPartition>>) -> Vec<FetchedOffset> {
        let view = self.context.view();
        let fetch = |(topic, partition): NamedPartition, committed: Option<CommittedOffset>| FetchedOffset {
            topic,
            partition,
            committed,
        };
        match partitions {
            Some(partitions) => partitions
                .into_iter()
                .map(|partition| {
                    let committed = self.offsets.get(&partition, &view).cloned();
                    fetch(partition, committed)
                })
                .collect(),
            None => self
                .offsets
                .iter(&view)
                .map(|(partition, committed)| fetch(partition.clone(), Some(committed.clone())))
                .collect(),
        }
    }
}
