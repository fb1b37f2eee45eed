//! A topic is deleted under a connected agent and made again: what the agent has from then on is in the new one.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use testkit::{Agent, Hub, kafka, wait};

const WITHIN: Duration = Duration::from_secs(40);

fn topic(hub: &Hub, arguments: &[&str]) {
    let arguments = [&["topic"], arguments].concat();
    let output = hub.tool(&arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_topic_that_is_deleted_under_an_agent_and_made_again_is_written_to_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path()).with_variable("HEADWATER_AUTO_CREATE_TOPICS", "false");
    hub.start();
    topic(&hub, &["create", "telemetry", "--partitions", "16"]);
    let mut agent = Agent::new(folder.path(), "pump-7", &hub.mqtt_url());
    agent.start();
    assert!(agent.ingest_lines(&json_lines(0..100)).status.success());
    agent.wait_shipped(WITHIN);

    // As large as it was, then too small for the partition that the agent's stream was in.
    let mut next = 100;
    for partitions in ["16", "1"] {
        topic(&hub, &["delete", "telemetry"]);
        assert!(agent.ingest_lines(&json_lines(next..next + 100)).status.success());
        wait::until("the agent to be held", WITHIN, || {
            let status: serde_json::Value = serde_json::from_str(&agent.status()?).ok()?;
            status["uplink"]["held"].is_string().then_some(())
        });
        topic(&hub, &["create", "telemetry", "--partitions", partitions]);
        agent.wait_shipped(WITHIN);
        let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), "pump-7");
        assert_once_in_order(&found, &(next..next + 100).collect::<Vec<_>>(), &[]);
        next += 100;
    }
}
