//! An agent with more log topics than a connection can name.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use schemas::mqtt::LOG_TOPICS_MAX;
use testkit::{Agent, Hub, kafka};

const WITHIN: Duration = Duration::from_secs(60);
const DEVICE: &str = "pump-7";

#[test]
fn more_topics_are_shipped_than_a_connection_can_name() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), DEVICE, &hub.mqtt_url());
    let topics: Vec<String> = (0..LOG_TOPICS_MAX + 10).map(|number| format!("line-{number}")).collect();
    for topic in &topics {
        let ingested = agent.ingest_lines_to(topic, &json_lines(0..3));
        assert!(ingested.status.success(), "{ingested:?}");
    }
    agent.start();
    agent.wait_shipped(WITHIN);
    for topic in &topics {
        let found = of_device(&kafka::read_all(&hub.brokers(), topic, WITHIN), DEVICE);
        assert_once_in_order(&found, &(0..3).collect::<Vec<_>>(), &[]);
    }
}
