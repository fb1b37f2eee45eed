//! What `/metrics` says of what came in and went out.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use e2e::numbered::json_lines;
use e2e::producer::NumberedProducer;
use testkit::{Agent, Hub, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);
const DEVICE: &str = "metered-device-7";
const README: &str = include_str!("../../../README.md");

fn scrape(hub: &Hub) -> String {
    hub.get("/metrics").filter(|(status, _)| *status == 200).unwrap().1
}

/// By name and labels, as they stand in the text.
fn values(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name, n.parse().unwrap())).collect()
}

fn names<'a>(text: &'a str, kind: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next()).collect()
}

fn publish(hub: &Hub, arguments: &[&str]) -> bool {
    let Some(program) = tools::find("mosquitto_pub", "the counters of plain publishes") else { return false };
    let mut command = Command::new(program);
    command.args(["-h", &hub.mqtt.ip().to_string(), "-p", &hub.mqtt.port().to_string(), "-V", "mqttv5"]);
    command.args(arguments).output().unwrap();
    true
}

fn assert_described(text: &str) {
    let types = names(text, "# TYPE ");
    assert_eq!(types.difference(&names(text, "# HELP ")).collect::<Vec<_>>(), Vec::<&&str>::new(), "{text}");
    for name in types {
        assert!(name.starts_with("headwater_"), "{name}");
        assert!(README.contains(&format!("`{name}")), "{name} is not in README.md");
    }
}

#[test]
fn what_comes_in_and_goes_out_is_counted_and_no_device_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let started = scrape(&hub);
    assert_described(&started);
    assert_eq!(values(&started)["headwater_ingest_records_total{path=\"agent\"}"], 0.0, "begun at zero");

    let mut agent = Agent::new(folder.path(), "agent", &hub.mqtt_url()).with_device(DEVICE);
    assert!(agent.ingest_lines(&json_lines(0..40)).status.success());
    agent.start();
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    (0..50).for_each(|n| producer.send(0, n));
    producer.flush(WITHIN);
    let has_mosquitto = publish(&hub, &["-q", "1", "-t", &format!("plant/{DEVICE}"), "-m", "1"]);
    publish(&hub, &["-q", "1", "-t", &format!("$other/{DEVICE}"), "-m", "1"]);
    assert_eq!(kafka::read_all(&hub.brokers(), "orders", WITHIN).len(), 50);

    let text = wait::until("the agent's records", WITHIN, || {
        let text = scrape(&hub);
        let records = values(&text)["headwater_ingest_records_total{path=\"agent\"}"];
        (records >= 40.0).then_some(text)
    });
    let found = values(&text);
    let expect = |name: &str, wanted: f64| assert_eq!(found[name], wanted, "{name}");
    let at_least = |name: &str, least: f64| assert!(found[name] >= least, "{name}: {}", found[name]);
    expect("headwater_ingest_records_total{path=\"kafka\"}", 50.0);
    at_least("headwater_ingest_bytes_total{path=\"kafka\"}", 500.0);
    at_least("headwater_ingest_bytes_total{path=\"agent\"}", 100.0);
    at_least("headwater_mqtt_publishes_total{kind=\"agent\"}", 1.0);
    expect("headwater_mqtt_agents", 1.0);
    at_least("headwater_mqtt_connections", 1.0);
    at_least("headwater_kafka_connections", 1.0);
    at_least("headwater_kafka_fetched_records_total", 50.0);
    at_least("headwater_kafka_fetched_bytes_total", 500.0);
    at_least("headwater_kafka_requests_total{api=\"Produce\"}", 1.0);
    at_least("headwater_topics", 2.0);
    at_least("headwater_partitions", 5.0);
    at_least("headwater_stored_bytes", 600.0);
    at_least("headwater_process_open_fds", 10.0);
    at_least("headwater_process_resident_memory_bytes", 1e6);
    if has_mosquitto {
        expect("headwater_mqtt_publishes_total{kind=\"route\"}", 1.0);
        expect("headwater_ingest_records_total{path=\"mqtt\"}", 1.0);
        expect("headwater_ingest_refusals_total{path=\"mqtt\",reason=\"unknown_topic\"}", 1.0);
    }
    assert_described(&text);
    for name in [DEVICE, "orders", "telemetry", "plant"] {
        assert!(!text.contains(name), "a label for each {name}");
    }
}
