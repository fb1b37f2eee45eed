//! Whole clusters in one thread, from a seed: loss, crashes, slow disks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use consensus::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What survives a crash.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    log: BTreeMap<u64, LogEntry>,
    checkpoint: (u64, u64),
}

struct Hub {
    id: ReplicaId,
    disk: Disk,
    replica: Option<Replica>,
    unsynced: VecDeque<Action>,
    applied: (u64, u64),
}

struct Cluster {
    rng: StdRng,
    hubs: Vec<Hub>,
    wires: HashMap<(u64, u64), VecDeque<PeerMessage>>,
    /// What any replica ever applied at an index: no other may apply something else.
    history: BTreeMap<u64, (u64, Bytes)>,
    acknowledged: HashSet<u64>,
    next_token: u64,
    loss: f64,
    trace: Vec<(u64, u64)>,
}

impl Cluster {
    fn new(size: u64, seed: u64) -> Self {
        let hub = |id| Hub {
            id: ReplicaId(id),
            disk: Disk::default(),
            replica: None,
            unsynced: VecDeque::new(),
            applied: (0, 0),
        };
        let mut cluster = Self {
            rng: StdRng::seed_from_u64(seed),
            hubs: (1..=size).map(hub).collect(),
            wires: HashMap::new(),
            history: BTreeMap::new(),
            acknowledged: HashSet::new(),
            next_token: 0,
            loss: 0.0,
            trace: Vec::new(),
        };
        (0..cluster.hubs.len()).for_each(|at| cluster.restart(at));
        cluster
    }

    fn restart(&mut self, at: usize) {
        let members = self.hubs.iter().map(|hub| hub.id).collect();
        let seed = self.rng.r#gen();
        let hub = &mut self.hubs[at];
        let (applied, applied_term) = hub.disk.checkpoint;
        let restored = Restored {
            hard_state: hub.disk.hard_state,
            applied,
            applied_term,
            entries: hub.disk.log.values().cloned().collect(),
            membership: Membership { voters: members, learners: Vec::new() },
        };
        let config = ReplicaConfig { tail_bytes_max: usize::MAX, ..ReplicaConfig::new(hub.id, seed) };
        hub.applied = hub.disk.checkpoint;
        hub.replica = Some(Replica::new(&config, restored).expect("what was synced is enough to start from"));
    }

    fn crash(&mut self, at: usize) {
        let hub = &mut self.hubs[at];
        hub.replica = None;
        hub.unsynced.clear();
        let id = hub.id.0;
        self.wires.retain(|pair, _| pair.0 != id && pair.1 != id);
    }

    fn step(&mut self, at: usize, event: Event) {
        let Some(replica) = &mut self.hubs[at].replica else { return };
        for action in replica.step(event) {
            match action {
                persist @ Action::Persist { .. } => self.hubs[at].unsynced.push_back(persist),
                Action::Send(message) => {
                    let pair = (message.from().0, message.to().0);
                    assert_eq!(pair.0, self.hubs[at].id.0);
                    if !self.rng.gen_bool(self.loss) {
                        let message = PeerMessage::decode(&message.encode()).expect("what was encoded");
                        self.wires.entry(pair).or_default().push_back(message);
                    }
                }
                Action::Apply(entries) => self.apply(at, entries),
                Action::RoleChanged { role: Role::Leader, term, .. } => {
                    self.trace.push((self.hubs[at].id.0, term));
                }
                Action::RoleChanged { .. } | Action::Refused { .. } => {}
            }
        }
    }

    fn apply(&mut self, at: usize, entries: Vec<Committed>) {
        for entry in entries {
            let hub = &mut self.hubs[at];
            assert_eq!(entry.index, hub.applied.0 + 1, "entries are applied in order, without holes");
            hub.applied = (entry.index, entry.term);
            let first = self.history.entry(entry.index).or_insert((entry.term, entry.payload.clone()));
            assert_eq!(*first, (entry.term, entry.payload), "two replicas differ at {}", entry.index);
            self.acknowledged.extend(entry.token);
        }
        let index = self.hubs[at].applied.0;
        self.step(at, Event::Applied { index });
    }

    /// Makes the oldest unsynced writes durable.
    fn sync(&mut self, at: usize, count: usize) {
        let hub = &mut self.hubs[at];
        let mut last = None;
        for _ in 0..count.min(hub.unsynced.len()) {
            let Some(Action::Persist { ready, hard_state, truncate_from, entries }) =
                hub.unsynced.pop_front()
            else {
                unreachable!("only persists are queued")
            };
            hub.disk.hard_state = hard_state.unwrap_or(hub.disk.hard_state);
            if let Some(from) = truncate_from {
                hub.disk.log.split_off(&from);
            }
            hub.disk.log.extend(entries.into_iter().map(|entry| (entry.index, entry)));
            last = Some(ready);
        }
        if let Some(ready) = last {
            self.step(at, Event::Persisted { ready });
        }
    }

