//! The network between the hubs: which way is open, and what becomes of a parcel on it.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use schemas::NodeId;

/// Parcels of one connection arrive in order; the ways below break that, as a new connection would.
#[derive(Debug)]
pub struct Network {
    /// Nothing gets from the first to the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Of a thousand parcels, so many are lost or come twice.
    pub lost: u32,
    pub twice: u32,
    /// A parcel is under way for 1 ms up to this.
    pub delay_ms: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { cut: BTreeSet::new(), lost: 0, twice: 0, delay_ms: 3 }
    }
}

impl Network {
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    pub fn part(&mut self, one: NodeId, other: NodeId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub fn heal(&mut self) {
        *self = Self::default();
    }

    pub fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// The delays, in ms, with which a parcel arrives: none, one or two of them.
    pub fn delays(&self, from: NodeId, to: NodeId, random: &mut StdRng) -> Vec<u64> {
        if !self.is_open(from, to) || random.gen_range(0..1000) < self.lost {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.gen_range(0..1000) < self.twice);
        (0..copies).map(|_| random.gen_range(1..=self.delay_ms)).collect()
    }
}
