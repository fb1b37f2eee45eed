//! What runs all the while: numbered records by an idempotent producer, by agents, and a group that reads them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::numbered::json_lines;
use e2e::producer::{NumberedProducer, Outcomes};
use testkit::{Agent, kafka, wait};

use crate::group::{Group, Seen};

pub const TOPIC: &str = "orders";
pub const PARTITIONS: i32 = 6;
const SEND_PAUSE: Duration = Duration::from_millis(2);
const SENT_AT_ONCE: i64 = 10;
const FEED_PAUSE: Duration = Duration::from_millis(200);
const RECORDS_A_FEED: i64 = 40;
const STATUS_WITHIN: Duration = Duration::from_secs(30);
const FLUSHED_WITHIN: Duration = Duration::from_secs(90);
const SHIPPED_WITHIN: Duration = Duration::from_secs(120);
const READ_WITHIN: Duration = Duration::from_secs(120);
/// The producer keeps going for as long as a fault lasts, but what is not acknowledged stays bounded.
const UNACKNOWLEDGED_MAX: i64 = 20_000;
/// Of each partition, what is sent and acknowledged from some moment on shows that it gets on.
const PROGRESS: usize = 50;

pub struct Load {
    stop: Arc<AtomicBool>,
    outcomes: Outcomes,
    sent: Arc<AtomicI64>,
    sender: JoinHandle<()>,
    feeders: Vec<JoinHandle<Fed>>,
    /// Those that run: whatever becomes of the test, they end with this.
    agents: Vec<Agent>,
    group: Group,
}

/// A device and the numbers that its agent said that it keeps.
pub struct Fed {
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
        let devices: Vec<_> = (0..agents).map(|number| format!("device-{number}")).collect();
        let start = |device: &String| {
            let mut agent = Agent::new(folder, device, hubs);
            agent.start();
            agent
        };
        let agents: Vec<Agent> = devices.iter().map(start).collect();
        let feeders = devices.into_iter().map(|device| {
            let (stop, agent) = (stop.clone(), Agent::new(folder, &device, hubs));
            std::thread::spawn(move || feed(&agent, device, &stop))
        });
        let feeders = feeders.collect();
        let group = Group::start(brokers, TOPIC, PARTITIONS);
        Self { stop, outcomes, sent, sender, feeders, agents, group }
    }

    /// Waits until of every partition, and of every device, records that came from now on are acknowledged, and the
    /// group has committed such records of every partition.
    pub fn wait_progress(&self, within: Duration) {
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let number = self.next_number();
        let marks: Vec<(&Agent, u64)> =
            self.agents.iter().map(|agent| (agent, count(agent, "appended"))).collect();
        self.wait_acknowledged(&partitions, number, within);
        none_left("devices that stand still", within, || {
            let rest = marks.iter().filter(|(agent, mark)| count(agent, "acknowledged") <= *mark);
            rest.map(|(agent, mark)| (agent.data_dir(), *mark)).collect()
        });
        none_left("partitions in which the group stands still", within, || {
            self.group.behind(&partitions, number)
        });
    }

    /// Ids of the agents' processes.
    pub fn processes(&mut self) -> Vec<u32> {
        self.agents.iter_mut().filter_map(Agent::process).map(|process| process.id()).collect()
    }

    /// No record with this number or a later one is on its way yet.
    fn next_number(&self) -> i64 {
        self.sent.load(Ordering::Relaxed) + SENT_AT_ONCE
    }

    fn wait_acknowledged(&self, partitions: &[i32], number: i64, within: Duration) {
        let before = self.outcomes.acknowledged_count();
        none_left("partitions that stand still", within, || {
            let new = self.outcomes.acknowledged_since(before);
            let count = |partition: i32| {
                let own = |found: &&i64| {
                    **found >= number && **found % i64::from(PARTITIONS) == i64::from(partition)
                };
                new.iter().filter(own).count()
            };
            partitions.iter().copied().filter(|partition| count(*partition) < PROGRESS).collect()
        });
    }

    /// Ends it: everything is answered and shipped, and the group has committed it all.
    pub fn finish(self, brokers: &str) -> Done {
        // One may have come late, where hubs were away when it asked for its group.
        none_left("members that have read nothing", READ_WITHIN, || self.group.idle());
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().expect("the producer ended well");
        let fed: Vec<Fed> =
            self.feeders.into_iter().map(|it| it.join().expect("a feeder ended well")).collect();
        let acknowledged: BTreeSet<i64> = self.outcomes.acknowledged().into_iter().collect();
        let ends = kafka::watermarks(brokers, TOPIC);
        none_left("partitions that the group has not read", READ_WITHIN, || self.group.left(&ends));
        let seen = self.group.finish();
        let sent = self.sent.load(Ordering::Relaxed);
        Done { sent, acknowledged, failed: self.outcomes.failed(), fed, seen }
    }
}

/// Waits until nothing is left; says what is, where that takes too long.
fn none_left<T: Debug>(what: &str, within: Duration, left: impl Fn() -> Vec<T>) {
    let start = Instant::now();
    wait::until(what, 2 * within, || {
        let left = left();
        assert!(left.is_empty() || start.elapsed() < within, "after {within:?}, {what}: {left:?}");
        left.is_empty().then_some(())
    });
}

/// One of an agent's counters of records.
fn count(agent: &Agent, counter: &str) -> u64 {
    wait::until("an agent's status", STATUS_WITHIN, || {
        let status: serde_json::Value = serde_json::from_str(&agent.status()?).ok()?;
        status["records"][counter].as_u64()
    })
}

fn send(producer: &NumberedProducer, stop: &AtomicBool, sent: &AtomicI64) {
    while !stop.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        let answered = producer.outcomes.acknowledged_count() as i64;
        if number - answered < UNACKNOWLEDGED_MAX {
            for number in number..number + SENT_AT_ONCE {
                producer.send((number % i64::from(PARTITIONS)) as i32, number);
            }
            sent.store(number + SENT_AT_ONCE, Ordering::Relaxed);
        }
        wait::pause(SEND_PAUSE);
    }
    producer.flush(FLUSHED_WITHIN);
}

/// `agent` is handed records; its process is another's.
fn feed(agent: &Agent, device: String, stop: &AtomicBool) -> Fed {
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
    Fed { device, kept }
}
