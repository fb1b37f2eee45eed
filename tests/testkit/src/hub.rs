//! A hub on ports of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::network::Host;
use crate::process::Process;
use crate::{binaries, ports, wait};

/// How long a hub may take to be ready, also after a crash on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A hub that can be stopped, killed and started again on the same data and the same ports.
pub struct Hub {
    data_dir: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    open_files_max: Option<u32>,
    host: Option<Host>,
    process: Option<Process>,
    pub mqtt: SocketAddr,
    pub kafka: SocketAddr,
    pub http: SocketAddr,
}

impl Hub {
    /// A hub that keeps its data in `folder/hub`, not yet started.
    pub fn new(folder: &Path) -> Self {
        Self {
            data_dir: folder.join("hub"),
            log: folder.join("hub.log"),
            arguments: Vec::new(),
            variables: Vec::new(),
            open_files_max: None,
            host: None,
            process: None,
            mqtt: ports::free(),
            kafka: ports::free(),
            http: ports::free(),
        }
    }

    /// A hub that is ready.
    pub fn started(folder: &Path) -> Self {
        let mut hub = Self::new(folder);
        hub.start();
        hub
    }

    /// Lives on a host of its own, on the ports that hubs have by default.
    #[must_use]
    pub fn on_host(mut self, host: &Host) -> Self {
        let at = |port| SocketAddr::from((host.address, port));
        (self.mqtt, self.kafka, self.http) = (at(1883), at(9092), at(8080));
        self.host = Some(host.clone());
        self.with_argument("--insecure")
    }

    /// Adds an argument to every start from now on.
    #[must_use]
    pub fn with_argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable for every start from now on.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable for every start from now on, or no longer does.
    pub fn set_variable(&mut self, name: &str, value: Option<&str>) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// May have so many files and sockets open at every start from now on.
    #[must_use]
    pub fn with_open_files_max(mut self, count: u32) -> Self {
        self.open_files_max = Some(count);
        self
    }

    /// Keeps its data elsewhere from the next start on.
    #[must_use]
    pub fn with_data_dir(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.data_dir);
        self
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// `HOST:PORT` for Kafka clients.
    pub fn brokers(&self) -> String {
        self.kafka.to_string()
    }

    pub fn mqtt_url(&self) -> String {
        format!("mqtt://{}", self.mqtt)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) {
        let mut command = self.program();
        command.arg("serve").arg("--data-dir").arg(&self.data_dir);
        for (flag, address) in
            [("--mqtt-listen", self.mqtt), ("--kafka-listen", self.kafka), ("--http-listen", self.http)]
        {
            command.arg(flag).arg(address.to_string());
        }
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start("hub-broker", &mut command, &self.log));
    }

    /// The hub's program, under its limit.
    fn program(&self) -> Command {
        let program = binaries::path("hub-broker");
        let mut command = match &self.host {
            Some(host) => host.command(&program),
            None => Command::new(&program),
        };
        if let Some(count) = self.open_files_max {
            command = Command::new("sh");
            command.arg("-c").arg(format!("ulimit -n {count}; exec \"$0\" \"$@\"")).arg(program);
        }
        command
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Panics
    /// Where it ends or takes too long.
    pub fn wait_ready(&mut self) {
        wait::until("the hub to be ready", READY_WITHIN, || {
            let process = self.process.as_mut().expect("a hub that was started");
            assert!(process.is_running(), "the hub ended:\n{}", process.printed());
            self.get("/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM; answers how it ended.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|process| process.stop(STOPPED_WITHIN))
    }

    /// Waits for it to end by itself.
    pub fn wait_end(&mut self) -> Option<ExitStatus> {
        self.process.take().map(|mut process| process.wait(READY_WITHIN))
    }

    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Everything that it logged, over all starts.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// A GET to its HTTP listener: status and body; none where it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(STOPPED_WITHIN)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What it counts under this name, over all labels; none where it does not answer or knows no such metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").filter(|(status, _)| *status == 200)?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        values.reduce(|sum, value| sum + value)
    }

    /// A `hub-broker` tool against this hub.
    pub fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries::path("hub-broker"));
        command.args(arguments).arg("--hub").arg(self.brokers());
        command
    }
}
