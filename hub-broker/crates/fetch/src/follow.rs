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
use crate::doubt::{Doubt, Keepers, Said};
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
                self.hear(self.node(), next, Said::lost(past)).await
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
        let hubs = self.keepers().hubs;
        match self.doubt.as_ref().and_then(|doubt| doubt.whom(&hubs)) {
            Some(node) if node == self.node() => self.read_own(next).await,
            Some(node) => self.ask(node).await,
            None => {
                self.wait(None, FOLLOW_LOOK_MS).await?;
                Ok(Bytes::new())
            }
        }
    }

    /// From this hub, whose turn it is.
    async fn read_own(&mut self, next: Offset) -> Result<Bytes, FollowError> {
        let inner = &self.fetch.inner;
        let said = match inner.metadata.shards().partition(self.partition) {
            Some(reader) if reader.high_watermark() > next => return self.read_here(reader, next).await,
            Some(_) => Said::Unknown,
            None if inner.why_absent(self.partition).await == Refusal::NotHere => Said::Nothing,
            None => Said::Unknown,
        };
        self.hear(self.node(), next, said).await
    }

    async fn ask(&mut self, node: NodeId) -> Result<Bytes, FollowError> {
        let bytes_max = u32::try_from(FOLLOW_BYTES).unwrap_or(u32::MAX);
        let ask = Ask { partition: self.partition, from: self.next, bytes_max, wait_ms: REMOTE_WAIT_MS };
        let answer = remote::ask(self.fetch.inner.metadata.shards().peers(), node, ask).await;
        match (answer, self.next) {
            (Ok(answer), _) => self.take(node, answer).await,
            (Err(AskError::Refused(Refusal::Damaged { past })), Some(next)) => {
                self.hear(node, next, Said::Lost { past }).await
            }
            (Err(AskError::Refused(Refusal::NotHere)), Some(next)) if self.doubt.is_some() => {
                self.hear(node, next, Said::Nothing).await
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
            return self.hear(node, at, Said::Unknown).await;
        }
        self.failures = self.failures.wrapping_add(1);
        self.wait(None, REMOTE_PAUSE_MS).await?;
        Ok(Bytes::new())
    }

    /// What a hub makes of the batch at `next`.
    async fn hear(&mut self, node: NodeId, next: Offset, said: Said) -> Result<Bytes, FollowError> {
        self.doubt.get_or_insert_with(|| Doubt::at(next)).hear(node, said);
        let keepers = self.keepers();
        let Some(doubt) = &self.doubt else { return Ok(Bytes::new()) };
        if let Some(to) = doubt.verdict(&keepers) {
            self.next = Some(to);
            return Err(FollowError::Lost { from: next, to });
        }
        let hubs = keepers.hubs;
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
    fn keepers(&self) -> Keepers {
        let view = self.fetch.inner.metadata.view();
        keepers(&self.replicas(), view.replicas(group_of(self.shard)), self.node())
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

/// The hubs with a replica of the shard, or that are to have one, as far as its members or the catalog name it; `node`
/// first.
fn keepers(view: &GroupView, records: &[ReplicaRecord], node: NodeId) -> Keepers {
    if view.voters.is_empty() {
        return Keepers::default();
    }
    let mut hubs = whom_to_ask(view, node);
    for record in records.iter().filter(|record| record.node != node) {
        if !hubs.contains(&record.node) {
            hubs.push(record.node);
        }
    }
    if view.voters.contains(&node) || records.iter().any(|record| record.node == node) {
        hubs.insert(0, node);
    }
    let has_joined = |hub: &NodeId| {
        view.voters.contains(hub) || records.iter().any(|record| record.node == *hub && record.joined)
    };
    let joining = hubs.iter().copied().filter(|hub| !has_joined(hub)).collect();
    Keepers { hubs, joining }
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
        let records = [leaving, record(1, false), record(4, false)];
        for (node, hubs) in [(1, [1, 3, 2, 4]), (4, [4, 3, 1, 2])] {
            let Keepers { hubs: asked, joining } = keepers(&view, &records, NodeId(node));
            assert_eq!(asked, hubs.map(NodeId), "the second has left the group, and is still there");
            assert_eq!(joining, [NodeId(4)], "the catalog has not heard yet that the first has joined");
        }
        assert_eq!(keepers(&GroupView::default(), &[record(1, true)], NodeId(1)), Keepers::default());
    }

    #[test]
    fn a_hub_that_has_set_its_replica_aside_is_asked_until_the_next_has_joined_or_is_to_come_no_more() {
        let view = view(Some(2), &[2, 3], &[2, 3]);
        let records = [1, 2, 3].map(|node| record(node, node > 1));
        assert_eq!(keepers(&view, &records, NodeId(2)).joining, [NodeId(1)]);
        assert_eq!(keepers(&view, &records[1..], NodeId(2)).hubs, [2, 3].map(NodeId));
    }

    #[test]
    fn the_leader_is_asked_first_and_nobody_twice() {
        let hubs = whom_to_ask(&view(Some(3), &[1, 2, 3], &[2, 3]), NodeId(4));
        assert_eq!(hubs, [NodeId(3), NodeId(2), NodeId(1)]);
        assert_eq!(whom_to_ask(&view(Some(1), &[1], &[1]), NodeId(1)), []);
    }
}
