//! The tail of one partition, for subscribers that take every committed batch as it comes.
//!
//! A follower pulls: it holds no task and no queue, only a position. It reads the replica of this hub where there is
//! one that keeps up, and otherwise another hub's. Offsets are the same everywhere, so it may change between them at
//! any time; what it has given out is committed and stays. Who does not call `next` costs nothing and loses nothing
//! that retention keeps.
//!
//! What is damaged here it reads from another hub. It passes over only what all hubs have lost, and says so.

use std::time::Duration;

use bytes::Bytes;
use metadata::{Principal, ReplicaRecord};
use partition_log::PartitionReader;
use schemas::{NodeId, Offset, PartitionId, ShardId};
use shards::GroupView;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Fetch;
use crate::doubt::Doubt;
use crate::error::{FetchError, PartitionError};
use crate::gather::end_of;
use crate::limits::{FOLLOW_BYTES, FOLLOW_LOOK_MS, REMOTE_PAUSE_MS, REMOTE_WAIT_MS};
use crate::locate::{group_of, shard_of};
use crate::remote::{self, Answer, Ask, AskError, Refusal};

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
    /// Every hub that has the partition has said that it is damaged there and stays so. The next call goes on at `to`.
    #[error("the records from offset {from} up to {to} are damaged on every hub that has them")]
    Lost { from: Offset, to: Offset },
    /// The partition was closed. No call will succeed any more.
    #[error("the partition was closed")]
    Closed,
    /// The position stays, so a retry may help.
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
    /// A hub could not read what is next.
    doubt: Option<Doubt>,
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
        let mut follow =
            Follow { fetch, partition, shard, next, topics, leadership, failures: 0, doubt: None };
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
            self.doubt.take_if(|doubt| doubt.at != next);
            let records = match (&self.doubt, self.local()) {
                (Some(_), _) => self.read_in_turn(next).await?,
                (None, Some(reader)) => self.read_here(reader, next).await?,
                (None, None) => self.read_there().await?,
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
            Err(error) if self.doubt.is_some() || matches!(error, FetchError::Damaged { .. }) => {
                tracing::debug!(partition = %self.partition, %error, "what is next is read from another hub");
                let past = self.fetch.inner.past_loss(&reader, next, error).await;
                self.hear(self.node(), next, past).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_there(&mut self) -> Result<Bytes, FollowError> {
        let hubs = whom_to_ask(&self.replicas(), self.node());
        match self.failures.checked_rem(hubs.len()).map(|at| hubs[at]) {
            Some(node) => self.ask(node).await,
            None => {
                self.wait(None, FOLLOW_LOOK_MS).await?;
                Ok(Bytes::new())
            }
        }
    }

    /// From this hub or another, whichever has not been asked for the longest.
    async fn read_in_turn(&mut self, next: Offset) -> Result<Bytes, FollowError> {
        let hubs = self.keepers();
        let whose_turn = self.doubt.as_ref().and_then(|doubt| doubt.whom(&hubs));
        match (whose_turn, self.fetch.inner.metadata.shards().partition(self.partition)) {
            (Some(node), Some(reader)) if node == self.node() && reader.high_watermark() > next => {
                self.read_here(reader, next).await
            }
            (Some(node), _) if node == self.node() => self.hear(node, next, None).await,
            (Some(node), _) => self.ask(node).await,
            (None, _) => {
                self.wait(None, FOLLOW_LOOK_MS).await?;
                Ok(Bytes::new())
            }
        }
    }

    async fn ask(&mut self, node: NodeId) -> Result<Bytes, FollowError> {
        let bytes_max = u32::try_from(FOLLOW_BYTES).unwrap_or(u32::MAX);
        let ask = Ask { partition: self.partition, from: self.next, bytes_max, wait_ms: REMOTE_WAIT_MS };
        let answer = remote::ask(self.fetch.inner.metadata.shards().peers(), node, ask).await;
        match (answer, self.next) {
            (Ok(answer), _) => self.take(node, answer).await,
            (Err(AskError::Refused(Refusal::Damaged { past })), Some(next)) => {
                self.hear(node, next, Some(past)).await
            }
            (Err(error), _) => {
                tracing::debug!(partition = %self.partition, %node, %error, "the tail cannot be had from this hub");
                self.try_another(node).await
            }
        }
    }

    async fn take(&mut self, node: NodeId, answer: Answer) -> Result<Bytes, FollowError> {
        let next = *self.next.get_or_insert(answer.next);
        if answer.log_start > next {
            return self.skip(answer.log_start);
        }
        if !answer.records.is_empty() {
            let Some(end) = end_of(&answer.records).ok().filter(|end| *end > next) else {
                tracing::warn!(partition = %self.partition, %node, "this hub answers with what it was not asked for");
                return self.try_another(node).await;
            };
            (self.next, self.failures) = (Some(end), 0);
            return Ok(answer.records);
        }
        // Where one has come to what is in doubt, another has more.
        if answer.next < next || (answer.next == next && self.doubt.is_some()) {
            return self.try_another(node).await;
        }
        (self.next, self.failures) = (Some(answer.next), 0);
        Ok(Bytes::new())
    }

    fn skip(&mut self, log_start: Offset) -> Result<Bytes, FollowError> {
        self.next = Some(log_start);
        Err(FollowError::Skipped { log_start })
    }

    async fn try_another(&mut self, node: NodeId) -> Result<Bytes, FollowError> {
        if let Some(at) = self.doubt.as_ref().map(|doubt| doubt.at) {
            return self.hear(node, at, None).await;
        }
        self.failures = self.failures.wrapping_add(1);
        self.wait(None, REMOTE_PAUSE_MS).await?;
        Ok(Bytes::new())
    }

    /// What a hub makes of the batch at `next`: it has lost it and goes on at the offset `past`, or does not say so.
    async fn hear(&mut self, node: NodeId, next: Offset, past: Option<Offset>) -> Result<Bytes, FollowError> {
        self.doubt.get_or_insert_with(|| Doubt::at(next)).hear(node, past);
        let hubs = self.keepers();
        let Some(doubt) = &self.doubt else { return Ok(Bytes::new()) };
        if let Some(to) = doubt.verdict(&hubs) {
            self.next = Some(to);
            return Err(FollowError::Lost { from: next, to });
        }
        if let Some(rounds) = doubt.rounds(&hubs) {
            if rounds == 1 {
                tracing::warn!(
                    partition = %self.partition, offset = %next, ?hubs,
                    "no hub can read the batch at this offset now; readers wait until one can, or all have lost it"
                );
            }
            self.wait(None, REMOTE_PAUSE_MS).await?;
        }
        Ok(Bytes::new())
    }

    fn node(&self) -> NodeId {
        self.fetch.inner.metadata.shards().identity().node
    }

    fn replicas(&self) -> GroupView {
        self.fetch.inner.metadata.shards().replicas(group_of(self.shard))
    }

    /// Whoever may have what is in doubt; nobody while that is not known.
    fn keepers(&mut self) -> Vec<NodeId> {
        let view = self.fetch.inner.metadata.view();
        let before = self.doubt.as_ref().map(|doubt| doubt.keepers.as_slice()).unwrap_or_default();
        let hubs = keepers(&self.replicas(), view.replicas(group_of(self.shard)), self.node(), before);
        if let Some(doubt) = self.doubt.as_mut().filter(|_| !hubs.is_empty()) {
            doubt.keepers.clone_from(&hubs);
        }
        hubs
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

/// The hubs with a replica of the shard that has joined its group, as far as its members or the catalog name it; `node`
/// first. One of those `before` whose replica was given up is waited for until the next one there has joined: that takes
/// what is whole from what the hub has set aside. Others that are still to join bring nothing that these do not have.
fn keepers(view: &GroupView, records: &[ReplicaRecord], node: NodeId, before: &[NodeId]) -> Vec<NodeId> {
    if view.voters.is_empty() {
        return Vec::new();
    }
    let mut hubs = whom_to_ask(view, node);
    let may_have = |record: &&ReplicaRecord| record.joined || before.contains(&record.node);
    for record in records.iter().filter(may_have).filter(|record| record.node != node) {
        if !hubs.contains(&record.node) {
            hubs.push(record.node);
        }
    }
    if view.voters.contains(&node) || records.iter().filter(may_have).any(|record| record.node == node) {
        hubs.insert(0, node);
    }
    hubs
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

    fn record(node: u32, joined: bool) -> ReplicaRecord {
        ReplicaRecord { node: NodeId(node), number: node, joined, leaving: false }
    }

    #[test]
    fn whoever_may_have_a_batch_is_asked_before_it_is_lost() {
        let view = view(Some(3), &[1, 3], &[3]);
        let leaving = ReplicaRecord { leaving: true, ..record(2, true) };
        let keepers = |node| keepers(&view, &[leaving, record(1, true), record(4, false)], NodeId(node), &[]);
        assert_eq!(keepers(1), [1, 3, 2].map(NodeId), "the second has left the group, and is still there");
        assert_eq!(keepers(4), [3, 1, 2].map(NodeId), "the fourth is still fetching it");
        assert_eq!(super::keepers(&GroupView::default(), &[record(1, true)], NodeId(1), &[]), []);
    }

    #[test]
    fn a_hub_that_has_set_its_replica_aside_is_waited_for_until_the_next_has_joined() {
        let (two, three) = (view(Some(2), &[2, 3], &[2, 3]), view(Some(2), &[1, 2, 3], &[2, 3]));
        let joined = [1, 2, 3].map(|node| record(node, true));
        let replaced = [record(1, false), joined[1], joined[2], record(4, false)];
        for node in [1, 2] {
            let mut before = Vec::new();
            let mut next = |view: &GroupView, records: &[ReplicaRecord]| {
                before = keepers(view, records, NodeId(node), &before);
                let mut sorted = before.clone();
                sorted.sort_unstable();
                sorted
            };
            assert_eq!(next(&three, &joined), [1, 2, 3].map(NodeId));
            assert_eq!(next(&two, &replaced), [1, 2, 3].map(NodeId), "the fourth never had it");
            assert_eq!(next(&two, &replaced), [1, 2, 3].map(NodeId), "it takes its time");
            assert_eq!(next(&two, &joined[1..]), [2, 3].map(NodeId), "it is to come back no more");
            assert_eq!(next(&two, &replaced), [2, 3].map(NodeId), "it comes back with nothing");
        }
    }

    #[test]
    fn the_leader_is_asked_first_and_nobody_twice() {
        let hubs = whom_to_ask(&view(Some(3), &[1, 2, 3], &[2, 3]), NodeId(4));
        assert_eq!(hubs, [NodeId(3), NodeId(2), NodeId(1)]);
        assert_eq!(whom_to_ask(&view(Some(1), &[1], &[1]), NodeId(1)), []);
    }
}
