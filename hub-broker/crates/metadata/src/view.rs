//! What everyone reads: an immutable picture of the metadata at one version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use schemas::{NodeId, TopicId, TopicName};
use tokio::sync::watch;

use crate::limits::FIRST_NODE;
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
