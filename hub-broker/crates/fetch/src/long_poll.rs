//! The waiting half of a fetch.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use metadata::Principal;
use partition_log::PartitionReader;
use schemas::{Offset, PartitionId};
use shards::ReadIndexError;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::error::{FetchError, PartitionError};
use crate::gather::{Gather, Lane};
use crate::limits::{PARTITIONS_MAX, SLICE_BYTES, SLICE_PERMITS};
use crate::locate::{Located, as_told, locate};
use crate::pool::Stopped;
use crate::request::{FetchPartition, FetchRequest, FetchResponse, FetchedPartition, Held, Replica};
use crate::{Fetch, Inner};

/// What ends a wait.
struct Wakes {
    /// More to read.
    high_watermarks: Vec<watch::Receiver<Offset>>,
    /// A topic may be gone: readers of a closed partition would wait for ever.
    metadata: watch::Receiver<u64>,
    /// Another hub may lead by now.
    leadership: watch::Receiver<u64>,
    /// The versions of both at which the readers were last looked for.
    seen: (u64, u64),
}

impl Fetch {
    /// Waits until `min_bytes` are there, an error is, or `max_wait` is over. That a partition is another hub's to answer
    /// by now is an error, too.
    pub async fn fetch(&self, _principal: &Principal, request: FetchRequest) -> FetchResponse {
        let names: Vec<_> = request.partitions.iter().map(|wanted| wanted.partition).collect();
        if names.len() > PARTITIONS_MAX {
            return refused(names, &FetchError::TooManyPartitions);
        }
        match self.inner.gather(request).await {
            Ok((gather, held)) => {
                let tell = |FetchedPartition { partition, result }| {
                    let result = result.map_err(|error| as_told(&self.inner.metadata, partition, error));
                    FetchedPartition { partition, result }
                };
                FetchResponse { partitions: gather.finish().into_iter().map(tell).collect(), held }
            }
            Err(Stopped) => refused(names, &FetchError::Stopped),
        }
    }
}

impl Inner {
    async fn gather(&self, request: FetchRequest) -> Result<(Gather, Held), Stopped> {
        let deadline = Instant::now() + request.max_wait;
        let bytes_max = request.max_bytes.min(self.config.answer_bytes_max);
        let min_bytes = request.min_bytes.min(bytes_max);
        // Subscribed before anything is looked at: what changes after it wakes the wait below.
        let mut wakes = Wakes::new(self.metadata.subscribe(), self.metadata.shards().leadership());
        let locate = |wanted: &FetchPartition| {
            locate(&self.metadata, wanted.partition, wanted.current_leader_epoch, request.replica)
        };
        let mut gather = Gather::new(request.partitions, bytes_max, locate);
        self.confirm_ends(&mut gather).await;
        wakes.high_watermarks = gather.readers().map(PartitionReader::subscribe).collect();
        let mut held = Held::default();
        loop {
            if wakes.reset() {
                gather.recheck(locate);
            }
            gather = self.read_all(gather, &mut held, deadline).await?;
            if gather.len_bytes() >= min_bytes || gather.has_error() || gather.is_full() {
                return Ok((gather, held));
            }
            if timeout_at(deadline, wakes.any()).await.is_err() {
                return Ok((gather, held));
            }
        }
    }

    /// Has a majority confirm that this hub leads before it says that a reader is beyond the end: one that was cut off
    /// does not know what the others have committed, and the reader would begin anew.
    async fn confirm_ends(&self, gather: &mut Gather) {
        let beyond: Vec<_> = gather.beyond_end().map(|(at, wanted)| (at, wanted.clone())).collect();
        for (at, wanted) in beyond {
            if let Err(error) = self.confirm_end(&wanted).await {
                gather.refuse(at, error);
            }
        }
    }

    async fn confirm_end(&self, wanted: &FetchPartition) -> Result<(), FetchError> {
        let Located { reader, shard, .. } = locate(&self.metadata, wanted.partition, None, Replica::Leader)?;
        match self.metadata.shards().read_index(shard).await {
            Ok(_) if wanted.offset > reader.high_watermark() => Ok(()),
            // It has learned better meanwhile.
            Ok(_) => Err(FetchError::NotYetHere { high_watermark: reader.high_watermark() }),
            Err(ReadIndexError::NotLeader { leader }) => Err(PartitionError::NotLeader { leader }.into()),
            Err(_) => Err(PartitionError::NewLeader.into()),
        }
    }

    /// Reads what is there, slice by slice, so that requests take turns on the reader threads.
    async fn read_all(
        &self,
        mut gather: Gather,
        held: &mut Held,
        deadline: Instant,
    ) -> Result<Gather, Stopped> {
        while let Some(lane) = gather.lane() {
            let before = gather.len_bytes();
            let Some(memory) = self.memory_for_a_slice(before == 0, deadline).await else { break };
            let pool = match lane {
                Lane::Tail => &self.tail,
                Lane::CatchUp => &self.catch_up,
            };
            gather = pool
                .run(move || {
                    gather.read_slice();
                    gather
                })
                .await?;
            held.keep(memory, gather.len_bytes() - before);
        }
        Ok(gather)
    }

    /// Who has nothing yet waits for memory; who has something answers with that instead of waiting.
    async fn memory_for_a_slice(&self, may_wait: bool, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let memory = Arc::clone(&self.memory);
        if may_wait {
            timeout_at(deadline, memory.acquire_many_owned(SLICE_PERMITS)).await.ok()?.ok()
        } else {
            memory.try_acquire_many_owned(SLICE_PERMITS).ok()
        }
    }
}

impl Held {
    /// Gives back what the slice did not use. A batch larger than a slice is not counted in full: there is
    /// at most one such batch for each reader thread and answer.
    fn keep(&mut self, mut memory: OwnedSemaphorePermit, used_bytes: usize) {
        let Some(used) = memory.split(used_bytes.min(SLICE_BYTES)) else { return };
        match &mut self.0 {
            Some(held) => held.merge(used),
            None => self.0 = Some(used),
        }
    }
}

impl Wakes {
    fn new(metadata: watch::Receiver<u64>, leadership: watch::Receiver<u64>) -> Self {
        let seen = (*metadata.borrow(), *leadership.borrow());
        Self { high_watermarks: Vec::new(), metadata, leadership, seen }
    }

    /// What has happened up to now does not wake any more. Tells whether it may be another hub's to answer.
    fn reset(&mut self) -> bool {
        self.high_watermarks.iter_mut().for_each(|wake| drop(wake.borrow_and_update()));
        let seen = (*self.metadata.borrow_and_update(), *self.leadership.borrow_and_update());
        std::mem::replace(&mut self.seen, seen) != seen
    }

    async fn any(&mut self) {
        let mut changes: FuturesUnordered<_> =
            self.high_watermarks.iter_mut().map(watch::Receiver::changed).collect();
        tokio::select! {
            Some(_) = changes.next() => {}
            _ = self.metadata.changed() => {}
            _ = self.leadership.changed() => {}
        }
    }
}

fn refused(names: Vec<PartitionId>, error: &FetchError) -> FetchResponse {
    let refuse = |partition| FetchedPartition { partition, result: Err(error.clone()) };
    FetchResponse { partitions: names.into_iter().map(refuse).collect(), held: Held::default() }
}
