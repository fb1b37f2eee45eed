//! What is looked up when somebody asks for the metrics: the log's size, and what the process takes of the machine.

use std::fs;

use metadata::Metadata;
use metrics::{describe_gauge, gauge};

/// Says what the metrics mean. The recorder MUST be there before.
pub fn describe() {
    describe_gauge!("headwater_topics", "Topics, the hub's own included.");
    describe_gauge!("headwater_partitions", "Partitions that are open.");
    describe_gauge!("headwater_stored_bytes", "Bytes of records in all partitions.");
    describe_gauge!("headwater_process_open_fds", "Open file descriptors of the process.");
    describe_gauge!("headwater_process_resident_memory_bytes", "Resident memory of the process.");
}

pub(crate) fn look(metadata: &Metadata) {
    let view = metadata.view();
    let (mut topics, mut partitions, mut bytes) = (0u32, 0u32, 0u64);
    for topic in view.topics() {
        topics += 1;
        for reader in topic.placed().filter_map(|(id, _)| metadata.shards().partition(id)) {
            partitions += 1;
            bytes += reader.size_bytes();
        }
    }
    gauge!("headwater_topics").set(topics);
    gauge!("headwater_partitions").set(partitions);
    gauge!("headwater_stored_bytes").set(bytes as f64);
}

pub(crate) fn look_at_process() {
    if let Some(count) = open_files() {
        gauge!("headwater_process_open_fds").set(count as f64);
    }
    if let Some(bytes) = resident_bytes() {
        gauge!("headwater_process_resident_memory_bytes").set(bytes as f64);
    }
}

/// Without the one that the look itself takes.
fn open_files() -> Option<usize> {
    fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1))
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kibibytes: u64| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_files_and_memory() {
        assert!(open_files().unwrap() >= 3);
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
