//! Messages on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use consensus::*;
use rand::Rng;
use rand::rngs::StdRng;

#[derive(Default)]
pub struct Network {
    pub loss: f64,
    pub duplication: f64,
    /// How often a message overtakes the one before it.
    pub reordering: f64,
    wires: BTreeMap<(ReplicaId, ReplicaId), VecDeque<PeerMessage>>,
    blocked: BTreeSet<(ReplicaId, ReplicaId)>,
}

impl Network {
    pub fn send(&mut self, rng: &mut StdRng, message: &PeerMessage) {
        let pair = (message.from(), message.to());
        if rng.gen_bool(self.loss) || self.blocked.contains(&pair) {
            return;
        }
        let message = match message.as_beat() {
            Some(beat) => PeerMessage::from_beat(beat),
            None => PeerMessage::decode(&message.encode()).expect("what was encoded"),
        };
        let wire = self.wires.entry(pair).or_default();
        wire.push_back(message.clone());
        if rng.gen_bool(self.duplication) {
            wire.push_back(message);
        }
        let count = wire.len();
        if count > 1 && rng.gen_bool(self.reordering) {
            wire.swap(count - 2, count - 1);
        }
    }

    /// The next message of some pair.
    pub fn take(&mut self, rng: &mut StdRng) -> Option<PeerMessage> {
        self.wires.retain(|_, wire| !wire.is_empty());
        let chosen = rng.gen_range(0..self.wires.len().max(1));
        self.wires.values_mut().nth(chosen).and_then(VecDeque::pop_front)
    }

    /// Connections of this replica break.
    pub fn cut(&mut self, id: ReplicaId) {
        self.wires.retain(|pair, _| pair.0 != id && pair.1 != id);
    }

    pub fn block(&mut self, from: ReplicaId, to: ReplicaId) {
        self.blocked.insert((from, to));
        self.wires.remove(&(from, to));
    }

    pub fn is_blocked(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub fn unblock(&mut self) {
        self.blocked.clear();
    }

    pub fn heal(&mut self) {
        self.unblock();
        (self.loss, self.duplication, self.reordering) = (0.0, 0.0, 0.0);
    }
}
