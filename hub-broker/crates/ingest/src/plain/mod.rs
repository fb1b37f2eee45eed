//! Messages that the hub packs into batches itself: one accumulator for each partition.
//!
//! A partition has one batch on its way; what arrives meanwhile fills the next. So under load batches grow by
//! themselves, an idle partition stores a lone message at once, and nothing waits on a timer. [`queue`] decides,
//! this file carries out.

mod message;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metadata::{Metadata, TimestampType, Topic};
use parking_lot::{Mutex, RwLock};
use schemas::{BatchHeader, PartitionId, PartitionIndex, ShardId};
use shards::{Append, AppendError, Appended, Origin};
use tokio::runtime::Handle;

pub use message::{PlainMessage, PlainStored};
use queue::{Action, Answered, Queue};

use crate::config::Clock;
use crate::observe::{self, Path, Size};
use crate::{Config, PlainDone, PlainError};

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
                self.metadata.shards().append(shard, request, done);
            }
        }
    }

    fn answered(self: &Arc<Self>, slot: &Arc<Slot>, outcome: Result<Appended, AppendError>) {
        if matches!(outcome, Err(AppendError::UnknownPartition)) {
            self.slots.write().retain(|_, held| !Arc::ptr_eq(held, slot));
        }
        let answered = slot.queue.lock().answered(outcome);
        // The next batch first: its way to the disk is longer than the callbacks'.
        self.drive(slot);
        if let Some(answered) = answered {
            answered.tell();
        }
    }

    fn get_producer(self: &Arc<Self>, slot: &Arc<Slot>) {
        let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
        self.runtime.spawn(async move {
            match shared.metadata.next_producer_id().await {
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
}
