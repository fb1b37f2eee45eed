//! Two agents that were given one name: everyone says so, and neither loses a record.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::ops::Range;
use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use serde_json::Value;
use testkit::{Agent, Hub, kafka, wait};

const DEVICE: &str = "pump-7";
const NAMED_WITHIN: Duration = Duration::from_secs(180);
const WITHIN: Duration = Duration::from_secs(120);
/// The numbers of each agent's records begin there.
const FROM: [i64; 2] = [0, 1_000_000];
const AT_ONCE: i64 = 500;

fn is_duplicate(agent: &Agent) -> bool {
    let status: Option<Value> = agent.status().and_then(|text| serde_json::from_str(&text).ok());
    status.is_some_and(|status| status["uplink"]["duplicate_identity"] == true)
}

/// Gives each agent some more to ship.
fn feed(agents: &[Agent; 2], part: i64) {
    for (agent, from) in agents.iter().zip(FROM) {
        let numbers = from + part * AT_ONCE..from + (part + 1) * AT_ONCE;
        assert!(agent.ingest_lines(&json_lines(numbers)).status.success());
    }
}

#[test]
fn two_agents_of_one_name_are_named_everywhere_within_three_minutes_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let url = hub.mqtt_url();
    let mut agents =
        ["first", "second"].map(|name| Agent::new(folder.path(), name, &url).with_device(DEVICE));
    agents[0].start();
    let connected = "headwater_mqtt_agents 1";
    let is_connected =
        || hub.get("/metrics").is_some_and(|(_, text)| text.lines().any(|line| line == connected));
    wait::until("the first agent to be connected", WITHIN, || is_connected().then_some(()));
    assert!(!agents.iter().any(is_duplicate));
    agents[1].start();
    let together = Instant::now();
    let left = || NAMED_WITHIN.saturating_sub(together.elapsed());
    feed(&agents, 0);

    let named =
        || hub.printed().lines().any(|line| line.contains("duplicate identity") && line.contains(DEVICE));
    wait::until("the hub to name them", left(), || named().then_some(()));
    feed(&agents, 1);
    let logged = |agent: &Agent| agent.printed().contains("another agent uses this device's identity");
    wait::until("both agents to name each other", left(), || {
        agents.iter().all(|agent| is_duplicate(agent) && logged(agent)).then_some(())
    });
    feed(&agents, 2);
    agents.iter().for_each(|agent| agent.wait_shipped(WITHIN));

    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), DEVICE);
    let of =
        |numbers: Range<i64>| found.iter().copied().filter(|n| numbers.contains(n)).collect::<Vec<i64>>();
    for from in FROM {
        let numbers = from..from + 3 * AT_ONCE;
        assert_once_in_order(&of(numbers.clone()), &numbers.collect::<Vec<i64>>(), &[]);
    }
    assert_eq!(found.len() as i64, 2 * 3 * AT_ONCE, "and nothing else");
}
