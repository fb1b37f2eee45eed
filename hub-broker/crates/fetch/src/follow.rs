//! The tail of one partition, for subscribers that take every committed batch as it comes.
//!
//! A follower pulls: it holds no task and no queue, only a position. It reads the replica of this hub where there is
//! one that keeps up, and otherwise another hub's. Offsets are the same everywhere, so it may change between them at
//! any time; what it has given out is committed and stays. Who does not call `next` costs nothing and loses nothing
//! that retention keeps.

use std::time::Duration;

use bytes::Bytes;
use metadata::Principal;
use partition_log::PartitionReader;
use schemas::{NodeId, Offset, PartitionId, ShardId};
use shards::GroupView;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Fetch;
use crate::error::{FetchError, PartitionError};
use crate::gather::end_of;
use crate::limits::{FOLLOW_BYTES, FOLLOW_LOOK_MS, REMOTE_PAUSE_MS, REMOTE_WAIT_MS};
use crate::locate::{group_of, shard_of};
use crate::remote::{self, Answer, Ask};

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowFrom {
    /// With what is committed from now on.
    End,
    /// With the batch that holds this offset.
    At(Offset),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FollowError {
    /// Retention was faster than the follower. The next call goes on at `log_start`.
    #[error("the records before offset {log_start} are no longer stored")]
    Skipped { log_start: Offset },
    /// The partition was closed. No call will succeed any more.
    #[error("the partition was closed")]
    Closed,
    /// The position stays, so a retry may help, except for damage.
    #[error(transparent)]
    Read(#[from] FetchError),
}

pub struct Follow {
    fetch: Fetch,
    partition: PartitionId,
    shard: ShardId,
    /// `None`: the end, where that is not known yet.
    next: Option<Offset>,
    topics: watch::Receiver<u64>,
    leadership: watch::Receiver<u64>,
    /// How many hubs in a row could not answer.
    failures: usize,
}

impl Fetch {
    pub fn follow(
        &self,
        _principal: &Principal,
        partition: PartitionId,
        from: FollowFrom,
    ) -> Result<Follow, PartitionError> {
        let metadata = &self.inner.metadata;
        let shard = shard_of(metadata, partition)?;
        let (topics, leadership) = (metadata.subscribe(), metadata.shards().leadership());
        let next = match from {
            FollowFrom::End => None,
            FollowFrom::At(offset) => Some(offset),
        };
        let fetch = self.clone();
        let mut follow = Follow { fetch, partition, shard, next, topics, leadership, failures: 0 };
        match follow.local() {
            Some(reader) => {
                follow.next.get_or_insert_with(|| reader.high_watermark());
            }
            None if !follow.was_opened() => return Err(PartitionError::NotOpen),
            None => {}
        }
        Ok(follow)
    }
}

impl Follow {
    /// The offset after the last batch that was given out; `None` while another hub has not said yet where the end is
    /// at which this begins (see [`Self::begin`]).
    pub fn position(&self) -> Option<Offset> {
        self.next
    }

    /// Waits until the position is known, and returns it. Dropping the future loses nothing.
    pub async fn begin(&mut self) -> Result<Offset, FollowError> {
        loop {
            self.look()?;
            if let Some(next) = self.next {
                return Ok(next);
            }
            match self.local() {
                Some(reader) => self.next = Some(reader.high_watermark()),
                None => drop(self.read_there().await?),
            }
        }
    }

    /// The next committed batches, back to back; none where only the position has moved, past what compaction has
    /// removed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Bytes, FollowError> {
        loop {
            let next = self.begin().await?;
            let records = match self.local() {
                Some(reader) => self.read_here(reader, next).await?,
                None => self.read_there().await?,
            };
            if !records.is_empty() || self.next != Some(next) {
                return Ok(records);
            }
        }
    }

    /// Whether the partition is still there. What changes from here on ends a wait.
    fn look(&mut self) -> Result<(), FollowError> {
        self.topics.mark_unchanged();
        self.leadership.mark_unchanged();
        let found = shard_of(&self.fetch.inner.metadata, self.partition);
        found.map(drop).map_err(|_| FollowError::Closed)
    }

    /// This hub's replica, unless it is behind and others are not.
    fn local(&self) -> Option<PartitionReader> {
        let shards = self.fetch.inner.metadata.shards();
        let reader = shards.partition(self.partition)?;
        let keeps_up = shards.is_serving(self.shard).is_some()
            || is_best(&shards.replicas(group_of(self.shard)), shards.identity().node);
        keeps_up.then_some(reader)
    }

    /// Whether the shards have ever been told of the partition: before, nobody has a record of it.
    fn was_opened(&self) -> bool {
        let view = self.fetch.inner.metadata.view();
        view.topic_by_id(self.partition.topic).is_some_and(|topic| topic.settled_at > 0)
    }

    async fn read_here(&mut self, reader: PartitionReader, next: Offset) -> Result<Bytes, FollowError> {
        let mut high_watermark = reader.subscribe();
        let end = *high_watermark.borrow_and_update();
        if end <= next {
            self.wait(Some(high_watermark), FOLLOW_LOOK_MS).await?;
            return Ok(Bytes::new());
        }
        match self.fetch.inner.read_tail(&reader, next, end, FOLLOW_BYTES).await {
            // Compaction has left nothing up to the end.
            Ok(records) if records.is_empty() => {
                self.next = Some(end);
                Ok(records)
            }
            Ok(records) => {
                self.next = Some(end_of(&records)?);
                Ok(records)
            }
            Err(FetchError::OutOfRange { log_start, .. }) if log_start > next => self.skip(log_start),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_there(&mut self) -> Result<Bytes, FollowError> {
        let shards = self.fetch.inner.metadata.shards();
        let hubs = whom_to_ask(&shards.replicas(group_of(self.shard)), shards.identity().node);
        let Some(node) = self.failures.checked_rem(hubs.len()).map(|at| hubs[at]) else {
            self.wait(None, FOLLOW_LOOK_MS).await?;
            return Ok(Bytes::new());
        };
        let bytes_max = u32::try_from(FOLLOW_BYTES).unwrap_or(u32::MAX);
        let ask = Ask { partition: self.partition, from: self.next, bytes_max, wait_ms: REMOTE_WAIT_MS };
        match remote::ask(shards.peers(), node, ask).await {
            Ok(answer) => self.take(node, answer).await,
            Err(error) => {
                tracing::debug!(partition = %self.partition, %node, %error, "the tail cannot be had from this hub");
                self.try_another().await
            }
        }
    }

    async fn take(&mut self, node: NodeId, answer: Answer) -> Result<Bytes, FollowError> {
        let next = *self.next.get_or_insert(answer.next);
        if answer.log_start > next {
            return self.skip(answer.log_start);
        }
        if !answer.records.is_empty() {
            let end = end_of(&answer.records)?;
            if end <= next {
                tracing::warn!(partition = %self.partition, %node, "this hub answers with what it was not asked for");
                return self.try_another().await;
            }
            (self.next, self.failures) = (Some(end), 0);
            return Ok(answer.records);
        }
        if answer.next < next {
            return self.try_another().await;
        }
        (self.next, self.failures) = (Some(answer.next), 0);
        Ok(Bytes::new())
    }

    fn skip(&mut self, log_start: Offset) -> Result<Bytes, FollowError> {
        self.next = Some(log_start);
        Err(FollowError::Skipped { log_start })
    }

    async fn try_another(&mut self) -> Result<Bytes, FollowError> {
        self.failures = self.failures.wrapping_add(1);
        self.wait(None, REMOTE_PAUSE_MS).await?;
        Ok(Bytes::new())
    }

    /// Waits for more, for the partition's end, for another leader, and no longer than `at_most_ms`: a replica that
    /// was replaced by another wakes nobody.
    async fn wait(
        &mut self,
        high_watermark: Option<watch::Receiver<Offset>>,
        at_most_ms: u32,
    ) -> Result<(), FollowError> {
        let more = async {
            match high_watermark {
                Some(mut high_watermark) => drop(high_watermark.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = more => Ok(()),
            () = sleep(Duration::from_millis(u64::from(at_most_ms))) => Ok(()),
            changed = self.topics.changed() => changed.map_err(|_| FollowError::Closed),
            changed = self.leadership.changed() => changed.map_err(|_| FollowError::Closed),
        }
    }
}

/// Whether the replica of `node` is as good as any that can be asked.
fn is_best(view: &GroupView, node: NodeId) -> bool {
    view.in_sync.contains(&node) || view.leader.is_none_or(|leader| leader.node == node)
}

/// The other hubs that have the shard: its leader, then those that keep up, then the rest.
fn whom_to_ask(view: &GroupView, node: NodeId) -> Vec<NodeId> {
    let leader = view.leader.iter().map(|leader| &leader.node);
    let mut hubs: Vec<NodeId> = Vec::new();
    for hub in leader.chain(&view.in_sync).chain(&view.voters) {
        if *hub != node && !hubs.contains(hub) {
            hubs.push(*hub);
        }
    }
    hubs
}

#[cfg(test)]
mod tests {
    use schemas::Term;
    use shards::Leader;

    use super::*;

    fn view(leader: Option<u32>, voters: &[u32], in_sync: &[u32]) -> GroupView {
        let leader = leader.map(|node| Leader { node: NodeId(node), term: Term(1), serving: true });
        let nodes = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect();
        GroupView { leader, voters: nodes(voters), in_sync: nodes(in_sync), ..GroupView::default() }
    }

    #[test]
    fn a_replica_that_keeps_up_is_read_and_one_that_catches_up_is_not() {
        assert!(is_best(&view(Some(1), &[1, 2, 3], &[1, 2]), NodeId(2)));
        assert!(!is_best(&view(Some(1), &[1, 2, 3], &[1, 2]), NodeId(3)));
        assert!(is_best(&view(None, &[1, 2, 3], &[]), NodeId(3)), "nobody is known to have more");
    }

    #[test]
    fn the_leader_is_asked_first_and_nobody_twice() {
        let hubs = whom_to_ask(&view(Some(3), &[1, 2, 3], &[2, 3]), NodeId(4));
        assert_eq!(hubs, [NodeId(3), NodeId(2), NodeId(1)]);
        assert_eq!(whom_to_ask(&view(Some(1), &[1], &[1]), NodeId(1)), []);
    }
}
