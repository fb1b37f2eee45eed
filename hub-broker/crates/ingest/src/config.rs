//! How the way in is set up.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use schemas::Depth;

/// Milliseconds since 1970, as the sender of the answer sees them.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

#[derive(Clone)]
pub struct Config {
    /// How deep a batch from outside is checked. `Full` by default; `Header` only where every producer of every
    /// listener is trusted.
    pub depth: Depth,
    /// Sequences that one gap of an agent may use up. Default `schemas::limits::GAP_RECORDS_MAX`.
    pub gap_records_max: u32,
    /// Gives the time for LogAppendTime. The wall clock by default.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            depth: Depth::Full,
            gap_records_max: schemas::limits::GAP_RECORDS_MAX,
            clock: Arc::new(system_clock),
        }
    }
}

/// The wall clock, ms since 1970.
#[must_use]
pub fn system_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
