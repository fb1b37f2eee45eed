//! Hub and agent are killed at random moments; at the end every record is in the log once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::process::Output;
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use e2e::producer::{NumberedProducer, numbers};
use e2e::seed;
use rand::Rng;
use rand::rngs::StdRng;
use testkit::{Agent, Hub, kafka, wait};

const SETTLED_WITHIN: Duration = Duration::from_secs(90);
const READ_WITHIN: Duration = Duration::from_secs(60);
const KILLS: usize = 10;

/// Feeds an agent, and knows which numbers it said that it keeps.
struct Feeder {
    next: i64,
    kept: Vec<i64>,
    unsure: Vec<i64>,
}

impl Feeder {
    fn new() -> Self {
        Self { next: 0, kept: Vec::new(), unsure: Vec::new() }
    }

    fn feed(&mut self, agent: &Agent, count: i64) {
        let numbers = self.next..self.next + count;
        self.next += count;
        let output: Output = agent.ingest_lines(&json_lines(numbers.clone()));
        if output.status.success() { &mut self.kept } else { &mut self.unsure }.extend(numbers);
    }
}

fn random_pause(random: &mut StdRng, most_ms: u64) {
    wait::pause(Duration::from_millis(random.gen_range(0..most_ms)));
}

#[test]
fn every_record_survives_kills_of_the_hub_and_of_the_agent() {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), "pump-7", &hub.mqtt_url());
    let mut feeder = Feeder::new();
    agent.start();
    for round in 0..2 * KILLS {
        feeder.feed(&agent, random.gen_range(20..400));
        random_pause(&mut random, 300);
        if round % 2 == 0 {
            hub.kill();
            feeder.feed(&agent, random.gen_range(20..400));
            hub.start();
        } else {
            agent.kill();
            feeder.feed(&agent, random.gen_range(20..400));
            agent.start();
        }
    }
    agent.wait_shipped(SETTLED_WITHIN);
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", READ_WITHIN), "pump-7");
    assert!(feeder.kept.len() > 2000, "most of what was fed was kept: {}", feeder.kept.len());
    assert_once_in_order(&found, &feeder.kept, &feeder.unsure);
}

#[test]
fn an_idempotent_producer_loses_and_repeats_nothing_when_the_hub_is_killed() {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let created = hub.tool(&["topic", "create", "orders", "--partitions", "3"]).status().unwrap();
    assert!(created.success());
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    let mut next = 0;
    for _ in 0..KILLS {
        for _ in 0..random.gen_range(500..5000) {
            producer.send((next % 3) as i32, next);
            next += 1;
        }
        random_pause(&mut random, 200);
        hub.kill();
        hub.start();
    }
    producer.flush(SETTLED_WITHIN);
    assert_eq!(producer.outcomes.failed(), Vec::<i64>::new(), "the producer retries until it is answered");
    assert_eq!(producer.outcomes.acknowledged().len() as i64, next);
    let messages = kafka::read_all(&hub.brokers(), "orders", READ_WITHIN);
    for partition in 0..3 {
        let sent: Vec<i64> = (0..next).filter(|n| n % 3 == i64::from(partition)).collect();
        assert_once_in_order(&numbers(&messages, partition), &sent, &[]);
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn two_agents_started_from_one_copied_data_directory_store_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path());
    let mut first = Agent::new(folder.path(), "original", &hub.mqtt_url()).with_device("cloned-card");
    let mut feeder = Feeder::new();
    feeder.feed(&first, 500);
    let mut second = Agent::new(folder.path(), "copy", &hub.mqtt_url()).with_device("cloned-card");
    copy_folder(first.data_dir(), second.data_dir());
    hub.start();
    first.start();
    first.wait_shipped(SETTLED_WITHIN);
    first.stop();
    second.start();
    second.wait_shipped(SETTLED_WITHIN);
    feeder.feed(&second, 500);
    second.wait_shipped(SETTLED_WITHIN);
    second.stop();
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", READ_WITHIN), "cloned-card");
    assert_once_in_order(&found, &feeder.kept, &[]);
}

#[test]
fn a_data_directory_put_back_to_an_earlier_state_stores_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), "restored", &hub.mqtt_url());
    let mut feeder = Feeder::new();
    agent.start();
    feeder.feed(&agent, 300);
    agent.wait_shipped(SETTLED_WITHIN);
    agent.stop();
    // Some records are in the buffer when the backup is made, and are shipped afterwards.
    feeder.feed(&agent, 300);
    let backup = folder.path().join("backup");
    copy_folder(agent.data_dir(), &backup);
    agent.start();
    agent.wait_shipped(SETTLED_WITHIN);
    feeder.feed(&agent, 300);
    agent.wait_shipped(SETTLED_WITHIN);
    agent.stop();
    std::fs::remove_dir_all(agent.data_dir()).unwrap();
    copy_folder(&backup, agent.data_dir());
    agent.start();
    agent.wait_shipped(SETTLED_WITHIN);
    feeder.feed(&agent, 300);
    agent.wait_shipped(SETTLED_WITHIN);
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", READ_WITHIN), "restored");
    assert_once_in_order(&found, &feeder.kept, &[]);
}
