//! The waiting half of a fetch.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use metadata::Principal;
use schemas::{Offset, PartitionId};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::error::{FetchError, PartitionError};
use crate::gather::{Gather, Lane};
use crate::limits::{PARTITIONS_MAX, SLICE_BYTES, SLICE_PERMITS};
use crate::locate::locate;
use crate::pool::Stopped;
use crate::request::{FetchRequest, FetchResponse, FetchedPartition, Held};
use crate::{Fetch, Inner};

type Wakes = Vec<(usize, watch::Receiver<Offset>)>;

impl Fetch {
    /// Waits until `min_bytes` are there, an error is, or `max_wait` is over.
    pub async fn fetch(&self, _principal: &Principal, request: FetchRequest) -> FetchResponse {
        let names: Vec<_> = request.partitions.iter().map(|wanted| wanted.partition).collect();
        if names.len() > PARTITIONS_MAX {
            return refused(names, &FetchError::TooManyPartitions);
        }
        match self.inner.gather(request).await {
            Ok((gather, held)) => FetchResponse { partitions: gather.finish(), held },
            Err(Stopped) => refused(names, &FetchError::Stopped),
        }
    }
}

impl Inner {
    async fn gather(&self, request: FetchRequest) -> Result<(Gather, Held), Stopped> {
        let deadline = Instant::now() + request.max_wait;
        let bytes_max = request.max_bytes.min(self.config.answer_bytes_max);
        let min_bytes = request.min_bytes.min(bytes_max);
        let mut gather = Gather::new(request.partitions, bytes_max, |wanted| {
            Ok(locate(&self.metadata, wanted.partition, wanted.current_leader_epoch)?)
        });
        // Subscribed before the first read: what is published after it wakes the wait below.
        let mut wakes: Wakes = gather.readers().map(|(at, reader)| (at, reader.subscribe())).collect();
        let mut held = Held::default();
        loop {
            wakes.iter_mut().for_each(|(_, wake)| drop(wake.borrow_and_update()));
            gather = self.read_all(gather, &mut held, deadline).await?;
            if gather.len_bytes() >= min_bytes || gather.has_error() || gather.is_full() {
                return Ok((gather, held));
            }
            match timeout_at(deadline, any_change(&mut wakes)).await {
                Ok(Changed::Grown) => {}
                Ok(Changed::Closed(at)) => gather.fail(at, PartitionError::UnknownPartition.into()),
                Err(_elapsed) => return Ok((gather, held)),
            }
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

enum Changed {
    Grown,
    Closed(usize),
}

/// Ends at the first change of any high watermark; without partitions, never.
async fn any_change(wakes: &mut Wakes) -> Changed {
    let mut changes: FuturesUnordered<_> =
        wakes.iter_mut().map(|(at, wake)| async { (*at, wake.changed().await) }).collect();
    match changes.next().await {
        Some((_, Ok(()))) => Changed::Grown,
        Some((at, Err(_closed))) => Changed::Closed(at),
        None => std::future::pending().await,
    }
}

fn refused(names: Vec<PartitionId>, error: &FetchError) -> FetchResponse {
    let refuse = |partition| FetchedPartition { partition, result: Err(error.clone()) };
    FetchResponse { partitions: names.into_iter().map(refuse).collect(), held: Held::default() }
}
