//! Everything that can happen to a group, drawn from the seed.

use consensus::*;
use rand::Rng;
use rand::seq::SliceRandom;

use super::World;

/// What may happen besides slowness.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chaos {
    pub crashes: bool,
    pub partitions: bool,
    pub changes: bool,
}

impl Chaos {
    pub const ALL: Self = Self { crashes: true, partitions: true, changes: true };
}

impl World {
    pub fn random_step(&mut self, chaos: Chaos) {
        let ids = self.ids();
        let id = *ids.choose(&mut self.rng).expect("there is always somebody");
        let count = self.rng.gen_range(1..4);
        match self.rng.gen_range(0..1_000) {
            0..100 => self.step(id, Event::Tick),
            100..570 => {
                self.deliver();
            }
            570..720 => self.sync(id, count),
            720..850 => self.apply(id, count),
            850..890 => {
                self.propose(id);
            }
            890..915 => self.copy_snapshot(id),
            915..930 => self.read_back(id),
            930..940 => self.random_checkpoint(id),
            940..945 => {
                self.read(id);
            }
            945..946 => self.stall(id),
            946..956 => self.recover(id),
            956..958 => self.random_transfer(id),
            958..960 => self.random_unreachable(id),
            960..961 if chaos.partitions => self.random_partition(),
            961..966 => self.network.unblock(),
            966..974 if chaos.changes => self.random_change(),
            974..978 if chaos.changes => self.destroy_some_removed(),
            978..980 if chaos.crashes => self.random_crash(id),
            _ if !self.runs(id) => self.restart(id),
            _ => {}
        }
    }

    fn random_checkpoint(&mut self, id: ReplicaId) {
        let keep_entries = self.rng.gen_range(0..200);
        self.checkpoint(id, keep_entries);
    }

    fn stall(&mut self, id: ReplicaId) {
        if let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some()) {
            hub.stalled = true;
            self.step(id, Event::StepDown);
        }
    }

    pub fn recover(&mut self, id: ReplicaId) {
        if let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.stalled) {
            hub.stalled = false;
            self.sync(id, usize::MAX);
            self.step(id, Event::Recovered);
        }
    }

    fn random_transfer(&mut self, id: ReplicaId) {
        if let (Some(leader), true) = (self.leader(), self.hubs.contains_key(&id)) {
            self.step(leader, Event::TransferLeadership { to: id });
        }
    }

    fn random_unreachable(&mut self, id: ReplicaId) {
        for other in self.ids() {
            self.step(other, Event::Unreachable { replica: id });
        }
    }

    /// Some pairs do not reach each other, in one direction or both.
    fn random_partition(&mut self) {
        for from in self.ids() {
            for to in self.ids() {
                if self.rng.gen_bool(0.3) {
                    self.network.block(from, to);
                }
            }
        }
    }

    fn random_crash(&mut self, id: ReplicaId) {
        let term = self.runs(id).then(|| self.replica(id).term());
        self.crash(id);
        for other in self.ids() {
            let follows = self.runs(other) && self.replica(other).leader() == Some(id);
            if follows && term.is_some() && self.rng.gen_bool(0.5) {
                self.step(other, Event::LeaderGone);
            }
        }
    }

    fn random_change(&mut self) {
        let Some(leader) = self.leader() else { return };
        let members = self.replica(leader).membership();
        let (voters, learners) = (members.voters.len(), members.learners.len());
        let voter = members.voters.choose(&mut self.rng).copied().into_iter().collect::<Vec<_>>();
        let learner = members.learners.choose(&mut self.rng).copied().into_iter().collect::<Vec<_>>();
        let change = match self.rng.gen_range(0..6) {
            0 | 1 if learners < 2 => {
                MembershipChange { add_learners: vec![self.fresh_id()], ..MembershipChange::default() }
            }
            2 if voters < 5 => MembershipChange { promote: learner, ..MembershipChange::default() },
            3 if voters > 1 => {
                MembershipChange { promote: learner, remove: voter, ..MembershipChange::default() }
            }
            4 if voters > 2 => MembershipChange { remove: vec![leader], ..MembershipChange::default() },
            5 if voters > 3 => MembershipChange { remove: voter, ..MembershipChange::default() },
            _ => MembershipChange { remove: learner, ..MembershipChange::default() },
        };
        self.change(leader, change);
    }

    /// A replica is given up once every member knows that it was removed: before, its vote may still be needed.
    fn destroy_some_removed(&mut self) {
        let members = self.members();
        let last_change = self.history.iter().rev().find(|(_, applied)| applied.membership.is_some());
        let Some((index, _)) = last_change else { return };
        let known = |id: &ReplicaId| self.hubs.get(id).is_some_and(|hub| hub.disk.newest().applied >= *index);
        if !members.replicas().iter().all(known) {
            return;
        }
        let belonged = |id| {
            self.history.values().filter_map(|applied| applied.membership.as_ref()).any(|it| it.contains(id))
        };
        let believed_in = |id| {
            let mut replicas = self.hubs.values().filter_map(|hub| hub.replica.as_ref());
            replicas.any(|replica| replica.membership().contains(id))
        };
        let gone = |id: &ReplicaId| !members.contains(*id) && belonged(*id) && !believed_in(*id);
        if let Some(id) = self.ids().into_iter().find(gone) {
            self.destroy(id);
        }
    }
}
