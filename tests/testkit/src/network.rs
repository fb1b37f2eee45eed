//! Hosts of their own: network namespaces joined by a bridge, whose connections can be cut. Needs root.
//!
//! ```text
//!   client (where the test runs)      host 1          host 2       …
//!        10.77.0.254                10.77.0.1       10.77.0.2
//!             └──────────── bridge ─────┴───────────────┘
//! ```
//!
//! The test itself runs in the client's namespace, so that nothing of the machine's own network is touched:
//! [`within`] starts the test's executable again in there.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the run within the client's namespace: its name.
const WITHIN: &str = "HEADWATER_TEST_NETWORK";
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// One host of a network.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    pub address: Ipv4Addr,
}

/// Hosts that reach each other and the test. Everything goes when it is dropped.
pub struct Network {
    hosts: Vec<Host>,
}

/// Runs `test` in a network namespace of its own: called by the test runner, it starts this executable again for
/// the one test, and fails where that fails.
///
/// # Panics
/// Where the namespace cannot be made or the test fails in it.
pub fn within(name: &str, test: impl FnOnce()) {
    if std::env::var_os(WITHIN).is_some() {
        return test();
    }
    let namespace = format!("hw{}c", std::process::id());
    let _client = Namespace::new(&namespace);
    let program = std::env::current_exe().expect("a test has an executable");
    let mut command = in_namespace(&namespace, &program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(WITHIN, &namespace);
    let status = command.stdin(Stdio::null()).status().expect("the test can be started again");
    assert!(status.success(), "{name} failed in its network: {status}");
}

impl Network {
    /// So many hosts, numbered from 1.
    ///
    /// # Panics
    /// Outside of [`within`].
    pub fn new(hosts: u8) -> Self {
        let client = std::env::var(WITHIN).expect("a network is made within a namespace");
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "hub-bridge", "type", "bridge"]);
        ip(&["address", "add", &format!("{CLIENT}/24"), "dev", "hub-bridge"]);
        ip(&["link", "set", "hub-bridge", "up"]);
        let mut network = Self { hosts: Vec::new() };
        for number in 1..=hosts {
            network.add(&client, number);
        }
        network
    }

    fn add(&mut self, client: &str, number: u8) {
        let host = Host { namespace: format!("{client}{number}"), address: Ipv4Addr::new(10, 77, 0, number) };
        ip(&["netns", "add", &host.namespace]);
        // From here on it goes with the network, whatever becomes of the rest.
        self.hosts.push(host.clone());
        let (here, there) = (format!("hub{number}"), "eth0");
        ip(&["link", "add", &here, "type", "veth", "peer", "name", there, "netns", &host.namespace]);
        ip(&["link", "set", &here, "master", "hub-bridge", "up"]);
        let inside = |arguments: &[&str]| {
            let mut all = vec!["-n", host.namespace.as_str()];
            all.extend(arguments);
            ip(&all);
        };
        inside(&["address", "add", &format!("{}/24", host.address), "dev", there]);
        inside(&["link", "set", there, "up"]);
        inside(&["link", "set", "lo", "up"]);
        host.nft(
            "add table ip cut; add chain ip cut in { type filter hook input priority 0; policy accept; }",
        );
    }

    /// The host with this number.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// Nothing that `from` sends arrives at `to` any more.
    pub fn cut(&self, from: usize, to: usize) {
        let address = self.host(from).address;
        self.host(to).nft(&format!("add rule ip cut in ip saddr {address} drop"));
    }

    /// The two do not hear each other any more.
    pub fn part(&self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// The host hears none of the other hosts and none of them hears it; the test still reaches it.
    pub fn isolate(&self, number: usize) {
        (1..=self.hosts.len()).filter(|other| *other != number).for_each(|other| self.part(number, other));
    }

    /// Everything arrives again.
    pub fn heal(&self) {
        self.hosts.iter().for_each(|host| host.nft("flush chain ip cut in"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = Command::new("ip").args(["netns", "delete", &host.namespace]).status();
        }
    }
}

impl Host {
    /// Whether it is still there.
    ///
    /// # Panics
    /// Where that cannot be asked.
    pub fn is_there(&self) -> bool {
        let output = Command::new("ip").args(["netns", "list"]).output().expect("ip can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().any(|line| line.split(' ').next() == Some(&self.namespace))
    }

    /// A command that runs on this host.
    pub fn command(&self, program: &Path) -> Command {
        in_namespace(&self.namespace, program)
    }

    fn nft(&self, rules: &str) {
        run(in_namespace(&self.namespace, Path::new("nft")).arg(rules));
    }
}

/// `ip netns exec` becomes the program, so it has the pid that is killed.
fn in_namespace(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        ip(&["netns", "add", name]);
        Self(name.to_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
