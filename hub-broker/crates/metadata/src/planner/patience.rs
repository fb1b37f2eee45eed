//! How long a replica may take to join. Knows no clock and no network: it is told what is seen, and when.
//!
//! A replica gets on when anything that is seen of it changes. While it copies a snapshot nothing does; so it is given
//! the time in which everything that is being copied to its hub would have arrived at half the lowest rate. Only a few are
//! copied there at a time: the others' time begins again whenever a copy has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemas::NodeId;
use shards::limits::CATCH_UP_RATE_BYTES_MIN;

use crate::limits::{JOIN_PATIENCE, JOIN_REST, METADATA_GROUP};
use crate::view::View;

/// Copies are given so much time as if they came at half the lowest rate: they pause, and more may be copied by then.
const COPY_RATE_BYTES: u64 = CATCH_UP_RATE_BYTES_MIN / 2;

/// What is seen of a replica that is joining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The last entry that its leader knows it to have; none while it is no member.
    pub(crate) matched: Option<u64>,
    pub(crate) stored_bytes: u64,
    /// What its leader stores, all of which it may have to copy.
    pub(crate) to_copy_bytes: u64,
}

impl Sight {
    /// What changes when the replica gets on, and not when its leader does.
    fn progress(&self) -> (Option<u64>, u64) {
        (self.matched, self.stored_bytes)
    }

    /// Whether it has anything of what its leader has.
    fn has_begun(&self) -> bool {
        self.matched.is_some_and(|matched| matched > 0)
    }
}

/// What is seen, by group and replica number.
pub(crate) type Sights = BTreeMap<(u32, u32), Sight>;

/// Counts for how long replicas have not got on. Times are since any beginning.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// By group and replica number.
    joins: BTreeMap<(u32, u32), Join>,
    looked_at: Duration,
    /// When joins were given up.
    stuck: BTreeMap<(u32, NodeId), Duration>,
}

/// What was last seen of a replica that joins.
#[derive(Debug)]
struct Join {
    node: NodeId,
    sight: Sight,
    /// Since when it has not got on, although it could.
    since: Duration,
    /// It has all of a copy, or needed none.
    has_arrived: bool,
}

impl Patience {
    /// Where nothing is to be tried for now.
    pub(crate) fn stuck(&self) -> BTreeSet<(u32, NodeId)> {
        self.stuck.keys().copied().collect()
    }

    /// Whether any replica of a data shard is joining.
    pub(crate) fn has_work(view: &View) -> bool {
        joining(view).next().is_some()
    }

    /// Returns the joins that are given up now, the groups by hub.
    pub(crate) fn look(&mut self, view: &View, seen: &Sights, now: Duration) -> BTreeMap<NodeId, Vec<u32>> {
        self.stuck.retain(|_, at| now.saturating_sub(*at) < JOIN_REST);
        self.see(view, seen, now);
        let mut given_up: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for (group, number, node) in joining(view) {
            let is_over =
                now.saturating_sub(self.joins[&(group, number)].since) >= self.patience_with(view, node);
            if is_over && !self.stuck.contains_key(&(group, node)) {
                self.stuck.insert((group, node), now);
                given_up.entry(node).or_default().push(group);
            }
        }
        given_up
    }

    fn see(&mut self, view: &View, seen: &Sights, now: Duration) {
        let mut before = std::mem::take(&mut self.joins);
        let looked_at = std::mem::replace(&mut self.looked_at, now);
        // Where a copy has come to its end.
        let mut arrived = BTreeSet::new();
        for (group, number, node) in joining(view) {
            let begins = Join { node, sight: Sight::default(), since: now, has_arrived: false };
            let known = before.remove(&(group, number)).unwrap_or(begins);
            // Where a leader has not told this time, what it told before counts.
            let sight = seen.get(&(group, number)).copied().unwrap_or(known.sight);
            let gets_on = known.sight.progress() != sight.progress();
            let has_arrived = known.has_arrived || sight.has_begun();
            // Once, and not where entries were sent from the first look on: after that it only follows its leader.
            if has_arrived && !known.has_arrived && known.since < looked_at {
                arrived.insert(node);
            }
            let since = if gets_on { now } else { known.since };
            self.joins.insert((group, number), Join { node, sight, since, has_arrived });
        }
        let has_ended = |((group, _), join): ((u32, u32), Join)| {
            Some(join.node).filter(|node| !self.stuck.contains_key(&(group, *node)))
        };
        arrived.extend(before.into_iter().filter_map(has_ended));
        self.joins.values_mut().filter(|join| arrived.contains(&join.node)).for_each(|join| join.since = now);
    }

    fn patience_with(&self, view: &View, node: NodeId) -> Duration {
        let there = joining(view).filter(|(_, _, on)| *on == node);
        let bytes = there.map(|(group, number, _)| self.joins[&(group, number)].sight.to_copy_bytes);
        JOIN_PATIENCE + Duration::from_secs(bytes.sum::<u64>() / COPY_RATE_BYTES)
    }
}

