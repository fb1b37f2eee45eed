//! An agent that measures what it is given on its standard input.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// Nobody listens there.
pub const NO_HUB: &str = "mqtt://127.0.0.1:9";
/// An odd number whose multiples look like noise (Knuth, The Art of Computer Programming, 6.4).
pub const NOISE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Killed when it is forgotten.
pub struct FedAgent {
    process: Child,
    input: ChildStdin,
}

impl FedAgent {
    /// Starts the program with these settings and its standard input as one more input; its configuration and its log
    /// lie in the folder.
    pub fn start(program: &Path, folder: &Path, settings: &str) -> Result<Self> {
        let config = folder.join("agent.toml");
        std::fs::write(
            &config,
            format!("{settings}[[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\n"),
        )?;
        let log = std::fs::File::create(folder.join("agent.log"))?;
        let mut process = Command::new(program)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let input = process.stdin.take().context("a piped standard input")?;
        Ok(Self { process, input })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Has a sensor measure a value.
    pub fn put(&mut self, sensor: &str, value: &str) -> Result<()> {
        Ok(writeln!(self.input, "{{\"{sensor}\": {value}}}")?)
    }
}

/// A temperature that is like no other soon.
pub fn temperature(number: u64) -> String {
    let noise = number.wrapping_mul(NOISE) >> 32;
    format!("{}.{:04}", 15 + noise % 11, noise % 9973)
}

impl Drop for FedAgent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
