//! The agent for other processors, run by qemu: a real buffer on a real disk, and a real hub.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use testkit::{Agent, Hub, binaries, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(120);
const TOPIC: &str = "telemetry";
const BUFFER_BYTES: &str = "33554432";
/// Nobody listens there.
const NO_HUB: &str = "mqtt://127.0.0.1:9";

struct Processor {
    emulator: &'static str,
    /// Of Debian's cross compilers.
    libraries: &'static str,
    /// Where `deploy/cross` puts the agent.
    agent: &'static str,
}

const AARCH64: Processor = Processor {
    emulator: "qemu-aarch64-static",
    libraries: "/usr/aarch64-linux-gnu",
    agent: "aarch64-unknown-linux-gnu/edge/edge-agent",
};
const ARMV7: Processor = Processor {
    emulator: "qemu-arm-static",
    libraries: "/usr/arm-linux-gnueabihf",
    agent: "armv7-unknown-linux-gnueabihf/edge/edge-agent",
};

impl Processor {
    /// What runs the agent; none where something is missing.
    fn words(&self, test: &str) -> Option<Vec<PathBuf>> {
        let emulator = tools::find(self.emulator, test)?;
        let Some(agent) = binaries::find(self.agent) else {
            tools::skip(test, "deploy/cross has not built the agent");
            return None;
        };
        Some(vec![emulator, "-L".into(), self.libraries.into(), agent])
    }
}

fn agent(folder: &Path, device: &str, hub: &str, words: Option<&[PathBuf]>) -> Agent {
    let agent = Agent::new(folder, device, hub)
        .with_variable("HEADWATER_BUFFER_BYTES", BUFFER_BYTES)
        .with_variable("HEADWATER_BUFFER__PREALLOCATE", "true");
    match words {
        Some(words) => agent.with_program(words),
        None => agent,
    }
}

fn wait_running(agent: &Agent) {
    wait::until("the agent to run", WITHIN, || agent.data_dir().join("agent.sock").exists().then_some(()));
}

fn assert_stored(hub: &Hub, device: &str, count: i64) {
    let messages = kafka::read_all(&hub.brokers(), TOPIC, WITHIN);
    let sent: Vec<i64> = (0..count).collect();
    assert_once_in_order(&of_device(&messages, device), &sent, &[]);
}

/// Fills a buffer without a hub, with and without a running agent; kills the agent; ships everything.
fn buffers_and_ships(processor: &Processor, test: &str) {
    let Some(words) = processor.words(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path());
    let mut agent = agent(folder.path(), "board", &hub.mqtt_url(), Some(&words));
    assert!(agent.ingest_lines(&json_lines(0..20_000)).status.success());
    agent.start();
    wait_running(&agent);
    assert!(agent.ingest_lines(&json_lines(20_000..30_000)).status.success());
    assert_eq!(agent.buffered_records(), Some(30_000));
    let file = fs::metadata(agent.data_dir().join("buffer/data.mdb")).unwrap();
    // In sectors, whatever the disk's are (stat(2)).
    assert!(file.blocks() * 512 > 32 << 20, "the buffer has its room: {} sectors", file.blocks());
    agent.kill();
    agent.start();
    hub.start();
    agent.wait_shipped(WITHIN);
    agent.kill();
    agent.start();
    wait_running(&agent);
    assert!(agent.ingest_lines(&json_lines(30_000..30_100)).status.success());
    agent.wait_shipped(WITHIN);
    assert!(agent.stop().unwrap().success());
    assert_stored(&hub, "board", 30_100);
}

#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn an_aarch64_agent_buffers_and_ships() {
    buffers_and_ships(&AARCH64, "an aarch64 agent");
}

#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn an_armv7_agent_buffers_and_ships() {
    buffers_and_ships(&ARMV7, "an armv7 agent");
}

/// A card is put into a board of the other word size: LMDB cannot open it, but nothing of it is lost.
#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn a_buffer_of_the_other_word_size_is_drained() {
    let Some(armv7) = ARMV7.words("a buffer of the other word size") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    for (device, first, second) in [("to-32", None, Some(&armv7[..])), ("to-64", Some(&armv7[..]), None)] {
        let written = agent(folder.path(), device, NO_HUB, first);
        assert!(written.ingest_lines(&json_lines(0..5_000)).status.success());
        let mut drained = agent(folder.path(), device, &hub.mqtt_url(), second);
        drained.start();
        wait_running(&drained);
        assert!(drained.ingest_lines(&json_lines(5_000..5_100)).status.success());
        drained.wait_shipped(WITHIN);
        drained.kill();
        assert_stored(&hub, device, 5_100);
    }
}

#[test]
#[ignore = "takes deploy/cross and qemu: .ci/cross runs it"]
fn an_armv7_agent_says_how_large_a_buffer_may_be() {
    let Some(words) = ARMV7.words("an armv7 agent's largest buffer") else { return };
    let folder = tempfile::tempdir().unwrap();
    let large = agent(folder.path(), "large", NO_HUB, Some(&words))
        .with_variable("HEADWATER_BUFFER_BYTES", "1073741824");
    let refused = large.ingest_lines(&json_lines(0..1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("largest buffer of this machine") && said.lines().count() == 1, "{said}");
}

#[test]
fn wrong_arguments_of_the_scripts_are_told_in_one_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().to_str().unwrap();
    let file = folder.path().join("no-program");
    fs::write(&file, "no program at all").unwrap();
    let file = file.to_str().unwrap();
    for (script, arguments, word) in [
        ("deploy/cross", &["z80"][..], "z80"),
        ("deploy/cross", &["--features"][..], "--features needs"),
        ("tests/images/make", &["toaster"][..], "BOARD"),
        ("tests/images/make", &["raspi3b", "/nonexistent", "new"][..], "/nonexistent is not there"),
        ("tests/images/make", &["raspi3b", file, there][..], "is there already"),
        ("tests/images/make", &["raspi3b", file, "/nonexistent/new"][..], "is not for arm64"),
    ] {
        let output = Command::new(root.join(script)).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{script} {arguments:?}: {said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{script} {arguments:?}: {said}");
    }
}