/// Replicas of data shards that are joining: group, number, hub.
fn joining(view: &View) -> impl Iterator<Item = (u32, u32, NodeId)> + '_ {
    let groups = view.group_numbers().filter(|group| *group != METADATA_GROUP);
    groups.flat_map(|group| {
        let joins = view.replicas(group).iter().filter(|record| !record.joined && !record.leaving);
        joins.map(move |record| (group, record.number, record.node))
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::Catalog;
    use crate::command::Command;
    use crate::topic::Hub;

    const TWO: NodeId = NodeId(2);

    fn view() -> View {
        catalog().view()
    }

    /// Hub 2 joins groups 1 and 2, with the replicas 2 and 3.
    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        let incarnation = Uuid::from_u128(1);
        for command in [
            Command::FormCluster { cluster_id: Uuid::from_u128(9), data_shards: 2, feature_level: 0 },
            Command::RegisterHub(Hub::new(NodeId(1), incarnation)),
            Command::AdoptFounder { node: NodeId(1), incarnation },
            Command::RegisterHub(Hub::new(TWO, Uuid::from_u128(2))),
            Command::AddReplica { group: 1, node: TWO },
            Command::AddReplica { group: 2, node: TWO },
        ] {
            catalog.apply(command).unwrap();
        }
        catalog
    }

    fn seen(matched: u64, to_copy_bytes: u64) -> Sights {
        let sight = Sight { matched: Some(matched), stored_bytes: 0, to_copy_bytes };
        Sights::from([((1, 2), sight), ((2, 3), Sight { to_copy_bytes: 0, ..sight })])
    }

    #[test]
    fn a_join_that_gets_on_is_left_alone_and_one_that_does_not_is_given_up_once_and_tried_again() {
        let (view, mut patience) = (view(), Patience::default());
        let mut now = Duration::ZERO;
        for matched in 0..10 {
            assert!(patience.look(&view, &seen(matched, 0), now).is_empty());
            now += JOIN_PATIENCE / 2;
        }
        now += JOIN_PATIENCE / 2;
        assert_eq!(patience.look(&view, &seen(9, 0), now), BTreeMap::from([(TWO, vec![1, 2])]));
        assert_eq!(patience.stuck(), BTreeSet::from([(1, TWO), (2, TWO)]));
        assert!(patience.look(&view, &seen(9, 0), now + JOIN_REST / 2).is_empty(), "that was said");
        patience.look(&View::default(), &Sights::new(), now + JOIN_REST);
        assert_eq!(patience.stuck(), BTreeSet::new());
    }

    #[test]
    fn what_the_leader_writes_meanwhile_is_no_progress_and_a_join_of_which_nothing_is_seen_ends_too() {
        let (view, mut patience) = (view(), Patience::default());
        patience.look(&view, &seen(5, 0), Duration::ZERO);
        assert!(patience.look(&view, &seen(5, 1_000), JOIN_PATIENCE / 2).is_empty());
        assert_eq!(patience.look(&view, &seen(5, 2_000), JOIN_PATIENCE).len(), 1);
        let mut patience = Patience::default();
        patience.look(&view, &Sights::new(), Duration::ZERO);
        assert_eq!(patience.look(&view, &Sights::new(), JOIN_PATIENCE).len(), 1);
    }

    #[test]
    fn time_to_copy_is_given_to_all_that_wait_for_the_same_hub() {
        let (view, mut patience) = (view(), Patience::default());
        let copy = Duration::from_secs(1_000);
        let seen = seen(5, COPY_RATE_BYTES * 1_000);
        patience.look(&view, &seen, Duration::ZERO);
        assert!(patience.look(&view, &seen, JOIN_PATIENCE + copy / 2).is_empty());
        assert_eq!(patience.look(&view, &seen, JOIN_PATIENCE + copy), BTreeMap::from([(TWO, vec![1, 2])]));
    }

    #[test]
    fn one_that_has_waited_for_another_copy_has_all_its_time_when_that_has_come_to_its_end() {
        let mut catalog = catalog();
        let before = catalog.view();
        catalog.apply(Command::ReplicaJoined { group: 2, number: 3 }).unwrap();
        let after = catalog.view();
        let both = JOIN_PATIENCE + Duration::from_secs(2_000);
        let one = JOIN_PATIENCE + Duration::from_secs(1_000);
        let copying = Sight { matched: Some(0), stored_bytes: 0, to_copy_bytes: COPY_RATE_BYTES * 1_000 };
        let copies = Sights::from([((1, 2), copying), ((2, 3), copying)]);
        let arrived = Sights::from([((1, 2), copying), ((2, 3), Sight { matched: Some(9), ..copying })]);
        let just = Duration::from_secs(1);
        for (view, seen) in [(&after, &copies), (&before, &arrived)] {
            let mut patience = Patience::default();
            patience.look(&before, &copies, Duration::ZERO);
            patience.look(&before, &copies, just);
            assert!(patience.look(view, seen, both - just).is_empty());
            assert!(patience.look(view, seen, both - just + one - just).is_empty());
        }
        // One that is sent entries, all the time or now and then, takes nobody's turn.
        for every in [1, 2, 5] {
            let mut patience = Patience::default();
            for look in 0..=20 {
                let following =
                    Sight { matched: Some(u64::from(7 + look / every)), to_copy_bytes: 0, ..copying };
                let seen = Sights::from([((1, 2), copying), ((2, 3), following)]);
                let given_up = patience.look(&before, &seen, one / 20 * look);
                assert_eq!(
                    given_up.is_empty(),
                    look < 20,
                    "at look {look}, with progress at every {every}th"
                );
            }
        }
    }
}
