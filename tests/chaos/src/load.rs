//! What runs all the while: numbered records by an idempotent producer, by agents, and a group that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::numbered::json_lines;
use e2e::producer::{NumberedProducer, Outcomes};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message as _;
use testkit::{Agent, wait};

pub const TOPIC: &str = "orders";
pub const PARTITIONS: i32 = 6;
const SEND_PAUSE: Duration = Duration::from_millis(2);
const FEED_PAUSE: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(100);
const RECORDS_A_FEED: i64 = 40;
const FLUSHED_WITHIN: Duration = Duration::from_secs(90);
const SHIPPED_WITHIN: Duration = Duration::from_secs(120);
const READ_WITHIN: Duration = Duration::from_secs(120);
/// The producer keeps going for as long as a fault lasts, but what is not acknowledged stays bounded.
const UNACKNOWLEDGED_MAX: i64 = 20_000;

/// What a member of the group saw at a place of the log.
pub type Seen = BTreeMap<(i32, i64), Vec<u8>>;

pub struct Load {
    stop: Arc<AtomicBool>,
    outcomes: Outcomes,
    sent: Arc<AtomicI64>,
    sender: JoinHandle<()>,
    feeders: Vec<JoinHandle<Fed>>,
    group: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

/// An agent and the numbers that it said that it keeps.
pub struct Fed {
    pub agent: Agent,
    pub device: String,
    pub kept: Vec<i64>,
}

/// What the load did, once it is over.
pub struct Done {
    pub sent: i64,
    pub acknowledged: BTreeSet<i64>,
    pub failed: Vec<i64>,
    pub fed: Vec<Fed>,
    pub seen: Seen,
}

impl Load {
    /// Begins; `brokers` and `hubs` name all hubs, for Kafka clients and for agents.
    pub fn start(folder: &Path, brokers: &str, hubs: &str, agents: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicI64::new(0));
        let producer = NumberedProducer::new(brokers, TOPIC);
        let outcomes = producer.outcomes.clone();
        let sender = {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || send(&producer, &stop, &sent))
        };
        let feeders = (0..agents).map(|number| {
            let device = format!("device-{number}");
            let mut agent = Agent::new(folder, &device, hubs);
            agent.start();
            let stop = stop.clone();
            std::thread::spawn(move || feed(agent, device, &stop))
        });
        let feeders = feeders.collect();
        let seen = Arc::new(Mutex::new(Seen::new()));
        let group = {
            let (brokers, stop, seen) = (brokers.to_owned(), stop.clone(), seen.clone());
            std::thread::spawn(move || consume(&brokers, &stop, &seen))
        };
        Self { stop, outcomes, sent, sender, feeders, group, seen }
    }

    /// Records of the producer that are acknowledged by now.
    pub fn acknowledged(&self) -> usize {
        self.outcomes.acknowledged_count()
    }

    /// Waits until so many more are acknowledged than there are now.
    pub fn wait_progress(&self, more: usize, within: Duration) {
        let from = self.acknowledged();
        let what = format!("{more} more acknowledged records after {from}");
        wait::until(&what, within, || (self.acknowledged() >= from + more).then_some(()));
    }

    /// Records that the group has seen by now.
    pub fn seen(&self) -> usize {
        self.seen.lock().expect("no panic while held").len()
    }

    /// Ends it: everything is answered and shipped, and the group has read.
    pub fn finish(self) -> Done {
        // A member that the cluster knew no more after a fault is heard again when its session has timed out.
        wait::until("the group to read", READ_WITHIN, || (self.seen() > 0).then_some(()));
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().expect("the producer ended well");
        let fed: Vec<Fed> =
            self.feeders.into_iter().map(|it| it.join().expect("a feeder ended well")).collect();
        let acknowledged: BTreeSet<i64> = self.outcomes.acknowledged().into_iter().collect();
        self.group.join().expect("the group ended well");
        let seen = std::mem::take(&mut *self.seen.lock().expect("no panic while held"));
        let sent = self.sent.load(Ordering::Relaxed);
        Done { sent, acknowledged, failed: self.outcomes.failed(), fed, seen }
    }
}

fn send(producer: &NumberedProducer, stop: &AtomicBool, sent: &AtomicI64) {
    while !stop.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        let answered = producer.outcomes.acknowledged_count() as i64;
        if number - answered < UNACKNOWLEDGED_MAX {
            for number in number..number + 10 {
                producer.send((number % i64::from(PARTITIONS)) as i32, number);
            }
            sent.store(number + 10, Ordering::Relaxed);
        }
        wait::pause(SEND_PAUSE);
    }
    producer.flush(FLUSHED_WITHIN);
}

fn feed(agent: Agent, device: String, stop: &AtomicBool) -> Fed {
    let (mut kept, mut next) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let numbers = next..next + RECORDS_A_FEED;
        next = numbers.end;
        let output = agent.ingest_lines(&json_lines(numbers.clone()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        kept.extend(numbers);
        wait::pause(FEED_PAUSE);
    }
    agent.wait_shipped(SHIPPED_WITHIN);
    Fed { agent, device, kept }
}

/// One member that commits as it goes. What it sees again after a rebalance must be what it saw before.
fn consume(brokers: &str, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "chaos")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("socket.timeout.ms", "5000")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .create()
        .expect("a valid configuration");
    consumer.subscribe(&[TOPIC]).expect("a valid subscription");
    while !stop.load(Ordering::Relaxed) {
        // Errors are what the faults are for; the client tries again by itself.
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let at = (message.partition(), message.offset());
            let value = message.payload().unwrap_or_default().to_vec();
            let before = seen.lock().expect("no panic while held").insert(at, value.clone());
            assert!(before.is_none_or(|before| before == value), "another record at {at:?}");
            // A commit that fails is made good by the next.
            let _ = consumer.commit_message(&message, CommitMode::Async);
        }
    }
}
