//! Work beside the requests: making the offsets topic, coordinating where its shards are served, sweeping.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metadata::{CreateTopic, CreateTopicError, Principal, Topic};
use schemas::{PartitionIndex, Term, TopicId};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::limits::{LOAD_AGAIN_MS, LOAD_CONCURRENCY, LOAD_RETRY_MS};
use crate::load::{LoadError, load};
use crate::runtime::Runtime;
use crate::task::Message;

pub(crate) async fn run(runtime: Arc<Runtime>) {
    let topic = offsets_topic(&runtime).await;
    runtime.set_topic(&topic);
    tokio::join!(coordinate(&runtime, &topic), sweep(&runtime));
}

/// The offsets topic; it is made when it is missing, by whichever hub is first. Until that succeeds there are no
/// groups.
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

/// Reads the partitions whose shards this hub comes to serve, and lets go of those that it serves no longer.
async fn coordinate(runtime: &Arc<Runtime>, topic: &Arc<Topic>) {
    let mut leadership = runtime.context.metadata.shards().leadership();
    let turns = Semaphore::new(LOAD_CONCURRENCY);
    let mut loads = FuturesUnordered::new();
    loop {
        leadership.mark_unchanged();
        for (index, term) in runtime.follow_leadership() {
            loads.push(load_partition(runtime, topic, index, term, &turns));
        }
        tokio::select! {
            Some(()) = loads.next() => {}
            () = runtime.refused.notified() => {}
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Tries until it succeeds or the term has passed.
async fn load_partition(
    runtime: &Arc<Runtime>,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    term: Term,
    turns: &Semaphore,
) {
    while runtime.is_loading(index, term) {
        // The semaphore is never closed.
        let turn = turns.acquire().await;
        let Err(error) = try_load(runtime, topic, index, term).await else { return };
        drop(turn);
        if !runtime.is_loading(index, term) {
            return;
        }
        let rest_ms = if error.will_pass() {
            tracing::debug!(partition = %index, %error, "consumer offsets are not read yet");
            LOAD_AGAIN_MS
        } else {
            tracing::error!(partition = %index, %error, "consumer offsets cannot be read; their groups wait");
            LOAD_RETRY_MS
        };
        tokio::time::sleep(Duration::from_millis(rest_ms)).await;
    }
}

async fn try_load(
    runtime: &Runtime,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    term: Term,
) -> Result<(), LoadError> {
    let shards = runtime.context.metadata.shards();
    let shard = topic.placement(index).ok_or(LoadError::NotOpen(index.0))?.shard();
    // From here on everything that an earlier coordinator was told is kept has been applied here.
    let confirmed = shards.read_index(shard).await?;
    if confirmed != term {
        return Err(LoadError::OtherTerm { term: confirmed });
    }
    let reader = shards.partition(topic.partition_id(index)).ok_or(LoadError::NotOpen(index.0))?;
    let reading = tokio::task::spawn_blocking(move || load(&reader));
    let groups = reading.await.map_err(|_| LoadError::Ended)??;
    if !groups.is_empty() {
        catch_up_with_topics(runtime, topic).await?;
    }
    runtime.admit(topic, index, term, groups);
    Ok(())
}

/// Has this hub's view of the metadata know every topic that an offset has been committed for. To an older view such a
/// topic is as good as deleted: its offsets would be told to nobody, and swept away.
///
/// A change that changes nothing takes its way through the metadata's log, and its answer is as new as that.
async fn catch_up_with_topics(runtime: &Runtime, topic: &Topic) -> Result<(), LoadError> {
    let metadata = &runtime.context.metadata;
    metadata.configure_topic(&Principal::internal(), &topic.name, &BTreeMap::new()).await?;
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
