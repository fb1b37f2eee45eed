//! What a first user does: the quickstart, and the README's lines as they are printed.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::process::Process;
use testkit::{binaries, ports, tools, wait};

const RECORDS_WITHIN: Duration = Duration::from_secs(10);
const ENDED_WITHIN: Duration = Duration::from_secs(30);
const VIEW_WITHIN: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The code block of the README that stands below `<!-- tested: NAME -->`.
fn readme(name: &str) -> String {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- tested: {name} -->")).unwrap();
    let (_, block) = rest.split_once("```").unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

struct Quickstart {
    mqtt: String,
    kafka: String,
    http: String,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Quickstart {
    fn new() -> Self {
        let free = || ports::free().to_string();
        Self {
            mqtt: free(),
            kafka: free(),
            http: free(),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        }
    }

    /// Starts it with the programs that were built with this test, and waits for a record.
    fn start(&mut self) -> Duration {
        let start = Instant::now();
        let mut command = self.command();
        let log = self.folder.path().join(format!("quickstart-{}.log", start.elapsed().as_nanos()));
        let process = Process::start("quickstart", &mut command, &log);
        wait::until("a decoded record on the screen", RECORDS_WITHIN, || {
            process.printed().lines().any(|line| line.contains("load.1m=")).then_some(())
        });
        self.process = Some(process);
        start.elapsed()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(root().join("deploy/quickstart"));
        command
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .env("HEADWATER_BIN_DIR", binaries::path("hub-broker").parent().unwrap())
            .env("HEADWATER_MQTT_LISTEN", &self.mqtt)
            .env("HEADWATER_KAFKA_LISTEN", &self.kafka)
            .env("HEADWATER_HTTP_LISTEN", &self.http);
        command
    }

    /// Ctrl-C.
    fn interrupt(&mut self) -> String {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::INT);
        let status = process.wait(ENDED_WITHIN);
        assert!(status.success(), "{status}: {}", process.printed());
        process.printed()
    }

    /// A line of the README with this quickstart's addresses.
    fn adapted(&self, text: &str) -> String {
        let (host, port) = self.mqtt.split_once(':').unwrap();
        text.replace("127.0.0.1:9092", &self.kafka)
            .replace("-h 127.0.0.1 -p 1883", &format!("-h {host} -p {port}"))
            .replace("10_000", "3_000")
    }

    fn shell(&self, script: &str) -> String {
        let output = Command::new("sh").arg("-c").arg(self.adapted(script)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn records_are_visible_soon_and_the_lines_of_the_readme_work_as_printed() {
    let mut quickstart = Quickstart::new();
    let took = quickstart.start();
    println!("records visible after {took:?}");
    if tools::find("mosquitto_pub", "the README's mosquitto_pub line").is_some() {
        quickstart.shell(&readme("mosquitto"));
    }
    if tools::find("kcat", "the README's kcat line").is_some() {
        let printed = wait::until("the JSON view", VIEW_WITHIN, || {
            let printed = quickstart.shell(&readme("kcat"));
            (!printed.is_empty()).then_some(printed)
        });
        let row: serde_json::Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        assert!(row["device"].is_string() && row["time"].is_string() && row["values"].is_object(), "{row}");
    }
    if let Some(python) = tools::python_with("kafka", "the README's Python program") {
        let program = quickstart.adapted(&readme("python"));
        let output = Command::new(python).arg("-c").arg(program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("load.1m"), "it printed the host's records");
    }
    let printed = quickstart.interrupt();
    assert!(printed.contains("Stopped. Everything is kept"), "{printed}");

    quickstart.start();
    let topics = Command::new(binaries::path("hub-broker"))
        .args(["topic", "describe", "telemetry", "--hub", &quickstart.kafka])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&topics.stdout).into_owned();
    // The columns: partition, leader, first offset, next offset.
    let stored: i64 = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(3).unwrap().parse::<i64>().unwrap())
        .sum();
    assert!(stored >= 2, "the second run goes on after the first's records: {table}");
    quickstart.interrupt();
}

#[test]
fn a_port_in_use_is_told() {
    let quickstart = Quickstart::new();
    let _taken = std::net::TcpListener::bind(&quickstart.kafka).unwrap();
    let output = quickstart.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&quickstart.kafka) && said.contains("in use"), "{said}");
}

