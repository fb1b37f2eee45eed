//! The way into the log: everything that a client sends passes here, is checked against the rules of a batch
//! from outside, and is handed to the shard that owns its partition.
//!
//! Three doors, one for each kind of sender: [`Ingest::produce`] for Kafka producers, [`Ingest::agent_batches`]
//! for agents and [`Ingest::plain`] for messages that the hub packs into batches itself. Each takes the
//! [`Principal`] first and answers through a callback exactly once, after the batch is durable and applied. The
//! callback may run on the caller's thread or on a shard's: it must not block.
//!
//! What comes by MQTT is forwarded to the hub that leads the partition's shard; Kafka producers go there themselves.
//!
//! Invariants, said as absences: nothing here knows a wire format of a front end; nothing that a leader can take
//! waits on a timer; no lock is held while a callback runs.

mod agent;
mod authorize;
mod config;
mod error;
pub mod limits;
mod observe;
mod plain;
mod produce;

use std::sync::Arc;

use bytes::Bytes;
use metadata::{Metadata, Principal, Topic};
use schemas::{DeviceId, PartitionIndex};
use shards::Appended;

pub use agent::AgentAck;
pub use authorize::Denied;
pub use config::{Clock, Config, system_clock};
pub use error::{AgentError, AgentRefusal, PlainError, ProduceError};
pub use observe::{Path, Reason, describe, refused};
pub use plain::{PlainMessage, PlainStored};
pub use produce::Produced;
pub use shards::{AppendError, SequenceError};

/// Hears once what became of a Kafka producer's batch.
pub type ProduceDone = Box<dyn FnOnce(Result<Appended, ProduceError>) + Send>;
/// Hears once what became of an agent's publish.
pub type AgentDone = Box<dyn FnOnce(Result<AgentAck, AgentRefusal>) + Send>;
/// Hears once what became of all messages of one call: they are stored together or not at all.
pub type PlainDone = Box<dyn FnOnce(Result<PlainStored, PlainError>) + Send>;

/// A cheap handle to the way in.
#[derive(Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) metadata: Metadata,
    pub(crate) config: Config,
    plain: plain::Accumulators,
}

impl Ingest {
    /// Must be called within a tokio runtime: producer ids are fetched on it.
    #[must_use]
    pub fn new(metadata: Metadata, config: Config) -> Self {
        let plain = plain::Accumulators::new(metadata.clone(), &config);
        Self { inner: Arc::new(Inner { metadata, config, plain }) }
    }

    /// Stores the RecordBatches of one request of a Kafka producer, each answered on its own. All are checked first,
    /// then they are handed on together.
    pub fn produce<'a>(&self, principal: &Principal, batches: impl IntoIterator<Item = Produced<'a>>) {
        produce::produce(&self.inner, principal, batches);
    }

    /// Stores an agent's publish: one or more batches of one stream, back to back. They are judged in order; the
    /// first refused one is the answer, and what stands before it stays stored.
    pub fn agent_batches(
        &self,
        principal: &Principal,
        device: &DeviceId,
        topic: &Topic,
        partition: PartitionIndex,
        payload: Bytes,
        done: AgentDone,
    ) {
        agent::agent_batches(&self.inner, principal, device, topic, partition, payload, done);
    }

    /// Packs `messages` into the partition's open batch, which is closed when the one before it is stored. The
    /// messages keep their order; those of one call lie in one batch.
    pub fn plain(
        &self,
        principal: &Principal,
        topic: &Topic,
        partition: PartitionIndex,
        messages: &[PlainMessage<'_>],
        done: PlainDone,
    ) {
        match authorize::write(principal, &topic.name) {
            Ok(()) => self.inner.plain.add(topic, partition, messages, done),
            Err(denied) => done(Err(denied.into())),
        }
    }

    /// Ends what waits for a producer id; later plain messages are refused.
    pub fn close(&self) {
        self.inner.plain.close();
    }
}
