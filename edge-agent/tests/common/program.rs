//! The program itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub fn edge_agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-agent"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEADWATER_")) {
        command.env_remove(name);
    }
    command.env("HEADWATER_BUFFER__PREALLOCATE", "false");
    command
}

pub fn output(arguments: &[&str]) -> Output {
    edge_agent(arguments).output().unwrap()
}

/// `ingest` of JSON lines `{"n": …}` on standard input.
pub fn ingest(dir: &Path, numbers: std::ops::Range<u64>) -> Output {
    let lines: String =
        numbers.map(|n| format!("{{\"time\": {}, \"n\": {n}}}\n", 1_700_000_000 + n)).collect();
    let mut command = edge_agent(&["ingest", "--device-id", "pump-1", "--data-dir"]);
    command.arg(dir).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // An agent that is killed meanwhile ends it early.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn status(dir: &Path) -> serde_json::Value {
    try_status(dir).expect("status answers")
}

/// None before an agent has made the directory its own.
pub fn try_status(dir: &Path) -> Option<serde_json::Value> {
    let output = edge_agent(&["status", "--json", "--data-dir"]).arg(dir).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// A running agent; killed when it is forgotten.
pub struct Agent {
    child: Child,
    pub dir: PathBuf,
}

impl Agent {
    pub fn run(dir: &Path, hub: &str, more: &[&str]) -> Self {
        let mut command = edge_agent(&["run", "--device-id", "pump-1", "--hub", hub, "--data-dir"]);
        let log = std::fs::File::options().create(true).append(true).open(dir.join("agent.log")).unwrap();
        command.arg(dir).args(more).stderr(log);
        Self { child: command.spawn().unwrap(), dir: dir.to_owned() }
    }

    /// The same under a manager that listens at a socket and has a watchdog, as systemd does.
    pub fn run_managed(dir: &Path, hub: &str, more: &[&str], socket: &str, watchdog: Duration) -> Self {
        let mut command = edge_agent(&["run", "--device-id", "pump-1", "--hub", hub, "--data-dir"]);
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command.arg(dir).args(more).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), dir: dir.to_owned() }
    }

    /// The same with something to read on standard input.
    pub fn run_fed(dir: &Path, hub: &str, more: &[&str]) -> (Self, ChildStdin) {
        let mut command = edge_agent(&["run", "--device-id", "pump-1", "--hub", hub, "--data-dir"]);
        let log = std::fs::File::options().create(true).append(true).open(dir.join("agent.log")).unwrap();
        command.arg(dir).args(more).stderr(log).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        (Self { child, dir: dir.to_owned() }, input)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, then how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Waits until its status is so.
    pub fn wait(&self, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let mut last = None;
        let found = try_until(|| {
            last = try_status(&self.dir);
            last.clone().filter(&is_so)
        });
        found.unwrap_or_else(|| panic!("{what} has not come: {last:?}"))
    }
}

/// Waits until there is an answer.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    try_until(look).unwrap_or_else(|| panic!("{what} has not come"))
}

fn try_until<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    try_within(Duration::from_secs(60), look)
}

/// Looks for so long.
pub fn try_within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= give_up {
            return None;
        }
        pause();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default();
            eprintln!("the agent logged:\n{log}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at another process, under a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
