//! Mosquitto's subscriber, line by line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use testkit::{Hub, wait};

const WITHIN: Duration = Duration::from_secs(30);

/// A program that writes each line as it comes, though it writes into a pipe.
pub fn line_by_line(program: &Path) -> Command {
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(program);
    command
}

pub struct Subscriber {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    /// Subscribes and waits until the hub has granted it.
    ///
    /// # Panics
    /// Where the program cannot be started, or the hub does not grant it.
    pub fn start(program: &Path, hub: &Hub, filter: &str, version: &str) -> Self {
        let mut child = line_by_line(program)
            .args(["-h", &hub.mqtt.ip().to_string(), "-p", &hub.mqtt.port().to_string()])
            .args(["-V", version, "-q", "2", "-t", filter, "-v", "-d"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a subscriber can be started");
        let output = BufReader::new(child.stdout.take().expect("a piped output"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let subscriber = Self { child, lines };
        subscriber.wait_for("a grant", |line| line.starts_with("Subscribed"));
        subscriber
    }

    /// The next line that fits; those before it are passed over.
    ///
    /// # Panics
    /// Where none comes.
    pub fn wait_for(&self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        wait::until(what, WITHIN, || self.lines.try_iter().find(|line| matches(line)))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
