//! The cluster as one hub sees it now, for people and tools.

use schemas::NodeId;
use serde::{Deserialize, Serialize};

/// Everything that `cluster status` and `/cluster` show. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub cluster_id: String,
    /// The hub that answers.
    pub answered_by: NodeId,
    /// Data shards; group 0 is the metadata's, shard n is group n + 1.
    pub data_shards: u16,
    pub hubs: Vec<HubStatus>,
    pub groups: Vec<GroupStatus>,
    /// Groups with fewer live replicas than they should have.
    pub under_replicated: Vec<u32>,
    /// Groups of which nobody is known to be the leader.
    pub leaderless: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    pub node: NodeId,
    /// `active` or `draining`.
    pub state: String,
    /// Whether the hub that answers can reach it; itself it can.
    pub connected: bool,
    pub rack: Option<String>,
    /// `host:port` of the cluster listener.
    pub address: Option<String>,
    /// Groups that it leads.
    pub leaders: usize,
    /// Replicas that it has, the metadata's included.
    pub replicas: usize,
    /// Replicas of data shards that are still to be moved off it; 0 for a hub that is not draining.
    pub to_move: usize,
    /// Bytes that its replicas are behind their leaders', as far as leaders know.
    pub lag_bytes: u64,
    /// Log entries that its replicas are behind their leaders.
    pub lag_entries: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: u32,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub replicas: Vec<ReplicaStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub node: NodeId,
    pub number: u32,
    /// `voter`, `learner`, or `absent` while the group does not know it yet.
    pub role: String,
    /// `joining`, `joined` or `leaving`.
    pub state: String,
    pub in_sync: bool,
    /// Entries behind the leader, where it is known.
    pub lag_entries: Option<u64>,
}
