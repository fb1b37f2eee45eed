//! The log's metrics.

use metrics::{counter, describe_counter};

const DAMAGE: &str = "headwater_log_damage_total";
const STREAMS_FORGOTTEN: &str = "headwater_streams_forgotten_total";

/// Says what the metrics mean, and begins them at zero. The recorder MUST be there before.
pub fn describe() {
    describe_counter!(DAMAGE, "Damaged places that were found in the log's files.");
    describe_counter!(STREAMS_FORGOTTEN, "Streams of agents forgotten because a device had too many.");
    counter!(DAMAGE).increment(0);
    counter!(STREAMS_FORGOTTEN).increment(0);
}

pub(crate) fn damage() {
    counter!(DAMAGE).increment(1);
}

pub(crate) fn stream_forgotten() {
    counter!(STREAMS_FORGOTTEN).increment(1);
}
