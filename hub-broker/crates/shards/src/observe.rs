//! What the metrics of this crate, and of those that it runs, mean.

pub(crate) mod snapshots;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};

const DROPPED: &str = "headwater_messages_dropped_total";
const FORWARDED: &str = "headwater_appends_forwarded_total";
const GIVEN_UP: &str = "headwater_replicas_given_up_total";
const KEPT_DAMAGED: &str = "headwater_replicas_kept_damaged_total";
const MENDED: &str = "headwater_segments_mended_total";

/// The recorder MUST be there before.
pub fn describe() {
    describe_gauge!(
        "headwater_shards_paused",
        "Shards that wait for room on the disk or for free descriptors."
    );
    describe_gauge!("headwater_queued_bytes", "Bytes of requests that are not answered yet.");
    describe_gauge!("headwater_disk_full", "1 while writes are refused because the disk is nearly full.");
    describe_gauge!(
        "headwater_clock_held",
        "1 while the wall clock is not believed and nothing expires by time."
    );
    describe_histogram!("headwater_checkpoint_seconds", "Time for one checkpoint.");
    describe_gauge!("headwater_groups_served", "Groups that this hub leads and answers for.");
    describe_counter!(DROPPED, "Messages of other hubs' replicas that found no room here.");
    describe_counter!(FORWARDED, "Batches that were stored by the hub that leads their shard.");
    describe_counter!(GIVEN_UP, "Replicas that this hub has given up, to fetch them again.");
    describe_counter!(
        KEPT_DAMAGED,
        "Damaged replicas that this hub keeps, for their groups cannot spare them."
    );
    describe_counter!(MENDED, "Damaged segments that were made again from other replicas' batches.");
    for name in [DROPPED, FORWARDED, GIVEN_UP, KEPT_DAMAGED, MENDED] {
        counter!(name).increment(0);
    }
    snapshots::describe();
    wal::describe();
    partition_log::describe();
}

pub(crate) fn message_dropped() {
    counter!(DROPPED).increment(1);
}

pub(crate) fn kept_damaged() {
    counter!(KEPT_DAMAGED).increment(1);
}

pub(crate) fn segment_mended() {
    counter!(MENDED).increment(1);
}

pub(crate) fn forwarded(batches: usize) {
    counter!(FORWARDED).increment(batches as u64);
}
