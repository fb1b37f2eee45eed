//! What people do to the cluster: see how it is, drain hubs, remove them, vouch for their clocks.

use std::collections::BTreeSet;

use schemas::NodeId;

use crate::clocks;
use crate::cluster_status::ClusterStatus;
use crate::command::Command;
use crate::error::{AcceptClockError, ClusterStatusError, DrainError, RemoveHubError, Unavailable};
use crate::handle::Metadata;
use crate::levels;
use crate::limits::METADATA_GROUP;
use crate::majority::Sight;
use crate::report;
use crate::response::Refusal;

impl Metadata {
    /// How the cluster is, gathered from all hubs that answer.
    ///
    /// # Errors
    /// The cluster has not been formed, as far as this hub knows.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClusterStatusError> {
        let view = self.view();
        if view.cluster_id.is_empty() {
            return Err(ClusterStatusError::NotFormed);
        }
        let (reports, clocks, supported) = tokio::join!(
            report::gather(self.shards(), &view),
            clocks::gather(self.shards(), &view),
            levels::gather(self.shards(), &view, self.levels())
        );
        let sight = Sight::now(self.shards(), &view);
        let nodes = view.hubs().map(|hub| hub.node);
        let connected: BTreeSet<_> = nodes.filter(|node| sight.has(*node)).collect();
        let mut status =
            ClusterStatus::of(&view, self.shards().peers().node(), &connected, &reports, &clocks);
        status.tell_levels(&supported);
        status.no_majority = sight.no_majority(METADATA_GROUP).map(|cause| cause.to_string());
        Ok(status)
    }

    /// Has everything moved off a hub, or takes that back. Returns when it is agreed on, not when it is done.
    ///
    /// # Errors
    /// No such hub, no other hub that could take over, or the metadata group does not take commands.
    pub async fn drain(&self, node: NodeId, draining: bool) -> Result<(), DrainError> {
        match self.propose(&Command::DrainHub { node, draining }).await? {
            Ok(_) => Ok(()),
            Err(Refusal::UnknownHub) => Err(DrainError::UnknownHub(node)),
            Err(Refusal::LastHub) => Err(DrainError::LastHub(node)),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    /// Strikes a hub off. It must have been drained and stopped.
    ///
    /// # Errors
    /// No such hub, one that still has replicas or is connected, or the metadata group does not take commands.
    pub async fn remove(&self, node: NodeId) -> Result<(), RemoveHubError> {
        if self.view().hub(node).is_none() {
            return Err(RemoveHubError::UnknownHub(node));
        }
        if self.shards().peers().reaches(node) {
            return Err(RemoveHubError::Connected(node));
        }
        match self.propose(&Command::RemoveHub { node }).await? {
            // Unknown by now: somebody was faster, or the command came twice while the leader changed.
            Ok(_) | Err(Refusal::UnknownHub) => Ok(()),
            Err(Refusal::HubHasReplicas) => {
                Err(RemoveHubError::HasReplicas { node, replicas: self.data_replicas(node) })
            }
            Err(Refusal::LastHub) => Err(RemoveHubError::LastHub(node)),
            Err(_) => Err(Unavailable::OtherAnswer.into()),
        }
    }

    /// Has a hub take its wall clock as it is: somebody has looked at it.
    ///
    /// # Errors
    /// No such hub, or it does not answer.
    pub async fn accept_clock(&self, node: NodeId) -> Result<(), AcceptClockError> {
        if self.view().hub(node).is_none() {
            return Err(AcceptClockError::UnknownHub(node));
        }
        let clock = clocks::accept(self.shards(), node).await.ok_or(AcceptClockError::NoAnswer(node))?;
        tracing::warn!(wall_ms = clock.wall_ms, "the clock of hub {node} is accepted as it is");
        Ok(())
    }

    fn data_replicas(&self, node: NodeId) -> usize {
        let view = self.view();
        let has_one = |group: &u32| view.replicas(*group).iter().any(|record| record.node == node);
        view.group_numbers().filter(|group| *group != METADATA_GROUP).filter(has_one).count()
    }
}
