//! What is known of other hubs.

use std::time::Instant;

use schemas::NodeId;
use uuid::Uuid;

/// A hub that said hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    pub node: NodeId,
    pub incarnation: Uuid,
    /// `host:port` by which it wants to be reached.
    pub address: String,
    /// The cluster that it belongs to, if any.
    pub cluster: Option<Uuid>,
    /// None while it is not connected: then the rest is what it said last.
    pub connected_since: Option<Instant>,
}

/// A change of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Up(PeerInfo),
    /// A connected peer has become part of a cluster.
    Joined(PeerInfo),
    /// `gone`: the process at the other end is gone, as far as can be told: the connection was ended by its side and a
    /// new one was refused.
    Down {
        node: NodeId,
        gone: bool,
    },
}

/// What became of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedStatus {
    pub address: String,
    pub state: SeedState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedState {
    /// This hub itself.
    This,
    /// Connected, with the cluster that it belongs to.
    Connected(NodeId, Option<Uuid>),
    /// Not reached yet, refused, or lost; in words.
    Unreachable(String),
}

/// Figures since the start, over all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub connected: usize,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub sent_frames: u64,
    pub received_frames: u64,
    /// Parcels that found no room or no connection.
    pub dropped_parcels: u64,
    /// Connections that were made.
    pub connections: u64,
}
