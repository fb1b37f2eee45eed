//! An agent with the feature `websocket`, whose hub is behind a WebSocket that is not ours: Python's websockets.
//!
//! Needs `cargo build --workspace --features edge-agent/websocket`, and is ignored otherwise.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, json_lines, large_json_lines, of_device};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testkit::process::Process;
use testkit::{Agent, Hub, kafka, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);
const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/websocket_relay.py");
const DEVICE: &str = "pump-7";

/// The server before the hub, on one port over all starts.
struct Relay {
    python: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    hub: SocketAddr,
    files: Vec<PathBuf>,
    process: Option<Process>,
}

impl Relay {
    fn start(&mut self) {
        let mut command = Command::new(&self.python);
        command.arg(RELAY).args([self.address.port().to_string(), self.hub.port().to_string()]);
        let process = Process::start("websockets", command.args(&self.files), &self.folder.join("relay.log"));
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// The paths that were asked for, one a connection.
    fn paths(&self) -> Vec<String> {
        let printed = fs::read_to_string(self.folder.join("relay.log")).unwrap();
        printed.lines().map(str::to_owned).collect()
    }
}

/// Certificate and key of localhost, and the root beside them.
fn certificate(folder: &Path) -> Vec<PathBuf> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
    let texts = [("ca.pem", root.pem()), ("relay.pem", leaf.pem()), ("relay.key", key.serialize_pem())];
    texts.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    vec![folder.join("relay.pem"), folder.join("relay.key")]
}

/// Ships through a relay that is killed in between; `url` is where the agent goes, but for the port.
fn ship(test: &str, url: (&str, &str), settings: &str, path: &str, is_tls: bool) {
    let Some(python) = tools::python_with("websockets", test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = if is_tls { certificate(folder.path()) } else { Vec::new() };
    let hub = Hub::started(folder.path());
    let (address, to) = (ports::free(), folder.path().to_owned());
    let mut relay = Relay { python, folder: to, address, hub: hub.mqtt, files, process: None };
    let config = folder.path().join("agent.toml");
    fs::write(&config, settings.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    let mut agent =
        Agent::new(folder.path(), DEVICE, &format!("{}:{}{}", url.0, relay.address.port(), url.1))
            .with_argument("--config")
            .with_argument(config.to_str().unwrap());
    agent.start();
    for part in 0..4 {
        if part % 2 == 0 {
            relay.start();
        } else {
            relay.kill();
        }
        let from = part * 2000;
        assert!(agent.ingest_lines(&json_lines(from..from + 1000)).status.success());
        assert!(agent.ingest_lines(&large_json_lines(from + 1000..from + 2000)).status.success());
        if part % 2 == 0 {
            agent.wait_shipped(WITHIN);
        }
    }
    relay.start();
    agent.wait_shipped(WITHIN);
    let found = of_device(&kafka::read_all(&hub.brokers(), "telemetry", WITHIN), DEVICE);
    assert_once_in_order(&found, &(0..8000).collect::<Vec<_>>(), &[]);
    let paths = relay.paths();
    assert!(paths.len() >= 3 && paths.iter().all(|asked| asked == path), "{paths:?}");
    wait::until("the hub to be named", WITHIN, || agent.status()?.contains(url.0).then_some(()));
}

#[test]
#[ignore = "the agent has to be built with its feature websocket"]
fn records_go_over_a_websocket() {
    ship("an agent over a WebSocket", ("ws://127.0.0.1", ""), "", "/mqtt", false);
}

#[test]
#[ignore = "the agent has to be built with its feature websocket"]
fn records_go_over_a_websocket_with_tls() {
    let settings = "[tls]\nca_file = \"FOLDER/ca.pem\"\n";
    ship(
        "an agent over a WebSocket with TLS",
        ("wss://localhost", "/plant/mqtt"),
        settings,
        "/plant/mqtt",
        true,
    );
}
