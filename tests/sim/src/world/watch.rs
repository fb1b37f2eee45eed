//! Whether everything holds, all along and at the end.

use schemas::NodeId;
use shards::GroupStatus;
use shards::simulation::Hub;

use super::{Event, Phase, World};
use crate::invariants::Violation;
use crate::plan;

impl World {
    pub(super) fn look(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(hub) = self.hosts.get_mut(&node).and_then(crate::host::Host::hub) else { return Ok(()) };
        let statuses = hub.status();
        self.invariants.look(node, hub, &statuses)
    }

    pub(super) fn observe(&mut self) -> Result<(), Violation> {
        self.at(plan::OBSERVE_MS, Event::Observe);
        self.nodes().into_iter().try_for_each(|node| {
            self.look(node)?;
            self.look_for_room(node)
        })?;
        self.look_for_alteration()
    }

    /// What a leader gets wrong, it gets wrong first of all when it is new.
    pub(super) fn look_at_new_leaders(&mut self) -> Result<(), Violation> {
        while let Some(node) = self.new_leaders.pop() {
            self.look(node)?;
        }
        Ok(())
    }

    /// What each sender knows to be stored.
    pub(super) fn acknowledged(&self) -> Vec<u64> {
        let coordinators = self.coordinators.iter().map(|coordinator| &coordinator.client);
        self.clients.iter().chain(coordinators).map(crate::client::Client::acknowledged).collect()
    }

    /// A cluster that was left alone has leaders and its members, and goes on acknowledging; once nobody asks for
    /// anything, all its replicas have the same.
    pub(super) fn rest(&mut self, until: u64) -> Result<(), Violation> {
        let goes_on = self.acknowledged().iter().zip(&self.progress).all(|(now, before)| now > before);
        if self.phase == Phase::Healed && goes_on {
            self.nodes().into_iter().for_each(|node| self.run_short(node, false));
        }
        if self.phase == Phase::Healed && goes_on && self.is_whole() {
            self.note(&"the cluster is whole: nobody asks for anything any more");
            self.phase = Phase::Quiet;
        } else if self.phase == Phase::Quiet && self.is_even() && self.is_sound() {
            self.observe()?;
            self.phase = Phase::Over;
        } else if self.now_ms > until {
            return Err(Violation::NoRest(self.describe()));
        }
        self.at(plan::LOOK_MS, Event::Rest(until));
        Ok(())
    }

    fn statuses(&mut self) -> Vec<(NodeId, GroupStatus)> {
        let mut found = Vec::new();
        for (node, host) in &mut self.hosts {
            let statuses = host.hub().map(Hub::status).unwrap_or_default();
            found.extend(statuses.into_iter().filter(|it| it.own.is_some()).map(|status| (*node, status)));
        }
        found
    }

    /// Every member of a group has applied what its leader has, and that is all there is.
    fn is_even(&mut self) -> bool {
        let leaders = self.leaders();
        let is_idle = self.clients.iter().all(crate::client::Client::is_idle);
        is_idle
            && self.statuses().iter().all(|(_, status)| {
                leaders.get(&status.group).is_some_and(|leader| {
                    let is_member = status.own.is_some_and(|own| leader.membership.contains(own));
                    !is_member || (status.applied == leader.last && status.last == leader.last)
                })
            })
    }

    fn describe(&mut self) -> String {
        let mut known = format!("{:?} of {:?}", self.acknowledged(), self.progress);
        for rotten in &self.rotten {
            known.push_str(&format!("\nnot mended: {rotten:?}"));
        }
        for (node, status) in self.statuses() {
            known.push_str(&format!("\nhub {node}: {status:?}"));
        }
        known
    }
}
