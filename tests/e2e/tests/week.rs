//! Days without a hub, compressed, with the real programs: what was measured meanwhile is in the log once and in order
//! although the hub is killed while it comes, or gaps stand for it, and the counts add up.
//!
//! `WEEK_RECORDS` says how many records there are.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, gaps, json_lines, large_json_lines, of_device};
use testkit::{Agent, Hub, kafka, wait};

const RECORDS: i64 = 100_000;
/// Of the week that does not fit each record has noise beside it.
const LARGE_RECORDS: i64 = 150_000;
const AT_ONCE: i64 = 20_000;
/// Holds about half of `LARGE_RECORDS`.
const SMALL_BYTES: u64 = 8 << 20;
/// The backlog is shipped so fast, in bytes a second.
const RATE: u64 = 400_000;
const SHIPPED_WITHIN: Duration = Duration::from_secs(600);
const TOPIC: &str = "telemetry";
const DEVICE: &str = "pump-7";

fn records() -> i64 {
    std::env::var("WEEK_RECORDS").map_or(RECORDS, |text| text.parse().unwrap())
}

fn measure(agent: &Agent, until: i64, lines: impl Fn(std::ops::Range<i64>) -> String, next: &mut i64) {
    let begin = Instant::now();
    let from = *next;
    while *next < until {
        let numbers = *next..(*next + AT_ONCE).min(until);
        *next = numbers.end;
        let output = agent.ingest_lines(&lines(numbers));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    println!("{} records into the buffer in {:.1} s", until - from, begin.elapsed().as_secs_f64());
}

/// Waits until the log has so many records, or more; answers how many.
fn wait_stored(hub: &Hub, records: i64) -> i64 {
    wait::until("records in the log", SHIPPED_WITHIN, || {
        let ends = kafka::watermarks(&hub.brokers(), TOPIC);
        let stored = ends.iter().map(|(_, low, high)| high - low).sum();
        (stored >= records).then_some(stored)
    })
}

#[test]
fn a_week_is_in_the_log_once_although_the_hub_is_killed_while_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    hub.kill();
    let mut agent = Agent::new(folder.path(), DEVICE, &hub.mqtt_url())
        .with_variable("HEADWATER_BUFFER_BYTES", &(4_u64 << 30).to_string())
        // So that the hub is killed while something is on its way.
        .with_variable("HEADWATER_UPLINK__CATCH_UP_BYTES_PER_SECOND", &RATE.to_string());
    let mut next = 0;
    measure(&agent, records(), json_lines, &mut next);
    let buffered = agent.buffered_records().unwrap();
    assert_eq!(i64::try_from(buffered).unwrap(), records());

    hub.start();
    agent.start();
    let begin = Instant::now();
    let mut kills = Vec::new();
    for quarter in 1..4 {
        kills.push(wait_stored(&hub, records() * quarter / 4));
        hub.kill();
        hub.start();
    }
    assert!(kills.iter().all(|stored| *stored < records()), "the hub is killed on the way: {kills:?}");
    agent.wait_shipped(SHIPPED_WITHIN);
    println!("shipped in {:.1} s; the hub was killed at {kills:?}", begin.elapsed().as_secs_f64());
    let messages = kafka::read_all(&hub.brokers(), TOPIC, SHIPPED_WITHIN);
    assert_once_in_order(&of_device(&messages, DEVICE), &(0..records()).collect::<Vec<_>>(), &[]);
    assert_eq!(gaps(&messages, DEVICE), (0, 0));
}

/// What the hub had stored when it was killed, and what the agent never heard an answer of, is dropped in the buffer
/// before the hub is back.
#[test]
fn of_what_does_not_fit_the_newest_is_there_and_gaps_account_for_the_rest() {
    let count = LARGE_RECORDS.max(records() / 10);
    let bytes = SMALL_BYTES * u64::try_from(count / LARGE_RECORDS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), DEVICE, &hub.mqtt_url())
        .with_variable("HEADWATER_BUFFER_BYTES", &bytes.to_string());
    let mut next = 0;
    measure(&agent, count / 6, large_json_lines, &mut next);
    agent.start();
    let stored = wait_stored(&hub, 1);
    hub.kill();
    measure(&agent, count, large_json_lines, &mut next);
    hub.start();
    agent.wait_shipped(SHIPPED_WITHIN);

    let messages = kafka::read_all(&hub.brokers(), TOPIC, SHIPPED_WITHIN);
    let found = of_device(&messages, DEVICE);
    let (lost, unknown) = gaps(&messages, DEVICE);
    let kept: Vec<i64> = (0..count).collect();
    println!("{stored} stored before the kill; {} of {count} are there, gaps stand for {lost}", found.len());
    assert_once_in_order(&found, &[], &kept);
    assert_eq!(unknown, 0);
    assert_eq!(found.len() as u64 + lost, count as u64, "each is there, or a gap stands for it");
    assert!(lost > 0 && found.len() as i64 > stored, "the buffer was too small");
    // What came before the kill, and the newest without a hole.
    let holes: Vec<_> = found.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert_eq!((found.first(), found.last()), (Some(&0), Some(&(count - 1))));
}
