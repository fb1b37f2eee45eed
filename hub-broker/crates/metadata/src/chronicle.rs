//! What the log tells an operator of leadership and of replicas: a line for what belongs together, not one per group.

use std::collections::BTreeSet;

use shards::Shards;
use tokio::time::{Instant, MissedTickBehavior};

use crate::command::Command;
use crate::limits::LEADERSHIP_LOG_INTERVAL;
use crate::view::View;

/// Says how many groups this hub leads when that has changed and held for a while.
pub(crate) async fn tell_leadership(shards: Shards) {
    let groups = u32::from(shards.shard_count()) + 1;
    let mut ticks = tokio::time::interval(LEADERSHIP_LOG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut before) = (0, 0);
    loop {
        ticks.tick().await;
        let leads = (0..groups).filter(|group| shards.is_serving_group(*group).is_some()).count();
        if leads == before && leads != told {
            tracing::info!("this hub leads {leads} of {groups} groups now, {told} before");
            told = leads;
        }
        before = leads;
    }
}

/// Replicas on their way to where the plan wants them: said when that begins and when it is over.
#[derive(Default)]
pub(crate) struct Moves {
    since: Option<Instant>,
    groups: BTreeSet<u32>,
}

impl Moves {
    pub(crate) fn look(&mut self, view: &View, plan: &[Command]) {
        let is_moving =
            |group: &u32| view.replicas(*group).iter().any(|record| !record.joined || record.leaving);
        let moving: BTreeSet<u32> = view.group_numbers().filter(is_moving).collect();
        if self.since.is_none() && !moving.is_empty() {
            self.since = Some(Instant::now());
            tracing::info!("replicas begin to move between the hubs");
        }
        let is_over = moving.is_empty() && plan.is_empty();
        self.groups.extend(moving);
        if is_over && let Some(since) = self.since.take() {
            let groups = std::mem::take(&mut self.groups).len();
            tracing::info!(took_s = since.elapsed().as_secs(), "replicas of {groups} groups have moved");
        }
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        if self.since.is_some() {
            tracing::info!("replicas are still moving; whichever hub leads the metadata sees to it");
        }
    }
}
