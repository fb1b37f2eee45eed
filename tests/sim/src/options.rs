//! What is simulated, and what came of it.

use shards::simulation::Faults;

use crate::invariants::Violation;
use crate::mischief::{MIXED, Weights};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    /// Virtual time with mischief, in ms; after it everything is healed, and must come to rest.
    pub time_ms: u64,
    /// Which mischief, and how often.
    pub weights: Weights,
    /// Longest pause between two things that go wrong, in ms; drawn if none is given.
    pub pause_ms: Option<u64>,
    /// Whoever writes takes so many times as long between two attempts.
    pub slowness: u64,
    /// A deliberate bug, if any.
    pub faults: Faults,
    /// The history is printed as it comes.
    pub is_told: bool,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            time_ms: 40_000,
            weights: MIXED,
            pause_ms: None,
            slowness: 1,
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
