//! Modbus devices that are not ours, through the agent into the log: every type in every byte order, refusals, and a
//! device that goes away and comes back.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use schemas::{Value, decode_pack};
use testkit::process::Process;
use testkit::{Agent, Hub, binaries, kafka, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);
const SIMULATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/modbus_simulator.py");

/// A simulator that answers.
struct Simulator {
    process: Process,
    /// What it printed when it was ready.
    told: String,
}

impl Simulator {
    fn start(python: &Path, log: &Path, arguments: &[&str]) -> Self {
        let _ = fs::remove_file(log);
        let process = Process::start("pymodbus", Command::new(python).arg(SIMULATOR).args(arguments), log);
        let told = wait::until("the simulator", WITHIN, || {
            process.printed().lines().next().map(|line| line.trim().to_owned())
        });
        Self { process, told }
    }
}

fn python(test: &str) -> Option<PathBuf> {
    tools::python_with("serial", test).and_then(|_| tools::python_with("pymodbus.simulator", test))
}

const ORDERS: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];
const TYPES: [(&str, u16); 6] = [("u32", 0), ("i32", 2), ("f32", 4), ("u64", 6), ("i64", 10), ("f64", 14)];

/// Name, kind, address, and what else is said of them.
const REGISTERS: [(&str, &str, u16, &str); 14] = [
    ("u16", "holding", 0, ""),
    ("swapped", "holding", 1, "byte_order = \"BADC\""),
    ("i16", "holding", 2, "type = \"i16\""),
    ("cold", "holding", 3, "type = \"i16\"\nscale = 0.1\noffset = 2.5\nunit = \"Cel\""),
    ("bit1", "holding", 4, "type = \"bool\"\nbit = 1"),
    ("bit2", "holding", 4, "type = \"bool\"\nbit = 2"),
    ("nowhere", "holding", 5, ""),
    ("model", "holding", 200, "type = \"text\"\nlength = 4"),
    ("broken", "holding", 206, "type = \"f32\""),
    ("level", "input", 31, ""),
    ("coil", "coil", 6, ""),
    ("discrete", "discrete", 6, ""),
    ("level", "input", 32, "child = \"tank\"\nunit_id = 2"),
    ("level", "input", 32, "child = \"gone\"\nunit_id = 3"),
];

/// `timeout`: what is not answered in time is missing in a row, and the simulator has to share this machine.
fn settings(address: &str, timeout: Duration) -> String {
    let timeout_ms = timeout.as_millis();
    let mut text = format!(
        "linger_ms = 50\n[[inputs]]\nkind = \"modbus\"\naddress = {address:?}\ninterval_ms = 200\ntimeout_ms = {timeout_ms}\n"
    );
    let mut register = |name: &str, kind: &str, address: u16, more: &str| {
        text +=
            &format!("[[inputs.registers]]\nname = {name:?}\nkind = {kind:?}\naddress = {address}\n{more}\n");
    };
    REGISTERS.into_iter().for_each(|(name, kind, address, more)| register(name, kind, address, more));
    for (index, order) in (0..).zip(ORDERS) {
        for (kind, offset) in TYPES {
            let more = format!("type = {kind:?}\nbyte_order = {order:?}");
            register(&format!("{kind}{order}"), "holding", 100 + 20 * index + offset, &more);
        }
    }
    text
}

fn expected() -> BTreeMap<String, Value> {
    let mut expected = BTreeMap::new();
    let mut is = |name: &str, value: Value| expected.insert(name.to_owned(), value);
    is("u16", Value::Float(513.0));
    is("swapped", Value::Float(513.0));
    is("i16", Value::Float(-2.0));
    is("cold", Value::Float(-125.0 * 0.1 + 2.5));
    is("bit1", Value::Bool(true));
    is("bit2", Value::Bool(false));
    for order in ORDERS {
        is(&format!("u32{order}"), Value::Float(3_735_928_559.0));
        is(&format!("i32{order}"), Value::Float(-123_456_789.0));
        is(&format!("f32{order}"), Value::Float(3.140_625));
        is(&format!("u64{order}"), Value::Integer(18_364_758_544_493_064_720));
        is(&format!("i64{order}"), Value::Integer(-81_985_529_216_486_896));
        is(&format!("f64{order}"), Value::Float(-1.0e-7));
    }
    is("model", Value::Text("Pump 7".to_owned()));
    is("level", Value::Float(8.0));
    is("coil", Value::Bool(true));
    is("discrete", Value::Bool(false));
    expected
}

