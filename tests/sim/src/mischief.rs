//! What goes wrong, and when: drawn from the seed.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schemas::NodeId;

/// One thing that happens to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mischief {
    /// The process goes; what the kernel has is written all the same, or the machine goes and it is not.
    Crash(NodeId),
    Wipe(NodeId),
    /// Found on the disk of a replica.
    Damage(NodeId, u32),
    /// The disk does not answer for so long.
    Stall(NodeId, u64),
    /// The wall clock is wrong by so much from now on.
    Skew(NodeId, i64),
    /// The clocks stand still for so long.
    Freeze(NodeId, u64),
    CutOneWay(NodeId, NodeId),
    Part(NodeId, NodeId),
    Isolate(NodeId),
    /// Parcels are lost, repeated and late: in a thousand, in a thousand, in ms.
    Weather(u32, u32, u64),
    Heal,
    /// The groups are to lie on another choice of hubs.
    Move,
    /// A leader is asked to hand over.
    HandOver(u32),
    CrashAll,
}

impl fmt::Display for Mischief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Mischief {
    /// Something, in a cluster of these hubs and so many groups.
    pub fn draw(random: &mut StdRng, hubs: &[NodeId], groups: u32) -> Self {
        let mut two: Vec<NodeId> = hubs.choose_multiple(random, 2).copied().collect();
        let (one, other) = (two.pop().unwrap_or(NodeId(1)), two.pop().unwrap_or(NodeId(1)));
        match random.gen_range(0..100) {
            0..=24 => Self::Crash(one),
            25..=27 => Self::CrashAll,
            28..=31 => Self::Wipe(one),
            32..=34 => Self::Damage(one, random.gen_range(0..groups)),
            35..=44 => Self::Stall(one, random.gen_range(50..4000)),
            45..=49 => Self::Skew(one, random.gen_range(-7_200_000..7_200_000)),
            50..=52 => Self::Freeze(one, random.gen_range(100..5000)),
            53..=59 => Self::CutOneWay(one, other),
            60..=65 => Self::Part(one, other),
            66..=72 => Self::Isolate(one),
            73..=80 => {
                Self::Weather(random.gen_range(0..200), random.gen_range(0..100), random.gen_range(1..120))
            }
            81..=89 => Self::Heal,
            90..=94 => Self::Move,
            _ => Self::HandOver(random.gen_range(0..groups)),
        }
    }
}
