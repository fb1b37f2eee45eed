//! What is counted at the doors: an atomic addition for a batch, none for a record.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter};

/// The way on which something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Agent,
    Kafka,
    /// Plain publishes.
    Mqtt,
}

/// Why something was refused, in few words: what a graph is drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotAllowed,
    UnknownTopic,
    Invalid,
    TooLarge,
    Sequence,
    DiskFull,
    Overloaded,
    Unavailable,
}

const PATHS: [(Path, &str); 3] = [(Path::Agent, "agent"), (Path::Kafka, "kafka"), (Path::Mqtt, "mqtt")];

const REASONS: [(Reason, &str); 8] = [
    (Reason::NotAllowed, "not_allowed"),
    (Reason::UnknownTopic, "unknown_topic"),
    (Reason::Invalid, "invalid"),
    (Reason::TooLarge, "too_large"),
    (Reason::Sequence, "sequence"),
    (Reason::DiskFull, "disk_full"),
    (Reason::Overloaded, "overloaded"),
    (Reason::Unavailable, "unavailable"),
];

struct Counters {
    records: Counter,
    bytes: Counter,
    duplicates: Counter,
    refusals: [Counter; REASONS.len()],
}

static COUNTERS: LazyLock<[Counters; PATHS.len()]> = LazyLock::new(|| {
    PATHS.map(|(_, path)| Counters {
        records: counter!("headwater_ingest_records_total", "path" => path),
        bytes: counter!("headwater_ingest_bytes_total", "path" => path),
        duplicates: counter!("headwater_ingest_duplicate_batches_total", "path" => path),
        refusals: REASONS.map(
            |(_, reason)| counter!("headwater_ingest_refusals_total", "path" => path, "reason" => reason),
        ),
    })
});

/// Says what the metrics mean, and begins all of them at zero. The recorder MUST be there before.
pub fn describe() {
    describe_counter!("headwater_ingest_records_total", "Records stored, by the path on which they came.");
    describe_counter!(
        "headwater_ingest_bytes_total",
        "Bytes of the batches that were stored, compressed as they came, by path."
    );
    describe_counter!(
        "headwater_ingest_duplicate_batches_total",
        "Batches that were sent again and had been stored before, by path."
    );
    describe_counter!(
        "headwater_ingest_refusals_total",
        "MQTT publishes and Kafka batches that were refused, by path and reason."
    );
    LazyLock::force(&COUNTERS);
}

/// Counts `amount` publishes or batches that were refused.
pub fn refused(path: Path, reason: Reason, amount: usize) {
    COUNTERS[path as usize].refusals[reason as usize].increment(amount as u64);
}

/// What is counted of a batch when it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub records: i32,
    pub bytes: usize,
}

pub(crate) fn stored(path: Path, size: Size, duplicate: bool) {
    let counters = &COUNTERS[path as usize];
    if duplicate {
        return counters.duplicates.increment(1);
    }
    counters.records.increment(u64::try_from(size.records).unwrap_or(0));
    counters.bytes.increment(size.bytes as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_at_its_number() {
        assert!(PATHS.iter().enumerate().all(|(at, (path, _))| *path as usize == at));
        assert!(REASONS.iter().enumerate().all(|(at, (reason, _))| *reason as usize == at));
    }
}
