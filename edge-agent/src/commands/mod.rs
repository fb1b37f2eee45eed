//! One file per command.

mod check;
mod check_buffer;
mod common;
mod ingest;
mod opening;
mod run;
mod status;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use program::Failure;

use crate::config::{Config, Settings};
use crate::destination::Priority;

const EXAMPLES: &str = "\
Examples:
  edge-agent run
      reads this machine and ships to the hub on it
  edge-agent run --hub mqtt://hub.example:1883 --data-dir /var/lib/headwater-agent
  edge-agent ingest --data-dir /var/lib/headwater-agent measurements.csv
  tail -f sensor.jsonl | edge-agent ingest --data-dir /var/lib/headwater-agent -
  edge-agent status --data-dir /var/lib/headwater-agent --json
  edge-agent check --config agent.toml
      tries each input once

Every setting can stand in a TOML file (--config) or in the environment: --data-dir is data_dir in the file and
HEADWATER_DATA_DIR in the environment. Flags win. HEADWATER_LOG=debug shows more of what happens.";

const INGEST_HELP: &str = "\
A time is RFC 3339, YYYY-MM-DD[ HH:MM[:SS]] in UTC, or a number: below 100000000000 (1e11), with
either sign, it is Unix seconds, else milliseconds. Without a time column a row gets the present time.

Exit code 0: every row that could be taken is stored; the bad ones are told and counted.
          1: no row could be taken, the source broke off, or not everything is known to be stored.
          2: the command, the configuration or the header cannot be used.";

const CHECK_HELP: &str = "\
Nothing is stored, and files are left where they are. An input that waits for others to send is as it should be when it
can be opened; stop an agent that has it open first. Of a file or directory that is not there yet, it warns.

Exit code 0: every input could be opened. 1: one could not, or gave nothing but bad rows.
          2: the command or the configuration cannot be used.";

/// Reads sensors, keeps what it read in a buffer on disk, and ships it to a hub
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version, after_help = EXAMPLES, max_term_width = 110, arg_required_else_help = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the inputs, buffer, and ship to a hub, until SIGTERM
    Run(RunArgs),
    /// Put the rows of a file, or of standard input (-), into the buffer
    #[command(after_help = INGEST_HELP)]
    Ingest(IngestArgs),
    /// Check the settings and try each input once: a line each with a row of it, or what is wrong
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Tell what is buffered and how the hub is reached
    Status(StatusArgs),
    /// Walk the buffer and tell what is at fault (run does this after an unclean stop)
    #[command(hide = true)]
    CheckBuffer(CheckBufferArgs),
}

#[derive(Clone, Debug, Args)]
struct CommonArgs {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the buffer and the device's name lie [default: headwater-agent]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The hubs, mqtt://HOST[:PORT], separated by commas; any of them will do [default: mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The device's name [default: derived from the hardware]
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// The log topic [default: telemetry]
    #[arg(long)]
    topic: Option<String>,
    /// What the buffer may hold, in bytes [default: 1 GiB; at most half of the free space at first use]
    #[arg(long, value_name = "N")]
    buffer_bytes: Option<u64>,
    /// How long a batch is filled, in ms; 0 makes every record durable on its own [default: 1000]
    #[arg(long, value_name = "MS")]
    linger_ms: Option<u64>,
    /// How often the host is read, in ms [default: 5000]
    #[arg(long, value_name = "MS")]
    host_interval_ms: Option<u64>,
    /// Do not read the host where no inputs are configured
    #[arg(long)]
    no_host_input: bool,
}

#[derive(Debug, Args)]
struct IngestArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The device's name [default: the data directory's]
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// The log topic [default: telemetry]
    #[arg(long)]
    topic: Option<String>,
    /// How urgent the records are: alarms are shipped before everything else, bulk after it [default: telemetry]
    #[arg(long, value_enum)]
    priority: Option<PriorityName>,
    /// The column or field with the time [default: the first named time, timestamp, date, datetime or ts]
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// How the rows are written [default: told from the file's name or its first character]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// A file of CSV, JSON lines or InfluxDB line protocol; - is standard input
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Csv,
    JsonLines,
    LineProtocol,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PriorityName {
    Alarm,
    Telemetry,
    Bulk,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::Alarm => Self::Alarm,
            PriorityName::Telemetry => Self::Telemetry,
            PriorityName::Bulk => Self::Bulk,
        }
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// How long each input may take for its first row, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    wait: u64,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckBufferArgs {
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// End with the standard input, which whoever started this holds open
    #[arg(long)]
    while_input_is_open: bool,
}

pub fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => run::execute(&args),
        Command::Ingest(args) => ingest::execute(&args),
        Command::Check(args) => check::execute(&args),
        Command::Status(args) => status::execute(&args),
        Command::CheckBuffer(args) => check_buffer::execute(&args),
    }
}

type Flags = Vec<(&'static str, Option<String>)>;

/// File, environment and flags, checked.
fn load(common: &CommonArgs, flags: Flags) -> Result<Config, Failure> {
    checked(common, read(common, flags)?)
}

/// What they mean. Where the file is wrong even without the others, it is named.
fn checked(common: &CommonArgs, settings: Settings) -> Result<Config, Failure> {
    settings.validate().map_err(|error| {
        let error = error.to_string();
        let wrong = |file: &PathBuf| {
            let alone: Settings = program::settings::load(Some(file), std::iter::empty(), &[]).ok()?;
            alone.validate().err().filter(|own| own.to_string() == error)
        };
        match common.config.as_ref().filter(|file| wrong(file).is_some()) {
            Some(file) => Failure::usage(format!("{}: {error}", file.display())),
            None => Failure::usage(error),
        }
    })
}

/// The same as they stand.
fn read(common: &CommonArgs, mut flags: Flags) -> Result<Settings, Failure> {
    let data_dir = match &common.data_dir {
        Some(dir) => Some(dir.to_str().ok_or_else(|| Failure::usage("--data-dir is not UTF-8"))?.to_owned()),
        None => None,
    };
    flags.push(("data_dir", data_dir));
    program::settings::load(common.config.as_deref(), std::env::vars(), &flags).map_err(Failure::usage)
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}
