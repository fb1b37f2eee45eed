//! Makes the shards what the view says: opens and configures the partitions of topics that are not settled,
//! closes those of deleted ones. It runs where the metadata is led. Every step may be repeated, so a crash anywhere,
//! or another leader, only means doing it again.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use schemas::{PartitionId, ShardId, TopicId};
use shards::{CommandError, PartitionCommand, Shards};
use thiserror::Error;

use crate::command::Command;
use crate::error::Unavailable;
use crate::limits::{RECONCILE_PARTITIONS, RECONCILE_RETRY_MS, RECONCILE_TOPICS};
use crate::propose::propose;
use crate::topic::Topic;
use crate::view::{View, ViewSource};

/// What a topic needs.
#[derive(Clone, Debug, PartialEq)]
enum Task {
    /// Its partitions open, as they are configured now.
    Open(Arc<Topic>),
    /// Its partitions closed: it is deleted.
    Close(Arc<Topic>),
}

#[derive(Debug, Error)]
enum TaskError {
    #[error("partition {0}: {1}")]
    Partition(PartitionId, CommandError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

type Running = Pin<Box<dyn Future<Output = TopicId> + Send>>;

pub(crate) struct Reconciler {
    shards: Shards,
    views: ViewSource,
    /// Topics being worked on: never two tasks for one topic, so that an opening cannot overtake a closing.
    busy: HashSet<TopicId>,
    running: FuturesUnordered<Running>,
}

impl Reconciler {
    pub(crate) fn new(shards: &Shards, views: &ViewSource) -> Self {
        Self {
            shards: shards.clone(),
            views: views.clone(),
            busy: HashSet::new(),
            running: FuturesUnordered::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut versions = self.views.subscribe();
        for task in lost(&self.views.load(), &self.shards) {
            self.begin(task);
        }
        loop {
            versions.mark_unchanged();
            for task in plan(&self.views.load()) {
                if self.running.len() < RECONCILE_TOPICS {
                    self.begin(task);
                }
            }
            tokio::select! {
                Some(topic) = self.running.next() => {
                    self.busy.remove(&topic);
                }
                changed = versions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn begin(&mut self, task: Task) {
        let id = task.topic().id;
        if !self.busy.insert(id) {
            return;
        }
        let shards = self.shards.clone();
        self.running.push(Box::pin(async move {
            if let Err(error) = carry_out(&shards, &task).await {
                tracing::warn!(topic = %task.topic().name, %error, "a topic's partitions are not settled; trying again");
                tokio::time::sleep(Duration::from_millis(RECONCILE_RETRY_MS)).await;
            }
            id
        }));
    }
}

impl Task {
    fn topic(&self) -> &Arc<Topic> {
        match self {
            Self::Open(topic) | Self::Close(topic) => topic,
        }
    }
}

/// What the view still asks for.
fn plan(view: &View) -> Vec<Task> {
    let open = view.topics().filter(|topic| !topic.is_settled()).cloned().map(Task::Open);
    open.chain(view.closing.iter().cloned().map(Task::Close)).collect()
}

/// Topics that are settled, and yet have partitions that their shards do not know. Of a shard that is led elsewhere
/// nothing can be said here.
fn lost(view: &View, shards: &Shards) -> Vec<Task> {
    let is_unknown =
        |(partition, shard)| shards.is_serving(shard).is_some() && shards.partition(partition).is_none();
    let is_lost = |topic: &&Arc<Topic>| topic.is_settled() && topic.placed().any(is_unknown);
    let lost: Vec<_> = view.topics().filter(is_lost).cloned().map(Task::Open).collect();
    for task in &lost {
        tracing::error!(topic = %task.topic().name, "partitions of this topic are unknown to their shards; opening them empty");
    }
    lost
}

async fn carry_out(shards: &Shards, task: &Task) -> Result<(), TaskError> {
    let results: Vec<_> = stream::iter(task.topic().placed())
        .map(|(partition, shard)| tell(shards, task, partition, shard))
        .buffer_unordered(RECONCILE_PARTITIONS)
        .collect()
        .await;
    results.into_iter().collect::<Result<(), TaskError>>()?;
    let done = match task {
        Task::Open(topic) => Command::TopicSettled { id: topic.id, version: topic.changed_at },
        Task::Close(topic) => Command::TopicClosed { id: topic.id },
    };
    // A refusal means that the topic is gone: the next plan says what to do then.
    let _ = propose(shards, &done).await?;
    Ok(())
}

async fn tell(shards: &Shards, task: &Task, partition: PartitionId, shard: ShardId) -> Result<(), TaskError> {
    let command = match task {
        Task::Open(topic) => PartitionCommand::Open { partition, options: topic.config.log_options() },
        Task::Close(_) => PartitionCommand::Close { partition },
    };
    match shards.command(shard, command).await {
        Err(CommandError::UnknownPartition) if matches!(task, Task::Close(_)) => Ok(()),
        result => result.map_err(|error| TaskError::Partition(partition, error)),
    }
}
