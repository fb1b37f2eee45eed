//! Takes hubs into the cluster that this one belongs to.
//!
//! Whether a hub may have a node id is judged where the metadata is led: there it is known who has it, and whether that
//! one is still there. Any other hub passes the request on. Of several that are judged at the same time the catalog lets
//! one have it (`Command::ClaimNode`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use schemas::NodeId;
use shards::Shards;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::messages::{JoinAnswer, JoinRefusal, decode_join};
use super::{Failed, JOIN_KIND, JUDGE_KIND, RENEW_KIND, ask_to_join};
use crate::command::Command;
use crate::limits::{HUB_TEXT_BYTES_MAX, METADATA_GROUP};
use crate::majority::Sight;
use crate::propose::propose;
use crate::response::{Outcome, Refusal};
use crate::topic::Hub;
use crate::view::ViewSource;

/// What is asked for a hub.
#[derive(Clone, Copy)]
enum Asked {
    Join,
    /// By another hub of the cluster, for one that asked it.
    Judge,
    Renew,
}

/// Answers requests to join, and members that say where they are, from now on.
pub(crate) fn take_in(shards: &Shards, views: &ViewSource) {
    let told = Arc::new(AtomicU32::new(0));
    for (kind, asked) in [(JOIN_KIND, Asked::Join), (JUDGE_KIND, Asked::Judge), (RENEW_KIND, Asked::Renew)] {
        let (shards, views, runtime) = (shards.clone(), views.clone(), Handle::current());
        let (peers, told) = (shards.peers().clone(), told.clone());
        peers.serve(
            kind,
            Arc::new(move |from, body, reply| match decode_join(&body) {
                Ok(hub) if may_ask(asked, from, &hub) => {
                    let (shards, views, told) = (shards.clone(), views.clone(), told.clone());
                    runtime.spawn(async move {
                        let (node, answered) = (hub.node, answer(&shards, &views, asked, hub).await);
                        // A member judges by itself, and may only have an old catalog.
                        if answered == Err(JoinRefusal::Unfit) && !matches!(asked, Asked::Renew) {
                            tell_unfit(node, &views, &told);
                        }
                        match answered {
                            Ok(answer) => reply.ok(answer.encode().into()),
                            Err(refusal) => reply.refuse(refusal.encode().into()),
                        }
                    });
                }
                _ => reply.refuse(JoinRefusal::Malformed.encode().into()),
            }),
        );
    }
}

/// `told`: the node id of the last hub of which that was said. It asks again and again.
fn tell_unfit(node: NodeId, views: &ViewSource, told: &AtomicU32) {
    if told.swap(node.0, Ordering::Relaxed) != node.0 {
        let level = views.load().feature_level;
        tracing::warn!(
            "hub {node} is not taken in: its release does not support the cluster's feature level, {level}"
        );
    }
}

fn may_ask(asked: Asked, from: NodeId, hub: &Hub) -> bool {
    let is_itself = hub.node == from;
    is_itself != matches!(asked, Asked::Judge) && hub.texts().all(|text| text.len() <= HUB_TEXT_BYTES_MAX)
}

async fn answer(
    shards: &Shards,
    views: &ViewSource,
    asked: Asked,
    hub: Hub,
) -> Result<JoinAnswer, JoinRefusal> {
    let answered = match asked {
        Asked::Join => join(shards, views, hub).await,
        Asked::Judge => judge(shards, views, hub).await,
        Asked::Renew => renew_here(shards, views, hub).await,
    };
    answered.map_err(|refusal| explained(refusal, shards, views))
}

/// A hub that cannot be taken in for want of a majority waits for something else than one that comes in an election.
fn explained(refusal: JoinRefusal, shards: &Shards, views: &ViewSource) -> JoinRefusal {
    let lacks = || Sight::now(shards, &views.load()).no_majority(METADATA_GROUP).is_some();
    if refusal == JoinRefusal::Unavailable && lacks() { JoinRefusal::NoMajority } else { refusal }
}

async fn join(shards: &Shards, views: &ViewSource, hub: Hub) -> Result<JoinAnswer, JoinRefusal> {
    if is_holder_connected(shards, holder(views, &hub)) {
        return Err(JoinRefusal::OtherIncarnation);
    }
    if is_led_here(shards) {
        judge(shards, views, hub).await
    } else {
        pass_on(shards, JUDGE_KIND, &hub).await
    }
}

