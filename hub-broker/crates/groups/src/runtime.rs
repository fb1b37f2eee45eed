//! The directory of the groups' tasks, and which of the partitions that keep them have been read.

use std::collections::HashMap;
use std::sync::Arc;

use metadata::{Metadata, Topic};
use parking_lot::Mutex;
use schemas::{PartitionIndex, TopicName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::context::Context;
use crate::error::CoordinatorError;
use crate::group::Group;
use crate::limits::GROUP_INBOX;
use crate::load::LoadedGroup;
use crate::offsets::Offsets;
use crate::offsets_log::OffsetsLog;
use crate::partitioner::group_partition;
use crate::task::{GroupTask, Message, Parts, Summary};

/// Where groups are kept, as Kafka names it.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The way to a group's task.
#[derive(Clone)]
pub(crate) struct GroupHandle {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) summary: watch::Receiver<Summary>,
}

/// The offsets topic, once it is known, and which of its partitions have been read.
#[derive(Default)]
struct Loaded {
    topic: Option<Arc<Topic>>,
    partitions: Vec<bool>,
}

pub(crate) struct Runtime {
    pub(crate) context: Arc<Context>,
    stop: CancellationToken,
    groups: Mutex<HashMap<String, GroupHandle>>,
    loaded: Mutex<Loaded>,
}

impl Runtime {
    pub(crate) fn new(metadata: Metadata, config: Config, stop: CancellationToken) -> Self {
        let context = Arc::new(Context::new(metadata, config));
        Self { context, stop, groups: Mutex::default(), loaded: Mutex::default() }
    }

    pub(crate) fn offsets_topic_name() -> TopicName {
        TopicName::try_from(OFFSETS_TOPIC).expect("the name is a topic's")
    }

    /// The topic is there; none of its partitions has been read.
    pub(crate) fn set_topic(&self, topic: &Arc<Topic>) {
        let partitions = vec![false; topic.partitions.len()];
        *self.loaded.lock() = Loaded { topic: Some(topic.clone()), partitions };
    }

    /// A partition has been read: its groups take requests from now on.
    pub(crate) fn admit(
        self: &Arc<Self>,
        topic: &Topic,
        index: PartitionIndex,
        groups: HashMap<String, LoadedGroup>,
    ) {
        let now = self.context.now();
        for (id, loaded) in groups {
            let group = match loaded.metadata {
                Some(metadata) => Group::restore(&id, self.context.settings(), now, metadata),
                None => Group::new(&id, self.context.settings(), now),
            };
            if let Some(log) = OffsetsLog::new(self.context.metadata.shards(), topic, index) {
                let handle = self.begin(&id, group, loaded.offsets, log, true);
                self.groups.lock().insert(id, handle);
            }
        }
        let partition = usize::try_from(index.0).unwrap_or(usize::MAX);
        if let Some(is_loaded) = self.loaded.lock().partitions.get_mut(partition) {
            *is_loaded = true;
        }
    }

    /// The group's task, if the group is known.
    pub(crate) fn find(&self, id: &str) -> Result<Option<GroupHandle>, CoordinatorError> {
        self.log_of(id)?;
        Ok(self.groups.lock().get(id).cloned())
    }

    /// The group's task; an unknown group begins empty.
    pub(crate) fn find_or_begin(self: &Arc<Self>, id: &str) -> Result<GroupHandle, CoordinatorError> {
        let log = self.log_of(id)?;
        let mut groups = self.groups.lock();
        if let Some(handle) = groups.get(id) {
            return Ok(handle.clone());
        }
        if groups.len() >= self.context.config.groups_max {
            return Err(CoordinatorError::TooManyGroups);
        }
        let group = Group::new(id, self.context.settings(), self.context.now());
        let handle = self.begin(id, group, Offsets::default(), log, false);
        groups.insert(id.to_owned(), handle.clone());
        Ok(handle)
    }

    /// Every group that is known, once all partitions have been read.
    pub(crate) fn all(&self) -> Result<Vec<(String, GroupHandle)>, CoordinatorError> {
        let loaded = self.loaded.lock();
        if loaded.topic.is_none() || loaded.partitions.contains(&false) {
            return Err(CoordinatorError::LoadInProgress);
        }
        drop(loaded);
        Ok(self.known())
    }

    /// Every group that is known so far.
    pub(crate) fn known(&self) -> Vec<(String, GroupHandle)> {
        self.groups.lock().iter().map(|(id, handle)| (id.clone(), handle.clone())).collect()
    }

    fn log_of(&self, id: &str) -> Result<OffsetsLog, CoordinatorError> {
        let loaded = self.loaded.lock();
        let topic = loaded.topic.as_ref().ok_or(CoordinatorError::LoadInProgress)?;
        let index = group_partition(id, topic.partition_count());
        let partition = usize::try_from(index.0).unwrap_or(usize::MAX);
        if loaded.partitions.get(partition) != Some(&true) {
            return Err(CoordinatorError::LoadInProgress);
        }
        OffsetsLog::new(self.context.metadata.shards(), topic, index).ok_or(CoordinatorError::NotAvailable)
    }

    fn begin(
        self: &Arc<Self>,
        id: &str,
        group: Group,
        offsets: Offsets,
        log: OffsetsLog,
        is_stored: bool,
    ) -> GroupHandle {
        let protocol_type = group.protocol_type().unwrap_or_default().to_owned();
        let (summary, summaries) = watch::channel(Summary { state: group.state(), protocol_type });
        let (sender, inbox) = mpsc::channel(GROUP_INBOX);
        let parts = Parts { id: id.to_owned(), group, offsets, log, inbox, summary, is_stored };
        let task = GroupTask::new(self.context.clone(), parts);
        let (runtime, id, own) = (self.clone(), id.to_owned(), sender.downgrade());
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            task.run().await;
            runtime.end(&id, &own);
        }));
        GroupHandle { inbox: sender, summary: summaries }
    }

    /// A group's task has ended. Another may have begun under its name since.
    fn end(&self, id: &str, inbox: &mpsc::WeakSender<Message>) {
        let mut groups = self.groups.lock();
        let own = inbox.upgrade();
        if groups.get(id).is_some_and(|known| own.is_none_or(|own| known.inbox.same_channel(&own))) {
            groups.remove(id);
        }
    }
}
