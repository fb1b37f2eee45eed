//! The program's network inputs, with clients that are not ours; and what is in the buffer after a kill.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "../../tests/testkit/src/tools.rs"]
#[allow(dead_code, reason = "one of them is used")]
mod tools;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use common::device::Device;
use common::listening::{Stored, free_address, records};
use common::program::{Agent, edge_agent, status, until};
use common::{open, world};
use schemas::Value;

/// With nobody to ship to, so that the buffer keeps everything.
impl Device {
    fn run(&self, settings: &str) -> Agent {
        Agent::run(&self.path("data"), "mqtt://127.0.0.1:1", &["--config", &self.configure(settings)])
    }

    fn check(&self, settings: &str) -> Output {
        edge_agent(&["check", "--wait", "1", "--config", &self.configure(settings)]).output().unwrap()
    }

    /// What the buffer holds, once no agent runs.
    fn stored(&self) -> Vec<Stored> {
        world::block_on(async {
            let buffer = open(&self.path("data"), 64 << 20, world::no_checker());
            let stored = records(&buffer);
            buffer.close().await.unwrap();
            stored
        })
    }

    fn values(&self) -> Vec<(String, Value)> {
        self.stored().into_iter().flat_map(|record| record.values).collect()
    }
}

fn number(name: &str, value: f64) -> (String, Value) {
    (name.to_owned(), Value::Float(value))
}

