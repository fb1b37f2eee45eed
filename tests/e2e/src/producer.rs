//! An idempotent producer through librdkafka that remembers what was acknowledged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

/// What became of the numbers that were sent.
#[derive(Clone, Default)]
pub struct Outcomes {
    acknowledged: Arc<Mutex<Vec<i64>>>,
    failed: Arc<Mutex<Vec<i64>>>,
}

impl Outcomes {
    pub fn acknowledged(&self) -> Vec<i64> {
        self.acknowledged.lock().expect("no panic while held").clone()
    }

    /// Those behind the first `count`, in the order in which they were acknowledged.
    pub fn acknowledged_since(&self, count: usize) -> Vec<i64> {
        let acknowledged = self.acknowledged.lock().expect("no panic while held");
        acknowledged.get(count..).unwrap_or_default().to_vec()
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.lock().expect("no panic while held").len()
    }

    pub fn failed(&self) -> Vec<i64> {
        self.failed.lock().expect("no panic while held").clone()
    }
}

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let list = if result.is_ok() { &self.acknowledged } else { &self.failed };
        list.lock().expect("no panic while held").push(*number);
    }
}

pub struct NumberedProducer {
    producer: ThreadedProducer<Outcomes>,
    topic: String,
    pub outcomes: Outcomes,
}

impl NumberedProducer {
    pub fn new(brokers: &str, topic: &str) -> Self {
        let outcomes = Outcomes::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("message.timeout.ms", "120000")
            // A hub that stands still keeps its connections: the client has to give up on it by itself.
            .set("request.timeout.ms", "4000")
            .set("socket.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(outcomes.clone())
            .expect("a valid configuration");
        Self { producer, topic: topic.to_owned(), outcomes }
    }

    /// Sends a number to a partition; waits while the producer's queue is full.
    pub fn send(&self, partition: i32, number: i64) {
        let text = number.to_string();
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(number))
            .partition(partition)
            .key("numbered")
            .payload(&text);
        while let Err((_, back)) = self.producer.send(record) {
            record = back;
            testkit::wait::pause(Duration::from_millis(5));
        }
    }

    /// Waits until everything is answered.
    ///
    /// # Panics
    /// Where that takes longer than the deadline.
    pub fn flush(&self, deadline: Duration) {
        self.producer.flush(deadline).expect("everything is answered");
    }
}

/// The numbers of a partition's messages, in order.
pub fn numbers(messages: &[testkit::kafka::Message], partition: i32) -> Vec<i64> {
    let own = messages.iter().filter(|message| message.partition == partition);
    own.map(|message| String::from_utf8_lossy(&message.value).parse().expect("a number")).collect()
}
