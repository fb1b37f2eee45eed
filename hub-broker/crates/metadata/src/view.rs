//! What everyone reads: an immutable picture of the metadata at one version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use schemas::{NodeId, TopicId, TopicName};
use tokio::sync::watch;
use uuid::Uuid;

use crate::limits::{FIRST_NODE, REPLICATION_FACTOR};
use crate::replica::{HubState, ReplicaRecord};
use crate::topic::{Hub, Topic};

/// The metadata at one version. Never consulted inside a shard's apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Empty until the cluster has been formed.
    pub cluster_id: String,
    /// Rises with every command that changed something.
    pub version: u64,
    pub feature_level: u16,
    pub(crate) topics: BTreeMap<TopicName, Arc<Topic>>,
    pub(crate) by_id: HashMap<TopicId, Arc<Topic>>,
    /// Deleted topics whose partitions may still be open.
    pub(crate) closing: Vec<Arc<Topic>>,
    pub(crate) hubs: BTreeMap<NodeId, Hub>,
    pub(crate) states: BTreeMap<NodeId, HubState>,
    /// No replica number up to this is of the data directory that the hub has now.
    pub(crate) replica_floors: BTreeMap<NodeId, u32>,
    /// Of every group, the replicas that it should have, the preferred leader first.
    pub(crate) groups: Arc<Vec<Vec<ReplicaRecord>>>,
    /// Replica numbers below this have been handed out.
    pub(crate) next_replica: u32,
}

impl View {
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// Every topic, by name, the internal ones included.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The hubs that have registered, by node id.
    pub fn hubs(&self) -> impl Iterator<Item = &Hub> {
        self.hubs.values()
    }

    #[must_use]
    pub fn hub(&self, node: NodeId) -> Option<&Hub> {
        self.hubs.get(&node)
    }

    /// How many hubs there are: a cluster has at least the one that asks.
    #[must_use]
    pub fn hub_count(&self) -> usize {
        self.hubs.len().max(1)
    }

    /// The cluster's id, once it has been formed.
    #[must_use]
    pub fn cluster(&self) -> Option<Uuid> {
        self.cluster_id.parse().ok()
    }

    #[must_use]
    pub fn hub_state(&self, node: NodeId) -> Option<HubState> {
        self.states.get(&node).copied()
    }

    /// Hubs that may be given replicas.
    #[must_use]
    pub fn active_hub_count(&self) -> usize {
        let active = self.states.values().filter(|state| **state == HubState::Active);
        active.count().max(1)
    }

    /// How many replicas a data shard is to have.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.active_hub_count().min(REPLICATION_FACTOR)
    }

    /// The replicas that a group should have, in order of preference as its leader. Group 0 is the metadata's, shard n
    /// is group n + 1.
    #[must_use]
    pub fn replicas(&self, group: u32) -> &[ReplicaRecord] {
        usize::try_from(group).ok().and_then(|group| self.groups.get(group)).map_or(&[], Vec::as_slice)
    }

    /// The hub that clients may send administration to. Every hub takes it, so any will do.
    #[must_use]
    pub fn controller(&self) -> NodeId {
        self.hubs.keys().next().copied().unwrap_or(FIRST_NODE)
    }
}

/// Where the state machine puts each new view, and where everyone takes it from.
#[derive(Clone)]
pub struct ViewSource {
    current: Arc<ArcSwap<View>>,
    version: Arc<watch::Sender<u64>>,
}

impl ViewSource {
    pub(crate) fn new() -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(View::default())),
            version: Arc::new(watch::Sender::new(0)),
        }
    }

    #[must_use]
    pub fn load(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// Tells of every new version. The view is there before its version is told.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn publish(&self, view: View) {
        let version = view.version;
        self.current.store(Arc::new(view));
        self.version.send_replace(version);
    }
}
