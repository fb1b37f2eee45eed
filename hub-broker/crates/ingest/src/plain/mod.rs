//! Messages that the hub packs into batches itself: one accumulator for each partition.
//!
//! A partition has one batch on its way; what arrives meanwhile fills the next. So under load batches grow by
//! themselves, and an idle partition stores a lone message at once. [`queue`] decides, this file carries out.
//!
//! A batch goes to the hub that leads the shard. When the lead moves while it is on its way, nobody knows whether it
//! is stored: it is sent again as it was, and its sequence keeps it from being stored twice. MQTT has no answer that
//! makes every client send a publish again, so the senders hear nothing of it unless it lasts.

mod message;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metadata::{Metadata, ProducerIdError, TimestampType, Topic};
use parking_lot::{Mutex, RwLock};
use schemas::{BatchHeader, PartitionId, PartitionIndex, ProducerId, ShardId};
use shards::{Append, AppendError, Appended, Origin};
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use message::{PlainMessage, PlainStored};
use queue::{Action, After, Answered, Queue};

use crate::config::Clock;
use crate::limits::{PLAIN_RETRIES_MAX, PLAIN_RETRY_MS};
use crate::observe::{self, Path, Size};
use crate::{Config, PlainDone, PlainError};

const RETRY_AFTER: Duration = Duration::from_millis(PLAIN_RETRY_MS);

pub(crate) struct Accumulators {
    shared: Arc<Shared>,
}

struct Shared {
    metadata: Metadata,
    runtime: Handle,
    clock: Clock,
    slots: RwLock<HashMap<PartitionId, Arc<Slot>>>,
    closed: AtomicBool,
}

struct Slot {
    partition: PartitionId,
    shard: ShardId,
    queue: Mutex<Queue>,
}

impl Accumulators {
    pub fn new(metadata: Metadata, config: &Config) -> Self {
        let shared = Shared {
            metadata,
            runtime: Handle::current(),
            clock: Arc::clone(&config.clock),
            slots: RwLock::default(),
            closed: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    pub fn add(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
        messages: &[PlainMessage<'_>],
        done: PlainDone,
    ) {
        if self.shared.closed.load(Ordering::Relaxed) {
            return done(Err(PlainError::Stopping));
        }
        let Some(slot) = self.shared.slot(topic, partition) else {
            return done(Err(PlainError::UnknownPartition));
        };
        let stamp_ms =
            (topic.config.timestamp_type == TimestampType::LogAppend).then(|| (self.shared.clock)());
        let refused = slot.queue.lock().add(messages, topic.config.max_message_bytes, stamp_ms, done);
        match refused {
            None => self.shared.drive(&slot),
            Some((done, error)) => done(Err(error)),
        }
    }
}

impl Shared {
    fn slot(&self, topic: &Topic, index: PartitionIndex) -> Option<Arc<Slot>> {
        let partition = topic.partition_id(index);
        let shard = topic.placement(index)?.shard();
        if let Some(slot) = self.slots.read().get(&partition).filter(|slot| slot.shard == shard) {
            return Some(Arc::clone(slot));
        }
        let fresh = || Arc::new(Slot { partition, shard, queue: Mutex::default() });
        let mut slots = self.slots.write();
        let slot = slots.entry(partition).or_insert_with(fresh);
        if slot.shard != shard {
            *slot = fresh();
        }
        Some(Arc::clone(slot))
    }

    /// Carries out what the queue wants next, if anything.
    fn drive(self: &Arc<Self>, slot: &Arc<Slot>) {
        let action = slot.queue.lock().next();
        self.carry_out(slot, action);
    }

    fn carry_out(self: &Arc<Self>, slot: &Arc<Slot>, action: Action) {
        match action {
            Action::Wait => {}
            Action::GetProducer => self.get_producer(slot),
            Action::Append(batch) => {
                let header = BatchHeader::parse(&batch).expect("the builder's batches parse");
                let size = Size { records: header.record_count, bytes: batch.len() };
                let request =
                    Append { partition: slot.partition, origin: Origin::Hub, batch, expected_term: None };
                let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
                let shard = slot.shard;
                let done = Box::new(move |outcome: Result<Appended, AppendError>| {
                    if let Ok(appended) = &outcome {
                        observe::stored(Path::Mqtt, size, appended.duplicate);
                    }
                    shared.answered(&slot, outcome);
                });
                self.metadata.shards().append_anywhere(shard, request, done);
            }
        }
    }

    fn answered(self: &Arc<Self>, slot: &Arc<Slot>, outcome: Result<Appended, AppendError>) {
        if matches!(outcome, Err(AppendError::UnknownPartition)) {
            self.slots.write().retain(|_, held| !Arc::ptr_eq(held, slot));
        }
        let after = slot.queue.lock().answered(outcome);
        if matches!(after, After::TryAgain) {
            return self.try_again_soon(slot);
        }
        // The next batch first: its way to the disk is longer than the callbacks'.
        self.drive(slot);
        if let After::Tell(answered) = after {
            answered.tell();
        }
    }

    /// The batch on its way stays the one on its way.
    fn try_again_soon(self: &Arc<Self>, slot: &Arc<Slot>) {
        let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
        self.runtime.spawn(async move {
            tokio::time::sleep(RETRY_AFTER).await;
            if shared.closed.load(Ordering::Relaxed) {
                return shared.answered(&slot, Err(AppendError::Stopping));
            }
            let again = slot.queue.lock().again();
            shared.carry_out(&slot, again);
        });
    }

    fn get_producer(self: &Arc<Self>, slot: &Arc<Slot>) {
        let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
        self.runtime.spawn(async move {
            match shared.producer_id().await {
                Ok(id) => slot.queue.lock().set_producer(id),
                Err(error) => {
                    tracing::warn!(%error, partition = ?slot.partition, "no producer id for plain messages");
                    let given_up = slot.queue.lock().give_up(PlainError::Unavailable);
                    given_up.into_iter().for_each(Answered::tell);
                }
            }
            shared.drive(&slot);
        });
    }

    /// Tries again while the metadata has no leader, for as long as a batch is tried.
    async fn producer_id(&self) -> Result<ProducerId, ProducerIdError> {
        let deadline = Instant::now() + RETRY_AFTER * PLAIN_RETRIES_MAX;
        loop {
            match self.metadata.next_producer_id().await {
                Err(ProducerIdError::Unavailable(_))
                    if Instant::now() < deadline && !self.closed.load(Ordering::Relaxed) =>
                {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                outcome => return outcome,
            }
        }
    }
}
