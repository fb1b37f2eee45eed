//! Randomised tests print their seed and take it back from `HEADWATER_TEST_SEED`.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A generator from the seed given, else from a fresh one.
pub fn generator() -> StdRng {
    let given = std::env::var("HEADWATER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("HEADWATER_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
