//! The command `edge-agent`.

use std::process::ExitCode;

use clap::Parser;
use edge_agent::commands::{self, Cli};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return program::outcome::usage("edge-agent", &error),
    };
    program::outcome::report("edge-agent", commands::execute(cli))
}