/// What was measured, record by record.
fn rows(hub: &Hub) -> Vec<BTreeMap<String, Value>> {
    let records = kafka::read_all(&hub.brokers(), "telemetry", WITHIN);
    let row = |value: &[u8]| decode_pack(value).unwrap().into_iter().map(|it| (it.name, it.value)).collect();
    records.iter().map(|record| row(&record.value)).collect()
}

/// Waits for so many rows: the device's own and its child's, nothing else. As many may be cut short as devices died in
/// the middle of a round.
fn wait_rows(hub: &Hub, count: usize, deaths: usize) {
    let rows = wait::until("rows", WITHIN, || Some(rows(hub)).filter(|rows| rows.len() >= count));
    let tank = BTreeMap::from([("tank/level".to_owned(), Value::Float(90.0))]);
    let expected = expected();
    let of_tank = rows.iter().filter(|row| **row == tank).count();
    let mut cut_short = 0;
    for row in rows.iter().filter(|row| **row != tank && **row != expected) {
        cut_short += 1;
        let is_part = row.iter().all(|(name, value)| expected.get(name) == Some(value));
        assert!(is_part && cut_short <= deaths, "{row:?}");
    }
    assert!(of_tank > 0 && of_tank < rows.len(), "{of_tank} of {}", rows.len());
}

fn agent(folder: &Path, hub: &Hub, address: &str, timeout: Duration) -> Agent {
    let config = folder.join("agent.toml");
    fs::write(&config, settings(address, timeout)).unwrap();
    Agent::new(folder, "plant", &hub.mqtt_url())
        .with_argument("--config")
        .with_argument(config.to_str().unwrap())
}

/// Whether `edge-agent check` finds everything well, and what it says.
fn check(folder: &Path) -> (bool, String) {
    let mut command = Command::new(binaries::path("edge-agent"));
    let output = command.arg("check").arg("--config").arg(folder.join("agent.toml")).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn devices_over_tcp_are_read_and_read_again_when_they_come_back() {
    let Some(python) = python("Modbus over TCP") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let (port, log) = (ports::free().port().to_string(), folder.path().join("simulator.log"));
    let simulator = Simulator::start(&python, &log, &["tcp", &port]);
    let mut agent = agent(folder.path(), &hub, &format!("tcp://127.0.0.1:{port}"), Duration::from_secs(20));
    agent.start();
    wait_rows(&hub, 10, 0);
    let refused = "nowhere (unit 1, holding 5): the device answered: Illegal data address";
    wait::until("the refusal", WITHIN, || agent.printed().contains(refused).then_some(()));
    assert_eq!(
        check(folder.path()),
        (true, "modbus  ok      u16: 513, swapped: 513, i16: -2, cold: -10 Cel, 30 more\n".to_owned())
    );
    simulator.process.kill();
    let failed = |agent: &Agent| agent.printed().contains("the input failed");
    wait::until("the input to notice", WITHIN, || failed(&agent).then_some(()));
    let before = rows(&hub).len();
    let (is_well, said) = check(folder.path());
    assert!(!is_well && said.contains("modbus  FAILED") && said.contains("Connection refused"), "{said}");
    let _simulator = Simulator::start(&python, &log, &["tcp", &port]);
    wait_rows(&hub, before + 10, 1);
}

#[test]
fn devices_on_a_serial_line_are_read() {
    let Some(python) = python("Modbus on a serial line") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let log = folder.path().join("simulator.log");
    let simulator = Simulator::start(&python, &log, &["serial"]);
    // In every round, one device says nothing for so long.
    let mut agent = agent(folder.path(), &hub, &simulator.told, Duration::from_secs(2));
    agent.start();
    wait_rows(&hub, 10, 0);
}
