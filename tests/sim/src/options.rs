//! What is simulated, and what came of it.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use shards::simulation::Faults;

use crate::invariants::Violation;
use crate::mischief::{FORGETFUL, MIXED, RESTLESS, Weights};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    /// Virtual time with mischief, in ms; after it everything is healed, and must come to rest.
    pub time_ms: u64,
    /// Which mischief, and how often.
    pub weights: Weights,
    /// Longest pause between two things that go wrong, in ms.
    pub pause_ms: u64,
    /// Whoever writes takes so many times as long between two attempts.
    pub slowness: u64,
    /// A deliberate bug, if any.
    pub faults: Faults,
    /// The history is printed as it comes.
    pub is_told: bool,
}

impl Options {
    /// What else there is to choose is drawn from the seed.
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(!seed);
        let weights = [(MIXED, 6), (RESTLESS, 2), (FORGETFUL, 2)];
        Self {
            seed,
            time_ms: 40_000,
            weights: weights.choose_weighted(&mut random, |(_, weight)| *weight).map_or(MIXED, |(it, _)| it),
            pause_ms: *[400, 1500, 1500, 4000].choose(&mut random).unwrap_or(&1500),
            slowness: *[1, 1, 1, 10].choose(&mut random).unwrap_or(&1),
            faults: Faults::default(),
            is_told: false,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// Equal for equal histories: checksum and number of events.
    pub history: (u32, u64),
    pub acknowledged: usize,
    /// Records that consumers have read.
    pub consumed: i64,
    pub mischief: usize,
    /// The first invariant that did not hold, and the last events before it.
    pub violation: Option<(Violation, String)>,
}
