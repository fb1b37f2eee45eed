//! librdkafka, as a consumer that reads everything and as an idempotent producer.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::wait;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// A record as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A consumer that reads by assignment and belongs to no group's balance.
pub fn consumer(brokers: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "testkit")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "false")
        .create()
        .expect("a valid configuration")
}

/// The partitions of a topic with their first and next offsets.
pub fn watermarks(brokers: &str, topic: &str) -> Vec<(i32, i64, i64)> {
    let consumer = consumer(brokers);
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).expect("the hub answers Metadata");
    let described = metadata.topics().first().expect("the topic is described");
    let indexes = described.partitions().iter().map(rdkafka::metadata::MetadataPartition::id);
    let bounds = |index| {
        let (low, high) = wait::until("ListOffsets", ANSWER_WITHIN, || {
            match consumer.fetch_watermarks(topic, index, ANSWER_WITHIN) {
                // A leader that is new asks to be asked again (KIP-207), one that is no longer is asked no more; a client
                // that is just asking anew for metadata does not know the partitions which it has told of.
                Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::OffsetNotAvailable
                    | RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::UnknownPartition,
                )) => None,
                answer => Some(answer.expect("ListOffsets is answered")),
            }
        });
        (index, low, high)
    };
    indexes.map(bounds).collect()
}

/// How many hubs clients are told of.
pub fn hubs(brokers: &str) -> Option<usize> {
    let metadata = consumer(brokers).fetch_metadata(None, ANSWER_WITHIN).ok()?;
    Some(metadata.brokers().len())
}

/// The node id of a partition's leader, if the hubs know one.
pub fn leader(brokers: &str, topic: &str, partition: i32) -> Option<i32> {
    let metadata = consumer(brokers).fetch_metadata(Some(topic), ANSWER_WITHIN).ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let leader = partitions.iter().find(|described| described.id() == partition)?.leader();
    (leader >= 0).then_some(leader)
}

/// Who leads each of a topic's partitions, and how many of its replicas are in sync, by partition.
pub fn in_sync(brokers: &str, topic: &str) -> Option<Vec<(i32, usize)>> {
    let metadata = consumer(brokers).fetch_metadata(Some(topic), ANSWER_WITHIN).ok()?;
    let mut partitions: Vec<_> = metadata
        .topics()
        .first()?
        .partitions()
        .iter()
        .map(|it| (it.id(), it.leader(), it.isr().len()))
        .collect();
    partitions.sort_unstable();
    Some(partitions.into_iter().map(|(_, leader, in_sync)| (leader, in_sync)).collect())
}

/// Every record of a topic from the first to what is its end now, partition by partition in offset order.
///
/// # Panics
/// Where they do not all come within the deadline.
pub fn read_all(brokers: &str, topic: &str, deadline: Duration) -> Vec<Message> {
    let bounds = watermarks(brokers, topic);
    let consumer = consumer(brokers);
    let mut assignment = TopicPartitionList::new();
    let mut ends = std::collections::HashMap::new();
    for (index, low, high) in bounds.iter().filter(|(_, low, high)| high > low) {
        assignment.add_partition_offset(topic, *index, Offset::Offset(*low)).expect("a valid offset");
        ends.insert(*index, *high);
    }
    consumer.assign(&assignment).expect("a valid assignment");
    let start = Instant::now();
    let mut found = Vec::new();
    while !ends.is_empty() {
        assert!(
            start.elapsed() < deadline,
            "read only {} records in {deadline:?}; left: {ends:?}",
            found.len()
        );
        if let Some(message) = consumer.poll(POLL) {
            found.push(taken(&message.expect("a readable record")));
        }
        // A gap has no record at its last offset, so the consumer's position tells the end, not the records.
        for element in consumer.position().expect("a consumer has positions").elements() {
            if let Offset::Offset(next) = element.offset()
                && ends.get(&element.partition()).is_some_and(|end| next >= *end)
            {
                ends.remove(&element.partition());
            }
        }
    }
    found.sort_by_key(|message| (message.partition, message.offset));
    found
}

/// The next record that an assigned consumer gets within this time, with its topic.
///
/// # Panics
/// Where it is told of an error.
pub fn next(consumer: &BaseConsumer, within: Duration) -> Option<(String, Message)> {
    let message = consumer.poll(within)?.expect("a readable record");
    Some((message.topic().to_owned(), taken(&message)))
}

fn taken(message: &rdkafka::message::BorrowedMessage<'_>) -> Message {
    use rdkafka::message::Headers as _;
    let headers = message.headers().map(|headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
    });
    Message {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
    }
}
