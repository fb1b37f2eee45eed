//! A topic as everyone sees it.

use schemas::{LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ShardId, TopicId, TopicName};
use shards::Levels;
use uuid::Uuid;

use crate::config::TopicConfig;

/// A topic: its identity, where its partitions lie, and its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: TopicName,
    pub id: TopicId,
    /// By partition index, without holes.
    pub partitions: Vec<PartitionPlacement>,
    pub config: TopicConfig,
    /// Agents have been admitted to it: it has gaps and streams, and cannot be compacted.
    pub agent_fed: bool,
    /// The metadata version that last changed what the partitions' shards have to know.
    pub changed_at: u64,
    /// The metadata version up to which the shards have been told. Below `changed_at`, partitions may still be
    /// unknown to their shards.
    pub settled_at: u64,
}

impl Topic {
    /// Whether every partition is open on its shard with the topic's present configuration.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled_at >= self.changed_at
    }

    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    #[must_use]
    pub fn placement(&self, index: PartitionIndex) -> Option<&PartitionPlacement> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    #[must_use]
    pub fn partition_id(&self, index: PartitionIndex) -> PartitionId {
        PartitionId { topic: self.id, index }
    }

    /// Every partition with the shard that it lies on.
    pub fn placed(&self) -> impl Iterator<Item = (PartitionId, ShardId)> + '_ {
        (0..).zip(&self.partitions).map(|(index, at)| (self.partition_id(PartitionIndex(index)), at.shard()))
    }
}

/// Where a partition's records lie: one step for every shard that it has lived on, the present one last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPlacement {
    first: PlacementStep,
    later: Vec<PlacementStep>,
}

/// From `from` on the partition lies on `shard`; its leader epochs there are `epoch_base` plus the shard's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementStep {
    pub shard: ShardId,
    pub from: Offset,
    pub epoch_base: LeaderEpoch,
}

impl PartitionPlacement {
    /// A partition that has never been moved.
    #[must_use]
    pub fn on(shard: ShardId) -> Self {
        let first = PlacementStep { shard, from: Offset(0), epoch_base: LeaderEpoch(0) };
        Self { first, later: Vec::new() }
    }

    pub(crate) fn from_steps(steps: &[PlacementStep]) -> Option<Self> {
        let (first, later) = steps.split_first()?;
        Some(Self { first: *first, later: later.to_vec() })
    }

    /// The shard that appends go to.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.later.last().unwrap_or(&self.first).shard
    }

    pub fn steps(&self) -> impl Iterator<Item = &PlacementStep> {
        std::iter::once(&self.first).chain(&self.later)
    }
}

/// A hub of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    pub node: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: Uuid,
    pub rack: Option<String>,
    pub listeners: Vec<Listener>,
    /// `host:port` by which the other hubs reach it; a hub that is alone has none.
    pub cluster_address: Option<String>,
    /// The feature levels that its release supports; none where its registration had no room for that.
    pub levels: Option<Levels>,
}

/// Where a hub says that it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, the same on every hub: `kafka`, `mqtt`, …
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl Hub {
    /// A hub of which nothing but its identity is known.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Uuid) -> Self {
        Self { node, incarnation, rack: None, listeners: Vec::new(), cluster_address: None, levels: None }
    }

    /// Every text in it.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &String> {
        let of_listeners = self.listeners.iter().flat_map(|at| [&at.name, &at.host]);
        of_listeners.chain(&self.rack).chain(&self.cluster_address)
    }

    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}
