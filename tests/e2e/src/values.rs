//! Records whose bytes can be found on the disk, each in a batch of its own, and what a consumer gets of them.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use testkit::kafka;

use crate::producer::Outcomes;

const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// A record's value: unlike any other's, and long enough to be found.
pub fn record(partition: i32, number: u32) -> String {
    format!("partition {partition:05} record {number:05} {}", "v".repeat(300))
}

/// A producer without compression.
pub struct Produced {
    producer: rdkafka::producer::ThreadedProducer<Outcomes>,
    outcomes: Outcomes,
    topic: String,
}

impl Produced {
    pub fn new(brokers: &str, topic: &str) -> Self {
        let outcomes = Outcomes::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("compression.type", "none")
            .create_with_context(outcomes.clone())
            .expect("a valid configuration");
        Self { producer, outcomes, topic: topic.to_owned() }
    }

    /// Sends one record and waits until it is acknowledged.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn send_one(&self, partition: i32, value: &str) {
        let before = self.outcomes.acknowledged().len();
        let record: BaseRecord<'_, (), str, Box<i64>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(0)).partition(partition).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
        self.producer.flush(ANSWERED_WITHIN).expect("everything is answered");
        assert_eq!(self.outcomes.acknowledged().len(), before + 1, "the record was refused");
    }
}

/// Reads a partition from an offset to its end, or to the first error that the client tells of.
///
/// # Panics
/// Where neither comes within the deadline.
pub fn read_to_error(
    brokers: &str,
    topic: &str,
    partition: i32,
    from: i64,
    deadline: Duration,
) -> (Vec<String>, Option<RDKafkaErrorCode>) {
    let consumer = kafka::consumer(brokers);
    let (_, end) = consumer.fetch_watermarks(topic, partition, deadline).expect("ListOffsets is answered");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(from)).expect("a valid offset");
    consumer.assign(&assignment).expect("a valid assignment");
    let (start, mut values, mut next) = (Instant::now(), Vec::new(), from);
    while next < end {
        assert!(start.elapsed() < deadline, "neither the end nor an error after {} records", values.len());
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
                next = message.offset() + 1;
            }
            Some(Err(error)) => return (values, error.rdkafka_error_code()),
            None => {}
        }
    }
    (values, None)
}

/// Sends one record without trying again; the error that it is refused with.
///
/// # Panics
/// Where it is not answered in time.
pub fn refusal_of(brokers: &str, topic: &str, partition: i32, value: &str) -> Option<RDKafkaErrorCode> {
    #[derive(Clone, Default)]
    struct Refusal(std::sync::Arc<std::sync::Mutex<Option<rdkafka::error::KafkaError>>>);
    impl rdkafka::ClientContext for Refusal {}
    impl rdkafka::producer::ProducerContext for Refusal {
        type DeliveryOpaque = ();
        fn delivery(&self, result: &rdkafka::message::DeliveryResult<'_>, (): ()) {
            *self.0.lock().expect("no panic while held") =
                result.as_ref().err().map(|(error, _)| error.clone());
        }
    }
    let refusal = Refusal::default();
    let producer: rdkafka::producer::ThreadedProducer<Refusal> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("compression.type", "none")
        .set("message.send.max.retries", "0")
        .create_with_context(refusal.clone())
        .expect("a valid configuration");
    let record: BaseRecord<'_, (), str, ()> = BaseRecord::to(topic).partition(partition).payload(value);
    producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
    producer.flush(ANSWERED_WITHIN).expect("everything is answered");
    refusal.0.lock().expect("no panic while held").take().and_then(|error| error.rdkafka_error_code())
}
