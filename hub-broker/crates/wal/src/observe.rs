//! The log's metrics.

use metrics::{counter, gauge, histogram};
use std::time::Duration;

/// One group commit: `took` for its write and sync.
pub fn commit(took: Duration, bytes: u64, frames: u64) {
    histogram!("headwater_wal_fsync_seconds").record(took.as_secs_f64());
    histogram!("headwater_wal_commit_frames").record(frames as f64);
    counter!("headwater_wal_written_bytes_total").increment(bytes);
}

/// Files that are still needed.
pub fn files(count: u64) {
    gauge!("headwater_wal_files").set(count as f64);
}