#[test]
fn another_hub_on_the_port_is_left_alone() {
    let quickstart = Quickstart::new();
    let folder = tempfile::tempdir().unwrap();
    let other = testkit::Hub::started(folder.path());
    let mut command = quickstart.command();
    let output = command.env("HEADWATER_KAFKA_LISTEN", other.brokers()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("in use"), "{said}");
    let listed = other.tool(&["topic", "list"]).output().unwrap();
    assert!(
        !String::from_utf8_lossy(&listed.stdout).contains("telemetry"),
        "nothing was made in the other hub"
    );
}

#[test]
fn wrong_arguments_are_told_in_one_line() {
    for (arguments, word) in [
        (&["--seconds", "abc"][..], "whole number"),
        (&["--data-dir"][..], "needs a folder"),
        (&["--data-dir", "/dev/null"][..], "/dev/null"),
        (&["--nonsense"][..], "--nonsense"),
    ] {
        let mut command = Command::new(root().join("deploy/quickstart"));
        command.args(arguments).env("HEADWATER_BIN_DIR", binaries::path("hub-broker").parent().unwrap());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn missing_tools_are_named() {
    let mut command = Command::new("/bin/bash");
    let output = command.arg(root().join("deploy/quickstart")).env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for tool in ["cargo", "cc", "c++", "make"] {
        assert!(said.contains(tool), "{said}");
    }
}

/// The README's three hubs with addresses of this test's own: each of the addresses that stand there, or are the
/// default, is exchanged for a free one.
#[test]
fn the_readmes_three_hubs_form_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let mut exchanged: HashMap<String, String> = HashMap::new();
    let mut exchange = |address: &str| -> String {
        exchanged.entry(address.to_owned()).or_insert_with(|| ports::free().to_string()).clone()
    };
    let text = readme("cluster").replace("\\\n", " ");
    let seeds = text.lines().find_map(|line| line.strip_prefix("SEEDS=")).unwrap();
    let seeds = seeds.split(',').map(&mut exchange).collect::<Vec<_>>().join(",");
    let mut hubs = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("hub-broker serve")) {
        let mut words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
        for (flag, default) in DEFAULTS {
            if !words.iter().any(|word| word == flag) {
                words.extend([flag.to_owned(), default.to_owned()]);
            }
        }
        for word in &mut words {
            *word = if word == "$SEEDS" { seeds.clone() } else { word.clone() };
            *word =
                if word.starts_with("127.") && !word.contains(',') { exchange(word) } else { word.clone() };
        }
        let mut command = Command::new(binaries::path("hub-broker"));
        command.args(&words).current_dir(folder.path());
        hubs.push(Process::start("hub-broker", &mut command, &folder.path().join("hubs.log")));
    }
    assert_eq!(hubs.len(), 3);
    assert!(text.lines().any(|line| line == "hub-broker cluster status"));
    let kafka = exchange("127.0.0.1:9092");
    wait::until("the three to be one", ENDED_WITHIN, || {
        let mut command = Command::new(binaries::path("hub-broker"));
        let output = command.args(["cluster", "status", "--json", "--hub", &kafka]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["settled"] == true && status["hubs"].as_array()?.len() == 3).then_some(())
    });
}

/// Where a hub listens that is not told.
const DEFAULTS: [(&str, &str); 3] = [
    ("--mqtt-listen", "127.0.0.1:1883"),
    ("--kafka-listen", "127.0.0.1:9092"),
    ("--http-listen", "127.0.0.1:8080"),
];
