//! Hubs' states and the records of replicas: what the catalog says should be where.

use consensus::ReplicaId;
use schemas::NodeId;

/// What a hub may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HubState {
    #[default]
    Active,
    /// Everything is moved off it.
    Draining,
}

/// A replica of a group, as the catalog wants it. Its number was handed out once, for this node and group, and is
/// never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    pub node: NodeId,
    pub number: u32,
    /// The group has taken it in: it has caught up, and votes if it is to vote.
    pub joined: bool,
    /// It is to go.
    pub leaving: bool,
}

impl ReplicaRecord {
    pub(crate) fn new(node: NodeId, number: u32) -> Self {
        Self { node, number, joined: false, leaving: false }
    }

    /// By which the groups know it.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        ReplicaId::new(self.node.0, self.number)
    }
}
