//! Mosquitto's clients publish and subscribe; kcat reads the same messages.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::subscriber::{Subscriber, line_by_line};
use testkit::kafka;
use testkit::{Hub, tools, wait};

const WITHIN: Duration = Duration::from_secs(30);

fn publish(program: &Path, hub: &Hub, arguments: &[&str]) {
    let output = Command::new(program)
        .args(["-h", &hub.mqtt.ip().to_string(), "-p", &hub.mqtt.port().to_string()])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_mosquitto_publishes_is_subscribed_to_and_stored() {
    let test = "mosquitto publishes and subscribes";
    let (Some(publisher), Some(subscriber)) =
        (tools::find("mosquitto_pub", test), tools::find("mosquitto_sub", test))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    for version in ["mqttv311", "mqttv5"] {
        let subscribed = Subscriber::start(&subscriber, &hub, &format!("plant/{version}/#"), version);
        for qos in ["0", "1", "2"] {
            let topic = format!("plant/{version}/q{qos}");
            let payload = format!("{version} at {qos}");
            publish(&publisher, &hub, &["-V", version, "-q", qos, "-t", &topic, "-m", &payload]);
            subscribed.wait_for(&payload, |line| line == format!("{topic} {payload}"));
        }
    }
    let stored = wait::until("six messages in the log", WITHIN, || {
        let messages = kafka::read_all(&hub.brokers(), "mqtt", WITHIN);
        (messages.len() >= 6).then_some(messages)
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found: Vec<(String, String)> = stored.iter().map(|m| (text(&m.key), text(&m.value))).collect();
    found.sort();
    let mut expected = Vec::new();
    for version in ["mqttv311", "mqttv5"] {
        for qos in 0..3 {
            expected.push((format!("plant/{version}/q{qos}"), format!("{version} at {qos}")));
        }
    }
    assert_eq!(found, expected, "each once, under its MQTT topic");
    kcat_reads(&hub, &expected);
}

fn kcat_reads(hub: &Hub, expected: &[(String, String)]) {
    let Some(kcat) = tools::find("kcat", "kcat reads what mosquitto published") else { return };
    let output = Command::new(kcat)
        .args(["-C", "-e", "-q", "-o", "beginning", "-t", "mqtt", "-f", "%k|%s\n", "-b", &hub.brokers()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found: Vec<&str> = printed.lines().collect();
    found.sort_unstable();
    let expected: Vec<String> = expected.iter().map(|(key, value)| format!("{key}|{value}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_retained_message_greets_a_later_subscriber_and_a_will_tells_of_a_death() {
    let test = "mosquitto's retained messages and wills";
    let (Some(publisher), Some(subscriber)) =
        (tools::find("mosquitto_pub", test), tools::find("mosquitto_sub", test))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    publish(&publisher, &hub, &["-q", "1", "-r", "-t", "state/door", "-m", "open"]);
    let subscribed = Subscriber::start(&subscriber, &hub, "state/#", "mqttv311");
    subscribed.wait_for("the retained message", |line| line == "state/door open");

    let mut doomed = line_by_line(&subscriber)
        .args(["-h", &hub.mqtt.ip().to_string(), "-p", &hub.mqtt.port().to_string(), "-d"])
        .args(["-t", "nothing", "--will-topic", "state/doomed", "--will-payload", "gone", "--will-qos", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(doomed.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("Subscribed")), "it was connected");
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    subscribed.wait_for("the will", |line| line == "state/doomed gone");
}
