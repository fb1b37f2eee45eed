//! A Kafka producer sets a device: its settings are tried, kept, and a program among them is refused.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::time::Duration;

use e2e::kcat;
use serde_json::{Value, json};
use testkit::{Agent, Hub, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_kafka_producer_sets_a_device_that_keeps_what_works() {
    let folder = tempfile::tempdir().unwrap();
    let Some(kcat) = tools::find("kcat", "settings from afar") else { return };
    let hub = Hub::started(folder.path());
    let config = folder.path().join("agent.toml");
    let file = "linger_ms = 50\n[remote]\nsettings = true\ntrial_s = 10\n[status]\ninterval_s = 3600\n\
                [[inputs]]\nkind = \"host\"\ninterval_ms = 3600000\n";
    fs::write(&config, file).unwrap();
    let want = |text: &str| kcat::produce(&kcat, &hub.brokers(), "headwater.desired", &[("pump-7", text)]);
    let told = |version: u64, state: &str| -> Value {
        wait::until(state, WITHIN, || {
            let answers = kafka::read_all(&hub.brokers(), "headwater.answers", WITHIN);
            let answers = answers.iter().map(|it| serde_json::from_slice::<Value>(&it.value).unwrap());
            let mut verdicts = answers.map(|answer| answer["desired"].clone());
            verdicts.find(|told| told["version"] == version && told["state"] == state)
        })
    };
    let measured = || kafka::read_all(&hub.brokers(), "telemetry", WITHIN).len();
    want(r#"{"version":1,"settings":{"inputs":{"host":{"enabled":false}}}}"#);
    want(r#"{"version":2,"settings":{"inputs":{"host":{"interval_ms":100}}}}"#);
    let mut agent = Agent::new(folder.path(), "pump-7", &hub.mqtt_url())
        .with_argument("--config")
        .with_argument(config.to_str().unwrap());
    agent.start();
    told(2, "trying");
    told(2, "accepted");
    wait::until("records at the new rate", WITHIN, || (measured() > 30).then_some(()));
    want(r#"{"version":3,"settings":{"inputs":{"shell":{"kind":"exec","command":["reboot"]}}}}"#);
    let refused = told(3, "refused");
    assert!(
        refused["error"].as_str().unwrap().contains("can only be set in the device's own file"),
        "{refused}"
    );
    let before = measured();
    agent.kill();
    agent.start();
    wait::until("records at the same rate", WITHIN, || (measured() > before + 30).then_some(()));
    want(r#"{"version":4,"settings":{}}"#);
    told(4, "accepted");
    let answers = kafka::read_all(&hub.brokers(), "headwater.answers", WITHIN);
    assert!(answers.iter().all(|answer| answer.key == b"pump-7"));
    let of_first = answers
        .iter()
        .filter(|it| serde_json::from_slice::<Value>(&it.value).unwrap()["desired"]["version"] == json!(1));
    assert_eq!(of_first.count(), 0, "only the newest is given to a device that comes");
}
