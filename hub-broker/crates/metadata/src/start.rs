//! How a hub's metadata comes into its cluster at a start.

use schemas::NodeId;
use shards::{Levels, Shards};
use uuid::Uuid;

use crate::command::Command;
use crate::error::{Ousted, StartError, Unfit};
use crate::propose::propose;
use crate::response::Refusal;
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
            // Whoever joins later supports what the founder does, or is not taken in.
            let feature_level = this.levels.map_or(0, |levels| levels.most);
            let data_shards = shards.shard_count();
            propose(shards, &Command::FormCluster { cluster_id, data_shards, feature_level }).await??;
            tracing::info!(cluster = %cluster_id, feature_level, "this hub has formed a cluster");
        }
    }
    let view = views.load();
    shards.set_cluster(view.cluster().ok_or(StartError::NoCluster)?)?;
    if !is_alone(&view, this.node) {
        return Ok(Some(this));
    }
    let (node, incarnation) = (this.node, this.incarnation);
    register(shards, views, this).await?;
    if view.groups.is_empty() {
        propose(shards, &Command::AdoptFounder { node, incarnation }).await??;
    }
    Ok(None)
}

/// The catalog here may be older than what this hub agreed on in its former life, until a proposal is answered.
async fn register(shards: &Shards, views: &ViewSource, this: Hub) -> Result<(), StartError> {
    loop {
        let level = views.load().feature_level;
        match propose(shards, &Command::RegisterHub(this.clone().at_level(level))).await? {
            Err(Refusal::HubTooOld) if views.load().feature_level != level => {}
            Err(Refusal::HubTooOld) => {
                Unfit::check(this.levels.unwrap_or(Levels::BEFORE), level).map_err(Ousted::from)?;
                return Err(Refusal::HubTooOld.into());
            }
            registered => return Ok(registered.map(drop)?),
        }
    }
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
