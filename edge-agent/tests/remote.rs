//! Settings from a hub: tried, accepted, rolled back, and remembered through reconnects, reboots and power cuts.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::Path;

use common::fake_hub::{FakeHub, Inner};
use common::program::{Agent, edge_agent, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const HOST: &str = "[[inputs]]\nkind = \"host\"\ninterval_ms = 3600000\n";

/// A device that takes settings from a hub, and what it needs to run.
struct Device {
    folder: TempDir,
    hubs: String,
}

impl Device {
    fn new(hubs: &[&FakeHub], trial_s: u64, inputs: &str) -> Self {
        let hubs = hubs.iter().map(|hub| hub.url()).collect::<Vec<_>>().join(",");
        let device = Self { folder: tempfile::tempdir().unwrap(), hubs };
        device.configure(&format!("[remote]\nsettings = true\ntrial_s = {trial_s}\n{inputs}"));
        device
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> String {
        self.dir().join("agent.toml").to_str().unwrap().to_owned()
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    fn run(&self) -> Agent {
        Agent::run(self.dir(), &self.hubs, &["--config", &self.config()])
    }

    /// What a power cut leaves.
    fn record(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.dir().join("remote")).unwrap()).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("agent.log")).unwrap()
    }
}

fn wanted(version: u64, settings: &Value) -> String {
    json!({ "version": version, "settings": settings }).to_string()
}

/// What the device answered: versions with their states, each as often as it changed: where a connection ends before
/// an answer is acknowledged, it comes twice. What its control connection says is left out.
fn told(inner: &Inner) -> Vec<(u64, String)> {
    let answers = inner.answers.iter().map(|answer| serde_json::from_slice::<Value>(answer).unwrap());
    let verdicts = answers.map(|answer| answer["desired"].clone());
    let own = verdicts.filter(|told| told["state"] != "trying" || told["error"].is_null());
    let told =
        own.map(|told| (told["version"].as_u64().unwrap(), told["state"].as_str().unwrap().to_owned()));
    let mut told: Vec<_> = told.collect();
    told.dedup();
    told
}

fn is_told(inner: &Inner, expected: &[(u64, &str)]) -> bool {
    told(inner).iter().map(|(version, state)| (*version, state.as_str())).eq(expected.iter().copied())
}

fn wait_told(hub: &FakeHub, expected: &[(u64, &str)]) {
    hub.wait(&format!("{expected:?}"), |inner| is_told(inner, expected));
}

/// Waits until `status` says so.
fn wait_state(agent: &Agent, version: u64, state: &str, in_force: Option<u64>) -> Value {
    let status = agent.wait(state, |status| {
        let desired = &status["desired"];
        desired["version"] == version && desired["state"] == state && desired["in_force"] == json!(in_force)
    });
    status["desired"].clone()
}

#[test]
fn settings_with_which_the_hub_is_reached_stay_through_reconnects_and_reboots() {
    let hub = FakeHub::start();
    hub.inner().time_ms = Some(1_800_000_000_000);
    let device = Device::new(&[&hub], 5, HOST);
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 10, "inputs": { "host": { "interval_ms": 20 } } })));
    let mut agent = device.run();
    wait_told(&hub, &[(1, "trying"), (1, "accepted")]);
    hub.wait("records at the new rate", |inner| inner.hub.log.len() > 20);
    wait_state(&agent, 1, "accepted", Some(1));
    agent.kill();
    let agent = device.run();
    let before = hub.inner().hub.log.len();
    hub.wait("records at the new rate after a power cut", |inner| inner.hub.log.len() > before + 20);
    wait_state(&agent, 1, "accepted", Some(1));
    // It comes again, and is not tried again.
    let subscriptions = hub.inner().subscriptions.len();
    hub.cut();
    hub.wait("a subscription", |inner| inner.subscriptions.len() > subscriptions);
    hub.want("pump-1", &wanted(2, &json!({})));
    wait_told(&hub, &[(1, "trying"), (1, "accepted"), (2, "trying"), (2, "accepted")]);
    wait_state(&agent, 2, "accepted", Some(2));
}

