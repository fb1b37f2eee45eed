//! The log's metrics.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

const KEPT: &str = "headwater_wal_kept_bytes";
const READ_BACK: &str = "headwater_wal_read_back_bytes_total";

/// Says what the metrics mean. The recorder MUST be there before.
pub fn describe() {
    describe_histogram!("headwater_wal_fsync_seconds", "Time for one write and sync of the write-ahead log.");
    describe_histogram!("headwater_wal_commit_frames", "Frames written with one sync.");
    describe_counter!("headwater_wal_written_bytes_total", "Bytes written to the write-ahead log.");
    describe_gauge!("headwater_wal_files", "Files of the write-ahead log that are still needed.");
    describe_gauge!(KEPT, "Bytes of the write-ahead log that are kept only for replicas that are behind.");
    describe_counter!(READ_BACK, "Bytes of entries read back from the log for replicas that are behind.");
    counter!(READ_BACK).increment(0);
}

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

/// Bytes of files that are kept only so that entries can be read back.
pub fn kept(bytes: u64) {
    gauge!(KEPT).set(bytes as f64);
}

/// Bytes of entries that were read back.
pub fn read_back(bytes: u64) {
    counter!(READ_BACK).increment(bytes);
}
