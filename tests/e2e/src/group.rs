//! A member of a consumer group that reads some numbers, commits them and leaves.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message as _;

const POLL: Duration = Duration::from_millis(100);

/// Reads `count` numbers from where the group stands and commits after the last.
///
/// # Panics
/// Where they do not come, or cannot be committed, within the deadline.
pub fn read_as_group(brokers: &str, topic: &str, group: &str, count: usize, deadline: Duration) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .create()
        .expect("a valid configuration");
    consumer.subscribe(&[topic]).expect("a valid subscription");
    let start = Instant::now();
    let mut found = Vec::new();
    while found.len() < count {
        assert!(start.elapsed() < deadline, "read {} of {count} numbers in {deadline:?}", found.len());
        // What goes wrong on the way shows when the deadline passes.
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            found.push(text.parse().expect("a number"));
        }
    }
    while let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
        assert!(start.elapsed() < deadline, "the offsets could not be committed in {deadline:?}: {error}");
    }
    found
}