#[test]
fn a_bad_version_is_rolled_back_and_not_tried_again_after_a_reconnect_or_a_reboot() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 5, HOST);
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 500 })));
    let mut agent = device.run();
    wait_told(&hub, &[(1, "trying"), (1, "accepted")]);
    // What the settings' own connection sends is not taken, as if they were to blame.
    hub.inner().mute = vec!["pump-1".to_owned()];
    hub.want("pump-1", &wanted(2, &json!({ "linger_ms": 501 })));
    let rejected = wait_state(&agent, 2, "rejected", Some(1));
    assert!(rejected["error"].as_str().unwrap().contains("former settings"), "{rejected}");
    assert!(hub.inner().clients.contains(&"pump-1.control".to_owned()));
    hub.inner().mute.clear();
    hub.cut();
    let mut expected = vec![(1, "trying"), (1, "accepted"), (2, "rejected")];
    wait_told(&hub, &expected);
    for _ in 0..2 {
        let acknowledged = hub.inner().acknowledged;
        hub.cut();
        hub.wait("the version to be given again", |inner| inner.acknowledged > acknowledged);
    }
    assert!(agent.stop().success());
    let answers = hub.inner().answers.len();
    let agent = device.run();
    hub.wait("an answer after the reboot", |inner| inner.answers.len() > answers);
    assert!(is_told(&hub.inner(), &expected), "{:?}", told(&hub.inner()));
    wait_state(&agent, 2, "rejected", Some(1));
    hub.want("pump-1", &wanted(3, &json!({ "linger_ms": 502 })));
    expected.extend([(3, "trying"), (3, "accepted")]);
    wait_told(&hub, &expected);
}

#[test]
fn a_crash_in_the_middle_of_a_trial_leaves_it_no_more_than_the_rest_of_its_time() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 60, HOST);
    hub.inner().mute = vec!["pump-1".to_owned(), "pump-1.control".to_owned()];
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 500 })));
    let mut agent = device.run();
    wait_state(&agent, 1, "trying", Some(1));
    let mut left_ms = 60_000;
    assert_eq!(device.record()["trial"]["left_ms"], left_ms);
    for start in 1..10 {
        agent.kill();
        agent = device.run();
        left_ms -= 6_000;
        until("the start", || (device.record()["trial"]["starts"] == start).then_some(()));
        let now = device.record()["trial"]["left_ms"].as_u64().unwrap();
        assert!(now <= left_ms, "{now} ms are left after {start} starts");
        wait_state(&agent, 1, "trying", Some(1));
    }
    // So often that they are to blame.
    agent.kill();
    agent = device.run();
    wait_state(&agent, 1, "waiting", None);
    assert_eq!(device.record()["trial"]["crashed"], 1);
    hub.inner().mute.clear();
    hub.cut();
    wait_told(&hub, &[(1, "waiting"), (1, "trying"), (1, "accepted")]);
}

#[test]
fn a_device_that_is_switched_off_and_on_in_a_trial_has_crashed_by_none_of_it() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 60, HOST);
    hub.inner().mute = vec!["pump-1".to_owned(), "pump-1.control".to_owned()];
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 500 })));
    let mut agent = device.run();
    for start in 1..=6 {
        wait_state(&agent, 1, "trying", Some(1));
        if start % 3 == 0 {
            assert!(agent.stop().success());
        } else {
            agent.kill();
            // It comes back in another boot.
            let mut record = device.record();
            record["trial"]["boot"] = json!("00000000-0000-0000-0000-000000000000");
            std::fs::write(device.dir().join("remote"), record.to_string()).unwrap();
        }
        agent = device.run();
        until("the start", || {
            (device.record()["trial"]["left_ms"].as_u64()? <= 60_000 - 6_000 * start).then_some(())
        });
        assert_eq!(device.record()["trial"]["starts"], 0);
    }
}

