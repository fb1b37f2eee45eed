//! A running agent is watched and steered: status records, commands by way of the log, a new configuration.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use e2e::kcat;
use e2e::mqtt::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Agent, Hub, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(30);
const STATUS: &str = "headwater.status";

fn configure(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

fn agent(folder: &Path, hub: &Hub, config: &Path) -> Agent {
    Agent::new(folder, "pump-7", &hub.mqtt_url())
        .with_argument("--config")
        .with_argument(config.to_str().unwrap())
}

/// The names that were measured in a topic's records, as SenML-CBOR has them: found by their bytes.
fn has_measured(hub: &Hub, topic: &str, name: &str) -> bool {
    let records = kafka::read_all(&hub.brokers(), topic, WITHIN);
    records.iter().any(|it| it.value.windows(name.len()).any(|bytes| bytes == name.as_bytes()))
}

#[test]
fn an_agent_tells_how_it_fares() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let config = folder.path().join("agent.toml");
    configure(&config, "[status]\ninterval_s = 1\n");
    let mut agent = agent(folder.path(), &hub, &config);
    agent.start();
    for name in ["agent.buffer.records", "agent.flash.written", "agent.memory", "agent.clock.known"] {
        wait::until(name, WITHIN, || has_measured(&hub, STATUS, name).then_some(()));
    }
    let told = kafka::read_all(&hub.brokers(), STATUS, WITHIN);
    assert!(told.iter().all(|record| record.key == b"pump-7"));
}

#[test]
fn a_new_configuration_is_taken_over_and_one_that_cannot_be_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let (config, source) = (folder.path().join("agent.toml"), folder.path().join("a.jsonl"));
    fs::write(&source, "{\"first\": 1}\n").unwrap();
    let tail = format!("[[inputs]]\nkind = \"tail\"\nformat = \"json-lines\"\npath = {source:?}\n");
    configure(&config, "linger_ms = 100\n");
    let mut agent = agent(folder.path(), &hub, &config);
    agent.start();
    wait::until("the agent to run", WITHIN, || agent.printed().contains("the agent runs").then_some(()));
    configure(&config, "linger_ms = \"soon\"\n");
    agent.process().unwrap().signal(Signal::HUP);
    wait::until("the refusal", WITHIN, || agent.printed().contains("cannot be used").then_some(()));
    configure(&config, &format!("linger_ms = 100\nbuffer_bytes = 8388608\ntopic = \"other\"\n{tail}"));
    agent.process().unwrap().signal(Signal::HUP);
    wait::until("the new input's record", WITHIN, || has_measured(&hub, "other", "first").then_some(()));
    assert!(agent.printed().contains("buffer_bytes"), "it says what needs a restart: {}", agent.printed());
    configure(&config, &format!("linger_ms = 50\ntopic = \"third\"\n{tail}"));
    fs::OpenOptions::new().append(true).open(&source).unwrap().write_all(b"{\"second\": 2}\n").unwrap();
    agent.process().unwrap().signal(Signal::HUP);
    wait::until("what came after", WITHIN, || {
        (has_measured(&hub, "third", "second") || has_measured(&hub, "other", "second")).then_some(())
    });
    agent.stop();
    let everywhere = ["other", "third"].map(|topic| {
        let records = kafka::read_all(&hub.brokers(), topic, WITHIN);
        records.len()
    });
    assert_eq!(everywhere.iter().sum::<usize>(), 2, "each line once, whenever the configuration changed");
}

#[test]
fn a_command_is_carried_out_once_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let Some(kcat) = tools::find("kcat", "commands") else { return };
    let hub = Hub::started(folder.path());
    let config = folder.path().join("agent.toml");
    configure(&config, "[remote]\ncommands = true\n[[inputs]]\nkind = \"host\"\ninterval_ms = 3600000\n");
    let mut agent = agent(folder.path(), &hub, &config);
    agent.start();
    let command =
        |text: &str| kcat::produce(&kcat, &hub.brokers(), "headwater.commands", &[("pump-7", text)]);
    let answers = |count: usize| -> Vec<Value> {
        let answers = wait::until("answers", WITHIN, || {
            let answers = kafka::read_all(&hub.brokers(), "headwater.answers", WITHIN);
            (answers.len() >= count).then_some(answers)
        });
        assert!(answers.iter().all(|answer| answer.key == b"pump-7"));
        answers.iter().map(|answer| serde_json::from_slice(&answer.value).unwrap()).collect()
    };
    command(r#"{"id":"1","command":"restart-input","input":"hosst"}"#);
    let told = answers(1);
    assert_eq!((&told[0]["id"], &told[0]["ok"]), (&json!("1"), &json!(false)));
    assert!(told[0]["error"].as_str().unwrap().contains("host"), "{told:?}");
    command(r#"{"id":"2","command":"sample-now"}"#);
    assert_eq!(answers(2)[1], json!({"id": "2", "ok": true}));
    agent.kill();
    agent.start();
    command(r#"{"id":"2","command":"sample-now"}"#);
    command(r#"{"id":"3","command":"status"}"#);
    // What the hub kept of the first commands is told to the agent again, and answered as before.
    wait::until("the status", WITHIN, || {
        let answers = answers(3);
        let status = answers.iter().find(|answer| answer["id"] == "3")?;
        assert_eq!(status["status"]["device_id"], "pump-7");
        assert_eq!(status["status"]["inputs"]["host"]["state"], "running");
        Some(())
    });
    let carried_out = agent.printed().matches("a command from the hub").count();
    assert_eq!(carried_out, 3, "each once: {}", agent.printed());
}

#[test]
fn the_hub_names_two_devices_of_one_identity_at_the_second_take_over() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let named = || hub.printed().contains("duplicate identity");
    let _first = Client::connect(hub.mqtt, "pump-7").unwrap();
    let second = Client::connect(hub.mqtt, "pump-7").unwrap();
    let _other = Client::connect(hub.mqtt, "pump-8").unwrap();
    assert!(!named(), "a device that lost its connection takes itself over once: {}", hub.printed());
    let third = Client::connect(hub.mqtt, "pump-7").unwrap();
    wait::until("the duplicate", WITHIN, || named().then_some(()));
    let printed = hub.printed();
    let line = printed.lines().find(|line| line.contains("duplicate identity")).unwrap();
    for word in ["pump-7", &second.address().unwrap().to_string(), &third.address().unwrap().to_string()] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
}
