//! What the metrics of this crate, and of those that it runs, mean.

use metrics::{describe_gauge, describe_histogram};

/// The recorder MUST be there before.
pub fn describe() {
    describe_gauge!(
        "headwater_shards_paused",
        "Shards that wait for room on the disk or for free descriptors."
    );
    describe_gauge!("headwater_queued_bytes", "Bytes of requests that are not answered yet.");
    describe_gauge!("headwater_disk_full", "1 while writes are refused because the disk is nearly full.");
    describe_gauge!("headwater_clock_held", "1 while the wall clock jumped and is not believed.");
    describe_histogram!("headwater_checkpoint_seconds", "Time for one checkpoint.");
    wal::describe();
    partition_log::describe();
}
