//! A whole group in one thread, from a seed: replicas, their disks and the network between them. What must hold is
//! checked at every step.

mod chaos;
mod disk;
mod hub;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use self::chaos::Chaos;
use self::disk::{Checkpoint, digest_of};
use self::hub::Hub;
use self::network::Network;

/// What was applied at an index, by whoever was first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub term: u64,
    pub payload: Bytes,
    pub membership: Option<Membership>,
    pub digest: u64,
}

pub struct World {
    pub rng: StdRng,
    pub hubs: BTreeMap<ReplicaId, Hub>,
    pub network: Network,
    /// What any replica ever applied at an index: no other may apply something else.
    pub history: BTreeMap<u64, Applied>,
    /// Where acknowledged proposals ended up.
    pub acknowledged: BTreeMap<u64, u64>,
    pub refused: BTreeMap<u64, RefusedReason>,
    pub leaders: BTreeMap<u64, ReplicaId>,
    pub reads_answered: usize,
    pub snapshots_installed: usize,
    /// Entries that were read back for followers.
    pub entries_read: usize,
    /// What was acknowledged when a read was asked for.
    reads: BTreeMap<u64, u64>,
    destroyed: BTreeSet<ReplicaId>,
    first_members: Membership,
    pub next_token: u64,
    next_number: u32,
    pub tail_bytes_max: usize,
    pub log_patience_ticks: u64,
}

/// The id of one of the founders.
pub fn id(number: u32) -> ReplicaId {
    ReplicaId::new(number, number)
}

