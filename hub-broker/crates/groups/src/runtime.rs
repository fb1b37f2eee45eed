//! Which groups this hub coordinates: those of the partitions of the offsets topic whose shards it serves.

use std::sync::Arc;

use metadata::{Metadata, Topic};
use parking_lot::Mutex;
use schemas::{NodeId, PartitionIndex, ShardId, Term, TopicName};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::context::Context;
use crate::coordinator::{Coordinator, GroupHandle};
use crate::error::CoordinatorError;
use crate::load::LoadedGroups;
use crate::offsets_log::{OffsetsLog, Tenure};
use crate::partitioner::group_partition;
use crate::standing::Standing;

/// Where groups are kept, as Kafka names it.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The offsets topic, once it is known, and what this hub is to each of its partitions.
#[derive(Default)]
struct Directory {
    topic: Option<Arc<Topic>>,
    partitions: Vec<Standing<Arc<Coordinator>>>,
}

pub(crate) struct Runtime {
    pub(crate) context: Arc<Context>,
    stop: CancellationToken,
    directory: Mutex<Directory>,
    /// A refused write has ended a partition's groups here.
    pub(crate) refused: Arc<Notify>,
}

impl Runtime {
    pub(crate) fn new(metadata: Metadata, config: Config, stop: CancellationToken) -> Self {
        let context = Arc::new(Context::new(metadata, config));
        Self { context, stop, directory: Mutex::default(), refused: Arc::default() }
    }

    pub(crate) fn offsets_topic_name() -> TopicName {
        TopicName::try_from(OFFSETS_TOPIC).expect("the name is a topic's")
    }

    /// The topic is there; none of its partitions has been read.
    pub(crate) fn set_topic(&self, topic: &Arc<Topic>) {
        let partitions = topic.partitions.iter().map(|_| Standing::Elsewhere).collect();
        *self.directory.lock() = Directory { topic: Some(topic.clone()), partitions };
    }

    /// The hub that coordinates a group, whether or not it is ready to. One that cannot be reached is not named: whoever
    /// asks would wait for it, and another will lead soon.
    pub(crate) fn coordinator_node(&self, group: &str) -> Result<NodeId, CoordinatorError> {
        let topic = self.context.metadata.topic(&Self::offsets_topic_name());
        let topic = topic.ok_or(CoordinatorError::NotAvailable)?;
        let index = group_partition(group, topic.partition_count());
        let peers = self.context.metadata.shards().peers();
        let leader = self.leader(&topic, index).filter(|node| peers.reaches(*node));
        leader.ok_or(CoordinatorError::NotAvailable)
    }

    /// Makes each partition's standing what its shard's leadership asks for. Returns what is to be read, and for
    /// which term.
    pub(crate) fn follow_leadership(&self) -> Vec<(PartitionIndex, Term)> {
        let mut directory = self.directory.lock();
        let Directory { topic: Some(topic), partitions } = &mut *directory else { return Vec::new() };
        let shards = self.context.metadata.shards();
        let mut to_read = Vec::new();
        for (index, standing) in (0..).map(PartitionIndex).zip(partitions) {
            let serving = shard_of(topic, index).and_then(|shard| shards.is_serving(shard));
            let was_here = standing.loaded().is_some();
            to_read.extend(standing.follow(serving).map(|term| (index, term)));
            if was_here && standing.loaded().is_none() {
                tracing::debug!(partition = %index, "no longer coordinates the groups of this partition");
            }
        }
        to_read
    }

    pub(crate) fn is_loading(&self, index: PartitionIndex, term: Term) -> bool {
        self.directory.lock().standing(index).is_some_and(|standing| standing.is_loading(term))
    }