#[test]
fn an_outage_of_all_hubs_in_the_middle_of_a_trial_ends_it_neither_way() {
    let hubs = [FakeHub::start(), FakeHub::start()];
    let device = Device::new(&[&hubs[0], &hubs[1]], 5, HOST);
    for hub in &hubs {
        // They are cut off from their cluster: they let devices in and store nothing.
        hub.inner().mute = vec!["pump-1".to_owned(), "pump-1.control".to_owned()];
        hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 500 })));
    }
    let agent = device.run();
    wait_state(&agent, 1, "waiting", None);
    let has_control = |hub: &FakeHub| hub.inner().clients.contains(&"pump-1.control".to_owned());
    assert!(hubs.iter().any(has_control));
    // One serves the former settings, and then takes no connection with those on trial.
    hubs[1].inner().is_out = true;
    hubs[0].inner().out_after_answers = Some(1);
    hubs.iter().for_each(|hub| hub.inner().mute.clear());
    hubs.iter().for_each(FakeHub::cut);
    wait_state(&agent, 1, "trying", Some(1));
    wait_state(&agent, 1, "waiting", None);
    assert_eq!(told(&hubs[0].inner()), [(1, "waiting".to_owned())]);
    for hub in &hubs {
        (hub.inner().is_out, hub.inner().out_after_answers) = (false, None);
    }
    wait_state(&agent, 1, "accepted", Some(1));
    until("its answer", || {
        let told: Vec<_> = hubs.iter().flat_map(|hub| told(&hub.inner())).collect();
        assert!(told.iter().all(|(_, state)| state != "rejected"), "{told:?}");
        told.contains(&(1, "accepted".to_owned())).then_some(())
    });
}

#[test]
fn a_program_set_from_afar_is_refused() {
    let hub = FakeHub::start();
    let inputs = "[[inputs]]\nkind = \"exec\"\nname = \"modem\"\ncommand = [\"true\"]\ninterval_ms = 3600000\n\
                  format = \"line-protocol\"\n";
    let device = Device::new(&[&hub], 5, inputs);
    let agent = device.run();
    hub.wait("a subscription", |inner| inner.subscriptions == ["headwater/v1/pump-1/desired"]);
    let made = device.dir().join("made");
    let command = json!(["touch", made]);
    for (version, input, told) in [
        (
            1,
            json!({ "shell": { "kind": "exec", "command": command } }),
            "inputs.shell.command can only be set",
        ),
        (2, json!({ "modem": { "command": command } }), "inputs.modem.command can only be set"),
        (3, json!({ "shell": { "interval_ms": 1000 } }), "\"shell\" is no input of the device's own file"),
    ] {
        hub.want("pump-1", &wanted(version, &json!({ "inputs": input })));
        let refused = wait_state(&agent, version, "refused", None);
        assert!(refused["error"].as_str().unwrap().contains(told), "{refused}");
    }
    wait_told(&hub, &[(1, "refused"), (2, "refused"), (3, "refused")]);
    assert!(!made.exists() && !device.dir().join("remote").exists(), "nothing was begun");
}

#[test]
fn whoever_sets_a_device_learns_which_inputs_fail_with_it() {
    let hub = FakeHub::start();
    let inputs = "[[inputs]]\nkind = \"exec\"\nname = \"modem\"\ncommand = [\"/nonexistent/modem\"]\n\
                  interval_ms = 60000\nformat = \"line-protocol\"\n";
    let device = Device::new(&[&hub], 5, inputs);
    hub.want("pump-1", &wanted(1, &json!({ "inputs": { "modem": { "interval_ms": 30000 } } })));
    let _agent = device.run();
    wait_told(&hub, &[(1, "trying"), (1, "accepted")]);
    let accepted: Value = serde_json::from_slice(hub.inner().answers.last().unwrap()).unwrap();
    let error = accepted["desired"]["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("inputs that fail: modem: "), "{accepted}");
}

#[test]
fn another_file_keeps_what_is_set_over_it_unless_it_does_not_fit() {
    let hub = FakeHub::start();
    let file = |inputs: &str| format!("[remote]\nsettings = true\ntrial_s = 5\n{inputs}");
    let device = Device::new(&[&hub], 5, HOST);
    hub.want("pump-1", &wanted(1, &json!({ "inputs": { "host": { "interval_ms": 1000 } } })));
    let agent = device.run();
    wait_told(&hub, &[(1, "trying"), (1, "accepted")]);
    let config = device.config();
    let check = || {
        let arguments = ["check", "--config", &config, "--wait", "1", "--data-dir"];
        let output = edge_agent(&arguments).arg(device.dir()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(check().contains("version 1 of the settings from the hub lies over these"), "{}", check());
    device.configure(&file(&HOST.replace("host\"\n", "host\"\nname = \"machine\"\n")));
    agent.signal(Signal::HUP);
    let left_out = wait_state(&agent, 1, "refused", None);
    assert!(left_out["error"].as_str().unwrap().contains("\"host\" is no input"), "{left_out}");
    assert!(check().contains("does not fit these and is left out"), "{}", check());
    device.configure(&file(HOST));
    agent.signal(Signal::HUP);
    agent.wait("the settings again", |status| status["desired"]["in_force"] == 1);
    device.configure(HOST);
    agent.signal(Signal::HUP);
    agent.wait("the file alone", |status| status["desired"].is_null());
}

#[test]
fn a_damaged_memory_is_told_and_the_file_is_in_force() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 5, HOST);
    std::fs::write(device.dir().join("remote"), "{\"format\":1,\"acc").unwrap();
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 500 })));
    let agent = device.run();
    wait_state(&agent, 1, "accepted", Some(1));
    assert!(device.log().contains("settings from the hub are forgotten"), "{}", device.log());
    assert_eq!(device.record()["accepted"]["version"], 1);
}

