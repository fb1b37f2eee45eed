//! What people do to the cluster: see how it is, drain hubs, remove them.

use schemas::NodeId;

use crate::cluster_status::ClusterStatus;
use crate::error::{ClusterStatusError, DrainError, RemoveHubError};
use crate::handle::Metadata;

impl Metadata {
    /// How the cluster is, gathered from all hubs that answer.
    ///
    /// # Errors
    /// The cluster has not been formed, as far as this hub knows.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClusterStatusError> {
        Err(ClusterStatusError::NotFormed)
    }

    /// Has everything moved off a hub, or takes that back. Returns when it is agreed on, not when it is done.
    ///
    /// # Errors
    /// No such hub, no other hub that could take over, or the metadata group does not take commands.
    pub async fn drain(&self, node: NodeId, draining: bool) -> Result<(), DrainError> {
        let _ = draining;
        Err(DrainError::UnknownHub(node))
    }

    /// Strikes a hub off. It must have been drained and stopped.
    ///
    /// # Errors
    /// No such hub, one that still has replicas or is connected, or the metadata group does not take commands.
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveHubError> {
        Err(RemoveHubError::UnknownHub(node))
    }
}