    /// A partition has been read for a term: unless that has passed, its groups take requests from now on.
    pub(crate) fn admit(&self, topic: &Topic, index: PartitionIndex, term: Term, groups: LoadedGroups) {
        let tenure = Tenure { term, over: self.stop.child_token(), refused: self.refused.clone() };
        let over = tenure.over.clone();
        let Some(log) = OffsetsLog::new(self.context.metadata.shards(), topic, index, tenure) else { return };
        let (coordinator, count) = (Arc::new(Coordinator::new(self.context.clone(), log)), groups.len());
        coordinator.begin_all(groups);
        let mut directory = self.directory.lock();
        let admitted =
            directory.standing_mut(index).map(|standing| standing.admit(term, over.clone(), coordinator));
        match admitted {
            Some(Ok(())) => {
                tracing::debug!(partition = %index, %term, groups = count, "coordinates the groups of this partition");
            }
            _ => over.cancel(),
        }
    }

    /// Who keeps the group in memory here.
    pub(crate) fn coordinator(&self, group: &str) -> Result<Arc<Coordinator>, CoordinatorError> {
        let directory = self.directory.lock();
        let topic = directory.topic.as_ref().ok_or(CoordinatorError::LoadInProgress)?;
        let index = group_partition(group, topic.partition_count());
        match directory.standing(index).and_then(Standing::loaded) {
            Some(coordinator) => Ok(coordinator.clone()),
            None if self.leads(topic, index) => Err(CoordinatorError::LoadInProgress),
            None => Err(CoordinatorError::NotCoordinator),
        }
    }

    /// The group's task, if the group is known.
    pub(crate) fn find(&self, id: &str) -> Result<Option<GroupHandle>, CoordinatorError> {
        Ok(self.coordinator(id)?.find(id))
    }

    /// The group's task; an unknown group begins empty.
    pub(crate) fn find_or_begin(&self, id: &str) -> Result<GroupHandle, CoordinatorError> {
        let coordinator = self.coordinator(id)?;
        if let Some(handle) = coordinator.find(id) {
            return Ok(handle);
        }
        let count: usize = self.coordinators().iter().map(|coordinator| coordinator.len()).sum();
        if count >= self.context.config.groups_max {
            return Err(CoordinatorError::TooManyGroups);
        }
        Ok(coordinator.find_or_begin(id))
    }

    /// Every group that this hub coordinates, once all that it should are in memory.
    pub(crate) fn all(&self) -> Result<Vec<(String, GroupHandle)>, CoordinatorError> {
        let directory = self.directory.lock();
        let topic = directory.topic.as_ref().ok_or(CoordinatorError::LoadInProgress)?;
        let mut standings = (0..).map(PartitionIndex).zip(&directory.partitions);
        if standings.any(|(index, standing)| standing.loaded().is_none() && self.leads(topic, index)) {
            return Err(CoordinatorError::LoadInProgress);
        }
        drop(directory);
        Ok(self.known())
    }

    /// Every group that is in memory.
    pub(crate) fn known(&self) -> Vec<(String, GroupHandle)> {
        self.coordinators().iter().flat_map(|coordinator| coordinator.all()).collect()
    }

    /// Why something that ended when `over` was cancelled cannot be asked any more.
    pub(crate) fn ended(&self, over: &CancellationToken) -> CoordinatorError {
        if over.is_cancelled() && !self.stop.is_cancelled() {
            CoordinatorError::NotCoordinator
        } else {
            CoordinatorError::NotAvailable
        }
    }

    fn coordinators(&self) -> Vec<Arc<Coordinator>> {
        self.directory.lock().partitions.iter().filter_map(Standing::loaded).cloned().collect()
    }

    fn leads(&self, topic: &Topic, index: PartitionIndex) -> bool {
        self.leader(topic, index) == Some(self.context.metadata.shards().identity().node)
    }

    fn leader(&self, topic: &Topic, index: PartitionIndex) -> Option<NodeId> {
        let leader = self.context.metadata.shards().leader(shard_of(topic, index)?)?;
        Some(leader.node)
    }
}

impl Directory {
    fn standing(&self, index: PartitionIndex) -> Option<&Standing<Arc<Coordinator>>> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    fn standing_mut(&mut self, index: PartitionIndex) -> Option<&mut Standing<Arc<Coordinator>>> {
        self.partitions.get_mut(usize::try_from(index.0).ok()?)
    }
}

fn shard_of(topic: &Topic, index: PartitionIndex) -> Option<ShardId> {
    Some(topic.placement(index)?.shard())
}
