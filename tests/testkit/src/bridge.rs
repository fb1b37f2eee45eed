//! A bridge with a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::binaries;
use crate::process::Process;

const STOPPED_WITHIN: Duration = Duration::from_secs(40);

/// A bridge that can be stopped, killed and started again.
pub struct Bridge {
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Bridge {
    /// A bridge that reads from `brokers`, with these `[[pipelines]]` as TOML. Not yet started.
    ///
    /// # Panics
    /// Where its configuration cannot be written.
    pub fn new(folder: &Path, brokers: &str, pipelines: &str) -> Self {
        let config = folder.join("bridge.toml");
        std::fs::write(&config, format!("hub = \"{brokers}\"\n{pipelines}")).expect("a file can be written");
        Self { config, log: folder.join("bridge.log"), process: None }
    }

    pub fn start(&mut self) {
        let mut command = Command::new(binaries::path("bridge"));
        command.arg("run").arg("--config").arg(&self.config);
        self.process = Some(Process::start("bridge", &mut command, &self.log));
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

    /// `bridge check` with the same configuration.
    pub fn check(&self) -> Command {
        let mut command = Command::new(binaries::path("bridge"));
        command.arg("check").arg("--config").arg(&self.config);
        command
    }
}
