//! What a hub's metadata does by itself, and where in the cluster it does it.

use std::future::Future;

use shards::{Levels, Shards};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::chronicle::{Moves, tell_leadership, tell_majority};
use crate::clocks;
use crate::command::Command;
use crate::error::Ousted;
use crate::forming::{self, JoinRefusal};
use crate::identity;
use crate::joins::Joins;
use crate::letting_go;
use crate::levels;
use crate::limits::{LOST_RETRY, METADATA_GROUP, PLAN_INTERVAL};
use crate::neighbours::{Sightings, acquaint};
use crate::options::Config;
use crate::planner::{Reach, plan};
use crate::propose::propose;
use crate::reconcile::Reconciler;
use crate::report;
use crate::set_aside;
use crate::steward::Steward;
use crate::topic::Hub;
use crate::upkeep::Upkeep;
use crate::view::{View, ViewSource};

/// Begins to look after what time it is, which feature level the cluster has and who is meant by which node id, before
/// anything else; tells when this hub does not fit, or is not meant.
pub(crate) fn begin_watch(
    shards: &Shards,
    views: &ViewSource,
    supported: Option<Levels>,
    stop: &CancellationToken,
) -> watch::Receiver<Option<Ousted>> {
    let (tell, ousted) = watch::channel(None);
    let peers = shards.peers();
    clocks::serve(shards);
    tokio::spawn(stop.clone().run_until_cancelled_owned(clocks::watch(shards.clone(), views.clone())));
    let watch = levels::watch(shards.clone(), views.clone(), supported, tell.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
    if !peers.is_alone() {
        levels::serve(peers, views, supported.unwrap_or(Levels::BEFORE));
        identity::serve(peers, views);
        let watch = identity::watch(peers.clone(), views.clone(), tell);
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
    }
    ousted
}

/// Begins all of it. A hub that is alone has no replicas to look after.
pub(crate) fn begin(
    shards: &Shards,
    views: &ViewSource,
    config: &Config,
    this: Option<Hub>,
    stop: &CancellationToken,
) {
    let spawn = |work| {
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
    };
    let (leading, reconciling) = (shards.clone(), views.clone());
    spawn(Box::pin(while_leading(leading, move |shards| Reconciler::new(shards, &reconciling).run())) as Work);
    spawn(Box::pin(Upkeep::new(shards, views, config).run()));
    if let Some(this) = this {
        spawn(Box::pin(register(shards.clone(), views.clone(), this)));
    }
    if shards.peers().is_alone() {
        return;
    }
    forming::serve::take_in(shards, views);
    report::serve(shards, views);
    letting_go::serve(shards);
    spawn(Box::pin(acquaint(shards.peers().clone(), views.clone())));
    spawn(Box::pin(Steward::new(shards.clone(), views, shards.peers().clone()).run()));
    spawn(Box::pin(report_losses(shards.clone(), views.clone())));
    spawn(Box::pin(set_aside::clear(shards.clone(), views.clone())));
    spawn(Box::pin(tell_leadership(shards.clone())));
    spawn(Box::pin(tell_majority(shards.clone(), views.clone())));
    let (leading, planning) = (shards.clone(), views.clone());
    spawn(Box::pin(while_leading(leading, move |shards| carry_plans(shards.clone(), planning.clone()))));
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does `work` for as long as this hub leads the metadata, from the start whenever that begins anew.
async fn while_leading<F: Future<Output = ()>>(shards: Shards, work: impl Fn(&Shards) -> F) {
    let mut leadership = shards.leadership();
    loop {
        let leads = |_: &u64| shards.is_serving_group(METADATA_GROUP).is_some();
        if leadership.wait_for(leads).await.is_err() {
            return;
        }
        // It may have ended again by now.
        let Some(term) = shards.is_serving_group(METADATA_GROUP) else { continue };
        let mut watched = shards.leadership();
        tokio::select! {
            () = work(&shards) => {}
            ended = watched.wait_for(|_| shards.is_serving_group(METADATA_GROUP) != Some(term)) => {
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

/// Proposes what the planner finds.
async fn carry_plans(shards: Shards, views: ViewSource) {
    let (mut sightings, mut joins, mut moves) = (Sightings::begin(), Joins::begin(), Moves::default());
    let mut versions = views.subscribe();
    loop {
        versions.mark_unchanged();
        let view = views.load();
        let stuck = joins.look(&shards, &view).await;
        let reach = Reach { stuck, ..sightings.look(shards.peers(), &view) };
        let commands = plan(&view, &reach);
        moves.look(&view, &commands);
        for command in commands {
            tracing::debug!(?command, "the replicas' plan");
            match propose(&shards, &command).await {
                Ok(Ok(_)) => {}
                Ok(Err(refusal)) => tracing::warn!(?command, %refusal, "a step of the plan was refused"),
                // Whatever it was, the next plan is made from what is then.
                Err(_) => break,
            }
        }
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(PLAN_INTERVAL) => {}
        }
    }
}

/// Says where this hub can be reached, until it has been heard; and again when the feature level has risen so that more of
/// it can be said.
async fn register(shards: Shards, views: ViewSource, this: Hub) {
    let (mut versions, mut heard) = (views.subscribe(), None);
    loop {
        versions.mark_unchanged();
        let now = this.clone().at_level(views.load().feature_level);
        if heard.as_ref() == Some(&now) {
            if versions.changed().await.is_err() {
                return;
            }
            continue;
        }
        match forming::serve::renew(&shards, &views, now.clone()).await {
            Ok(()) => {
                tracing::info!("hub {} is registered with its cluster", this.node);
                heard = Some(now);
                continue;
            }
            // The level that this hub knows may be an old one; where it is not, this hub will end.
            Err(JoinRefusal::Unavailable | JoinRefusal::NoMajority | JoinRefusal::Unfit) => {
                tracing::debug!("this hub's registration is tried again");
            }
            Err(refusal) => {
                tracing::error!(%refusal, "this hub is not registered with its cluster");
                return;
            }
        }
        tokio::time::sleep(LOST_RETRY).await;
    }
}

/// Has replicas that were destroyed here replaced. Those that had to go anyway were among them: of these nothing is
/// said.
async fn report_losses(shards: Shards, views: ViewSource) {
    let mut lost = shards.lost_replicas();
    loop {
        let now = lost.borrow_and_update().clone();
        let mut is_done = true;
        for (group, replica) in now {
            let number = replica.number();
            let is_wanted = is_wanted(&views.load(), group, number);
            match propose(&shards, &Command::ReplaceReplica { group, number }).await {
                Ok(Ok(_)) => {
                    if is_wanted {
                        tracing::info!(group, "a lost replica is fetched again from the other hubs");
                    }
                    shards.confirm_replaced(group, replica);
                }
                Ok(Err(refusal)) => {
                    is_done = false;
                    tracing::error!(group, number, %refusal, "a lost replica cannot be replaced");
                }
                Err(_) => is_done = false,
            }
        }
        tokio::select! {
            changed = lost.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(LOST_RETRY), if !is_done => {}
        }
    }
}

fn is_wanted(view: &View, group: u32, number: u32) -> bool {
    view.replicas(group).iter().any(|record| record.number == number && !record.leaving)
}

#[cfg(test)]
mod tests {
    use schemas::NodeId;

    use super::*;
    use crate::replica::ReplicaRecord;

    #[test]
    fn only_what_the_catalog_still_wants_is_fetched_again() {
        let leaving = ReplicaRecord { leaving: true, ..ReplicaRecord::new(NodeId(2), 8) };
        let groups = vec![Vec::new(), vec![ReplicaRecord::new(NodeId(1), 7), leaving]];
        let view = View { groups: std::sync::Arc::new(groups), ..View::default() };
        assert!(is_wanted(&view, 1, 7));
        assert!(!is_wanted(&view, 1, 8), "it moves to another hub");
        assert!(!is_wanted(&view, 1, 6) && !is_wanted(&view, 5, 7), "it has moved");
    }
}
