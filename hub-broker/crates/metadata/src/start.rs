//! How a hub's metadata comes into its cluster at a start.

use schemas::NodeId;
use shards::Shards;
use uuid::Uuid;

use crate::command::Command;
use crate::error::StartError;
use crate::propose::propose;
use crate::topic::Hub;
use crate::view::{View, ViewSource};

/// Returns when the catalog is here and names a cluster. A hub that is one of several is given back, to be registered
/// when the others can be reached: it need not wait for them.
pub(crate) async fn enter(shards: &Shards, views: &ViewSource, this: Hub) -> Result<Option<Hub>, StartError> {
    if views.load().cluster_id.is_empty() {
        if shards.peers().cluster().is_some() {
            wait_for_catalog(views).await?;
        } else {
            let cluster_id = Uuid::new_v4();
            propose(shards, &Command::FormCluster { cluster_id, data_shards: shards.shard_count() })
                .await??;
            tracing::info!(cluster = %cluster_id, "this hub has formed a cluster");
        }
    }
    let view = views.load();
    shards.set_cluster(view.cluster().ok_or(StartError::NoCluster)?)?;
    if !is_alone(&view, this.node) {
        return Ok(Some(this));
    }
    let (node, incarnation) = (this.node, this.incarnation);
    propose(shards, &Command::RegisterHub(this)).await??;
    if view.groups.is_empty() {
        propose(shards, &Command::AdoptFounder { node, incarnation }).await??;
    }
    Ok(None)
}

/// A member's first replica of the metadata comes from the others.
async fn wait_for_catalog(views: &ViewSource) -> Result<(), StartError> {
    tracing::info!("waiting for the cluster's metadata");
    let mut versions = views.subscribe();
    let has_come = |_: &u64| !views.load().cluster_id.is_empty();
    versions.wait_for(has_come).await.map(|_| ()).map_err(|_| StartError::NoCluster)
}

fn is_alone(view: &View, node: NodeId) -> bool {
    view.groups.iter().flatten().all(|record| record.node == node)
}
