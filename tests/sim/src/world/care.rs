//! What the metadata's steward does about the groups' members.

use std::collections::{BTreeMap, BTreeSet};

use schemas::NodeId;
use shards::GroupStatus;
use shards::simulation::{Hub, Role};

use super::{Event, World};
use crate::host::Host;
use crate::invariants::Violation;
use crate::plan;
use crate::steward::Step;

impl World {
    /// What the leaders know of each group: of several that take themselves for one, the newest.
    pub(super) fn leaders(&mut self) -> BTreeMap<u32, GroupStatus> {
        let mut found: BTreeMap<u32, GroupStatus> = BTreeMap::new();
        for host in self.hosts.values_mut() {
            let Some(hub) = host.hub() else { continue };
            for status in hub.status().into_iter().filter(|status| status.role == Role::Leader) {
                let newer = found.get(&status.group).is_none_or(|known| known.term < status.term);
                if newer && hub.serving(status.group).is_some() {
                    found.insert(status.group, status);
                }
            }
        }
        found
    }

    pub(super) fn steward_steps(&mut self) -> Result<(), Violation> {
        self.at(plan::STEWARD_MS, Event::Steward);
        let leaders = self.leaders();
        for status in leaders.values() {
            self.steward.look(status);
            let (Some(own), Some(step)) = (status.own, self.steward.next_step(status)) else { continue };
            self.note(&format_args!("group {}: {step:?}", status.group));
            self.with_hub(NodeId(own.node()), |hub| match step {
                Step::Change(change) => drop(hub.change_membership(status.group, change)),
                Step::Transfer(to) => drop(hub.transfer(status.group, to)),
            });
        }
        self.tell_of_room();
        for node in self.nodes() {
            self.replace_what_was_given_up(node)?;
            self.destroy_what_was_let_go(node, &leaders);
        }
        Ok(())
    }

    fn replace_what_was_given_up(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { return Ok(()) };
        for (group, id) in hub.given_up() {
            self.is_mourning |= !self.steward.is_gone(group, id);
            if !self.steward.is_going(group, id) {
                self.invariants.given_up(group, id)?;
            }
            self.steward.replace(group, id);
        }
        Ok(())
    }

    /// Only a leader can tell that the removal is committed.
    fn destroy_what_was_let_go(&mut self, node: NodeId, leaders: &BTreeMap<u32, GroupStatus>) {
        let Some(hub) = self.hosts.get_mut(&node).and_then(Host::hub) else { return };
        for status in hub.status() {
            let Some(own) = status.own.filter(|own| self.steward.is_gone(status.group, *own)) else {
                continue;
            };
            let is_let_go = leaders.get(&status.group).is_some_and(|it| !it.membership.contains(own));
            if is_let_go {
                self.with_hub(node, |hub| drop(hub.destroy_replica(status.group, own.number())));
            }
        }
    }

    /// Every replica that there is to be is there, and votes.
    pub(super) fn is_whole(&mut self) -> bool {
        let leaders = self.leaders();
        let mut present = BTreeSet::new();
        for host in self.hosts.values_mut() {
            let statuses = host.hub().map(Hub::status).unwrap_or_default();
            present.extend(statuses.into_iter().filter_map(|status| Some((status.group, status.own?))));
        }
        self.steward.is_settled(&leaders) && self.steward.wanted().all(|replica| present.contains(&replica))
    }
}