impl World {
    pub fn new(size: u32, seed: u64) -> Self {
        let voters: Vec<_> = (1..=size).map(id).collect();
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            hubs: BTreeMap::new(),
            network: Network::default(),
            history: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            refused: BTreeMap::new(),
            leaders: BTreeMap::new(),
            reads_answered: 0,
            snapshots_installed: 0,
            entries_read: 0,
            reads: BTreeMap::new(),
            destroyed: BTreeSet::new(),
            first_members: Membership { voters: voters.clone(), ..Membership::default() },
            next_token: 0,
            next_number: size + 1,
            tail_bytes_max: 4 * 1024 * 1024,
            log_patience_ticks: 2_000,
        };
        for id in voters {
            world.hubs.insert(id, Hub::new(Checkpoint::first(world.first_members.clone())));
            world.restart(id);
        }
        world
    }

    pub fn ids(&self) -> Vec<ReplicaId> {
        self.hubs.keys().copied().collect()
    }

    pub fn replica(&self, id: ReplicaId) -> &Replica {
        self.hubs[&id].replica.as_ref().expect("it runs")
    }

    pub fn runs(&self, id: ReplicaId) -> bool {
        self.hubs.get(&id).is_some_and(|hub| hub.replica.is_some())
    }

    /// An id that no replica ever had.
    pub fn fresh_id(&mut self) -> ReplicaId {
        self.next_number += 1;
        id(self.next_number - 1)
    }

    /// What every disk has now is all that it will still have after a crash, whatever it says from now on.
    pub fn let_disks_lie(&mut self) {
        for hub in self.hubs.values_mut() {
            hub.truth = Some(hub.disk.clone());
        }
    }

    pub fn restart(&mut self, id: ReplicaId) {
        let seed = self.rng.r#gen();
        let config = ReplicaConfig {
            tail_bytes_max: self.tail_bytes_max,
            tail_bytes_catching_up_max: 5 * self.tail_bytes_max,
            tail_bytes_idle_max: self.tail_bytes_max / 4,
            snapshot_repeat_ticks: 30,
            log_patience_ticks: self.log_patience_ticks,
            read_bytes_max: 40,
            ..ReplicaConfig::new(id, seed)
        };
        let hub = self.hubs.get_mut(&id).expect("it exists");
        let restored = hub.come_back();
        hub.replica = Some(Replica::new(&config, restored).expect("what was synced is enough to start from"));
    }

    pub fn crash(&mut self, id: ReplicaId) {
        if let Some(hub) = self.hubs.get_mut(&id) {
            hub.go_down();
        }
        self.network.cut(id);
    }

    /// Its id is never used again.
    pub fn destroy(&mut self, id: ReplicaId) {
        self.network.cut(id);
        self.hubs.remove(&id);
        self.destroyed.insert(id);
    }

    pub fn step(&mut self, id: ReplicaId, event: Event) {
        let Some(replica) = self.hubs.get_mut(&id).and_then(|hub| hub.replica.as_mut()) else { return };
        let actions = replica.step(event);
        if replica.role() == Role::Leader {
            let (term, leader) = (replica.term(), *self.leaders.entry(replica.term()).or_insert(id));
            assert_eq!(leader, id, "two leaders in term {term}");
        }
        actions.into_iter().for_each(|action| self.perform(id, action));
    }

    fn perform(&mut self, id: ReplicaId, action: Action) {
        match action {
            Action::Send(message) => {
                assert_eq!(message.from(), id);
                self.network.send(&mut self.rng, &message);
            }
            Action::Refused { token, reason } => {
                assert!(
                    !self.acknowledged.contains_key(&token),
                    "{token} is refused after it was acknowledged"
                );
                assert!(self.refused.insert(token, reason).is_none(), "{token} is refused twice");
            }
            Action::ReadReady { token, index } => {
                let acknowledged = self.reads.remove(&token).expect("it was asked, and not answered");
                assert!(index >= acknowledged, "read {token} misses what was acknowledged before it");
                self.reads_answered += 1;
            }
            Action::ReadRefused { token } => {
                self.reads.remove(&token).expect("it was asked, and not answered");
            }
            action => self.hubs.get_mut(&id).expect("it just stepped").keep(action),
        }
    }

    /// Applies some of what was handed out.
    pub fn apply(&mut self, id: ReplicaId, count: usize) {
        let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some()) else { return };
        let entries: Vec<_> = hub.committed.drain(..count.min(hub.committed.len())).collect();
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        for entry in entries {
            self.apply_entry(id, entry);
        }
        self.step(id, Event::Applied { index: last });
    }

    fn apply_entry(&mut self, id: ReplicaId, entry: Committed) {
        let state = &mut self.hubs.get_mut(&id).expect("it applies").state;
        assert_eq!(entry.index, state.applied + 1, "entries are applied in order, without holes");
        state.applied = entry.index;
        state.term = entry.term;
        state.digest = digest_of(state.digest, entry.index, entry.term, &entry.payload);
        state.membership = entry.membership.clone().unwrap_or_else(|| state.membership.clone());
        let applied = Applied {
            term: entry.term,
            payload: entry.payload,
            membership: entry.membership,
            digest: state.digest,
        };
        let first = self.history.entry(entry.index).or_insert_with(|| applied.clone());
        assert_eq!(*first, applied, "two replicas differ at {}", entry.index);
        if let Some(token) = entry.token {
            assert!(!self.refused.contains_key(&token), "{token} is acknowledged after it was refused");
            assert!(self.acknowledged.insert(token, entry.index).is_none(), "{token} is acknowledged twice");
        }
    }

    /// Makes the oldest unsynced writes durable.
    pub fn sync(&mut self, id: ReplicaId, count: usize) {
        let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some() && !hub.stalled) else {
            return;
        };
        let installed = hub.snapshots_installed;
        let ready = hub.sync(count);
        self.snapshots_installed += hub.snapshots_installed - installed;
        let (state, history) = (&hub.state, &self.history);
        if let Some(applied) = history.get(&state.applied) {
            assert_eq!(
                (applied.term, applied.digest),
                (state.term, state.digest),
                "a snapshot is of something else"
            );
        }
        if let Some(ready) = ready {
            self.step(id, Event::Persisted { ready });
        }
    }

    pub fn checkpoint(&mut self, id: ReplicaId, keep_entries: u64) {
        let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some()) else { return };
        if let Some((index, term, membership)) = hub.checkpoint(keep_entries) {
            self.step(id, Event::SnapshotReady { index, term, membership });
        }
    }

    /// These checkpoints are gone, as far as others can have them.
    pub fn forget_checkpoints(&mut self, id: ReplicaId, which: impl Fn(&u64) -> bool) {
        let disk = &mut self.hubs.get_mut(&id).expect("it exists").disk;
        disk.unavailable =
            disk.checkpoints.iter().map(|checkpoint| checkpoint.applied).filter(which).collect();
    }

    /// Carries out the copying of a snapshot that was offered, if there was one and the sender still has it.
    pub fn copy_snapshot(&mut self, id: ReplicaId) {
        let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some()) else { return };
        let Some((from, index, message)) = hub.offered.take() else { return };
        let sender = self.hubs.get(&from).filter(|sender| sender.replica.is_some());
        let reachable = !self.network.is_blocked(from, id) && !self.network.is_blocked(id, from);
        let copy = sender.filter(|_| reachable).and_then(|sender| sender.disk.checkpoint_at(index));
        let ok = copy.is_some();
        if let Some(copy) = copy
            && let Some(hub) = self.hubs.get_mut(&id)
        {
            hub.copied = Some(copy);
            self.step(id, Event::Snapshot(message));
        }
        if self.rng.gen_bool(0.8) {
            self.step(from, Event::SnapshotSent { to: id, ok });
        }
    }

    /// Answers the question for entries that are not in memory.
    pub fn read_back(&mut self, id: ReplicaId) {
        let Some(hub) = self.hubs.get_mut(&id).filter(|hub| hub.replica.is_some()) else { return };
        let Some((from, through, bytes_max)) = hub.read_wanted.take() else { return };
        let event = match hub.disk.read(from, through, bytes_max) {
            Some((before_term, entries)) => {
                self.entries_read += entries.len();
                Event::EntriesRead { from, before_term, entries }
            }
            None => Event::EntriesGone { from },
        };
        self.step(id, event);
    }

    pub fn deliver(&mut self) -> bool {
        let Some(message) = self.network.take(&mut self.rng) else { return false };
        let to = message.to();
        if !self.hubs.contains_key(&to) && !self.destroyed.contains(&to) {
            // A replica comes to life by the first message to it.
            self.hubs.insert(to, Hub::new(Checkpoint::default()));
            self.restart(to);
        }
        self.step(to, Event::Message(message));
        true
    }

    pub fn propose(&mut self, id: ReplicaId) -> u64 {
        self.next_token += 1;
        let payload = Bytes::from(self.next_token.to_be_bytes().to_vec());
        self.step(id, Event::Propose { payload, token: self.next_token });
        self.next_token
    }

    pub fn change(&mut self, id: ReplicaId, change: MembershipChange) -> u64 {
        self.next_token += 1;
        self.step(id, Event::ChangeMembership { change, token: self.next_token });
        self.next_token
    }

    pub fn read(&mut self, id: ReplicaId) -> u64 {
        self.next_token += 1;
        if self.runs(id) {
            let acknowledged = self.acknowledged.values().max().copied().unwrap_or_default();
            self.reads.insert(self.next_token, acknowledged);
            self.step(id, Event::ReadIndex { token: self.next_token });
        }
        self.next_token
    }

    pub fn is_waiting(&self, read: u64) -> bool {
        self.reads.contains_key(&read)
    }

    pub fn leader(&self) -> Option<ReplicaId> {
        let leads = |(_, hub): &(&ReplicaId, &Hub)| hub.role() == Some(Role::Leader);
        let term = |(_, hub): &(&ReplicaId, &Hub)| hub.replica.as_ref().map(Replica::term);
        self.hubs.iter().filter(leads).max_by_key(term).map(|(id, _)| *id)
    }

    /// Who belongs to the group by the newest entry that anybody applied.
    pub fn members(&self) -> Membership {
        let newest = self.history.values().rev().find_map(|applied| applied.membership.clone());
        newest.unwrap_or_else(|| self.first_members.clone())
    }

    /// One tick everywhere, and everything that follows from it.
    pub fn round(&mut self) {
        self.round_but(|_| {});
    }

    /// A round in which somebody interferes before every message.
    pub fn round_but(&mut self, interfere: impl FnMut(&mut Self)) {
        for id in self.ids() {
            self.step(id, Event::Tick);
        }
        self.flow_but(interfere);
    }

    /// Everything arrives, is written and applied, until nothing happens any more.
    pub fn flow(&mut self) {
        self.flow_but(|_| {});
    }

    fn flow_but(&mut self, mut interfere: impl FnMut(&mut Self)) {
        loop {
            for id in self.ids() {
                interfere(self);
                self.sync(id, usize::MAX);
                self.apply(id, usize::MAX);
                if self.hubs.get(&id).is_some_and(|hub| hub.checkpoint_wanted) {
                    self.checkpoint(id, 0);
                }
                self.copy_snapshot(id);
                self.read_back(id);
                self.sync(id, usize::MAX);
                self.apply(id, usize::MAX);
            }
            if !self.deliver() {
                return;
            }
        }
    }

    /// Lets everything arrive and everything be written until all agree.
    pub fn settle(&mut self) {
        self.network.heal();
        for id in self.ids() {
            self.recover(id);
            if !self.runs(id) {
                self.restart(id);
            }
        }
        for _ in 0..1_500 {
            self.round();
            if self.is_settled() {
                return;
            }
        }
        panic!("no agreement: {}", self.describe());
    }

    fn is_settled(&self) -> bool {
        let members = self.members();
        let last = self.history.last_key_value().map_or(0, |(index, _)| *index);
        let agrees = |id: &ReplicaId| {
            self.hubs.get(id).is_some_and(|hub| hub.state.applied == last && hub.state.membership == members)
        };
        last > 0 && !members.is_joint() && self.leader().is_some() && members.replicas().iter().all(agrees)
    }

    fn describe(&self) -> String {
        let hub = |(id, hub): (&ReplicaId, &Hub)| format!("{id}: {hub}");
        let hubs: Vec<_> = self.hubs.iter().map(hub).collect();
        format!("{:?}\n  {}", self.members(), hubs.join("\n  "))
    }

    pub fn check_acknowledged(&self) {
        for (token, index) in &self.acknowledged {
            let applied = &self.history[index];
            let is_change = applied.membership.is_some();
            assert!(
                is_change || applied.payload[..] == token.to_be_bytes(),
                "proposal {token} is at {index}"
            );
        }
        let mut seen = BTreeSet::new();
        for applied in self.history.values().filter(|applied| !applied.payload.is_empty()) {
            assert!(seen.insert(&applied.payload), "a proposal is there twice");
        }
    }
}
