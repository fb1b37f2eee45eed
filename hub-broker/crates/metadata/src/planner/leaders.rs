//! Who is to lead: as many groups on one hub as on another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::NodeId;

use crate::command::Command;
use crate::limits::LEADER_CHANGES_MAX;
use crate::replica::ReplicaRecord;
use crate::view::View;

/// Changes of preferred leaders that make them more even. Where no hub with few shares a group with one that has many,
/// the surplus goes by way of others.
pub(super) fn spread(view: &View) -> Vec<Command> {
    let mut preferences = Preferences::of(view);
    let mut commands = Vec::new();
    while commands.len() < LEADER_CHANGES_MAX {
        let Some(way) = preferences.best_way() else { break };
        for (group, record) in way {
            preferences.prefer(group, record.number);
            commands.push(Command::PreferLeader { group, number: record.number });
        }
    }
    commands
}

struct Preferences {
    /// Of every group that may change, the replicas that can lead it, the preferred one first.
    groups: BTreeMap<u32, Vec<ReplicaRecord>>,
    /// Groups by preferred leader, on every active hub.
    led: BTreeMap<NodeId, BTreeSet<u32>>,
}

impl Preferences {
    fn of(view: &View) -> Self {
        let active = view.hubs().map(|hub| hub.node).filter(|node| view.is_active(*node));
        let mut preferences =
            Self { groups: BTreeMap::new(), led: active.map(|node| (node, BTreeSet::new())).collect() };
        for group in view.group_numbers() {
            let leaders = view.leaders(group);
            let Some(first) = leaders.first() else { continue };
            preferences.led.entry(first.node).or_default().insert(group);
            preferences.groups.insert(group, leaders);
        }
        preferences
    }

    /// The shortest way from a hub with many to one with at least two fewer; of the hubs, from the one with most.
    fn best_way(&self) -> Option<Vec<(u32, ReplicaRecord)>> {
        let mut hubs: Vec<_> = self.led.iter().map(|(node, led)| (led.len(), *node)).collect();
        hubs.sort_unstable();
        hubs.iter().rev().find_map(|(_, from)| self.way_down(*from))
    }

    /// Each step of a way is a group and its new preferred leader.
    fn way_down(&self, from: NodeId) -> Option<Vec<(u32, ReplicaRecord)>> {
        let mut came: BTreeMap<NodeId, (NodeId, u32, ReplicaRecord)> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            if self.count(at) + 2 <= self.count(from) {
                return Some(way_back(&came, from, at));
            }
            for (group, record) in self.steps(at) {
                if record.node != from && !came.contains_key(&record.node) {
                    came.insert(record.node, (at, group, record));
                    next.push_back(record.node);
                }
            }
        }
        None
    }

    fn steps(&self, at: NodeId) -> impl Iterator<Item = (u32, ReplicaRecord)> + '_ {
        let led = self.led.get(&at).into_iter().flatten();
        led.flat_map(|group| self.groups[group].iter().skip(1).map(|record| (*group, *record)))
    }

    fn count(&self, node: NodeId) -> usize {
        self.led.get(&node).map_or(0, BTreeSet::len)
    }

    fn prefer(&mut self, group: u32, number: u32) {
        let Some(leaders) = self.groups.get_mut(&group) else { return };
        let Some(at) = leaders.iter().position(|record| record.number == number) else { return };
        if let Some(led) = self.led.get_mut(&leaders[0].node) {
            led.remove(&group);
        }
        let record = leaders.remove(at);
        leaders.insert(0, record);
        self.led.entry(record.node).or_default().insert(group);
    }
}

fn way_back(
    came: &BTreeMap<NodeId, (NodeId, u32, ReplicaRecord)>,
    from: NodeId,
    mut at: NodeId,
) -> Vec<(u32, ReplicaRecord)> {
    let mut way = Vec::new();
    while at != from {
        let Some((before, group, record)) = came.get(&at) else { break };
        way.push((*group, *record));
        at = *before;
    }
    way
}
