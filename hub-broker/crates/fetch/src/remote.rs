//! Reading a partition of which there is no replica here from a hub that has one, and answering those who do.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use partition_log::{PartitionReader, ReadError};
use peers::{Peers, Reply, RequestError};
use schemas::{NodeId, Offset, PartitionId};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::Inner;
use crate::error::FetchError;
use crate::gather::end_of;
use crate::limits::{FOLLOW_BYTES, REMOTE_GRACE_MS, REMOTE_READS_MAX, REMOTE_WAIT_MS, TAIL_OFFSETS};
use crate::locate::{group_of, led, shard_of};

pub(crate) use wire::{Answer, Ask, Refusal};
use wire::{DecodeError, KIND};

/// Why another hub has not answered. It, or another, may the next time.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Request(RequestError),
    #[error(transparent)]
    Refused(Refusal),
    #[error("the answer cannot be read: {0}")]
    Decode(#[from] DecodeError),
}

/// Asks `node`, which waits for something to read.
pub(crate) async fn ask(peers: &Peers, node: NodeId, ask: Ask) -> Result<Answer, AskError> {
    let patience = Duration::from_millis(u64::from(ask.wait_ms) + u64::from(REMOTE_GRACE_MS));
    match peers.request(node, KIND, ask.encode(), patience).await {
        Ok(answer) => Ok(Answer::decode(answer)?),
        Err(RequestError::Refused(reason)) => Err(AskError::Refused(Refusal::decode(reason)?)),
        Err(error) => Err(AskError::Request(error)),
    }
}

/// Answers other hubs from now on, for as long as `inner` lives.
pub(crate) fn serve(inner: &Arc<Inner>) {
    let (weak, runtime) = (Arc::downgrade(inner), Handle::current());
    let turns = Arc::new(Semaphore::new(REMOTE_READS_MAX));
    let handler = move |_from: NodeId, body: Bytes, reply: Reply| {
        // Nobody is left to read: the reply says so by being dropped.
        let Some(inner) = weak.upgrade() else { return };
        let Ok(ask) = Ask::decode(body) else { return reply.refuse(Refusal::NotUnderstood.encode()) };
        let Ok(turn) = turns.clone().try_acquire_owned() else { return reply.refuse(Refusal::Busy.encode()) };
        runtime.spawn(async move {
            match inner.answer(ask).await {
                Ok(answer) => reply.ok(answer.encode()),
                Err(refusal) => reply.refuse(refusal.encode()),
            }
            drop(turn);
        });
    };
    inner.metadata.shards().peers().serve(KIND, Arc::new(handler));
}

impl Inner {
    async fn answer(&self, ask: Ask) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + Duration::from_millis(u64::from(ask.wait_ms.min(REMOTE_WAIT_MS)));
        let Some(from) = ask.from else { return self.end_for_peer(ask.partition, deadline).await };
        let Some(reader) = self.metadata.shards().partition(ask.partition) else {
            return Err(self.why_absent(ask.partition).await);
        };
        let mut high_watermark = reader.subscribe();
        loop {
            let end = *high_watermark.borrow_and_update();
            if reader.log_start() > from {
                return Ok(nothing(&reader, reader.log_start()));
            }
            if end > from {
                return self.read_for_peer(reader, from, end, ask.bytes_max).await;
            }
            if timeout_at(deadline, high_watermark.changed()).await.is_err() {
                return Ok(nothing(&reader, end));
            }
        }
    }

    /// Only a leader knows, and only while a majority says that it is one.
    async fn end_for_peer(&self, partition: PartitionId, deadline: Instant) -> Result<Answer, Refusal> {
        let shard = shard_of(&self.metadata, partition).map_err(|_| Refusal::NotHere)?;
        let told = timeout_at(deadline, led(&self.metadata, shard, partition)).await;
        let reader = told.ok().and_then(Result::ok).ok_or(Refusal::NotHere)?;
        Ok(nothing(&reader, reader.high_watermark()))
    }

    /// The partition is not here.
    pub(crate) async fn why_absent(&self, partition: PartitionId) -> Refusal {
        let Ok(shard) = shard_of(&self.metadata, partition) else { return Refusal::SetAside };
        let shards = self.metadata.shards().clone();
        match self.catch_up.run(move || shards.has_set_aside(group_of(shard))).await {
            Ok(Ok(false)) => Refusal::NotHere,
            Ok(Ok(true) | Err(_)) | Err(_) => Refusal::SetAside,
        }
    }

    async fn read_for_peer(
        &self,
        reader: PartitionReader,
        from: Offset,
        end: Offset,
        bytes_max: u32,
    ) -> Result<Answer, Refusal> {
        match self.read_tail(&reader, from, end, bytes_max as usize).await {
            Ok(records) if records.is_empty() => Ok(nothing(&reader, end)),
            Ok(records) => {
                let next = end_of(&records).map_err(|_| Refusal::Unreadable)?;
                Ok(Answer { log_start: reader.log_start(), next, records })
            }
            // Retention was faster.
            Err(FetchError::OutOfRange { log_start, .. }) => Ok(nothing(&reader, log_start)),
            Err(error) => Err(self.why_unreadable(&reader, from, error).await),
        }
    }

    async fn why_unreadable(&self, reader: &PartitionReader, from: Offset, error: FetchError) -> Refusal {
        if !matches!(error, FetchError::Damaged { .. }) {
            tracing::warn!(partition = %reader.id(), %error, "cannot read for another hub");
        }
        let past = self.past_loss(reader, from, error).await;
        past.map_or(Refusal::Unreadable, |past| Refusal::Damaged { past })
    }

    /// The next batches from `from` on, on a thread that suits how far behind it is. Empty where compaction has left
    /// nothing.
    pub(crate) async fn read_tail(
        &self,
        reader: &PartitionReader,
        from: Offset,
        end: Offset,
        bytes_max: usize,
    ) -> Result<Bytes, FetchError> {
        let pool = if end.0 - from.0 <= TAIL_OFFSETS { &self.tail } else { &self.catch_up };
        let reader = reader.clone();
        let read = pool.run(move || reader.read(from, bytes_max.min(FOLLOW_BYTES))).await;
        read.map_err(|_| FetchError::Stopped)?.map_err(|error: ReadError| crate::gather::read_error(error))
    }
}

fn nothing(reader: &PartitionReader, next: Offset) -> Answer {
    Answer { log_start: reader.log_start(), next, records: Bytes::new() }
}
