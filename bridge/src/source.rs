//! The topics, read as an ordinary consumer group through librdkafka.
//!
//! A partition that goes to another member is given up only after its batch at the sink has ended and what the
//! sink has is committed, so that two members never write for one partition at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::flow::Flow;
use crate::record::Partition;
use crate::settings::PipelineSettings;
use crate::sinks::Sink;

/// A revoked partition's batch gets so long to end; librdkafka allows five minutes.
const REVOKE_WITHIN: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the consumer's thread, the sinks' tasks and the rebalance callback share.
pub struct Shared {
    flow: Mutex<Flow>,
    changed: Condvar,
    sink: Arc<dyn Sink>,
    runtime: Handle,
    shutdown: CancellationToken,
    /// Wakes the tasks that wait to offer a batch again: its partition may be somebody else's now.
    revoked: Notify,
}

impl Shared {
    pub fn new(flow: Flow, sink: Arc<dyn Sink>, runtime: Handle, shutdown: CancellationToken) -> Self {
        Self {
            flow: Mutex::new(flow),
            changed: Condvar::new(),
            sink,
            runtime,
            shutdown,
            revoked: Notify::new(),
        }
    }

    /// Waits for this time; answers whether a batch may be offered again then.
    pub async fn may_retry(&self, partition: &Partition, life: u64, after: Duration) -> bool {
        let pause = tokio::time::sleep(after);
        tokio::pin!(pause);
        loop {
            let revoked = self.revoked.notified();
            if self.shutdown.is_cancelled() || !self.flow().is_current(partition, life) {
                return false;
            }
            tokio::select! {
                () = &mut pause => return true,
                () = revoked => {}
                () = self.shutdown.cancelled() => return false,
            }
        }
    }

    /// Waits until no batch of an earlier assignment is at a partition's sink: two never write side by side.
    fn wait_alone(&self, partition: &Partition) {
        let alone = |flow: &mut Flow| flow.has_stray(partition) && !self.shutdown.is_cancelled();
        drop(self.changed.wait_while(self.flow(), alone));
    }

    pub fn sink(&self) -> &Arc<dyn Sink> {
        &self.sink
    }

    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    pub fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the flow and wakes whoever waits for it to be idle.
    pub fn change<T>(&self, change: impl FnOnce(&mut Flow) -> T) -> T {
        let changed = change(&mut self.flow());
        self.changed.notify_all();
        changed
    }

    /// Waits until nothing is at the sink; answers whether that came in time.
    pub fn wait_idle(&self, deadline: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.flow(), deadline, |flow| !flow.is_idle());
        let (flow, _) = waited.unwrap_or_else(PoisonError::into_inner);
        flow.is_idle()
    }

    /// Asks the sink, until it answers, what it has of a partition.
    fn resume_from(&self, partition: &Partition) -> Option<i64> {
        loop {
            let error = match self.runtime.block_on(self.sink.resume_from(partition)) {
                Ok(from) => return from,
                Err(error) => error,
            };
            warn!(%partition, %error, "cannot tell yet what the sink has; trying again");
            let pause = tokio::time::sleep(RETRY_AFTER);
            self.runtime.block_on(async {
                tokio::select! { () = pause => {}, () = self.shutdown.cancelled() => {} }
            });
            if self.shutdown.is_cancelled() {
                return None;
            }
        }
    }
}

pub struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "librdkafka");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assigned(partitions),
            Rebalance::Revoke(partitions) => self.revoked(consumer, partitions),
            Rebalance::Error(error) => warn!(%error, "the group could not be balanced"),
        }
    }
}

impl Context {
    fn assigned(&self, partitions: &TopicPartitionList) {
        for partition in partitions.elements().iter().map(partition_of) {
            self.shared.wait_alone(&partition);
            let from = self.shared.resume_from(&partition);
            info!(%partition, sink_has_below = from, "taking up");
            self.shared.change(|flow| flow.assigned(partition, from.unwrap_or(0)));
        }
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        if !self.shared.wait_idle(REVOKE_WITHIN) {
            warn!("a sink takes too long; its batch will be offered again by the partition's next owner");
        }
        if let Err(error) = commit(consumer, &self.shared) {
            warn!(%error, "could not commit before giving partitions up; their next owner may repeat records");
        }
        for partition in partitions.elements().iter().map(partition_of) {
            info!(%partition, "giving up");
            self.shared.change(|flow| flow.revoked(&partition));
        }
        self.shared.revoked.notify_waiters();
    }
}

fn partition_of(element: &TopicPartitionListElem<'_>) -> Partition {
    Partition { topic: element.topic().to_owned(), index: element.partition() }
}

/// A consumer that is subscribed to a pipeline's topics.
pub fn subscribe(
    hub: &str,
    pipeline: &PipelineSettings,
    shared: &Arc<Shared>,
) -> KafkaResult<BaseConsumer<Context>> {
    let consumer: BaseConsumer<Context> = ClientConfig::new()
        .set("bootstrap.servers", hub)
        .set("group.id", &pipeline.group)
        .set("client.id", format!("headwater-bridge-{}", pipeline.name))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // A bridge that was killed holds up its successor no longer than this.
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        .set("allow.auto.create.topics", "true")
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("queued.max.messages.kbytes", "16384")
        .set("check.crcs", "true")
        .create_with_context(Context { shared: Arc::clone(shared) })?;
    let topics: Vec<&str> = pipeline.topics.iter().map(schemas::TopicName::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

/// Commits what the sink has. Nothing is asked of the hub where there is nothing new.
pub fn commit(consumer: &BaseConsumer<Context>, shared: &Shared) -> KafkaResult<()> {
    let committable = shared.flow().committable();
    if committable.is_empty() {
        return Ok(());
    }
    let offsets =
        offsets(committable.iter().map(|(partition, offset)| (partition, Offset::Offset(*offset))))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    shared.change(|flow| flow.committed(&committable));
    Ok(())
}

/// A list of partitions with offsets.
pub fn offsets<'a>(
    entries: impl Iterator<Item = (&'a Partition, Offset)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in entries {
        list.add_partition_offset(&partition.topic, partition.index, offset)?;
    }
    Ok(list)
}
