//! What is simulated, and what came of it.

use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use shards::simulation::Faults;

use crate::bugs::Bug;
use crate::invariants::Violation;
use crate::mischief::{DECAYING, FORGETFUL, MIXED, RESTLESS, Weights};

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
    /// A deliberate bug, if any, and what its switches are.
    pub bug: Option<Bug>,
    pub faults: Faults,
    /// The history is printed as it comes.
    pub is_told: bool,
}

impl Options {
    /// What else there is to choose is drawn from the seed.
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(!seed);
        let weights = [(MIXED, 6), (RESTLESS, 2), (FORGETFUL, 2), (DECAYING, 3)];
        Self {
            seed,
            time_ms: TIME_MS,
            weights: weights.choose_weighted(&mut random, |(_, weight)| *weight).map_or(MIXED, |(it, _)| it),
            pause_ms: *[400, 1500, 1500, 4000].choose(&mut random).unwrap_or(&1500),
            slowness: *[1, 1, 1, 10].choose(&mut random).unwrap_or(&1),
            bug: None,
            faults: Faults::default(),
            is_told: false,
        }
    }
}

/// A simulation with nothing said about its length.
const TIME_MS: u64 = 40_000;

impl Options {
    /// The command line that runs this again.
    pub fn again(&self) -> String {
        let mut line = format!("cargo run --release -p sim -- --seed {}", self.seed);
        if self.time_ms != TIME_MS {
            line.push_str(&format!(" --seconds {}", self.time_ms / 1000));
        }
        if let Some(name) = self.bug.and_then(|bug| bug.to_possible_value()) {
            line.push_str(&format!(" --bug {}", name.get_name()));
        }
        line
    }
}

impl Bug {
    /// A simulation that may well find it.
    pub fn options(self, seed: u64) -> Options {
        let options = Options { bug: Some(self), faults: self.faults(), ..Options::new(seed) };
        match self {
            // What gave way is soon forgotten where much is written after it.
            Self::SkipTruncateFrame => Options { weights: RESTLESS, pause_ms: 500, slowness: 10, ..options },
            Self::CutDamage => Options { weights: DECAYING, pause_ms: 1000, slowness: 1, ..options },
            Self::WipedReplicaKeepsId => {
                Options { weights: FORGETFUL, pause_ms: 600, slowness: 1, ..options }
            }
            _ => Options { weights: MIXED, pause_ms: 1000, slowness: 1, ..options },
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// The command line that runs it again.
    pub again: String,
    /// Equal for equal histories: checksum and number of events.
    pub history: (u32, u64),
    pub acknowledged: usize,
    /// Records that consumers have read.
    pub consumed: i64,
    pub mischief: usize,
    /// The first invariant that did not hold, and the last events before it.
    pub violation: Option<(Violation, String)>,
}

impl Report {
    /// What broke an invariant: the last events, the violation, and how to see it again.
    pub fn failure(&self) -> Option<String> {
        let (violation, tail) = self.violation.as_ref()?;
        Some(format!("{tail}\nseed {}: {violation}\nagain: {}", self.seed, self.again))
    }
}