/// Where the metadata is led.
async fn judge(shards: &Shards, views: &ViewSource, hub: Hub) -> Result<JoinAnswer, JoinRefusal> {
    if !is_led_here(shards) {
        return Err(JoinRefusal::Unavailable);
    }
    let (node, holder) = (hub.node, holder(views, &hub));
    if is_holder_connected(shards, holder) {
        return Err(JoinRefusal::OtherIncarnation);
    }
    // What a leader appends without a majority may still be agreed on when those are back whose place it takes.
    if Sight::now(shards, &views.load()).no_majority(METADATA_GROUP).is_some() {
        return Err(JoinRefusal::NoMajority);
    }
    let answer = claim(shards, hub, holder.map(|(_, incarnation)| incarnation)).await?;
    tracing::info!("hub {node} joins the cluster");
    Ok(answer)
}

/// Says where a member is, which must be the one that has its node id.
pub(crate) async fn renew(shards: &Shards, views: &ViewSource, hub: Hub) -> Result<(), JoinRefusal> {
    let renewed = if is_led_here(shards) {
        renew_here(shards, views, hub).await
    } else {
        pass_on(shards, RENEW_KIND, &hub).await
    };
    renewed.map(drop)
}

async fn renew_here(shards: &Shards, views: &ViewSource, hub: Hub) -> Result<JoinAnswer, JoinRefusal> {
    if !is_led_here(shards) {
        return Err(JoinRefusal::Unavailable);
    }
    let is_same = |known: &Hub| known.incarnation == hub.incarnation;
    if !views.load().hub(hub.node).is_some_and(is_same) {
        return Err(JoinRefusal::UnknownHub);
    }
    let held_by = Some(hub.incarnation);
    claim(shards, hub, held_by).await
}

async fn claim(shards: &Shards, hub: Hub, held_by: Option<Uuid>) -> Result<JoinAnswer, JoinRefusal> {
    let cluster = shards.peers().cluster().ok_or(JoinRefusal::Unavailable)?;
    let is_renewed = held_by == Some(hub.incarnation);
    match propose(shards, &Command::ClaimNode { hub, held_by }).await {
        Ok(Ok(Outcome::Registered { replica_floor, .. })) => Ok(JoinAnswer { cluster, replica_floor }),
        Ok(Err(Refusal::TooManyHubs)) => Err(JoinRefusal::TooManyHubs),
        Ok(Err(Refusal::NodeTaken)) => Err(JoinRefusal::NodeTaken),
        Ok(Err(Refusal::LastReplica)) => Err(JoinRefusal::OnlyReplica),
        Ok(Err(Refusal::HubTooOld)) => Err(JoinRefusal::Unfit),
        // A hub that joins in the place of one that was removed meanwhile asks again, and finds the node id free.
        Ok(Err(Refusal::UnknownHub)) if is_renewed => Err(JoinRefusal::UnknownHub),
        _ => Err(JoinRefusal::Unavailable),
    }
}

fn is_led_here(shards: &Shards) -> bool {
    shards.is_serving_group(METADATA_GROUP).is_some()
}

async fn pass_on(shards: &Shards, kind: u8, hub: &Hub) -> Result<JoinAnswer, JoinRefusal> {
    let leader = shards.metadata_leader().ok_or(JoinRefusal::Unavailable)?;
    match ask_to_join(shards.peers(), leader.node, kind, hub).await {
        Ok(answer) => Ok(answer),
        Err(Failed::Refused(refusal)) => Err(refusal),
        Err(Failed::Request(_) | Failed::Answer | Failed::Unfit(_)) => Err(JoinRefusal::Unavailable),
    }
}

/// Who else has the node id that a hub asks for, as far as this hub knows.
fn holder(views: &ViewSource, hub: &Hub) -> Option<(NodeId, Uuid)> {
    let known = views.load().hub(hub.node).map(|known| known.incarnation);
    known.filter(|known| *known != hub.incarnation).map(|known| (hub.node, known))
}

/// A node id whose holder is there was given to two hubs.
fn is_holder_connected(shards: &Shards, holder: Option<(NodeId, Uuid)>) -> bool {
    let peers = shards.peers();
    let is_this = |node, incarnation| (node, incarnation) == (peers.node(), peers.incarnation());
    holder.is_some_and(|(node, incarnation)| is_this(node, incarnation) || peers.is_there(node, incarnation))
}
