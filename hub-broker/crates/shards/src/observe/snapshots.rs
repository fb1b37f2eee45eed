//! Metrics of copying replicas, and of what makes it necessary.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const SERVED: &str = "headwater_snapshots_served_total";
const INSTALLED: &str = "headwater_snapshots_installed_total";
const FAILED: &str = "headwater_snapshots_failed_total";
const SENT: &str = "headwater_snapshot_sent_bytes_total";
const RECEIVED: &str = "headwater_snapshot_received_bytes_total";
const REUSED: &str = "headwater_snapshot_reused_bytes_total";
const RATE: &str = "headwater_snapshot_rate_bytes";
const DIVERGENCE: &str = "headwater_replica_divergence_total";
const DAMAGE: &str = "headwater_replica_damage_total";

/// Says what the metrics mean, and begins them at zero. The recorder MUST be there before.
pub(crate) fn describe() {
    describe_counter!(SERVED, "Snapshots that replicas of other hubs have copied from this hub.");
    describe_counter!(INSTALLED, "Snapshots of other hubs that took the place of a replica's state here.");
    describe_counter!(FAILED, "Copies of snapshots that this hub gave up.");
    describe_counter!(SENT, "Bytes of snapshots read by replicas of other hubs.");
    describe_counter!(RECEIVED, "Bytes of snapshots copied from other hubs.");
    describe_counter!(REUSED, "Bytes of snapshots that were here already and were not copied.");
    describe_gauge!(RATE, "Bytes of snapshots that may be copied per second as long as writes are fast.");
    describe_counter!(DAMAGE, "Replicas here that were found damaged.");
    describe_counter!(DIVERGENCE, "Replicas whose state differed from another's at the same entry.");
    for name in [SERVED, INSTALLED, FAILED, SENT, RECEIVED, REUSED, DAMAGE, DIVERGENCE] {
        counter!(name).increment(0);
    }
}

pub(crate) fn served() {
    counter!(SERVED).increment(1);
}

pub(crate) fn installed() {
    counter!(INSTALLED).increment(1);
}

pub(crate) fn failed() {
    counter!(FAILED).increment(1);
}

pub(crate) fn sent(bytes: u64) {
    counter!(SENT).increment(bytes);
}

pub(crate) fn received(bytes: u64) {
    counter!(RECEIVED).increment(bytes);
}

pub(crate) fn reused(bytes: u64) {
    counter!(REUSED).increment(bytes);
}

pub(crate) fn rate(bytes: u64) {
    gauge!(RATE).set(bytes as f64);
}

pub(crate) fn divergence() {
    counter!(DIVERGENCE).increment(1);
}

pub(crate) fn damage() {
    counter!(DAMAGE).increment(1);
}