    fn deliver(&mut self) {
        let mut pairs: Vec<_> =
            self.wires.iter().filter(|(_, wire)| !wire.is_empty()).map(|(pair, _)| *pair).collect();
        pairs.sort_unstable();
        if pairs.is_empty() {
            return;
        }
        let pair = pairs[self.rng.gen_range(0..pairs.len())];
        if let Some(message) = self.wires.get_mut(&pair).and_then(VecDeque::pop_front) {
            self.step(pair.1 as usize - 1, Event::Message(message));
        }
    }

    fn propose(&mut self, at: usize) {
        self.next_token += 1;
        let payload = Bytes::from(self.next_token.to_be_bytes().to_vec());
        self.step(at, Event::Propose { payload, token: self.next_token });
    }

    fn random_step(&mut self, crashes: bool) {
        let at = self.rng.gen_range(0..self.hubs.len());
        match self.rng.gen_range(0..100) {
            0..15 => self.step(at, Event::Tick),
            15..60 => self.deliver(),
            60..80 => {
                let count = self.rng.gen_range(1..4);
                self.sync(at, count);
            }
            80..97 => self.propose(at),
            97 => self.checkpoint(at),
            98 if crashes && self.hubs[at].replica.is_some() => self.crash(at),
            _ if self.hubs[at].replica.is_none() => self.restart(at),
            _ => {}
        }
    }

    /// A log that begins at a checkpoint cannot serve its first entry, so everyone has that one before the first.
    fn checkpoint(&mut self, at: usize) {
        if self.hubs.iter().all(|hub| !hub.disk.log.is_empty()) {
            self.hubs[at].disk.checkpoint = self.hubs[at].applied.max(self.hubs[at].disk.checkpoint);
        }
    }

    /// Lets everything arrive and everything be written until all agree.
    fn settle(&mut self) {
        self.loss = 0.0;
        for at in 0..self.hubs.len() {
            if self.hubs[at].replica.is_none() {
                self.restart(at);
            }
        }
        for _ in 0..400 {
            for at in 0..self.hubs.len() {
                self.step(at, Event::Tick);
                self.sync(at, usize::MAX);
            }
            while self.wires.values().any(|wire| !wire.is_empty()) {
                self.deliver();
                (0..self.hubs.len()).for_each(|at| self.sync(at, usize::MAX));
            }
        }
        let last = self.history.last_key_value().map_or(0, |(index, _)| *index);
        for hub in &self.hubs {
            assert_eq!(hub.applied.0, last, "replica {} has caught up", hub.id);
        }
    }

    fn leader(&self) -> Option<usize> {
        self.hubs.iter().position(|hub| hub.replica.as_ref().is_some_and(|r| r.role() == Role::Leader))
    }

    fn check_acknowledged(&self) {
        let mut stored: HashMap<&[u8], usize> = HashMap::new();
        for (_, payload) in self.history.values().filter(|(_, payload)| !payload.is_empty()) {
            *stored.entry(payload).or_default() += 1;
        }
        for token in &self.acknowledged {
            assert_eq!(stored.get(&token.to_be_bytes()[..]), Some(&1), "proposal {token} is there once");
        }
    }
}

#[test]
fn what_is_acknowledged_survives_loss_and_crashes() {
    for seed in 0..40 {
        let mut cluster = Cluster::new(3, seed);
        cluster.loss = 0.05;
        for _ in 0..4_000 {
            cluster.random_step(true);
        }
        cluster.settle();
        cluster.check_acknowledged();
        assert!(!cluster.acknowledged.is_empty(), "seed {seed}: nothing was ever committed");
    }
}

#[test]
fn a_run_repeats_from_its_seed() {
    let run = |seed| {
        let mut cluster = Cluster::new(5, seed);
        cluster.loss = 0.02;
        for _ in 0..6_000 {
            cluster.random_step(true);
        }
        (cluster.trace, cluster.history)
    };
    let (first, second) = (run(7), run(7));
    assert!(!first.0.is_empty());
    assert_eq!(first, second);
}

#[test]
fn replicas_of_a_group_draw_different_election_timeouts() {
    let mut cluster = Cluster::new(3, 1);
    for _ in 0..100 {
        (0..3).for_each(|at| cluster.step(at, Event::Tick));
        (0..3).for_each(|at| cluster.sync(at, usize::MAX));
        (0..50).for_each(|_| cluster.deliver());
    }
    assert!(cluster.leader().is_some());
    assert!(cluster.trace.len() < 4, "one or two elections are enough: {:?}", cluster.trace);
}

#[test]
fn two_of_three_go_on_without_the_leader() {
    let mut cluster = Cluster::new(3, 3);
    cluster.settle();
    let old = cluster.leader().expect("a leader");
    cluster.propose(old);
    cluster.settle();
    cluster.crash(old);
    for _ in 0..100 {
        for at in 0..3 {
            cluster.step(at, Event::Tick);
            cluster.sync(at, usize::MAX);
        }
        for _ in 0..50 {
            cluster.deliver();
            (0..3).for_each(|at| cluster.sync(at, usize::MAX));
        }
    }
    let new = cluster.leader().expect("another leader");
    assert_ne!(new, old);
    cluster.propose(new);
    let token = cluster.next_token;
    cluster.settle();
    assert!(cluster.acknowledged.contains(&token));
    cluster.check_acknowledged();
}