fn succeeded(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_curl_was_told_is_stored_is_there_after_a_kill() {
    let test = "what_curl_was_told_is_stored_is_there_after_a_kill";
    let Some(curl) = tools::find("curl", test) else { return };
    let (device, address) = (Device::new(), free_address());
    let mut agent = device.run(&format!("[[inputs]]\nkind = \"http\"\nlisten = \"{address}\"\n"));
    // It asks until the agent listens.
    let post = |n: u32| {
        let mut command = Command::new(&curl);
        command.args([
            "-sS",
            "--fail-with-body",
            "--retry",
            "100",
            "--retry-delay",
            "1",
            "--retry-connrefused",
        ]);
        command.args(["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &format!("m n={n} {n}")]);
        succeeded(command.arg(format!("http://{address}/api/v2/write?org=o&bucket=b&precision=s")))
    };
    for n in 0..5 {
        assert_eq!(post(n), "204");
    }
    agent.kill();
    let stored = device.stored();
    let times: Vec<i64> = stored.iter().map(|record| record.time_ms).collect();
    assert_eq!(times, [0, 1000, 2000, 3000, 4000]);
    assert_eq!(stored[4].values, [number("m.n", 4.0)]);
}

#[test]
fn curl_writes_over_a_unix_socket_and_packs_what_it_writes() {
    let test = "curl_writes_over_a_unix_socket_and_packs_what_it_writes";
    let (Some(curl), Some(gzip)) = (tools::find("curl", test), tools::find("gzip", test)) else { return };
    let device = Device::new();
    let socket = device.path("http.sock");
    let settings =
        format!("linger_ms = 0\n[[inputs]]\nkind = \"http\"\nlisten = \"unix:{}\"\n", socket.display());
    let mut agent = device.run(&settings);
    until("the socket", || socket.exists().then_some(()));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    fs::write(device.path("lines"), "m a=1 1\nm a=2 2\n").unwrap();
    succeeded(Command::new(gzip).arg(device.path("lines")));
    let mut command = Command::new(curl);
    command.args(["-sS", "--fail-with-body", "-H", "Content-Encoding: gzip", "--unix-socket"]).arg(&socket);
    command.arg("--data-binary").arg(format!("@{}", device.path("lines.gz").display()));
    assert_eq!(succeeded(command.arg("http://agent/write?db=x")), "");
    assert!(agent.stop().success());
    assert!(!socket.exists(), "it goes with the agent");
    assert_eq!(device.values(), [number("m.a", 1.0), number("m.a", 2.0)]);
}

/// Connects, writes what is in a file, and closes.
const WRITE: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(open(sys.argv[2], 'rb').read())
s.close()
";

#[test]
fn what_a_client_of_the_socket_has_written_is_stored_though_the_agent_is_stopped() {
    let test = "what_a_client_of_the_socket_has_written_is_stored_though_the_agent_is_stopped";
    let Some(python) = tools::python_with("socket", test) else { return };
    let device = Device::new();
    let socket = device.path("in.sock");
    let settings = format!(
        "[[inputs]]\nkind = \"socket\"\npath = {socket:?}\nmode = \"600\"\nformat = \"json-lines\"\n"
    );
    // What an agent that was killed left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut agent = device.run(&settings);
    until("the socket", || std::os::unix::net::UnixStream::connect(&socket).ok());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let lines: String = (0..2000).map(|n| format!("{{\"ts\":{},\"n\":{n}}}\n", 1_700_000_000 + n)).collect();
    fs::write(device.path("lines"), lines + "nonsense\n{\"ts\":1700002000,\"n\":2000}").unwrap();
    let mut command = Command::new(python);
    succeeded(command.args(["-c", WRITE]).arg(&socket).arg(device.path("lines")));
    assert!(agent.stop().success());
    let numbers: Vec<_> = (0..=2000).map(|n| number("n", f64::from(n))).collect();
    assert_eq!(device.values(), numbers);
}

/// mosquitto_pub ends well with QoS 1 when it has its PUBACK.
#[test]
fn what_mosquitto_pub_was_acknowledged_is_there_after_a_kill() {
    let test = "what_mosquitto_pub_was_acknowledged_is_there_after_a_kill";
    let Some(mosquitto_pub) = tools::find("mosquitto_pub", test) else { return };
    let (device, address) = (Device::new(), free_address());
    let settings = format!("kind = \"mqtt\"\nlisten = \"{address}\"\ntopic_prefix = \"home/\"\n");
    let mut agent = device.run(&format!("linger_ms = 100\n[[inputs]]\n{settings}"));
    until("the input to listen", || std::net::TcpStream::connect(address).ok());
    let publish = |version: &str, qos: &str, more: &[&str]| {
        let mut command = Command::new(&mosquitto_pub);
        command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-V", version, "-q", qos]);
        command.args(["-i", &format!("node-{version}"), "-t", "home/env"]).args(more);
        command.output().unwrap()
    };
    let at = |n: u32| format!("{{\"time\":{n},\"temp\":{n}}}");
    for (n, version) in [(1, "mqttv311"), (2, "mqttv5")] {
        let output = publish(version, "1", &["-m", &at(n)]);
        assert!(output.status.success(), "{output:?}");
    }
    let pack = r#"[{"bn":"m/","bt":1700000000,"n":"a","u":"V","v":3},{"n":"b","vb":true}]"#;
    let typed = ["-D", "publish", "content-type", "application/senml+json", "-m", pack];
    assert!(publish("mqttv5", "1", &typed).status.success());
    agent.kill();
    let expected = [
        number("node-mqttv311/env/temp", 1.0),
        number("node-mqttv5/env/temp", 2.0),
        number("node-mqttv5/env/m/a", 3.0),
        ("node-mqttv5/env/m/b".to_owned(), Value::Bool(true)),
    ];
    assert_eq!(device.values(), expected);
}

#[test]
fn check_says_where_an_input_can_listen() {
    let device = Device::new();
    let (free, taken) = (free_address(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = taken.local_addr().map(|address| (address, taken)).unwrap();
    let socket = device.path("in.sock");
    let settings = format!(
        "[[inputs]]\nkind = \"http\"\nlisten = \"{free}\"\n[[inputs]]\nkind = \"socket\"\npath = {socket:?}\nformat = \"csv\"\n"
    );
    let output = device.check(&settings);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains(&format!("can listen on {free}")), "{told}");
    assert!(told.contains(&format!("can listen on unix:{}", socket.display())) && !socket.exists(), "{told}");
    fs::write(&socket, "not a socket").unwrap();
    let settings = settings.replace(&free.to_string(), &taken.0.to_string());
    let output = device.check(&settings);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("in use") && told.contains("something else than a socket"), "{told}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "not a socket");
}

#[test]
fn an_input_that_cannot_listen_waits_and_disturbs_no_other() {
    let device = Device::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, socket) = (taken.local_addr().unwrap(), device.path("in.sock"));
    let settings = format!(
        "linger_ms = 0\n[[inputs]]\nkind = \"http\"\nlisten = \"{address}\"\n[[inputs]]\nkind = \"socket\"\npath = {socket:?}\nformat = \"line-protocol\"\n"
    );
    let mut agent = device.run(&settings);
    let mut client = until("the socket", || std::os::unix::net::UnixStream::connect(&socket).ok());
    std::io::Write::write_all(&mut client, b"m a=1\n").unwrap();
    agent.wait("the record", |status| status["buffer"]["records"] == 1);
    let log = until("its complaint", || {
        Some(fs::read_to_string(device.path("data/agent.log")).unwrap()).filter(|log| log.contains("in use"))
    });
    assert!(log.contains("it is started again in"), "{log}");
    drop(taken);
    until("the input to listen", || std::net::TcpStream::connect(address).ok());
    assert!(agent.stop().success());
    assert_eq!(status(&device.path("data"))["buffer"]["records"], 1);
}