#[test]
fn a_command_that_the_hub_repeats_is_answered_once_over_reconnects_and_restarts() {
    let hub = FakeHub::start();
    hub.inner().command = Some(r#"{"id":"7","command":"status"}"#.into());
    let device = Device::new(&[&hub], 300, HOST);
    device.configure(&format!("[remote]\ncommands = true\n{HOST}"));
    let mut agent = device.run();
    hub.wait("the answer", |inner| inner.answers.len() == 1);
    let status: Value = serde_json::from_slice(&hub.inner().answers[0]).unwrap();
    assert_eq!((&status["id"], &status["status"]["device_id"]), (&json!("7"), &json!("pump-1")));
    until("the answer that is known to be told", || {
        let answered = std::fs::read_to_string(device.dir().join("answered")).ok()?;
        (answered == r#"[["7",""]]"#).then_some(())
    });
    for restarts in [false, true] {
        let acknowledged = hub.inner().acknowledged;
        if restarts {
            agent.kill();
            agent = device.run();
        } else {
            hub.cut();
        }
        hub.wait("the command again", |inner| inner.acknowledged > acknowledged);
        // What it answers comes in the order of the commands.
        let other = format!(r#"{{"id":"after {restarts}","command":"flush"}}"#);
        hub.inner().command = Some(other.into());
        hub.cut();
        let answers = if restarts { 3 } else { 2 };
        hub.wait("another answer", |inner| inner.answers.len() == answers);
        let last: Value = serde_json::from_slice(&hub.inner().answers[answers - 1]).unwrap();
        assert_eq!(last["id"], json!(format!("after {restarts}")));
        hub.inner().command = Some(r#"{"id":"7","command":"status"}"#.into());
    }
}

#[test]
fn a_verdict_that_was_not_told_yet_is_told_by_the_connection_that_comes_after_a_reload() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 300, HOST);
    let agent = device.run();
    hub.wait("the subscription", |inner| inner.subscriptions.len() == 1);
    hub.inner().mute.push("pump-1".to_owned());
    hub.want("pump-1", &wanted(1, &json!({ "hub": "mqtt://elsewhere" })));
    wait_state(&agent, 1, "refused", None);
    device.configure(&format!("[remote]\nsettings = true\n[uplink]\nship_linger_ms = 1\n{HOST}"));
    agent.signal(Signal::HUP);
    hub.wait("another subscription", |inner| inner.subscriptions.len() == 2);
    hub.inner().mute.clear();
    hub.cut();
    wait_told(&hub, &[(1, "refused")]);
}

#[test]
fn settings_that_cannot_be_written_down_are_told_as_such_and_tried_again() {
    let hub = FakeHub::start();
    let device = Device::new(&[&hub], 5, HOST);
    let agent = device.run();
    hub.wait("the subscription", |inner| inner.subscriptions.len() == 1);
    let in_the_way = device.dir().join("remote/x");
    std::fs::create_dir_all(&in_the_way).unwrap();
    hub.want("pump-1", &wanted(1, &json!({ "linger_ms": 10 })));
    wait_told(&hub, &[(1, "waiting")]);
    let desired = wait_state(&agent, 1, "waiting", None);
    assert!(desired["error"].as_str().unwrap().contains("could not be written down"), "{desired}");
    std::fs::remove_dir_all(device.dir().join("remote")).unwrap();
    wait_told(&hub, &[(1, "waiting"), (1, "trying"), (1, "accepted")]);
    assert_eq!(hub.inner().answers.len(), 3, "each once");
    wait_state(&agent, 1, "accepted", Some(1));
}
