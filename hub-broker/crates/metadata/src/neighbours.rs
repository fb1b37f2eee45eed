//! The other hubs: where the catalog says that they are, and which of them can be reached.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use peers::Peers;
use schemas::NodeId;
use tokio::time::Instant;

use crate::limits::{HAND_BACK_AFTER, LATELY};
use crate::planner::Reach;
use crate::view::{View, ViewSource};

/// Which hubs have been connected for a while; this hub itself is one of them.
pub(crate) trait Steady: Send + 'static {
    fn nodes(&self) -> BTreeSet<NodeId>;
}

impl Steady for Peers {
    fn nodes(&self) -> BTreeSet<NodeId> {
        let known = self.known().into_iter();
        let steady =
            known.filter(|peer| peer.connected_since.is_some_and(|at| at.elapsed() >= HAND_BACK_AFTER));
        steady.map(|peer| peer.node).chain([self.node()]).collect()
    }
}

/// When each hub was last seen.
pub(crate) struct Sightings {
    begun: Instant,
    seen: HashMap<NodeId, Instant>,
}

impl Sightings {
    /// Whoever begins to look gives everyone the benefit of the doubt.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), seen: HashMap::new() }
    }

    pub(crate) fn look(&mut self, peers: &Peers, view: &View) -> Reach {
        let now = Instant::now();
        let nodes = || view.hubs().map(|hub| hub.node);
        let connected: BTreeSet<_> = nodes().filter(|node| peers.reaches(*node)).collect();
        self.seen.extend(connected.iter().map(|node| (*node, now)));
        let last = |node: &NodeId| self.seen.get(node).copied().unwrap_or(self.begun);
        let lately = nodes().filter(|node| now.duration_since(last(node)) < LATELY).collect();
        Reach { connected, lately, ..Reach::default() }
    }
}

/// Tells the transport where the hubs of the catalog are. Never returns while there are views.
pub(crate) async fn acquaint(peers: Peers, views: ViewSource) {
    let mut versions = views.subscribe();
    let mut told: BTreeMap<NodeId, String> = BTreeMap::new();
    loop {
        versions.mark_unchanged();
        let addresses = addresses(&views.load(), peers.node());
        for node in told.keys().filter(|node| !addresses.contains_key(node)) {
            peers.forget(*node);
        }
        for (node, address) in addresses.iter().filter(|(node, address)| told.get(node) != Some(address)) {
            peers.know(*node, address);
        }
        told = addresses;
        if versions.changed().await.is_err() {
            return;
        }
    }
}

fn addresses(view: &View, own: NodeId) -> BTreeMap<NodeId, String> {
    let others = view.hubs().filter(|hub| hub.node != own);
    others.filter_map(|hub| Some((hub.node, hub.cluster_address.clone()?))).collect()
}
