//! The power fails under a hub's and an agent's data directory: what was acknowledged is there afterwards.
//! The same with fsync switched off must fail, or the test could not.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use e2e::seed;
use rand::Rng;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::{Arc, Mutex};
use testkit::disk::Disk;
use testkit::{Agent, Hub, kafka, tools, wait};

const ROUNDS: usize = 3;
const DISK_MEBIBYTES: u64 = 640;
const WITHIN: Duration = Duration::from_secs(60);
const NO_FSYNC: &str = "HEADWATER_UNSAFE_NO_FSYNC";

fn can_cut(test: &str) -> bool {
    tools::is_root(test) && ["mkfs.ext4", "xfs_io"].iter().all(|program| tools::find(program, test).is_some())
}

/// What the hub acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<i64>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<i64>;
    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<i64>) {
        if result.is_ok() {
            self.0.lock().unwrap().push(*number);
        }
    }
}

/// Produces, cuts the power, and counts the acknowledged records that are gone afterwards.
fn lost_by_hub(fsync: bool) -> usize {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), DISK_MEBIBYTES);
    let mut hub = Hub::new(folder.path()).with_data_dir(&disk.path().join("hub"));
    if !fsync {
        hub = hub.with_variable(NO_FSYNC, "true");
    }
    hub.start();
    assert!(hub.tool(&["topic", "create", "meter", "--partitions", "1"]).status().unwrap().success());
    if !fsync {
        // What the control loses are records, not the topic itself.
        hub.stop();
        run_sync(&disk);
        hub.start();
    }
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", hub.brokers())
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("message.timeout.ms", "3000")
        .create_with_context(acknowledged.clone())
        .unwrap();
    let cut_after = random.gen_range(300..3000);
    let mut next = 0i64;
    while acknowledged.0.lock().unwrap().len() < cut_after {
        let payload = next.to_string();
        let record =
            BaseRecord::with_opaque_to("meter", Box::new(next)).partition(0).key("k").payload(&payload);
        if producer.send(record).is_ok() {
            next += 1;
        }
        if next % 50 == 0 {
            wait::pause(Duration::from_millis(1));
        }
    }
    disk.cut_power();
    hub.kill();
    // The rest is answered with an error, or was acknowledged before the cut and counts.
    let _ = producer.flush(WITHIN);
    disk.restore_power();
    hub.start();
    let stored: Vec<i64> = kafka::read_all(&hub.brokers(), "meter", WITHIN)
        .iter()
        .map(|message| String::from_utf8_lossy(&message.value).parse().unwrap())
        .collect();
    hub.kill();
    let acknowledged = acknowledged.0.lock().unwrap().clone();
    println!("acknowledged {}, stored {}", acknowledged.len(), stored.len());
    acknowledged.iter().filter(|number| !stored.contains(number)).count()
}

/// Flushes the whole file system.
fn run_sync(disk: &Disk) {
    let status = std::process::Command::new("sync").arg("-f").arg(disk.path()).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_hub_keeps_what_it_acknowledged_when_the_power_fails() {
    if !can_cut("a hub's power cut") {
        return;
    }
    for _ in 0..ROUNDS {
        assert_eq!(lost_by_hub(true), 0, "acknowledged records are gone");
    }
}

#[test]
fn without_fsync_the_same_test_loses_records() {
    if !can_cut("the control of a hub's power cut") {
        return;
    }
    assert!(lost_by_hub(false) > 0, "the test cannot fail");
}

/// Feeds an agent with no hub, cuts the power, and reads what a hub gets from it afterwards.
fn shipped_after_cut(fsync: bool) -> (Vec<i64>, Vec<i64>) {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), DISK_MEBIBYTES);
    let hub = Hub::started(folder.path());
    let mut agent =
        Agent::new(disk.path(), "meter-1", &hub.mqtt_url()).with_log(&folder.path().join("agent.log"));
    // The directory itself is durable before the cut in both cases.
    let mut kept: Vec<i64> = (0..10).collect();
    assert!(agent.ingest_lines(&json_lines(0..10)).status.success());
    run_sync(&disk);
    if !fsync {
        agent = agent.with_variable(NO_FSYNC, "true");
    }
    for _ in 0..random.gen_range(2..6) {
        let next = kept.len() as i64;
        let numbers = next..next + random.gen_range(10..200);
        if agent.ingest_lines(&json_lines(numbers.clone())).status.success() {
            kept.extend(numbers);
        }
    }
    disk.cut_power();
    disk.restore_power();
    agent.start();
    let end = || kafka::watermarks(&hub.brokers(), "telemetry").iter().map(|(_, _, end)| *end).sum::<i64>();
    wait::until("the agent's buffer to be empty", WITHIN, || {
        (agent.buffered_records()? == 0 && end() > 0).then_some(())
    });
    agent.kill();
    (kept, of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), "meter-1"))
}

#[test]
fn an_agent_keeps_what_it_took_when_the_power_fails() {
    if !can_cut("an agent's power cut") {
        return;
    }
    for _ in 0..ROUNDS {
        let (kept, found) = shipped_after_cut(true);
        assert_once_in_order(&found, &kept, &[]);
    }
}

#[test]
fn without_fsync_an_agent_loses_records() {
    if !can_cut("the control of an agent's power cut") {
        return;
    }
    let (kept, found) = shipped_after_cut(false);
    assert!(found.len() < kept.len(), "the test cannot fail");
}
