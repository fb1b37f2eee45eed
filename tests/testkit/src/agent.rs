//! An agent with a data directory of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use crate::process::Process;
use crate::{binaries, wait};

const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// An agent that can be stopped, killed and started again on the same data.
pub struct Agent {
    data_dir: PathBuf,
    log: PathBuf,
    hub: String,
    device: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Another program than the one that was built with the test, with what runs it.
    program: Option<Vec<PathBuf>>,
    process: Option<Process>,
}

impl Agent {
    /// An agent that keeps its data in `folder/NAME`, names itself so, and ships to `hub`. Not yet started;
    /// it does not read the host.
    pub fn new(folder: &Path, name: &str, hub: &str) -> Self {
        Self {
            data_dir: folder.join(name),
            log: folder.join(format!("{name}.log")),
            hub: hub.to_owned(),
            device: name.to_owned(),
            arguments: vec!["--no-host-input".to_owned()],
            // Many agents of one test have disks of other sizes in mind than the one that they share.
            variables: vec![("HEADWATER_BUFFER__PREALLOCATE".to_owned(), "false".to_owned())],
            program: None,
            process: None,
        }
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

    /// Is this program from now on: its path, or those of an emulator, of its arguments and of the program.
    #[must_use]
    pub fn with_program(mut self, words: &[PathBuf]) -> Self {
        self.program = Some(words.to_vec());
        self
    }

    /// Logs elsewhere than beside its data.
    #[must_use]
    pub fn with_log(mut self, log: &Path) -> Self {
        log.clone_into(&mut self.log);
        self
    }

    /// Another name than that of the folder: for copies of a data directory.
    #[must_use]
    pub fn with_device(mut self, device: &str) -> Self {
        device.clone_into(&mut self.device);
        self
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn start(&mut self) {
        self.process = Some(Process::start("edge-agent", &mut self.run(), &self.log));
    }

    /// The same with something to read on its standard input.
    pub fn start_fed(&mut self) -> ChildStdin {
        let (process, input) = Process::start_fed("edge-agent", &mut self.run(), &self.log);
        self.process = Some(process);
        input
    }

    fn run(&self) -> Command {
        let mut command = self.command();
        command
            .args(["run", "--hub", &self.hub, "--device-id", &self.device, "--data-dir"])
            .arg(&self.data_dir);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
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

    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Everything that it logged, over all starts.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `edge-agent ingest` of a file.
    pub fn ingest_file(&self, file: &Path) -> Output {
        self.ingest().arg(file).output().expect("edge-agent can be started")
    }

    /// `edge-agent ingest` of lines on standard input.
    pub fn ingest_lines(&self, lines: &str) -> Output {
        Self::ingest_by(self.ingest(), lines)
    }

    /// The same to a topic of their own.
    pub fn ingest_lines_to(&self, topic: &str, lines: &str) -> Output {
        let mut command = self.ingest();
        command.args(["--topic", topic]);
        Self::ingest_by(command, lines)
    }

    fn ingest_by(mut command: Command, lines: &str) -> Output {
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("edge-agent can be started");
        let mut stdin = child.stdin.take().expect("a piped standard input");
        // It may end before it has read everything, and says why in its output.
        let _ = stdin.write_all(lines.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("a child can be waited for")
    }

    fn ingest(&self) -> Command {
        let mut command = self.command();
        command.args(["ingest", "--device-id", &self.device, "--data-dir"]).arg(&self.data_dir);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn command(&self) -> Command {
        let Some([first, rest @ ..]) = self.program.as_deref() else {
            return Command::new(binaries::path("edge-agent"));
        };
        let mut command = Command::new(first);
        command.args(rest);
        command
    }

    /// Records that its buffer holds; none where it cannot tell.
    pub fn buffered_records(&self) -> Option<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.status()?).ok()?;
        status["buffer"]["records"].as_u64()
    }

    /// Waits until everything that it holds is shipped and acknowledged.
    pub fn wait_shipped(&self, deadline: Duration) {
        wait::until("the agent's buffer to be empty", deadline, || {
            (self.buffered_records()? == 0).then_some(())
        });
    }

    /// `edge-agent status`; none where it cannot tell.
    pub fn status(&self) -> Option<String> {
        let mut command = self.command();
        let output =
            command.arg("status").arg("--json").arg("--data-dir").arg(&self.data_dir).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
