//! A light, steady load whose latencies are those of a cluster's tail: from sending a record until it is
//! acknowledged, and until a consumer has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use testkit::wait;

const PAUSE: Duration = Duration::from_millis(2);
const POLL: Duration = Duration::from_millis(50);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// Milliseconds, as they came.
#[derive(Clone, Default)]
struct Latencies(Arc<Mutex<Vec<f64>>>);

impl Latencies {
    fn add(&self, since: Instant) {
        self.0.lock().expect("no panic while held").push(since.elapsed().as_secs_f64() * 1000.0);
    }

    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.0.lock().expect("no panic while held"))
    }
}

impl ClientContext for Latencies {}

impl ProducerContext for Latencies {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, _result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        self.add(*sent);
    }
}

impl Measured {
    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.acknowledged.extend(other.acknowledged);
        self.consumed.extend(other.consumed);
        self
    }
}

/// A producer and a consumer at work.
pub struct Probe {
    acknowledged: Latencies,
    consumed: Latencies,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What was measured over a time, in milliseconds.
pub struct Measured {
    pub acknowledged: Vec<f64>,
    pub consumed: Vec<f64>,
}

impl Probe {
    /// Begins on a topic with so many partitions, which nobody else writes to.
    pub fn start(brokers: &str, topic: &str, partitions: i32) -> Result<Self> {
        let (acknowledged, consumed) = (Latencies::default(), Latencies::default());
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let producer: ThreadedProducer<Latencies> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("linger.ms", "0")
            .create_with_context(acknowledged.clone())?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "probe")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::End)?;
        }
        consumer.assign(&assignment)?;
        let (topic, stopping) = (topic.to_owned(), stop.clone());
        let sending = std::thread::spawn(move || send(&producer, &topic, begun, &stopping));
        let (latencies, stopping) = (consumed.clone(), stop.clone());
        let reading = std::thread::spawn(move || read(&consumer, &latencies, begun, &stopping));
        Ok(Self { acknowledged, consumed, stop, threads: vec![sending, reading] })
    }

    /// What came since the last call.
    pub fn take(&self) -> Measured {
        Measured { acknowledged: self.acknowledged.take(), consumed: self.consumed.take() }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that failed has said so; there is nothing to add.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// The value says when it was sent, in microseconds since the probe began.
fn send(producer: &ThreadedProducer<Latencies>, topic: &str, begun: Instant, stop: &AtomicBool) {
    let mut key = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let value = u64::try_from((now - begun).as_micros()).unwrap_or(u64::MAX).to_be_bytes();
        key += 1;
        let key = key.to_be_bytes();
        let record = BaseRecord::with_opaque_to(topic, Box::new(now)).key(&key[..]).payload(&value[..]);
        // A full queue shows in the latencies of what is in it.
        let _ = producer.send(record);
        wait::pause(PAUSE);
    }
    let _ = producer.flush(FLUSH_WITHIN);
}

fn read(consumer: &BaseConsumer, latencies: &Latencies, begun: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let sent = message.payload().and_then(|value| <[u8; 8]>::try_from(value).ok());
        if let Some(sent) = sent {
            latencies.add(begun + Duration::from_micros(u64::from_be_bytes(sent)));
        }
    }
}
