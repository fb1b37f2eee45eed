//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  bridge check --config bridge.toml     is the configuration good, and does everything answer?
  bridge run --config bridge.toml       carry topics on until SIGTERM or Ctrl-C

A configuration:
  hub = \"127.0.0.1:9092\"

  [[pipelines]]
  name = \"view\"
  topics = [\"telemetry\"]
  sink = { kind = \"json-view\" }

  [[pipelines]]
  name = \"to-my-service\"
  topics = [\"telemetry\"]
  sink = { kind = \"http\", url = \"http://127.0.0.1:8000/records\" }

  [[pipelines]]
  name = \"files\"
  topics = [\"telemetry\"]
  sink = { kind = \"json-lines\", directory = \"/var/lib/headwater-bridge\" }

HEADWATER_HUB names another hub than the file; HEADWATER_LOG=debug shows more.";

#[derive(Debug, Parser)]
#[command(
    name = "bridge",
    version,
    about = "Headwater's bridge: carries topics on to analytics",
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry topics on until SIGTERM or Ctrl-C
    Run(ConfigArguments),
    /// Check the configuration, the hub and the sinks, and say what was found
    Check(ConfigArguments),
}

#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// TOML file with the pipelines
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}
