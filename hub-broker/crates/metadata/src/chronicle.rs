//! What the log tells an operator of leadership and of replicas: a line for what belongs together, not one per group.

use std::collections::BTreeSet;

use shards::Shards;
use tokio::time::{Instant, MissedTickBehavior};

use crate::command::Command;
use crate::limits::{LEADERSHIP_LOG_INTERVAL, METADATA_GROUP};
use crate::majority::{NoMajority, Sight};
use crate::view::{View, ViewSource};

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

/// Says which hubs are missing when there are too few to agree on anything, and when there are enough again.
pub(crate) async fn tell_majority(shards: Shards, views: ViewSource) {
    let mut ticks = tokio::time::interval(LEADERSHIP_LOG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outage = Outage::default();
    loop {
        ticks.tick().await;
        match outage.look(Lack::now(&shards, &views.load())) {
            Some(News::Lacks(lack)) => tracing::warn!("{lack}"),
            Some(News::Over) => tracing::info!("a majority of the hubs is there again"),
            None => {}
        }
    }
}

/// Groups that cannot agree on anything, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    metadata: Option<NoMajority>,
    shards: usize,
    first: Option<NoMajority>,
}

impl Lack {
    fn now(shards: &Shards, view: &View) -> Option<Self> {
        let sight = Sight::now(shards, view);
        let lacking = |group: u32| sight.no_majority(group);
        let metadata = lacking(METADATA_GROUP);
        let mut data = (1..=u32::from(shards.shard_count())).filter_map(lacking);
        let first = data.next();
        let shards = data.count() + usize::from(first.is_some());
        (metadata.is_some() || first.is_some()).then_some(Self { metadata, shards, first })
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.metadata, &self.first) {
            (Some(cause), _) => {
                write!(
                    out,
                    "without a majority nothing is written, by Kafka or MQTT clients or tools: {cause}"
                )
            }
            (None, Some(cause)) => {
                write!(out, "{} shards take no writes, one of them because {cause}", self.shards)
            }
            (None, None) => Ok(()),
        }
    }
}

/// What was last said of a majority that is missing. Elections and restarts are over too soon to be told.
#[derive(Default)]
struct Outage {
    before: Option<Lack>,
    told: Option<Lack>,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Lacks(Lack),
    Over,
}

impl Outage {
    /// What holds for two looks, and was not the last that was said, is news.
    fn look(&mut self, now: Option<Lack>) -> Option<News> {
        let holds = self.before == now;
        self.before.clone_from(&now);
        if !holds || now == self.told {
            return None;
        }
        self.told.clone_from(&now);
        Some(now.map_or(News::Over, News::Lacks))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_told_once_when_it_has_held_for_a_while() {
        let lack = |shards| Some(Lack { metadata: None, shards, first: None });
        let mut outage = Outage::default();
        assert_eq!(outage.look(None), None);
        assert_eq!(outage.look(lack(3)), None, "it may be over soon");
        assert_eq!(outage.look(None), None);
        assert_eq!(outage.look(lack(3)), None);
        assert_eq!(outage.look(lack(3)), lack(3).map(News::Lacks));
        assert_eq!(outage.look(lack(3)), None, "it is said already");
        assert_eq!(outage.look(lack(4)), None);
        assert_eq!(outage.look(lack(4)), lack(4).map(News::Lacks), "it got worse");
        assert_eq!(outage.look(None), None);
        assert_eq!(outage.look(None), Some(News::Over));
        assert_eq!(outage.look(None), None);
    }
}
