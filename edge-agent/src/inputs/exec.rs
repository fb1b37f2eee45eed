//! What a command prints: at an interval, or for as long as it runs. It is the leader of a process group, so that it
//! can be ended with all that it started.

use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::async_lines::AsyncLines;
use super::feed::{FeedEnd, LineFeed};
use super::lines::Line;
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::{ExecConfig, ExecRun};

/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// What is kept of what it says on standard error.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;

pub struct ExecInput {
    config: ExecConfig,
}

impl ExecInput {
    pub fn new(config: ExecConfig) -> Self {
        Self { config }
    }
}

impl Input for ExecInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let ended = match self.config.run {
                ExecRun::Every { interval, timeout } => self.run_every(interval, timeout, &rows, &stop).await,
                ExecRun::ForEver => self.run_for_ever(&rows, &stop).await,
            };
            ended.or_else(FeedEnd::into_result)
        })
    }
}

impl ExecInput {
    /// A run that fails or takes too long is told, and the next one comes in its time.
    async fn run_every(
        &self,
        interval: Duration,
        time_max: Duration,
        rows: &RowSink,
        stop: &CancellationToken,
    ) -> Result<(), FeedEnd> {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let mut group = Group::start(&self.config)?;
            match group.read_until(stop, Some(time_max), &self.config, rows).await? {
                Ended::ByItself(status, complaint) if !status.success() => {
                    rows.bad(&format_args!("the command ended with {status}{complaint}"));
                }
                Ended::ByItself(..) => {}
                Ended::TooLate => {
                    rows.bad(&format_args!("the command took more than {time_max:?} and was killed"));
                }
                Ended::Asked => return Ok(()),
            }
        }
    }

    /// It is not expected to end.
    async fn run_for_ever(&self, rows: &RowSink, stop: &CancellationToken) -> Result<(), FeedEnd> {
        let mut group = Group::start(&self.config)?;
        match group.read_until(stop, None, &self.config, rows).await? {
            Ended::ByItself(status, complaint) => Err(FeedEnd::Failed(InputError::new(format_args!(
                "the command ended with {status}{complaint}; give it an interval_ms if it is to be run again and again"
            )))),
            Ended::TooLate | Ended::Asked => Ok(()),
        }
    }
}

/// How a command ended; the words are what it said on standard error last.
enum Ended {
    ByItself(ExitStatus, String),
    TooLate,
    Asked,
}

/// A command and what it started; killed when it is forgotten.
struct Group {
    leader: Child,
    id: Option<Pid>,
}

impl Group {
    fn start(config: &ExecConfig) -> Result<Self, FeedEnd> {
        let mut command = Command::new(&config.program);
        command.args(&config.arguments).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| FeedEnd::Failed(InputError::new(format_args!("{}: {error}", config.program)));
        let leader = command.spawn().map_err(failed)?;
        let id = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { leader, id })
    }

    /// Reads what it prints until it ends, or is ended because it takes too long or is asked to; what it has
    /// printed by then still counts.
    async fn read_until(
        &mut self,
        stop: &CancellationToken,
        time_max: Option<Duration>,
        config: &ExecConfig,
        rows: &RowSink,
    ) -> Result<Ended, FeedEnd> {
        let id = self.id;
        let why = {
            let mut reading = pin!(self.read(config, rows));
            let why = tokio::select! {
                ended = &mut reading => {
                    let (status, complaint) = ended?;
                    return Ok(Ended::ByItself(status, complaint));
                }
                () = stop.cancelled() => Ended::Asked,
                () = passed(time_max) => Ended::TooLate,
            };
            signal(id, Signal::TERM);
            let _ = timeout(TERM_GRACE, reading).await;
            why
        };
        // Also where the leader has ended: a group keeps its number for as long as anyone is in it.
        signal(id, Signal::KILL);
        self.id = None;
        Ok(why)
    }

    /// Reads what it prints to the end, then how it ended and what it said on standard error last.
    async fn read(&mut self, config: &ExecConfig, rows: &RowSink) -> Result<(ExitStatus, String), FeedEnd> {
        let (printed, complaints) = (self.leader.stdout.take(), self.leader.stderr.take());
        let (fed, complaint) = tokio::join!(feed(printed, config, rows), last_words(complaints));
        fed?;
        let status = self.leader.wait().await?;
        // Its number may be another's from now on.
        self.id = None;
        Ok((status, complaint))
    }

    fn kill(&mut self) {
        signal(self.id.take(), Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(id) = group {
        let _ = kill_process_group(id, signal);
    }
}

async fn passed(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn feed(
    printed: Option<impl AsyncRead + Unpin>,
    config: &ExecConfig,
    rows: &RowSink,
) -> Result<(), FeedEnd> {
    let Some(printed) = printed else { return Ok(()) };
    let mut feed = LineFeed::new(&config.format, rows.clone());
    let mut lines = AsyncLines::new(printed);
    loop {
        let number = lines.number + 1;
        match lines.next_line().await? {
            Some(Line::Text(text)) => feed.line(number, text, None).await?,
            Some(Line::TooLong) => feed.too_long(number),
            None => return Ok(()),
        }
    }
}

/// The last line of what is said, with a colon before it; all of it is read, so that nobody waits.
async fn last_words(said: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut said) = said else { return String::new() };
    let (mut tail, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(bytes @ 1..) = said.read(&mut chunk).await {
        tail.extend_from_slice(&chunk[..bytes]);
        let excess = tail.len().saturating_sub(COMPLAINT_BYTES_MAX);
        tail.drain(..excess);
    }
    let text = String::from_utf8_lossy(&tail);
    text.lines().rev().find(|line| !line.trim().is_empty()).map_or(String::new(), |line| format!(": {line}"))
}
