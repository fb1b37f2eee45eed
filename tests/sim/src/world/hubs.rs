//! The hubs at work: time, messages, disks, snapshots, starts and crashes.

use rand::Rng;
use schemas::{NodeId, Term};
use shards::simulation::{Hub, Parcel};

use super::{Event, World};
use crate::host::Host;
use crate::invariants::Violation;
use crate::plan;

impl World {
    pub(super) fn on_host(&mut self, node: NodeId, then: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(&node) {
            then(host);
        }
    }

    pub(super) fn epoch(&self, node: NodeId) -> u64 {
        self.hosts.get(&node).map_or(0, |host| host.epoch)
    }

    /// Has a hub do something, then carries out what came of it.
    pub(super) fn with_hub(&mut self, node: NodeId, then: impl FnOnce(&mut Hub)) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        host.set_clock(self.now_ms);
        let stalled_until = host.stalled_until;
        let Some(hub) = host.hub() else { return };
        then(hub);
        hub.turn();
        let parcels = hub.take_parcels();
        let wants_sync = hub.wants_sync();
        let wants_copy = !hub.snapshots_wanted().is_empty();
        let (questions, damaged) = (hub.take_questions(), hub.take_damaged());
        let serving: Vec<Option<Term>> = (0..plan::GROUPS).map(|group| hub.serving(group)).collect();
        let begins = wants_sync && !host.syncing;
        host.syncing |= begins;
        if host.serving != serving {
            host.serving = serving;
            self.new_leaders.push(node);
        }
        for (to, parcel) in parcels {
            self.send(node, to, &parcel);
        }
        let epoch = self.epoch(node);
        for question in questions {
            let takes = self.random.gen_range(1..=self.network.delay_ms);
            self.at(takes, Event::Ask { from: node, epoch, question: Box::new(question) });
        }
        for damaged in damaged {
            let takes = self.random.gen_range(1..plan::COPY_MS);
            self.at(takes, Event::Mend { node, epoch, damaged: Box::new(damaged) });
        }
        if begins {
            let takes = self.random.gen_range(1..8).max(stalled_until.saturating_sub(self.now_ms));
            self.at(takes, Event::Synced { node, epoch });
        }
        if wants_copy {
            let takes = self.random.gen_range(1..plan::COPY_MS);
            self.at(takes, Event::Copy(node));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, parcel: &Parcel) {
        let epoch = self.epoch(to);
        for delay in self.network.delays(from, to, &mut self.random) {
            self.at(delay, Event::Deliver { from, to, epoch, parcel: Box::new(parcel.clone()) });
        }
    }

    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, epoch: u64, parcel: Parcel) {
        if self.epoch(to) == epoch && self.network.is_open(from, to) {
            self.with_hub(to, |hub| hub.receive(from, parcel));
        }
    }

    pub(super) fn tick(&mut self, node: NodeId) {
        let frozen = self.hosts.get(&node).is_some_and(|host| host.frozen_at.is_some());
        if !frozen {
            self.with_hub(node, Hub::tick);
        }
        self.at(plan::TICK_MS, Event::Tick(node));
    }

    /// Unless it was frozen anew.
    pub(super) fn thaw(&mut self, node: NodeId, since: u64) {
        let now_ms = self.now_ms;
        self.on_host(node, |host| {
            host.frozen_at = host.frozen_at.filter(|at| *at != since);
            host.full_until = host.full_until.max(now_ms);
        });
    }

    pub(super) fn synced(&mut self, node: NodeId, epoch: u64) {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.epoch == epoch) else { return };
        if host.stalled_until > self.now_ms {
            let takes = host.stalled_until - self.now_ms;
            return self.at(takes, Event::Synced { node, epoch });
        }
        host.syncing = false;
        self.with_hub(node, Hub::sync);
    }

    /// Copies the oldest snapshot that a hub wants, if it can reach the one that has it.
    pub(super) fn copy(&mut self, node: NodeId) {
        let Some(mut host) = self.hosts.remove(&node) else { return };
        host.set_clock(self.now_ms);
        let mut damaged = None;
        if let Some(hub) = host.hub()
            && let Some(wanted) = hub.snapshots_wanted().first().cloned()
        {
            let group = wanted.group();
            let from = NodeId(wanted.from().node());
            let reachable = self.network.is_open(node, from) && self.network.is_open(from, node);
            let now_ms = self.now_ms;
            let other = self.hosts.get_mut(&from).filter(|_| reachable);
            let other = other.and_then(|other| {
                other.set_clock(now_ms);
                other.hub()
            });
            damaged = hub.copy_snapshot(wanted, other).then_some(group);
        }
        self.hosts.insert(node, host);
        if let Some(group) = damaged {
            self.inherit_damage(node, group);
        }
        self.with_hub(node, |_| {});
    }

    pub(super) fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| !host.is_up()) else { return Ok(()) };
        let started = host.start(self.now_ms);
        started.map_err(|error| Violation::Refused(format!("hub {node} does not start: {error}")))?;
        self.note(&format_args!("hub {node} starts"));
        self.look_for_corrosion(node)?;
        self.with_hub(node, |_| {});
        Ok(())
    }

    pub(super) fn crash(&mut self, node: NodeId, restart_ms: u64) {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.is_up()) else { return };
        host.crash(&mut self.random);
        self.at(restart_ms, Event::Restart(node));
        // The others' connections end at once where the machine is still there to say so.
        if self.random.gen_bool(0.5) {
            for other in self.nodes() {
                if other != node && self.network.is_open(node, other) {
                    self.with_hub(other, |hub| hub.hub_gone(node));
                }
            }
        }
    }

    /// The disk is lost; the metadata hears of the new incarnation some time after it has started, if it is one.
    pub(super) fn wipe(&mut self, node: NodeId) {
        let floor = self.steward.floor();
        let Some(host) = self.hosts.get_mut(&node) else { return };
        host.wipe(&mut self.random, floor);
        let restart_ms = self.random.gen_range(10..3000);
        self.at(restart_ms, Event::Restart(node));
        let heard_ms = restart_ms + self.random.gen_range(0..plan::REGISTER_MS);
        if !self.options.faults.wiped_replica_keeps_id {
            self.at(heard_ms, Event::Registered(node, floor));
        }
    }
}
