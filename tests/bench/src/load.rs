//! Records from librdkafka, as many as asked for.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const STORED_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

/// Produces `count` records of `bytes` each with `acks=all`, and returns when all are stored.
pub fn produce(brokers: &str, topic: &str, count: u64, bytes: usize) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("batch.size", "262144")
        .create()?;
    let value = vec![b'x'; bytes];
    for number in 0..count {
        let key = number.to_be_bytes();
        let mut record = BaseRecord::to(topic).key(&key[..]).payload(&value[..]);
        // A full queue is what slows this loop to the hub's speed.
        while let Err((error, back)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            record = back;
            producer.poll(POLL);
        }
    }
    producer.flush(STORED_WITHIN).context("not everything was stored")
}
