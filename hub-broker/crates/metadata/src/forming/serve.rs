//! Takes hubs into the cluster that this one belongs to.

use std::sync::Arc;

use peers::Reply;
use schemas::NodeId;
use shards::Shards;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::JOIN_KIND;
use super::messages::{JoinAnswer, JoinRefusal, decode_join};
use crate::command::Command;
use crate::limits::HUB_TEXT_BYTES_MAX;
use crate::propose::propose;
use crate::response::{Outcome, Refusal};
use crate::topic::Hub;

/// Answers requests to join from now on.
pub(crate) fn take_in(shards: &Shards) {
    let (shards, runtime) = (shards.clone(), Handle::current());
    let peers = shards.peers().clone();
    peers.serve(
        JOIN_KIND,
        Arc::new(move |from, body, reply| match decode_join(&body) {
            Ok(hub) if hub.node == from && has_room_for(&hub) => {
                runtime.spawn(answer(shards.clone(), hub, reply));
            }
            _ => reply.refuse(JoinRefusal::Malformed.encode().into()),
        }),
    );
}

fn has_room_for(hub: &Hub) -> bool {
    hub.texts().all(|text| text.len() <= HUB_TEXT_BYTES_MAX)
}

async fn answer(shards: Shards, hub: Hub, reply: Reply) {
    match register(&shards, hub).await {
        Ok(answer) => reply.ok(answer.encode().into()),
        Err(refusal) => reply.refuse(refusal.encode().into()),
    }
}

async fn register(shards: &Shards, hub: Hub) -> Result<JoinAnswer, JoinRefusal> {
    let cluster = shards.peers().cluster().ok_or(JoinRefusal::Unavailable)?;
    if is_other_connected(shards, hub.node, hub.incarnation) {
        return Err(JoinRefusal::OtherIncarnation);
    }
    let node = hub.node;
    match propose(shards, &Command::RegisterHub(hub)).await {
        Ok(Ok(Outcome::Registered { replica_floor, .. })) => {
            tracing::info!("hub {node} joins the cluster");
            Ok(JoinAnswer { cluster, replica_floor })
        }
        Ok(Err(Refusal::TooManyHubs)) => Err(JoinRefusal::TooManyHubs),
        _ => Err(JoinRefusal::Unavailable),
    }
}

/// Whether the node is connected, and is not the hub that asks: then that one was given a node id twice.
fn is_other_connected(shards: &Shards, node: NodeId, incarnation: Uuid) -> bool {
    let peers = shards.peers();
    let is_other = |of: Uuid| of != incarnation;
    let other_peer =
        peers.known().into_iter().find(|peer| peer.node == node && peer.connected_since.is_some());
    node == peers.node() && is_other(peers.incarnation())
        || other_peer.is_some_and(|peer| is_other(peer.incarnation))
}
