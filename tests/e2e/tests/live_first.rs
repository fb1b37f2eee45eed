//! A device that comes back from days without a hub, with `catch_up = "live-first"`: what it measures now is in the log
//! within 2 s of being measured while the backlog drains at its rate, and alarms are no later.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, json_lines, large_json_lines, of_device};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use testkit::kafka::Message;
use testkit::{Agent, Hub, kafka, wait};

const TELEMETRY: &str = "telemetry";
const ALARMS: &str = "alarms";
const DEVICE: &str = "pump-7";
const BACKLOG: i64 = 40_000;
/// Bytes a second.
const RATE: u64 = 400_000;
/// Numbers from here on are of live records, and of alarms.
const LIVE: i64 = 1_000_000;
const LIVE_EVERY: Duration = Duration::from_millis(200);
/// With every so many live records comes an alarm.
const ALARM_EVERY: i64 = 5;
const LATE_MAX: Duration = Duration::from_secs(2);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// When each number was handed to the agent.
type Fed = BTreeMap<i64, Instant>;

fn agent(folder: &Path, hub: &Hub) -> Agent {
    let config = folder.join("agent.toml");
    let alarms = folder.join("alarms.jsonl");
    fs::write(&alarms, "").unwrap();
    let text = format!(
        "profile = \"lan\"\nlinger_ms = 200\n[uplink]\ncatch_up = \"live-first\"\n\
         catch_up_bytes_per_second = {RATE}\n\
         [[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\n\
         [[inputs]]\nkind = \"tail\"\npath = {alarms:?}\nformat = \"json-lines\"\n\
         topic = \"{ALARMS}\"\npriority = \"alarm\"\n"
    );
    fs::write(&config, text).unwrap();
    Agent::new(folder, DEVICE, &hub.mqtt_url())
        .with_argument("--config")
        .with_argument(config.to_str().unwrap())
}

fn feed(mut lines: ChildStdin, alarms: &Path, stop: &AtomicBool) -> (Fed, Fed) {
    let (mut live, mut alarmed) = (Fed::new(), Fed::new());
    let mut alarms = fs::File::options().append(true).open(alarms).unwrap();
    let mut next = LIVE;
    while !stop.load(Ordering::Relaxed) {
        let line = json_lines(next..next + 1);
        live.insert(next, Instant::now());
        lines.write_all(line.as_bytes()).unwrap();
        if next % ALARM_EVERY == 0 {
            alarmed.insert(next, Instant::now());
            alarms.write_all(line.as_bytes()).unwrap();
        }
        next += 1;
        wait::pause(LIVE_EVERY);
    }
    (live, alarmed)
}

/// A test that fails does not wait for its feeder for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What came, and when it was seen first.
struct Watch {
    consumer: BaseConsumer,
    messages: Vec<Message>,
    came: BTreeMap<(String, i64), Instant>,
    backlog: i64,
}

impl Watch {
    fn start(hub: &Hub, topics: &[&str]) -> Self {
        let consumer = kafka::consumer(&hub.brokers());
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            for (index, low, _) in kafka::watermarks(&hub.brokers(), topic) {
                assignment.add_partition_offset(topic, index, Offset::Offset(low)).unwrap();
            }
        }
        consumer.assign(&assignment).unwrap();
        Self { consumer, messages: Vec::new(), came: BTreeMap::new(), backlog: 0 }
    }

    fn look(&mut self) {
        while let Some((topic, message)) = kafka::next(&self.consumer, Duration::from_millis(20)) {
            let numbers = of_device(std::slice::from_ref(&message), DEVICE);
            let number = *numbers.first().expect("no gap comes");
            self.backlog += i64::from(number < LIVE);
            self.came.entry((topic.clone(), number)).or_insert_with(Instant::now);
            if topic == TELEMETRY {
                self.messages.push(message);
            }
        }
    }

    fn when(&self, topic: &str, number: i64) -> Option<Instant> {
        self.came.get(&(topic.to_owned(), number)).copied()
    }

    /// How late they came.
    fn judge(&mut self, topic: &str, fed: &Fed) {
        wait::until("everything that was measured", DRAINED_WITHIN, || {
            self.look();
            fed.keys().all(|number| self.when(topic, *number).is_some()).then_some(())
        });
        let late = fed.iter().map(|(number, at)| self.when(topic, *number).unwrap().duration_since(*at));
        let mut late: Vec<Duration> = late.collect();
        late.sort_unstable();
        let (median, most) = (late[late.len() / 2], late[late.len() - 1]);
        println!(
            "{topic}: {} records, in the log after {median:?} in the median, {most:?} at most",
            late.len()
        );
        assert!(most <= LATE_MAX, "{topic}: {most:?}");
    }
}

#[test]
fn what_is_measured_now_is_there_within_two_seconds_while_the_backlog_drains_at_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    for topic in [TELEMETRY, ALARMS] {
        assert!(hub.tool(&["topic", "create", topic]).status().unwrap().success());
    }
    let mut agent = agent(folder.path(), &hub);
    assert!(agent.ingest_lines(&large_json_lines(0..BACKLOG)).status.success());
    let status: serde_json::Value = serde_json::from_str(&agent.status().unwrap()).unwrap();
    let bytes = status["buffer"]["bytes"].as_u64().unwrap();

    let mut watch = Watch::start(&hub, &[TELEMETRY, ALARMS]);
    let stop = AtomicBool::new(false);
    let lines = agent.start_fed();
    let begin = Instant::now();
    let (live, alarms, drained) = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(lines, &folder.path().join("alarms.jsonl"), &stop));
        let stop = StopAtEnd(&stop);
        wait::until("the backlog in the log", DRAINED_WITHIN, || {
            watch.look();
            (watch.backlog >= BACKLOG).then_some(())
        });
        let drained = begin.elapsed();
        drop(stop);
        let (live, alarms) = feeder.join().unwrap();
        (live, alarms, drained)
    });
    watch.judge(TELEMETRY, &live);
    watch.judge(ALARMS, &alarms);
    let planned = Duration::from_secs_f64(bytes as f64 / RATE as f64);
    println!("{bytes} bytes of backlog at {RATE} a second took {drained:?}, of {planned:?} planned");
    assert!(drained >= planned.mul_f64(0.7), "faster than its rate: {drained:?}, not {planned:?}");
    assert!(drained <= 2 * planned + LATE_MAX, "slower than its rate: {drained:?}, not {planned:?}");
    let all = of_device(&watch.messages, DEVICE);
    let (backlog, live_came): (Vec<i64>, Vec<i64>) = all.iter().partition(|number| **number < LIVE);
    assert_once_in_order(&backlog, &(0..BACKLOG).collect::<Vec<_>>(), &[]);
    assert_once_in_order(&live_came, &live.keys().copied().collect::<Vec<_>>(), &[]);
}
