//! Work beside the requests: making and reading the offsets topic at the start, sweeping afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use metadata::{CreateTopic, CreateTopicError, Principal, Topic};
use schemas::{PartitionIndex, TopicId};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::limits::{LOAD_CONCURRENCY, LOAD_RETRY_MS};
use crate::load::{LoadError, load};
use crate::runtime::Runtime;
use crate::task::Message;

pub(crate) async fn run(runtime: Arc<Runtime>) {
    let topic = offsets_topic(&runtime).await;
    runtime.set_topic(&topic);
    let indexes = (0..topic.partition_count()).map(PartitionIndex);
    stream::iter(indexes)
        .for_each_concurrent(LOAD_CONCURRENCY, |index| load_partition(&runtime, &topic, index))
        .await;
    sweep(&runtime).await;
}

/// The offsets topic; it is made when it is missing. Until that succeeds there are no groups.
async fn offsets_topic(runtime: &Runtime) -> Arc<Topic> {
    let name = Runtime::offsets_topic_name();
    loop {
        // Its partitions are open at the latest when its creation has been settled.
        if let Some(topic) = runtime.context.metadata.topic(&name).filter(|topic| topic.is_settled()) {
            return topic;
        }
        let mut versions = runtime.context.metadata.subscribe();
        let request = CreateTopic {
            partitions: Some(runtime.context.config.offsets_partitions),
            config: vec![("cleanup.policy".to_owned(), Some("compact".to_owned()))],
            ..CreateTopic::new(name.clone())
        };
        match runtime.context.metadata.create_topic(&Principal::internal(), request).await {
            Ok(topic) => return topic,
            Err(CreateTopicError::Exists(_)) => {
                wait_for_change(&mut versions).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the topic for consumer offsets cannot be made; trying again");
                tokio::time::sleep(Duration::from_millis(LOAD_RETRY_MS)).await;
            }
        }
    }
}

/// A change that was missed is not waited for longer than a retry takes.
async fn wait_for_change(versions: &mut watch::Receiver<u64>) {
    let _ = tokio::time::timeout(Duration::from_millis(LOAD_RETRY_MS), versions.changed()).await;
}

async fn load_partition(runtime: &Arc<Runtime>, topic: &Arc<Topic>, index: PartitionIndex) {
    loop {
        match try_load(runtime, topic, index).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(partition = %index, %error, "consumer offsets cannot be read; their groups wait");
                tokio::time::sleep(Duration::from_millis(LOAD_RETRY_MS)).await;
            }
        }
    }
}

async fn try_load(
    runtime: &Arc<Runtime>,
    topic: &Arc<Topic>,
    index: PartitionIndex,
) -> Result<(), LoadError> {
    let reader = runtime.context.metadata.shards().partition(topic.partition_id(index));
    let reader = reader.ok_or(LoadError::NotOpen(index.0))?;
    let reading = tokio::task::spawn_blocking(move || load(&reader));
    let groups = reading.await.map_err(|_| LoadError::Ended)??;
    runtime.admit(topic, index, groups);
    Ok(())
}

/// Sweeps every group from time to time, and when a topic is gone.
async fn sweep(runtime: &Runtime) {
    let mut versions = runtime.context.metadata.subscribe();
    let mut ticks = tokio::time::interval(runtime.context.config.expiry_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut topics = topic_ids(runtime);
    loop {
        let is_due = tokio::select! {
            _ = ticks.tick() => true,
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = topic_ids(runtime);
                let some_are_gone = !topics.is_subset(&now);
                topics = now;
                some_are_gone
            }
        };
        if is_due {
            for (_, group) in runtime.known() {
                // A group whose inbox is full is swept the next time.
                let _ = group.inbox.try_send(Message::Sweep);
            }
        }
    }
}

fn topic_ids(runtime: &Runtime) -> HashSet<TopicId> {
    runtime.context.view().topics().map(|topic| topic.id).collect()
}
