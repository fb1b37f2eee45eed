//! What goes wrong, and when: drawn from the seed.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schemas::NodeId;

use crate::plan;

/// One thing that happens to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mischief {
    /// The process goes; what the kernel has is written all the same, or the machine goes and it is not.
    Crash(NodeId),
    CrashAll,
    /// The disk is lost with everything on it.
    Wipe(NodeId),
    /// Found on the disk of a replica, nobody knows where.
    Damage(NodeId, u32),
    /// A byte of one of the hub's segments changes: of this partition.
    Rot(NodeId, i32),
    /// The hub crashes, and a byte of its write-ahead log changes.
    Corrode(NodeId),
    /// What a replica has is changed so that no checksum tells.
    Alter(NodeId, u32),
    /// The disk is full for so long.
    Full(NodeId, u64),
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
    /// A group is to lie on another choice of so many hubs.
    Move(u32, usize),
    /// A leader is asked to hand over.
    HandOver(u32),
}

/// A kind of [`Mischief`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Crash,
    CrashAll,
    Wipe,
    Damage,
    Rot,
    Corrode,
    Alter,
    Full,
    Stall,
    Skew,
    Freeze,
    CutOneWay,
    Part,
    Isolate,
    Weather,
    Heal,
    Move,
    HandOver,
}

/// How often what happens, in relation to the rest.
pub type Weights = &'static [(Kind, u32)];

/// Everything, as it might come.
pub const MIXED: Weights = &[
    (Kind::Crash, 25),
    (Kind::CrashAll, 3),
    (Kind::Wipe, 4),
    (Kind::Damage, 3),
    (Kind::Rot, 10),
    (Kind::Corrode, 4),
    (Kind::Alter, 3),
    (Kind::Full, 6),
    (Kind::Stall, 9),
    (Kind::Skew, 5),
    (Kind::Freeze, 3),
    (Kind::CutOneWay, 7),
    (Kind::Part, 6),
    (Kind::Isolate, 7),
    (Kind::Weather, 8),
    (Kind::Heal, 9),
    (Kind::Move, 8),
    (Kind::HandOver, 5),
];

/// Leaders come and go, and their hubs with them.
pub const RESTLESS: Weights = &[
    (Kind::Isolate, 20),
    (Kind::CutOneWay, 10),
    (Kind::Crash, 25),
    (Kind::CrashAll, 3),
    (Kind::HandOver, 5),
    (Kind::Heal, 20),
];

/// Replicas fall behind, others are lost.
pub const FORGETFUL: Weights =
    &[(Kind::Isolate, 20), (Kind::Wipe, 20), (Kind::Crash, 20), (Kind::Move, 5), (Kind::Heal, 15)];

/// Disks forget, lie and are full.
pub const DECAYING: Weights = &[
    (Kind::Rot, 30),
    (Kind::Corrode, 15),
    (Kind::Alter, 8),
    (Kind::Full, 15),
    (Kind::Crash, 15),
    (Kind::Isolate, 5),
    (Kind::Move, 5),
    (Kind::Heal, 20),
];

impl fmt::Display for Mischief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Mischief {
    /// Something, in a cluster of these hubs and so many groups.
    pub fn draw(random: &mut StdRng, weights: Weights, hubs: &[NodeId], groups: u32) -> Self {
        let mut two: Vec<NodeId> = hubs.choose_multiple(random, 2).copied().collect();
        let (one, other) = (two.pop().unwrap_or(NodeId(1)), two.pop().unwrap_or(NodeId(1)));
        let kind =
            weights.choose_weighted(random, |(_, weight)| *weight).map_or(Kind::Heal, |(kind, _)| *kind);
        match kind {
            Kind::Crash => Self::Crash(one),
            Kind::CrashAll => Self::CrashAll,
            Kind::Wipe => Self::Wipe(one),
            Kind::Damage => Self::Damage(one, random.gen_range(0..groups)),
            Kind::Rot => Self::Rot(one, random.gen_range(0..plan::PARTITIONS)),
            Kind::Corrode => Self::Corrode(one),
            Kind::Alter => Self::Alter(one, random.gen_range(1..groups)),
            Kind::Full => Self::Full(one, random.gen_range(100..6000)),
            Kind::Stall => Self::Stall(one, random.gen_range(50..4000)),
            Kind::Skew => Self::Skew(one, random.gen_range(-7_200_000..7_200_000)),
            Kind::Freeze => Self::Freeze(one, random.gen_range(100..5000)),
            Kind::CutOneWay => Self::CutOneWay(one, other),
            Kind::Part => Self::Part(one, other),
            Kind::Isolate => Self::Isolate(one),
            Kind::Weather => {
                Self::Weather(random.gen_range(0..200), random.gen_range(0..100), random.gen_range(1..120))
            }
            Kind::Heal => Self::Heal,
            Kind::Move => Self::Move(random.gen_range(0..groups), random.gen_range(2..=3)),
            Kind::HandOver => Self::HandOver(random.gen_range(0..groups)),
        }
    }
}
